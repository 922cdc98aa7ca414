/**
 * The client's end of a tunnel. Inside is a TUN or TAP, outside a UDP port.
 *
 *   inside -> outside   a packet that has a session fits the path or is fragmented, refused, dropped (encapsulate.ts)
 *   outside -> inside   control messages go to the state machine; data from the server, and from nobody else, is
 *                       checked, takes over what congestion the outer header met, and goes in (decapsulate.ts)
 */
import { z } from 'zod';
import type { AddressBook } from '../engine/address-book.ts';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../engine/app.ts';
import { sameJson } from '../engine/config.ts';
import { IcmpReplies } from '../engine/icmp-replies.ts';
import { checkOptions } from '../engine/options.ts';
import { TunconnectorError } from '../errors.ts';
import { type Endpoint, type IpPrefix, parseEndpoint } from '../packet/prefix.ts';
import { scopeOf } from '../tun/scope.ts';
import { ClientControl } from './control/client.ts';
import { ControlLink } from './control-link.ts';
import { decapsulate, isControl } from './decapsulate.ts';
import { Encapsulator, ETHERIP_HEADER, roomForPieces } from './encapsulate.ts';
import { prefixes, tunnelSchema } from './options.ts';
import { PathState } from './path-state.ts';
import { TunnelDrop } from './reasons.ts';
import { secretStream } from './secret-stream.ts';

const schema = z.strictObject({
  ...tunnelSchema,
  /** Where the server is: `192.168.6.9:55555`. */
  server: z.string(),
  /** Milliseconds between keepalives. The server goes by what its clients tell it. */
  keepalive: z.number().int().min(100).max(30_000).default(1000),
  /** Networks behind this end that the server should route here. */
  announce: z.array(z.string()).default([]),
});

export type TunnelClientOptions = z.input<typeof schema>;
type Checked = z.output<typeof schema>;

export class TunnelClient implements App {
  readonly inputs = ['inside', 'outside'];
  readonly outputs = ['inside', 'outside'];
  readonly required = ['inside', 'outside'];
  readonly paths = { inside: ['outside'], outside: ['inside'] };
  readonly superframes = true;
  readonly layers: Readonly<Record<string, Layer>>;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  #options: Checked;
  readonly #addresses: IpPrefix[];
  readonly #layer: 2 | 3;
  readonly #path = new PathState(1);
  readonly #replies = new IcmpReplies([]);
  readonly #encapsulator = new Encapsulator();
  #control: ClientControl | undefined;
  #link: ControlLink | undefined;
  #context: AppContext | undefined;
  /** Cell 0 of `tooLong` as it was seen last. */
  #refusals = 0;

  constructor(options: Checked) {
    this.#options = options;
    this.#layer = options.layer === 'L2' ? 2 : 3;
    this.layers = { inside: options.layer, outside: 'datagram' };
    this.#addresses = prefixes('addresses', options.addresses, true);
  }

  open(context: AppContext): void {
    this.#context = context;
    const link = new ControlLink(context, (event) => this.#path.note(event));
    this.#link = link;
    this.#control = new ClientControl(
      {
        layer: this.#layer,
        addresses: this.#addresses,
        networks: prefixes('announce', this.#options.announce),
        mtu: this.#options.maxDatagram,
        keepalive: this.#options.keepalive,
      },
      link,
      secretStream(context.runtime),
    );
  }

  get state(): string {
    return this.#control?.state ?? 'idle';
  }

  /** Smoothed round trip to the server, ns; 0 when unknown. */
  get rtt(): number {
    return this.#control?.rtt ?? 0;
  }

  push(ports: Ports): void {
    const control = this.#control!;
    this.#link!.out = ports.output.outside;
    if (control.state === 'idle') this.#start(ports.now);
    this.#encapsulator.now = ports.now;
    const { addresses } = ports.pool;
    if (addresses.tooLong[0] !== this.#refusals) this.#narrower(addresses, control, ports.now);
    this.#fromOutside(ports, control);
    this.#fromInside(ports, control);
    if (ports.now >= control.deadline[0]) control.tick(ports.now);
    this.due[0] = control.deadline[0];
  }

  #start(now: number): void {
    const row = this.#pinServer(parseEndpoint(this.#options.server));
    this.#control!.start(now, row);
    this.#context!.pool.addresses.unpin(row);
  }

  /** The port could not send something, perhaps to this server. */
  #narrower(addresses: AddressBook, control: ClientControl, now: number): void {
    this.#refusals = addresses.tooLong[0];
    const size = addresses.takeTooLong(control.server);
    if (size > 0) control.tooLong(now, size);
  }

  #pinServer({ address, port }: Endpoint): number {
    const { family, bytes, zone } = address;
    return this.#context!.pool.addresses.pinAddress({ family, bytes, port, scope: scopeOf(zone) });
  }

  #fromInside({ pool, input, output, now }: Ports, control: ClientControl): void {
    const { inside, outside } = output;
    const limit = this.#limit(control.mtu);
    const most = this.#path.settled(0, now) ? 0 : this.#limit(this.#options.maxDatagram);
    for (let n = input.inside.waiting; n > 0 && roomForPieces(outside); n--) {
      const packet = input.inside.take();
      if (!control.established) {
        pool.drop(packet, TunnelDrop.NotConnected);
        continue;
      }
      const reply = this.#encapsulator.send(
        pool,
        packet,
        control.server,
        limit,
        most,
        outside,
        this.#replies,
      );
      if (reply >= 0) inside.put(reply);
    }
    if (this.#encapsulator.sentLarge) {
      this.#encapsulator.sentLarge = false;
      control.large = 1;
    }
  }

  /** The path's limit, or that of a fixed inner MTU when it is less. */
  #limit(datagram: number): number {
    const { mtu } = this.#options;
    return mtu === undefined ? datagram : Math.min(datagram, mtu + (this.#layer === 2 ? ETHERIP_HEADER : 0));
  }

  #fromOutside({ pool, input, output, now }: Ports, control: ClientControl): void {
    let heard = false;
    for (let n = input.outside.waiting; n > 0; n--) {
      const packet = input.outside.take();
      const at = pool.offset[packet];
      if (isControl(pool, packet)) {
        const problem = control.receive(now, pool.peer[packet], pool.slab, at, pool.length[packet]);
        if (problem === 0) pool.free(packet);
        else pool.drop(packet, problem);
        continue;
      }
      if (!control.established || !control.isServer(pool.peer[packet])) {
        pool.drop(packet, TunnelDrop.NoSession);
        continue;
      }
      heard = true;
      const problem = decapsulate(pool, packet, this.#layer);
      if (problem === 0) output.inside.put(packet);
      else pool.drop(packet, problem);
    }
    if (!heard) return;
    control.heardAt[0] = now;
    if (control.state === 'silent') control.heard(now);
  }

  canReconfigure(options: unknown): boolean {
    const { server, ...rest } = options as Checked;
    const { server: _, ...mine } = this.#options;
    if (!sameJson(rest, mine)) return false;
    // What could fail later fails here, where nothing has changed yet.
    scopeOf(parseEndpoint(server).address.zone);
    if (this.#context?.pool.addresses.pinnedRoom === 0) {
      throw new TunconnectorError('ERR_LIMIT', 'no further outer address can be kept', {
        remedy: 'close tunnels that are no longer needed',
      });
    }
    return true;
  }

  /** Another server address is taken over in place; the session, if the server knows it, goes on. */
  reconfigure(options: unknown): void {
    this.#options = options as Checked;
    const control = this.#control!;
    if (control.state === 'idle') return;
    const row = this.#pinServer(parseEndpoint(this.#options.server));
    control.setServer(this.#context!.runtime.now(), row);
    this.#context!.pool.addresses.unpin(row);
    this.#context!.wake();
  }

  finish(ports: Ports): void {
    this.#link!.out = ports.output.outside;
    this.#control?.close(ports.now);
  }

  /** Gives the addresses back that it kept. The last words are said in `finish`. */
  close(): void {
    if (this.#link) this.#link.out = undefined;
    this.#control?.close(0);
  }

  report(): AppReport {
    return {
      state: this.state,
      rtt: this.rtt,
      datagram: this.#control?.mtu ?? 0,
      icmpSent: this.#replies.sent,
      icmpSuppressed: this.#replies.suppressed,
    };
  }
}

export const tunnelClient = defineApp<TunnelClientOptions, Checked>({
  module: import.meta.url,
  export: 'tunnelClient',
  check(options) {
    const checked = checkOptions(schema, options);
    parseEndpoint(checked.server);
    prefixes('announce', checked.announce);
    return checked;
  },
  create: (options) => new TunnelClient(options),
});
