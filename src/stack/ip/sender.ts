/**
 * The way out: IP headers in front of what transports made, fragments where a packet is longer than its path, and then
 * an interface's outlet or this host itself.
 */
import type { Pool } from '../../engine/pool.ts';
import { Reason } from '../../engine/reasons.ts';
import { pseudoSum4, pseudoSum6 } from '../../packet/checksum.ts';
import { emitFragment, fragmentCount } from '../../packet/ip-fragment.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { Protocol } from '../../packet/protocol.ts';
import { completeChecksum, Gso } from '../../packet/segment.ts';
import * as tcp from '../../packet/tcp.ts';
import { checksumField } from '../../packet/transport.ts';
import * as udp from '../../packet/udp.ts';
import { copyBytes, put16, put32 } from '../../packet/word.ts';
import { hashAddress, type SecretNumbers } from '../numbers.ts';
import { StackDrop } from '../reasons.ts';
import { Outlet } from './outlet.ts';
import { LEAST_V4 } from './path-mtu.ts';
import { LOOPBACK, type PathRoute } from './routing.ts';

/** Counters of identifications: destinations share them by hash (RFC 7739, 5.3). */
const IDENTIFICATIONS = 1024;

const MOST_MTU = 65_535;

/** What of a route stands in a header. */
type Ends = Pick<PathRoute, 'source' | 'destination' | 'mtu'>;

export class Sender {
  readonly #pool: Pool;
  readonly #account: number;
  readonly #ttl: number;
  /** By interface. */
  readonly outlets: Outlet[];
  /** Packets of this host to itself. */
  readonly loopback: Outlet;
  readonly #identifications = new Int32Array(IDENTIFICATIONS);
  readonly #secret: number;
  sent = 0;
  fragmented = 0;

  /** @param account that pays for packets @param interfaces how many @param ttl of what is sent */
  constructor(pool: Pool, account: number, interfaces: number, ttl: number, numbers: SecretNumbers) {
    this.#pool = pool;
    this.#account = account;
    this.#ttl = ttl;
    this.outlets = Array.from({ length: interfaces }, () => new Outlet(pool));
    this.loopback = new Outlet(pool);
    this.#secret = numbers.i32();
    for (let i = 0; i < IDENTIFICATIONS; i++) this.#identifications[i] = numbers.i32();
  }

  /** See `IpBelow.make`. */
  make(length: number): number {
    const packet = this.#pool.allocFor(length, this.#account);
    if (packet < 0) return -1;
    this.#pool.length[packet] = length;
    this.#pool.layer[packet] = 3;
    return packet;
  }

  /** Puts an IP header and the start of a transport's into a packet that was made for them, as another host would have. */
  write(
    packet: number,
    source: Uint8Array,
    destination: Uint8Array,
    protocol: number,
    start: Uint8Array,
  ): void {
    const pool = this.#pool;
    const isV4 = source.length === 4;
    const header = isV4 ? ipv4.HEADER : ipv6.HEADER;
    const { length } = start;
    pool.slab.set(start, pool.offset[packet]);
    pool.offset[packet] -= header;
    pool.length[packet] = header + length;
    const ends = { source, destination, mtu: MOST_MTU };
    if (isV4) this.#header4(pool.offset[packet], header + length, ends, protocol, 0, this.#ttl, true);
    else this.#header6(pool.offset[packet], length, ends, protocol, 0, this.#ttl);
  }

  /** See `IpBelow.send`. Returns whether it went on its way. @param ttl other than the usual */
  send(
    packet: number,
    route: PathRoute,
    protocol: number,
    ecn: number,
    segmentSize: number,
    ttl = this.#ttl,
  ): boolean {
    const pool = this.#pool;
    const { slab } = pool;
    const length = pool.length[packet];
    const transport = pool.offset[packet];
    const header = route.family === 4 ? ipv4.HEADER : ipv6.HEADER;
    const at = transport - header;
    const fits = header + length <= route.mtu || segmentSize > 0;
    pool.offset[packet] = at;
    pool.length[packet] = header + length;
    if (route.family === 4) this.#header4(at, header + length, route, protocol, ecn, ttl, fits);
    else this.#header6(at, length, route, protocol, ecn, ttl);
    const field = checksumField(protocol);
    if (field >= 0) {
      let pseudo = 0;
      if (route.family === 6)
        pseudo = pseudoSum6(slab, at + ipv6.SOURCE, at + ipv6.DESTINATION, protocol, length);
      else if (protocol !== Protocol.Icmp) pseudo = pseudoSum4(slab, at + ipv4.SOURCE, protocol, length);
      put16(slab, transport + field, pseudo);
      pool.checksumStart[packet] = header;
      pool.checksumOffset[packet] = field;
    }
    if (segmentSize > 0) {
      const inner = protocol === Protocol.Tcp ? tcp.headerLength(slab, transport) : udp.HEADER;
      pool.segmentSize[packet] = segmentSize;
      pool.segments[packet] = Math.ceil((length - inner) / segmentSize);
      pool.gsoType[packet] = protocol !== Protocol.Tcp ? Gso.Udp : route.family === 4 ? Gso.TcpV4 : Gso.TcpV6;
    }
    this.sent++;
    return this.out(packet, route.hop.interface, route.hop.peer, route.mtu);
  }

  #header4(
    at: number,
    total: number,
    route: Ends,
    protocol: number,
    ecn: number,
    ttl: number,
    fits: boolean,
  ): void {
    const { slab } = this.#pool;
    slab[at] = 0x45;
    slab[at + ipv4.TRAFFIC_CLASS] = ecn;
    put16(slab, at + ipv4.TOTAL_LENGTH, total);
    // RFC 6864, 4.1: what is never fragmented needs no identification. A path too narrow to be believed may fragment.
    put32(slab, at + ipv4.IDENTIFICATION, fits && route.mtu > LEAST_V4 ? ipv4.DONT_FRAGMENT : 0);
    slab[at + ipv4.TTL] = ttl;
    slab[at + ipv4.PROTOCOL] = protocol;
    copyBytes(route.source, 0, slab, at + ipv4.SOURCE, 4);
    copyBytes(route.destination, 0, slab, at + ipv4.DESTINATION, 4);
    if (!fits || route.mtu <= LEAST_V4)
      put16(slab, at + ipv4.IDENTIFICATION, this.identify(at + ipv4.SOURCE, 8));
    ipv4.fillChecksum(slab, at);
  }

  #header6(at: number, length: number, route: Ends, protocol: number, ecn: number, ttl: number): void {
    const { slab } = this.#pool;
    put32(slab, at, 0x60000000 | (ecn << 20));
    put16(slab, at + ipv6.PAYLOAD_LENGTH, length);
    slab[at + ipv6.NEXT_HEADER] = protocol;
    slab[at + ipv6.HOP_LIMIT] = ttl;
    copyBytes(route.source, 0, slab, at + ipv6.SOURCE, 16);
    copyBytes(route.destination, 0, slab, at + ipv6.DESTINATION, 16);
  }

  /** The next identification for packets between two addresses that stand in `length` bytes at `at`. */
  identify(at: number, length: number): number {
    const place = hashAddress(this.#pool.slab, at, length, this.#secret) & (IDENTIFICATIONS - 1);
    this.#identifications[place] = (this.#identifications[place] + 1) | 0;
    return this.#identifications[place];
  }

  /**
   * A whole IP packet leaves. One that is longer than `mtu` is cut into fragments; whether it may be is the caller's to
   * have seen, except that an IPv4 packet with DF is dropped.
   *
   * @param peer the gateway's row of the pool's addresses, or -1
   */
  out(packet: number, at: number, peer: number, mtu: number): boolean {
    const pool = this.#pool;
    pool.peer[packet] = peer;
    const long = pool.length[packet] > mtu && pool.segmentSize[packet] === 0;
    if (at === LOOPBACK) return this.#put(this.loopback, packet);
    const outlet = this.outlets[at];
    return long ? this.#fragments(packet, outlet, mtu) : this.#put(outlet, packet);
  }

  #put(outlet: Outlet, packet: number): boolean {
    const room = outlet.room > 0;
    outlet.put(packet);
    return room;
  }

  /** All fragments leave, or none. */
  #fragments(packet: number, outlet: Outlet, mtu: number): boolean {
    const pool = this.#pool;
    const { slab } = pool;
    const start = pool.checksumStart[packet];
    const whole = pool.length[packet];
    const isV4 = slab[pool.offset[packet]] >> 4 === 4;
    if (start >= 0) {
      if (!pool.own(packet)) return this.#lose(packet, Reason.NoMemory);
      completeChecksum(pool.slab, pool.offset[packet], whole, start, pool.checksumOffset[packet]);
      pool.checksumStart[packet] = -1;
    }
    const from = pool.offset[packet];
    const piece = (mtu - ipv6.HEADER - ipv6.FRAGMENT_HEADER) & ~7;
    const count = isV4
      ? fragmentCount(slab, from, from + whole, mtu)
      : Math.ceil((whole - ipv6.HEADER) / piece);
    if (count < 2) return this.#lose(packet, StackDrop.TooBig);
    if (outlet.room < count) return this.#lose(packet, StackDrop.QueueFull);
    const identification = isV4 ? 0 : this.identify(from + ipv6.SOURCE, 32);
    const first = outlet.count;
    for (let i = 0; i < count; i++) {
      const fragment = pool.allocFor(mtu, this.#account);
      if (fragment < 0) {
        outlet.takeBack(first);
        return this.#lose(packet, Reason.NoMemory);
      }
      const to = pool.offset[fragment];
      pool.length[fragment] = isV4
        ? emitFragment(slab, from, from + whole, mtu, i, slab, to)
        : emitFragment6(slab, from, whole, piece, i, identification, to);
      pool.layer[fragment] = 3;
      pool.peer[fragment] = pool.peer[packet];
      outlet.put(fragment);
    }
    this.fragmented++;
    pool.free(packet);
    return true;
  }

  #lose(packet: number, why: number): false {
    this.#pool.drop(packet, why);
    return false;
  }

  clear(): void {
    for (const outlet of this.outlets) outlet.clear();
    this.loopback.clear();
  }
}

/** Writes fragment `index` of an IPv6 packet without extension headers (RFC 8200, 4.5) and returns its length. */
function emitFragment6(
  bytes: Uint8Array,
  from: number,
  whole: number,
  piece: number,
  index: number,
  identification: number,
  to: number,
): number {
  const payload = whole - ipv6.HEADER;
  const start = index * piece;
  const data = Math.min(piece, payload - start);
  const header = to + ipv6.HEADER;
  copyBytes(bytes, from, bytes, to, ipv6.HEADER);
  put16(bytes, to + ipv6.PAYLOAD_LENGTH, ipv6.FRAGMENT_HEADER + data);
  bytes[to + ipv6.NEXT_HEADER] = Protocol.Fragment;
  bytes[header] = bytes[from + ipv6.NEXT_HEADER];
  bytes[header + 1] = 0;
  put16(bytes, header + 2, start | (start + data < payload ? 1 : 0));
  put32(bytes, header + 4, identification);
  copyBytes(bytes, from + ipv6.HEADER + start, bytes, header + ipv6.FRAGMENT_HEADER, data);
  return ipv6.HEADER + ipv6.FRAGMENT_HEADER + data;
}
