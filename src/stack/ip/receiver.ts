/**
 * The way in: every packet is checked (RFC 1122, 3.2; RFC 1812, 5.2.2; RFC 8200), put together if it comes in pieces, and
 * given to whoever speaks its protocol. What does not pass is dropped for a reason of its own.
 */
import type { Pool } from '../../engine/pool.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { Problem } from '../../packet/problem.ts';
import { Protocol } from '../../packet/protocol.ts';
import { getInt32 } from '../../packet/word.ts';
import { StackDrop } from '../reasons.ts';
import type { TransportAbove } from '../tcp/below.ts';
import { type Errors, IpError } from './errors.ts';
import { Extensions, Walk } from './extensions.ts';
import type { Forwarder } from './forward.ts';
import type { Icmp } from './icmp.ts';
import { NONE, Reassembly } from './reassembly.ts';
import { Cast, LOOPBACK, type Routing } from './routing.ts';

/** A transport that also takes what is sent to groups and to everybody. */
export interface GroupTransport extends TransportAbove {
  readonly groups?: boolean;
}

export interface ReceiverParts {
  pool: Pool;
  clock: Float64Array;
  routing: Routing;
  errors: Errors;
  icmp: Icmp;
  /** Undefined on a host that is no router. */
  forwarder: Forwarder | undefined;
  /** By protocol number. */
  transports: (GroupTransport | undefined)[];
  account: number;
  fragments: number;
}

export class Receiver {
  readonly #parts: ReceiverParts;
  readonly #pool: Pool;
  readonly reassembly: Reassembly;
  readonly #extensions = new Extensions();
  received = 0;

  constructor(parts: ReceiverParts) {
    this.#parts = parts;
    this.#pool = parts.pool;
    this.reassembly = new Reassembly(parts.pool, parts.account, parts.fragments, (first) =>
      parts.errors.tell(first, IpError.Reassembly),
    );
  }

  /** Takes a packet over. @param from the index of its interface, or LOOPBACK */
  receive(packet: number, from: number): void {
    const pool = this.#pool;
    this.received += pool.segments[packet];
    // What leaves again has a next hop of its own.
    pool.peer[packet] = -1;
    const version = pool.length[packet] === 0 ? 0 : pool.slab[pool.offset[packet]] >> 4;
    if (version === 4) this.#receive4(packet, from);
    else if (version === 6) this.#receive6(packet, from);
    else pool.drop(packet, StackDrop.Version);
  }

  /** Whether the packet ends where its header says; padding is cut off. */
  #trim(packet: number, total: number): boolean {
    const pool = this.#pool;
    if (total < pool.length[packet]) {
      if (pool.segmentSize[packet] > 0) return false;
      pool.length[packet] = total;
    }
    return true;
  }

  #receive4(packet: number, from: number): void {
    const pool = this.#pool;
    const { slab } = pool;
    const { routing, forwarder } = this.#parts;
    const at = pool.offset[packet];
    if (ipv4.check(slab, at, at + pool.length[packet]) !== Problem.None) {
      pool.drop(packet, StackDrop.Length);
      return;
    }
    if (!ipv4.checksumOk(slab, at)) {
      pool.drop(packet, StackDrop.HeaderChecksum);
      return;
    }
    if (!this.#trim(packet, ipv4.totalLength(slab, at))) {
      pool.drop(packet, StackDrop.Length);
      return;
    }
    if (ipv4.headerLength(slab, at) > ipv4.HEADER && !optionsOk(slab, at)) {
      pool.drop(packet, StackDrop.Options);
      return;
    }
    const cast = routing.cast(slab, at + ipv4.DESTINATION, 4);
    if (from !== LOOPBACK && this.#martian4(at, cast)) {
      pool.drop(packet, StackDrop.Martian);
      return;
    }
    if (cast < 0) {
      if (forwarder) forwarder.forward(packet, 4);
      else pool.drop(packet, StackDrop.NotMine);
      return;
    }
    let whole = packet;
    if (ipv4.isFragment(slab, at)) {
      whole = this.reassembly.add(packet, at, 0, 0, this.#parts.clock[0]);
      if (whole === NONE) return;
    }
    const header = pool.offset[whole];
    this.#deliver(whole, 4, ipv4.headerLength(slab, header), ipv4.protocol(slab, header), cast, 0);
  }

  /** RFC 1122, 3.2.1.3; RFC 1812, 5.3.7: what cannot come from outside. */
  #martian4(at: number, cast: number): boolean {
    const { slab } = this.#pool;
    const source = slab[at + ipv4.SOURCE];
    const destination = slab[at + ipv4.DESTINATION];
    if (source === 127 || source >= 224 || destination === 127 || destination === 0) return true;
    // Class E but for the broadcast.
    if (destination >= 240 && cast < 0) return true;
    // Who has no address yet asks everybody (RFC 2131).
    if (source === 0) return cast !== Cast.Broadcast;
    // Own addresses, and the broadcast address of a link: nobody else's source.
    return this.#parts.routing.own(slab, at + ipv4.SOURCE, 4) >= 0;
  }

  #receive6(packet: number, from: number): void {
    const pool = this.#pool;
    const { slab } = pool;
    const { routing, forwarder } = this.#parts;
    const at = pool.offset[packet];
    if (ipv6.check(slab, at, at + pool.length[packet]) !== Problem.None) {
      pool.drop(packet, StackDrop.Length);
      return;
    }
    if (!this.#trim(packet, ipv6.totalLength(slab, at))) {
      pool.drop(packet, StackDrop.Length);
      return;
    }
    if (from !== LOOPBACK && this.#martian6(at)) {
      pool.drop(packet, StackDrop.Martian);
      return;
    }
    const cast = routing.cast(slab, at + ipv6.DESTINATION, 6);
    if (cast < 0) {
      if (forwarder) forwarder.forward(packet, 6);
      else pool.drop(packet, StackDrop.NotMine);
      return;
    }
    this.#walk6(packet, cast, true);
  }

  /** RFC 4291, 2.5 and 2.7. */
  #martian6(at: number): boolean {
    const { slab } = this.#pool;
    const source = at + ipv6.SOURCE;
    const destination = at + ipv6.DESTINATION;
    if (slab[source] === 0xff || loopbackOrNone(slab, destination)) return true;
    if (isMapped(slab, source) || isMapped(slab, destination)) return true;
    // From :: comes what finds out whether an address is taken, to a group.
    if (loopbackOrNone(slab, source)) return slab[source + 15] === 1 || slab[destination] !== 0xff;
    return this.#parts.routing.own(slab, source, 6) >= 0;
  }

  /** @param mayJoin false for a datagram that was put together: there are no fragments of fragments */
  #walk6(packet: number, cast: number, mayJoin: boolean): void {
    const pool = this.#pool;
    const { errors, clock } = this.#parts;
    const at = pool.offset[packet];
    const ext = this.#extensions;
    const found = ext.walk(pool.slab, at, at + pool.length[packet]);
    if (found === Walk.Upper) {
      this.#deliver(packet, 6, ext.header - at, ext.protocol, cast, ext.nextHeaderAt - at);
      return;
    }
    if (found === Walk.Fragment && mayJoin) {
      const whole = this.reassembly.add(packet, at, ext.header, ext.nextHeaderAt, clock[0]);
      if (whole !== NONE) this.#walk6(whole, cast, false);
      return;
    }
    if (found === Walk.BadField) errors.tell(packet, IpError.Field, ext.pointer);
    else if (found === Walk.BadOption) errors.tell(packet, IpError.Option, ext.pointer);
    else if (found === Walk.BadNextHeader) errors.tell(packet, IpError.Protocol, ext.pointer);
    pool.drop(packet, StackDrop.Options);
  }

  /** @param transport from `pool.offset` @param named where the field is that names the protocol, of IPv6 */
  #deliver(
    packet: number,
    family: 4 | 6,
    transport: number,
    protocol: number,
    cast: number,
    named: number,
  ): void {
    const pool = this.#pool;
    const { icmp, transports, errors } = this.#parts;
    if (protocol === (family === 4 ? Protocol.Icmp : Protocol.Icmpv6)) {
      icmp.input(packet, family, transport, cast);
      return;
    }
    const above = transports[protocol];
    if (above === undefined) {
      if (cast === Cast.Unicast && protocol !== Protocol.NoNextHeader)
        errors.tell(packet, IpError.Protocol, family === 6 ? named : 0);
      pool.drop(packet, StackDrop.Protocol);
    } else if (cast !== Cast.Unicast && above.groups !== true) {
      pool.drop(packet, StackDrop.NotMine);
    } else {
      above.input(packet, family, transport, pool.length[packet]);
    }
  }

  clear(): void {
    this.reassembly.clear();
  }
}

/** Options that end inside of the header, and no source route (RFC 7126, 4.3 and 4.4: to be dropped by default). */
function optionsOk(bytes: Uint8Array, at: number): boolean {
  const end = at + ipv4.headerLength(bytes, at);
  for (let option = at + ipv4.OPTIONS; option < end; ) {
    const type = bytes[option];
    if (type === ipv4.Option.LooseSourceRoute || type === ipv4.Option.StrictSourceRoute) return false;
    option = ipv4.nextOption(bytes, option, end);
    if (option < 0) return false;
  }
  return true;
}

/** An IPv4 address in IPv6 clothes (RFC 4291, 2.5.5.2): for APIs, and no packet's. */
function isMapped(bytes: Uint8Array, at: number): boolean {
  return getInt32(bytes, at + 8) === 0xffff && (getInt32(bytes, at) | getInt32(bytes, at + 4)) === 0;
}

/** :: or ::1 */
function loopbackOrNone(bytes: Uint8Array, at: number): boolean {
  let set = 0;
  for (let i = 0; i < 15; i++) set |= bytes[at + i];
  return set === 0 && bytes[at + 15] <= 1;
}
