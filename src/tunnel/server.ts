/**
 * The server's end of a tunnel: many clients, one interface. Inside is a TUN or TAP, outside a UDP port.
 *
 *   outside -> inside    control messages go to the state machine; data from a session is checked, its inner source
 *                        must be the client's, and it takes over the congestion that the outer header met
 *   outside -> outside   between two clients: routed (TTL, ICMP errors) on layer 3, switched on layer 2
 *   inside -> outside    to the client that owns the destination; what nobody owns is dropped and counted
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
import { IcmpReplies } from '../engine/icmp-replies.ts';
import { checkOptions } from '../engine/options.ts';
import type { Pool } from '../engine/pool.ts';
import * as ip from '../packet/ip.ts';
import type { IpPrefix } from '../packet/prefix.ts';
import { PrefixTable } from '../packet/prefix-table.ts';
import { Problem } from '../packet/problem.ts';
import { decrementTtl } from '../packet/ttl.ts';
import { ServerControl } from './control/server.ts';
import type { TunnelEvent } from './control/session.ts';
import { ControlLink } from './control-link.ts';
import { decapsulate, isControl } from './decapsulate.ts';
import { Encapsulator, ETHERIP_HEADER, roomForPieces } from './encapsulate.ts';
import { MacTable } from './mac-table.ts';
import { prefixes, tunnelSchema } from './options.ts';
import { PathState } from './path-state.ts';
import { TunnelDrop } from './reasons.ts';
import { secretStream } from './secret-stream.ts';

const schema = z.strictObject({
  ...tunnelSchema,
  /** Prefixes besides the server's own networks in which clients may have addresses and networks. */
  routes: z.array(z.string()).default([]),
  /** Outer prefixes that clients may come from; empty: from anywhere. */
  allow: z.array(z.string()).default([]),
  maxClients: z.number().int().min(1).max(2048).default(256),
});

export type TunnelServerOptions = z.input<typeof schema>;
type Checked = z.output<typeof schema>;

/** The switch's number for the server's own interface; sessions are 0 and up. */
const INSIDE = 0x7fffffff;
const ETHERNET_HEADER = 14;

export class TunnelServer implements App {
  readonly inputs = ['inside', 'outside'];
  readonly outputs = ['inside', 'outside'];
  readonly required = ['inside', 'outside'];
  // What goes from client to client is not held back by a full outside: that would hold up what comes in.
  readonly paths = { inside: ['outside'], outside: ['inside'] };
  readonly superframes = true;
  readonly layers: Readonly<Record<string, Layer>>;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  readonly #options: Checked;
  readonly #addresses: IpPrefix[];
  readonly #layer: 2 | 3;
  readonly #path: PathState;
  readonly #macs = new MacTable();
  /** ICMP errors into this machine, and to clients. */
  readonly #toInside = new IcmpReplies([]);
  readonly #toClients: IcmpReplies;
  readonly #encapsulator = new Encapsulator();
  #control: ServerControl | undefined;
  #link: ControlLink | undefined;
  /** Cell 0 of `tooLong` as it was seen last. */
  #refusals = 0;

  constructor(options: Checked) {
    this.#options = options;
    this.#layer = options.layer === 'L2' ? 2 : 3;
    this.layers = { inside: options.layer, outside: 'datagram' };
    this.#addresses = prefixes('addresses', options.addresses, true);
    this.#path = new PathState(options.maxClients);
    this.#toClients = new IcmpReplies(this.#addresses, options.maxClients);
  }

  open(context: AppContext): void {
    const link = new ControlLink(context, (event) => this.#note(event));
    this.#link = link;
    this.#control = new ServerControl(
      {
        layer: this.#layer,
        addresses: this.#addresses,
        routes: prefixes('routes', this.#options.routes),
        allow: prefixes('allow', this.#options.allow),
        mtu: this.#options.maxDatagram,
        maxClients: this.#options.maxClients,
        peerRows: context.pool.addresses.pinned,
        prefixTable: (family) => new PrefixTable(family),
      },
      link,
      secretStream(context.runtime),
      context.runtime.secret(32),
    );
  }

  #note(event: TunnelEvent): void {
    this.#path.note(event);
    if (event.type === 'gone') this.#macs.forget(event.session);
  }

  /** Sessions now. */
  get clients(): number {
    return this.#control?.count ?? 0;
  }

  push(ports: Ports): void {
    const control = this.#control!;
    this.#link!.out = ports.output.outside;
    this.#encapsulator.now = ports.now;
    const { addresses } = ports.pool;
    if (addresses.tooLong[0] !== this.#refusals) this.#narrower(addresses, control, ports.now);
    this.#fromOutside(ports, control);
    this.#fromInside(ports, control);
    if (ports.now >= control.deadline[0]) control.tick(ports.now);
    this.due[0] = control.deadline[0];
  }

  /** The port could not send something, perhaps to clients of this server. */
  #narrower(addresses: AddressBook, control: ServerControl, now: number): void {
    this.#refusals = addresses.tooLong[0];
    for (let session = 0; session < control.peerOf.length; session++) {
      const row = control.peerOf[session];
      const size = row < 0 ? 0 : addresses.takeTooLong(row);
      if (size > 0) control.tooLong(now, session, size);
    }
  }

  #fromOutside(ports: Ports, control: ServerControl): void {
    const { pool, input, now } = ports;
    let last = -1;
    for (let n = input.outside.waiting; n > 0; n--) {
      const packet = input.outside.take();
      const at = pool.offset[packet];
      const peer = pool.peer[packet];
      if (isControl(pool, packet)) {
        const problem = control.receive(now, peer, pool.slab, at, pool.length[packet]);
        if (problem === 0) pool.free(packet);
        else pool.drop(packet, problem);
        continue;
      }
      const session = control.sessionOfPeer(peer);
      if (session < 0) {
        control.unknownSender(now, peer, pool.length[packet]);
        pool.drop(packet, TunnelDrop.NoSession);
        continue;
      }
      if (session !== last) {
        control.heardAt[session] = now;
        if (control.silent[session] === 1) control.heard(now, session);
      }
      last = session;
      const problem = decapsulate(pool, packet, this.#layer);
      if (problem !== 0) pool.drop(packet, problem);
      else if (this.#layer === 3) this.#route(ports, control, packet, session);
      else this.#switch(ports, control, packet, session);
    }
  }

  /** From one client, on layer 3: to another one, or in. */
  #route(ports: Ports, control: ServerControl, packet: number, from: number): void {
    const { pool, output } = ports;
    const at = pool.offset[packet];
    if (owner(control, pool, at, ip.sourceAt(pool.slab, at)) !== from) {
      pool.drop(packet, TunnelDrop.SpoofedSource);
      return;
    }
    const to = owner(control, pool, at, ip.destinationAt(pool.slab, at));
    if (to < 0) {
      output.inside.put(packet);
      return;
    }
    if (to === from) {
      pool.drop(packet, TunnelDrop.Returning);
      return;
    }
    if (!pool.own(packet)) {
      pool.drop(packet, TunnelDrop.NoMemory);
      return;
    }
    if (!decrementTtl(pool.slab, pool.offset[packet])) {
      this.#toClients.sender = from;
      const reply = this.#toClients.timeExceeded(pool, packet, ports.now);
      if (reply >= 0) this.#toClient(ports, control, reply, from, from);
      pool.drop(packet, TunnelDrop.TtlExpired);
      return;
    }
    this.#toClient(ports, control, packet, to, from);
  }

  /** From a client (or from the inside, as INSIDE), on layer 2: to where its destination was seen, or everywhere. */
  #switch(ports: Ports, control: ServerControl, packet: number, from: number): void {
    const { pool, output, now } = ports;
    const at = pool.offset[packet];
    if (pool.length[packet] < ETHERNET_HEADER) {
      pool.drop(packet, TunnelDrop.Malformed);
      return;
    }
    this.#macs.learn(pool.slab, at + 6, from, now);
    const to = this.#macs.lookup(pool.slab, at, now);
    if (to === from) {
      pool.drop(packet, TunnelDrop.Returning);
    } else if (to === INSIDE) {
      output.inside.put(packet);
    } else if (to >= 0 && control.peerOf[to] >= 0) {
      this.#toClient(ports, control, packet, to, from);
    } else {
      this.#flood(ports, control, packet, from);
    }
  }

  #flood(ports: Ports, control: ServerControl, packet: number, from: number): void {
    const { pool, output } = ports;
    for (let session = 0; session < control.peerOf.length; session++) {
      if (session === from || control.peerOf[session] < 0) continue;
      const copy = pool.clone(packet);
      if (copy < 0) pool.countDrops(TunnelDrop.NoMemory, pool.segments[packet]);
      else this.#toClient(ports, control, copy, session, from, false);
    }
    if (from === INSIDE) pool.free(packet);
    else output.inside.put(packet);
  }

  #fromInside(ports: Ports, control: ServerControl): void {
    const { pool, input, output } = ports;
    for (let n = input.inside.waiting; n > 0 && roomForPieces(output.outside); n--) {
      const packet = input.inside.take();
      if (this.#layer === 2) {
        this.#switch(ports, control, packet, INSIDE);
        continue;
      }
      const at = pool.offset[packet];
      if (ip.check(pool.slab, at, at + pool.length[packet]) !== Problem.None) {
        pool.drop(packet, TunnelDrop.Malformed);
        continue;
      }
      const to = owner(control, pool, at, ip.destinationAt(pool.slab, at));
      if (to >= 0) {
        this.#toClient(ports, control, packet, to, INSIDE);
        continue;
      }
      const reply = this.#toInside.noRoute(pool, packet, ports.now);
      if (reply >= 0) output.inside.put(reply);
      pool.drop(packet, TunnelDrop.NoRoute);
    }
  }

  /**
   * @param from whom to tell when it does not fit: a session or INSIDE
   * @param answer not when it goes to many: it fits the way to the one whom it is meant for, or that one is not known
   */
  #toClient(
    ports: Ports,
    control: ServerControl,
    packet: number,
    to: number,
    from: number,
    answer = true,
  ): void {
    const { pool, output, now } = ports;
    const { mtu: fixed, maxDatagram } = this.#options;
    const most =
      fixed === undefined
        ? maxDatagram
        : Math.min(maxDatagram, fixed + (this.#layer === 2 ? ETHERIP_HEADER : 0));
    const limit = Math.min(control.mtu[to], most);
    const search = this.#path.settled(to, now) ? 0 : most;
    const peer = control.peerOf[to];
    const replies = answer ? (from === INSIDE ? this.#toInside : this.#toClients) : null;
    if (from !== INSIDE) this.#toClients.sender = from;
    const reply = this.#encapsulator.send(pool, packet, peer, limit, search, output.outside, replies);
    if (reply >= 0) {
      if (from === INSIDE) output.inside.put(reply);
      else this.#toClient(ports, control, reply, from, from);
    }
    if (this.#encapsulator.sentLarge) {
      this.#encapsulator.sentLarge = false;
      control.large[to] = 1;
    }
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
      clients: this.clients,
      claimsPending: this.#control?.pending ?? 0,
      icmpSent: this.#toInside.sent + this.#toClients.sent,
      icmpSuppressed: this.#toInside.suppressed + this.#toClients.suppressed,
    };
  }
}

function owner(control: ServerControl, pool: Pool, at: number, address: number): number {
  return ip.version(pool.slab, at) === 4
    ? control.owner4(pool.slab, address)
    : control.owner6(pool.slab, address);
}

export const tunnelServer = defineApp<TunnelServerOptions, Checked>({
  module: import.meta.url,
  export: 'tunnelServer',
  check(options) {
    const checked = checkOptions(schema, options);
    prefixes('addresses', checked.addresses, true);
    prefixes('routes', checked.routes);
    prefixes('allow', checked.allow);
    return checked;
  },
  create: (options) => new TunnelServer(options),
});
