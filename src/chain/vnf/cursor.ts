/**
 * Where the packet stands that a function looks at, and how it is written to: the part that all views of it share. One
 * object for all packets, moved from one to the next.
 *
 * Checksums are mended by what changes (RFC 1624), never computed anew: one that was right stays right, one that was wrong
 * stays wrong and is found out by who receives it. That also serves for the first fragment of a datagram, whose checksum
 * covers bytes that are elsewhere, and for checksums that are left to an offload.
 */
import type { Pool } from '../../engine/pool.ts';
import { HEADROOM } from '../../native/binding.ts';
import { fold, sum } from '../../packet/checksum.ts';
import * as icmp from '../../packet/icmp.ts';
import * as ip from '../../packet/ip.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { Problem } from '../../packet/problem.ts';
import { Protocol } from '../../packet/protocol.ts';
import * as tcp from '../../packet/tcp.ts';
import { mend, mendTransport, translate } from '../../packet/translate.ts';
import { checksumField } from '../../packet/transport.ts';
import * as udp from '../../packet/udp.ts';
import { isFragment, isLaterFragment, upperDistance, upperProtocol } from '../../packet/upper.ts';
import { get16, getInt32, put16, put32 } from '../../packet/word.ts';

/** The longest packet that IP can have, and a slot. */
const LONGEST = 0xffff;

/** What stands behind the IP header, as far as it is known here. */
export const Upper = { Other: 0, Tcp: 1, Udp: 2, Icmp: 3 } as const;
export type Upper = (typeof Upper)[keyof typeof Upper];

export class Cursor {
  pool!: Pool;
  handle = -1;
  version: 4 | 6 = 4;
  /** Behind all extension headers. */
  protocol = 0;
  kind: Upper = Upper.Other;
  fragment = false;
  /** A fragment that is not the first: no transport header, and the checksum is in another packet. */
  later = false;
  // Offsets in the slab.
  at = 0;
  end = 0;
  transport = 0;
  payload = 0;
  /** Where what the transport header belongs to ends: UDP has a length of its own. */
  payloadEnd = 0;
  /** There was no memory to write to it, and it will be dropped. */
  lost = false;

  /** Of the transport checksum; -1 without. */
  #field = -1;
  #owned = false;
  readonly #address = new Uint8Array(16);
  /** Sum of the payload before it was written to; -1 while it was not. */
  #before = -1;

  get slab(): Uint8Array {
    return this.pool.slab;
  }

  /** To another packet. False when it is none that can be read. */
  move(pool: Pool, handle: number): boolean {
    this.pool = pool;
    this.handle = handle;
    this.lost = false;
    this.#owned = false;
    this.#before = -1;
    const { slab } = pool;
    const at = pool.offset[handle] + pool.l3Offset[handle];
    const end = pool.offset[handle] + pool.length[handle];
    this.at = at;
    let upper: number;
    if (pool.segmentSize[handle] > 0) {
      // Of a superframe only the length that came with it counts.
      if (!fits(slab, at, end)) return false;
      this.end = end;
      upper = slab[at] >> 4 === 4 ? ipv4.upper(slab, at) : ipv6.upper(slab, at, end);
    } else {
      if (ip.check(slab, at, end) !== Problem.None) return false;
      this.end = ip.packetEnd(slab, at);
      upper = ip.upper(slab, at);
    }
    if (upper < 0) return false;
    this.version = slab[at] >> 4 === 4 ? 4 : 6;
    this.protocol = upperProtocol(upper);
    this.fragment = isFragment(upper);
    this.later = isLaterFragment(upper);
    this.transport = at + upperDistance(upper);
    this.#readTransport(slab);
    return true;
  }

  #readTransport(slab: Uint8Array): void {
    const { transport, end, protocol } = this;
    this.kind = Upper.Other;
    this.#field = -1;
    this.payload = transport;
    this.payloadEnd = end;
    if (this.later) return;
    if (protocol === Protocol.Tcp) {
      if (tcp.check(slab, transport, end) !== Problem.None) return;
      this.kind = Upper.Tcp;
      this.payload = transport + tcp.headerLength(slab, transport);
    } else if (protocol === Protocol.Udp) {
      if (end - transport < udp.HEADER) return;
      const length = get16(slab, transport + udp.LENGTH);
      // That of a superframe, and of a datagram in pieces, is longer than what is here.
      const whole = this.pool.segmentSize[this.handle] > 0 || this.fragment;
      if (!whole && (length < udp.HEADER || length > end - transport)) return;
      this.kind = Upper.Udp;
      this.payload = transport + udp.HEADER;
      if (!whole) this.payloadEnd = transport + length;
    } else if (protocol === (this.version === 4 ? Protocol.Icmp : Protocol.Icmpv6)) {
      if (end - transport < icmp.HEADER) return;
      this.kind = Upper.Icmp;
      this.payload = transport + icmp.HEADER;
    } else {
      return;
    }
    this.#field = transport + checksumField(protocol);
  }

  /** Before anything is written: the packet has its bytes for itself. */
  own(): boolean {
    if (this.#owned) return !this.lost;
    const { pool, handle } = this;
    const before = pool.offset[handle];
    this.#owned = true;
    if (!pool.own(handle)) {
      this.lost = true;
      return false;
    }
    this.#shift(pool.offset[handle] - before);
    return true;
  }

  #shift(by: number): void {
    if (by === 0) return;
    this.at += by;
    this.end += by;
    this.transport += by;
    this.payload += by;
    this.payloadEnd += by;
    if (this.#field >= 0) this.#field += by;
  }

  /** Whether the transport checksum is left to an offload: its field holds the pseudo-header's sum. */
  get #open(): boolean {
    return this.pool.checksumStart[this.handle] >= 0;
  }

  // ── Fields of headers.

  /** Writes a byte of the IP header, `field` bytes behind its start. */
  putIp8(field: number, value: number): void {
    if (!this.own()) return;
    const word = this.at + (field & ~1);
    const before = get16(this.slab, word);
    this.slab[this.at + field] = value;
    this.#mendIp(before, get16(this.slab, word));
  }

  putIp16(field: number, value: number): void {
    if (!this.own()) return;
    const before = get16(this.slab, this.at + field);
    put16(this.slab, this.at + field, value);
    this.#mendIp(before, value & 0xffff);
  }

  #mendIp(before: number, after: number): void {
    if (this.version === 4) mend(this.slab, this.at + ipv4.CHECKSUM, fold((~before & 0xffff) + after));
  }

  /** Writes a byte of the transport header. */
  putTransport8(field: number, value: number): void {
    if (!this.own()) return;
    const word = this.transport + (field & ~1);
    const before = get16(this.slab, word);
    this.slab[this.transport + field] = value;
    this.#mendTransport(0, fold((~before & 0xffff) + get16(this.slab, word)));
  }

  putTransport16(field: number, value: number): void {
    if (!this.own()) return;
    const before = get16(this.slab, this.transport + field);
    put16(this.slab, this.transport + field, value);
    this.#mendTransport(0, fold((~before & 0xffff) + (value & 0xffff)));
  }

  putTransport32(field: number, value: number): void {
    if (!this.own()) return;
    const before = ~getInt32(this.slab, this.transport + field);
    put32(this.slab, this.transport + field, value);
    this.#mendTransport(0, fold(words(before) + words(value)));
  }

  /** @param pseudo what the sum of the pseudo-header grows by @param rest that of what is behind it */
  #mendTransport(pseudo: number, rest: number): void {
    if (this.#field < 0) return;
    mendTransport(this.slab, this.#field, this.protocol, pseudo, rest, this.#open);
  }

  /** Writes an address: 4 or 16 bytes at `bytes[from]`. */
  putAddress(source: boolean, bytes: Uint8Array, from: number): void {
    if (!this.own()) return;
    const { slab, version } = this;
    const at = source ? ip.sourceAt(slab, this.at) : ip.destinationAt(slab, this.at);
    let change = 0;
    for (let i = 0; i < (version === 4 ? 4 : 16); i += 2) {
      change += (~get16(slab, at + i) & 0xffff) + get16(bytes, from + i);
      put16(slab, at + i, get16(bytes, from + i));
    }
    change = fold(change);
    if (version === 4) mend(slab, this.at + ipv4.CHECKSUM, change);
    // With a routing header the pseudo-header has the final destination, which stays.
    const covered =
      source ||
      version === 4 ||
      ipv6.finalDestination(slab, this.at, this.end) === this.at + ipv6.DESTINATION;
    if (covered && this.#pseudo) this.#mendTransport(change, 0);
  }

  /** ICMP of IPv4 has no pseudo-header. */
  get #pseudo(): boolean {
    return this.protocol !== Protocol.Icmp;
  }

  /** See `translate` of src/packet; what that does not know gets the address alone. */
  translate(source: boolean, to: Int32Array, port: number): void {
    if (!this.own()) return;
    // What was written so far is in the checksum before others mend it.
    this.finish();
    if (translate(this.slab, this.at, this.end, source, to, 0, port, this.#open)) return;
    const bytes = this.#address;
    for (let i = 0; i < 4; i++) put32(bytes, 4 * i, to[i]);
    this.putAddress(source, bytes, 0);
    if (this.fragment && (this.kind === Upper.Tcp || this.kind === Upper.Udp))
      this.putTransport16(source ? 0 : 2, port);
  }

  // ── The payload.

  /** Before the payload is written to. False when that cannot be: there is no memory, or the checksum is elsewhere. */
  touchPayload(): boolean {
    if (this.later || !this.own()) return false;
    if (this.#before < 0 && this.#field >= 0 && !this.#open)
      this.#before = sum(this.slab, this.payload, this.payloadEnd - this.payload);
    return true;
  }

  /**
   * Puts `insert` bytes in the place of `remove` from `offset` of the payload on; what they hold is the caller's to write. Headers
   * and prefix move where that is less to move, or where there is no room behind.
   *
   * @returns false, with nothing changed, for superframes and fragments, without memory, and where the packet would be too long
   */
  splice(offset: number, remove: number, insert: number): boolean {
    const { pool } = this;
    const delta = insert - remove;
    if (pool.segmentSize[this.handle] > 0 || this.fragment) return false;
    if (this.end - this.at + delta > LONGEST || !this.touchPayload()) return false;
    if (delta === 0) return true;
    // What is behind the packet's own end, and behind that of a UDP datagram, is nobody's.
    const cut = this.end;
    if (delta > 0 && pool.capacity(this.handle) < cut - pool.offset[this.handle] + delta) {
      if (pool.headroom(this.handle) >= delta) this.#moveHead(offset, delta);
      else if (!this.#relocate(delta)) return false;
      else this.#moveTail(offset + remove, delta);
    } else if (this.payload + offset - this.at < this.end - this.payload - offset - remove) {
      if (delta < 0 || pool.headroom(this.handle) >= delta) this.#moveHead(offset, delta);
      else this.#moveTail(offset + remove, delta);
    } else {
      this.#moveTail(offset + remove, delta);
    }
    this.#putLengths(delta);
    return true;
  }

  /** What is behind moves; the packet ends later by `delta`. */
  #moveTail(offset: number, delta: number): void {
    const from = this.payload + offset;
    this.slab.copyWithin(from + delta, from, this.end);
    this.end += delta;
    this.payloadEnd += delta;
    this.pool.length[this.handle] = this.end - this.pool.offset[this.handle];
  }

  /** Prefix, headers and payload up to `offset` move; the packet starts earlier by `delta`. */
  #moveHead(offset: number, delta: number): void {
    const { pool, handle } = this;
    const start = pool.offset[handle] - pool.prefixLength[handle];
    this.slab.copyWithin(start - delta, start, this.payload + offset);
    pool.offset[handle] -= delta;
    const { end, payloadEnd } = this;
    this.#shift(-delta);
    this.end = end;
    this.payloadEnd = payloadEnd;
    pool.length[handle] = end - pool.offset[handle];
  }

  /** To a larger slot, in which it may grow by `delta`. The packet is another handle then. */
  #relocate(delta: number): boolean {
    const { pool, handle, slab } = this;
    const prefix = pool.prefixLength[handle];
    const length = pool.length[handle];
    if (prefix > HEADROOM) return false;
    const fresh = pool.allocFor(length + delta, pool.owner[pool.slot[handle]]);
    if (fresh < 0) return false;
    const from = pool.offset[handle] - prefix;
    slab.copyWithin(pool.offset[fresh] - prefix, from, from + prefix + length);
    pool.length[fresh] = length;
    pool.layer[fresh] = pool.layer[handle];
    pool.l3Offset[fresh] = pool.l3Offset[handle];
    pool.prefixLength[fresh] = prefix;
    pool.checksumStart[fresh] = pool.checksumStart[handle];
    pool.checksumOffset[fresh] = pool.checksumOffset[handle];
    pool.peer[fresh] = pool.peer[handle];
    pool.trafficClass[fresh] = pool.trafficClass[handle];
    pool.flags[fresh] = pool.flags[handle];
    pool.arrived[pool.slot[fresh]] = pool.arrived[pool.slot[handle]];
    const by = pool.offset[fresh] - pool.offset[handle];
    pool.free(handle);
    this.handle = fresh;
    this.#shift(by);
    return true;
  }

  #putLengths(delta: number): void {
    const { slab, at } = this;
    const field = this.version === 4 ? ipv4.TOTAL_LENGTH : ipv6.PAYLOAD_LENGTH;
    this.putIp16(field, get16(slab, at + field) + delta);
    if (this.kind === Upper.Other) return;
    const after = this.payloadEnd - this.transport;
    const change = fold((~(after - delta) & 0xffff) + after);
    let rest = 0;
    if (this.kind === Upper.Udp) {
      put16(slab, this.transport + udp.LENGTH, after);
      rest = change;
    }
    this.#mendTransport(this.#pseudo ? change : 0, rest);
  }

  /** What was written to the payload is brought into the checksum. When the function has done with the packet. */
  finish(): void {
    if (this.#before < 0) return;
    const after = sum(this.slab, this.payload, this.payloadEnd - this.payload);
    this.#mendTransport(0, fold((~this.#before & 0xffff) + after));
    this.#before = -1;
  }
}

/** Sum of the two halves of a word. */
const words = (word: number): number => (word >>> 16) + (word & 0xffff);

/** Whether the IP header of a superframe lies in it. */
function fits(slab: Uint8Array, at: number, end: number): boolean {
  const version = slab[at] >> 4;
  if (version === 6) return end - at >= ipv6.HEADER;
  if (version !== 4 || end - at < ipv4.HEADER) return false;
  const header = ipv4.headerLength(slab, at);
  return header >= ipv4.HEADER && header <= end - at;
}
