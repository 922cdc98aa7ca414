/**
 * ICMP errors to the sender of a packet that cannot go on, as fresh packets: on layer 2 with the Ethernet header
 * turned round. Rate-limited as RFC 1812, 4.3.2.8 and RFC 4443, 2.4 (f) want it, each sender for itself: one that asks for
 * errors at a high rate takes nothing from the others.
 */
import { COMMON_ACCOUNT } from '../native/binding.ts';
import { timeExceeded, tooBig, UnreachableReason, unreachable } from '../packet/icmp-error.ts';
import * as ip from '../packet/ip.ts';
import type { IpPrefix } from '../packet/prefix.ts';
import type { Pool } from './pool.ts';
import { SECOND } from './units.ts';

const PER_SECOND = 200;
const BURST = 50;
/** RFC 4443: the longest error packet. */
const LONGEST = 1280;
const MAC = 6;
/** Ethernet header with a VLAN tag. */
const ETHERNET = 18;

const Kind = { TooBig: 0, TimeExceeded: 1, NoRoute: 2 } as const;

export class IcmpReplies {
  readonly #source4: Uint8Array | undefined;
  readonly #source6: Uint8Array | undefined;
  /** By sender: a bucket of tokens, and when it was filled up last (ns). */
  readonly #tokens: Float64Array;
  readonly #refilled: Float64Array;
  /** Whose packets are answered, below `senders`; set before asking for a reply. */
  sender = 0;
  sent = 0;
  suppressed = 0;

  /**
   * @param addresses what replies come from: this end's inner addresses. Without any, a reply comes from where the
   * packet was going. That is the way for replies into this machine's own stack, which takes nothing from its own
   * addresses.
   * @param senders how many there can be
   */
  constructor(addresses: readonly IpPrefix[], senders = 1) {
    this.#tokens = new Float64Array(senders).fill(BURST);
    this.#refilled = new Float64Array(senders);
    this.#source4 = addresses.find((a) => a.address.family === 4)?.address.bytes;
    this.#source6 = addresses.find((a) => a.address.family === 6)?.address.bytes;
  }

  /** A reply that the packet needs to be at most `mtu` bytes (of IP), or -1 when none may be sent. */
  tooBig(pool: Pool, packet: number, mtu: number, now: number): number {
    return this.#reply(pool, packet, Kind.TooBig, mtu, now);
  }

  timeExceeded(pool: Pool, packet: number, now: number): number {
    return this.#reply(pool, packet, Kind.TimeExceeded, 0, now);
  }

  noRoute(pool: Pool, packet: number, now: number): number {
    return this.#reply(pool, packet, Kind.NoRoute, 0, now);
  }

  #reply(pool: Pool, packet: number, kind: number, mtu: number, now: number): number {
    const { slab } = pool;
    const at = pool.offset[packet] + pool.l3Offset[packet];
    const own = ip.version(slab, at) === 4 ? this.#source4 : this.#source6;
    // RFC 1122, 3.2.2: nothing that came as a link-layer broadcast or multicast is answered.
    if (pool.l3Offset[packet] > 0 && (slab[pool.offset[packet]] & 1) !== 0) return -1;
    // RFC 4443, 2.2: a group is nobody's source address.
    if (!own && ip.version(slab, at) === 6 && slab[ip.destinationAt(slab, at)] === 0xff) return -1;
    const { sender } = this;
    const tokens = this.#tokens;
    tokens[sender] = Math.min(BURST, tokens[sender] + ((now - this.#refilled[sender]) * PER_SECOND) / SECOND);
    this.#refilled[sender] = now;
    if (tokens[sender] < 1) {
      this.suppressed++;
      return -1;
    }
    const reply = pool.allocFor(LONGEST + ETHERNET, COMMON_ACCOUNT);
    if (reply < 0) return -1;
    const end = pool.offset[packet] + pool.length[packet];
    const into = pool.offset[reply] + pool.l3Offset[packet];
    const source = own ?? slab;
    const sourceAt = own ? 0 : ip.destinationAt(slab, at);
    let length: number;
    if (kind === Kind.TooBig) length = tooBig(slab, at, end, mtu, source, sourceAt, slab, into);
    else if (kind === Kind.TimeExceeded) length = timeExceeded(slab, at, end, source, sourceAt, slab, into);
    else length = unreachable(slab, at, end, UnreachableReason.Host, source, sourceAt, slab, into);
    return this.#finish(pool, packet, reply, length);
  }

  #finish(pool: Pool, packet: number, reply: number, length: number): number {
    if (length === 0) {
      pool.free(reply);
      return -1;
    }
    const header = pool.l3Offset[packet];
    if (header > 0) {
      const from = pool.offset[packet];
      const to = pool.offset[reply];
      const slab = pool.slab;
      for (let i = 0; i < MAC; i++) {
        slab[to + i] = slab[from + MAC + i];
        slab[to + MAC + i] = slab[from + i];
      }
      for (let i = 2 * MAC; i < header; i++) slab[to + i] = slab[from + i];
    }
    pool.length[reply] = header + length;
    pool.layer[reply] = pool.layer[packet];
    pool.l3Offset[reply] = header;
    this.#tokens[this.sender]--;
    this.sent++;
    return reply;
  }
}
