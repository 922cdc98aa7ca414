/**
 * The link whose outer end is in this process: what the command sends is delivered over sockets, as if this process had
 * opened them. The host's network is not touched: no interface, no route, no forwarding, no firewall.
 */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { deliver } from '../../deliver/deliver.ts';
import type { AppSpec } from '../../engine/app.ts';
import { impairedLink } from '../../impair/link.ts';
import { handedTun } from '../../tun/handed-tun.ts';
import { configureInterface, readRoutes } from '../../tun/system/live-ip.ts';
import { tun } from '../../tun/tun.ts';
import { liveOutside } from '../../tunnel/connector/live-outside.ts';
import { tunInside } from './inside.ts';
import { familiesOf, type LinkOptions, noPlace, QUEUE_LENGTH, RESOLV_CONF, type Way } from './link.ts';
import { resolverBehind } from './names.ts';
import { freePlaces, type Place } from './place.ts';

/** The command is one client, which may have all there is. */
const MOST = { connections: 8192, flows: 8192, perSource: 8192 };
/** Bytes in each direction of a connection: a link with 1 s of delay and 100 Mbit/s holds as many. */
const BUFFER = 16 << 20;

export interface SocketLinkOptions extends LinkOptions {
  /** Of the command that waits, where only its user namespace has the power to make an interface. */
  pid: number | undefined;
}

export class SocketLink implements Way {
  readonly #options: SocketLinkOptions;
  /** Keeps the namespace, and the interface in it, until all is told. */
  readonly #pin: number;
  #place!: Place;
  #families: (4 | 6)[] = [4];
  #resolver: string | undefined;

  constructor(options: SocketLinkOptions) {
    this.#options = options;
    this.#pin = openSync(options.netns, 'r');
  }

  get place(): Place {
    return this.#place;
  }

  async open(): Promise<void> {
    const [families, mtu, routes] = await Promise.all([
      familiesOf(false),
      liveOutside.mtu(),
      readRoutes({ table: 'all' }),
    ]);
    this.#families = families;
    const [place] = freePlaces(routes, families);
    if (!place) throw noPlace();
    this.#place = place;
    const map = [`${place.gateways[0]}=127.0.0.1`, ...place.gateways.slice(1).map((six) => `${six}=::1`)];
    map.push(...this.#nameServer());
    const most = Math.min(mtu, 65_535);
    const outer = deliver({
      ...MOST,
      buffer: BUFFER,
      addresses: place.gateways,
      map,
      mtu: most,
      trusted: true,
    });
    const inner = await this.#inner(most);
    const { apps, links } = impairedLink(inner, outer, this.#options.spec);
    // The outer end has one side only.
    const joined = links.map((link) => String(link).replace(/right\.(in|out)/, 'right.inside'));
    await this.#options.network.start({ apps, links: joined });
    if (this.#options.pid === undefined) await this.#setUp(most);
  }

  /** The end of the command. */
  async #inner(mtu: number): Promise<AppSpec> {
    const { pid, netns } = this.#options;
    const { name } = this.#place;
    if (pid === undefined) return tun({ name, netns });
    const { addresses } = this.#place.inner;
    const routes = this.#everywhere();
    return handedTun(await tunInside(pid, { name, addresses, routes, mtu, txQueueLength: QUEUE_LENGTH }));
  }

  async #setUp(mtu: number): Promise<void> {
    const { netns } = this.#options;
    const { name, inner } = this.#place;
    await configureInterface({ name: 'lo', netns, up: true });
    await configureInterface({
      ...{ name, netns, mtu, up: true, txQueueLength: QUEUE_LENGTH, addressGeneration: 'none' },
      addresses: inner.addresses,
      routes: this.#everywhere().map((prefix) => ({ prefix })),
    });
  }

  #everywhere(): string[] {
    return this.#families.map((family) => (family === 4 ? '0.0.0.0/0' : '::/0'));
  }

  /** Name servers that only this host reaches stand behind the gateway's port 53. */
  #nameServer(): string[] {
    if (!existsSync(RESOLV_CONF)) return [];
    const gateway = this.#place.gateways[0]!;
    const found = resolverBehind(readFileSync(RESOLV_CONF, 'utf8'), gateway, this.#families);
    if (!found) return [];
    this.#resolver = found.text;
    const [server] = found.relayed.filter((address) => !address.includes('%'));
    if (server === undefined) return [];
    return [`${gateway}:53=${server.includes(':') ? `[${server}]` : server}:53`];
  }

  async resolver(): Promise<string | undefined> {
    return this.#resolver;
  }

  async obstacles(): Promise<string[]> {
    return [];
  }

  async close(): Promise<void> {
    try {
      await this.#options.network.close();
    } finally {
      closeSync(this.#pin);
    }
  }
}
