/** What an end changes on the machine beside its descriptors: the interface's settings, and what outlives it. */
import { contains, parsePrefix } from '../../packet/prefix.ts';
import { isForwarding } from '../../tun/system/live-forwarding.ts';
import { configureInterface, type InterfaceConfiguration } from '../../tun/system/live-ip.ts';
import { SystemChanges } from '../../tun/system/live-system.ts';
import { type CheckedTunnelOptions, familiesOf, onLink } from './options.ts';
import type { Side } from './report.ts';
import { framingOf } from './shape.ts';
import { superframeLimit } from './superframes.ts';

/**
 * Packets that may wait for us in the interface; a superframe is one. Of 110 000 small UDP packets a second in bursts, a
 * queue of 500 (Linux's own choice) lost 33 %, one of 1000 3 %, 2000 1 %, 4000 none; TCP filled none of them.
 */
const QUEUE_LENGTH = 2000;

/** Settings of an interface that change while it runs. */
export type InterfaceChange = Pick<InterfaceConfiguration, 'name' | 'mtu' | 'gsoMaxSize'>;

export class EndMachine {
  readonly #side: Side;
  readonly #options: CheckedTunnelOptions;
  readonly #system = SystemChanges.open();
  #pinned = false;
  /**
   * Superframes are limited to what leaves in one send, which goes with the MTU. Only where all of them are of local
   * programs: those of other hosts and containers are up to 64 KiB whatever the interface takes, and Linux cuts what is
   * over the limit into packets. Measured, TCP forwarded into the tunnel fell from 4.2 to 2.6 Gbit/s. A TAP may be part
   * of a bridge.
   */
  #limited = false;
  /** How the interface is changed. A process that gave up its privileges puts something else here. */
  change: (change: InterfaceChange) => Promise<unknown> = configureInterface;

  constructor(side: Side, options: CheckedTunnelOptions) {
    this.#side = side;
    this.#options = options;
  }

  get #client() {
    return this.#side === 'client' ? this.#options.client : undefined;
  }

  get #server() {
    return this.#side === 'server' ? this.#options.server : undefined;
  }

  get #end() {
    return this.#options[this.#side]!;
  }

  /** @param remote a client's server; '' when it is reached through another network than what goes into the tunnel */
  async setUp(name: string, mtu: number, remote: string): Promise<void> {
    const client = this.#client;
    const routes = this.#end.routes.filter((route) => route !== 'default');
    if (remote && this.#isInside(remote)) {
      // Before there is a route that would take its packets into the tunnel.
      await this.#system.pinPeer(remote, { avoid: [name] });
      await this.#system.watchRoutes();
      this.#pinned = true;
    }
    const forwards =
      this.#options.forward ||
      (this.#options.server && this.#options.client) ||
      this.#server?.nat ||
      (client?.announce.length ?? 0) > 0;
    this.#limited = !forwards && this.#sendsSuperframes() && !isForwarding();
    const refused = await configureInterface({
      name,
      addresses: this.#end.addresses,
      up: true,
      // On a TAP neighbour discovery needs a link-local address.
      addressGeneration: this.#options.layer === 'L3' ? 'none' : undefined,
      txQueueLength: QUEUE_LENGTH,
      routes: routes.map((prefix) => ({ prefix })),
      ...this.#sizes(mtu),
    });
    if (refused.length > 0) this.#limited = false;
    const families = familiesOf(this.#end.addresses);
    if (client?.routes.includes('default')) await this.#system.routeDefault(name, families);
    if (forwards) {
      await this.#system.enableForwarding(familiesOf([...this.#end.addresses, ...this.#end.routes]));
    }
    if (this.#server?.nat) {
      await this.#system.masquerade([...this.#server.addresses.map(onLink), ...routes], name);
    }
  }

  async setMtu(name: string, mtu: number): Promise<void> {
    await this.change({ name, ...this.#sizes(mtu) });
  }

  /** Another address of the server is used from now on; `work` makes it so. */
  async moved(before: string, next: string, name: string, work: () => Promise<void>): Promise<void> {
    if (this.#pinned) await this.#system.pinPeer(next, { avoid: [name] });
    await work();
    if (this.#pinned) await this.#system.unpinPeer(before);
  }

  undo(): Promise<void> {
    return this.#system.undo();
  }

  #sizes(mtu: number): { mtu: number; gsoMaxSize?: number } {
    return this.#limited ? { mtu, gsoMaxSize: superframeLimit(mtu, framingOf(this.#options)) } : { mtu };
  }

  #sendsSuperframes(): boolean {
    const { format, layer, gso, vnetHeader } = this.#options;
    return format !== 'stream' && layer === 'L3' && gso && vnetHeader;
  }

  /** Whether packets to an outer address would go into the tunnel. */
  #isInside(address: string): boolean {
    return this.#end.routes.some((route) => {
      const ours = route === 'default' ? familiesOf(this.#end.addresses) : familiesOf([route]);
      if (!ours.includes(address.includes(':') ? 6 : 4)) return false;
      const host = parsePrefix(address.split('%')[0]!, { length: 'host' });
      return route === 'default' || contains(parsePrefix(route), host.address);
    });
  }
}
