/**
 * The way out of the tunnel's inside:
 *
 *   1. a packet that fits the path (a superframe: whose segments fit) gets its peer, the ECN field of its outer
 *      header (RFC 6040, normal mode) and, if it is an Ethernet frame, its EtherIP header, and leaves;
 *   2. an IPv4 packet without DF is fragmented, each fragment leaves as in 1;
 *   3. an IPv6 packet of at most 1280 bytes leaves as it is and may be fragmented outside (RFC 2473, 7.1 b);
 *   4. while the path's size is still being found out, a packet that may be too long leaves like one of 3: an ICMP
 *      error now would make the sender believe in the smallest size for ten minutes;
 *   5. anything else is dropped and its sender told what would fit.
 */

import type { IcmpReplies } from '../engine/icmp-replies.ts';
import type { Link } from '../engine/link.ts';
import type { Pool } from '../engine/pool.ts';
import { cutSuperframe, MAX_SEGMENTS } from '../engine/segmenter.ts';
import { PacketFlag } from '../native/binding.ts';
import { ecnOf } from '../packet/ecn.ts';
import * as ip from '../packet/ip.ts';
import { emitFragment, fragmentCount } from '../packet/ip-fragment.ts';
import * as ipv4 from '../packet/ipv4.ts';
import * as ipv6 from '../packet/ipv6.ts';
import { Problem } from '../packet/problem.ts';
import { EtherType } from '../packet/protocol.ts';
import { PLAN_CELLS, PlanCell, planSegments } from '../packet/segment.ts';
import { copyBytes, get16 } from '../packet/word.ts';
import { TunnelDrop } from './reasons.ts';

/** RFC 3378: version 3, the rest zero. */
export const ETHERIP = [0x30, 0x00] as const;
export const ETHERIP_HEADER = 2;
/** Datagrams above this size ask for a confirmation now and then that such still pass. */
export const BASE_DATAGRAM = 1200;

/** Whether an IP header starts at `l3Offset`. On layer 3 it always does. */
export function carriesIp(pool: Pool, packet: number): boolean {
  const at = pool.offset[packet] + pool.l3Offset[packet];
  if (pool.layer[packet] === 2) {
    if (pool.l3Offset[packet] === 0) return false;
    const type = get16(pool.slab, at - 2);
    if (type !== EtherType.Ipv4 && type !== EtherType.Ipv6) return false;
  }
  return ip.check(pool.slab, at, pool.offset[packet] + pool.length[packet]) === Problem.None;
}

const plan = new Int32Array(PLAN_CELLS);

/** Bytes of the longest wire packet that this handle stands for; 0 for a superframe that makes no sense. */
export function wireLength(pool: Pool, packet: number): number {
  const length = pool.length[packet];
  const size = pool.segmentSize[packet];
  if (size === 0) return length;
  const { slab, offset, l3Offset, gsoType } = pool;
  if (planSegments(slab, offset[packet], length, l3Offset[packet], gsoType[packet], size, plan) <= 0)
    return 0;
  return Math.min(length, plan[PlanCell.header] + size);
}

/** Whether all fragments or segments that one packet may leave in have room. A loop's link holds nobody up. */
export function roomForPieces(out: Link): boolean {
  return out.feedback || out.room >= MAX_SEGMENTS;
}

export class Encapsulator {
  readonly #etherIp: boolean;
  readonly #pieces = new Int32Array(MAX_SEGMENTS);
  /** Set when a datagram above the base size was sent; whoever confirms path sizes clears it. */
  sentLarge = false;
  /** The time of the breath, ns; set before sending. A field, for a double that is passed becomes an object. */
  now = 0;

  /** @param etherIp whether Ethernet frames get an EtherIP header; the `raw` format sends them bare */
  constructor(etherIp = true) {
    this.#etherIp = etherIp;
  }

  /**
   * Sends one packet to `peer`, or drops it. Returns an ICMP error that its sender should get, or -1.
   * @param limit the largest datagram that passes, bytes of UDP payload
   * @param most what may still leave in fragments because the path is not known yet; at least `limit`
   * @param out towards the outside
   * @param replies where the ICMP error is made; null for none
   */
  send(
    pool: Pool,
    packet: number,
    peer: number,
    limit: number,
    most: number,
    out: Link,
    replies: IcmpReplies | null,
  ): number {
    const overhead = this.#etherIp && pool.layer[packet] === 2 ? ETHERIP_HEADER : 0;
    const room = limit - overhead;
    const length = wireLength(pool, packet);
    if (length === 0) {
      pool.drop(packet, TunnelDrop.Malformed);
      return -1;
    }
    const isIp = carriesIp(pool, packet);
    if (length <= room) {
      this.#put(pool, packet, peer, isIp, length, out);
      return -1;
    }
    if (length <= most - overhead) {
      pool.flags[packet] |= PacketFlag.MayFragment;
      this.#put(pool, packet, peer, isIp, length, out);
      return -1;
    }
    if (!isIp) {
      pool.drop(packet, TunnelDrop.TooBig);
      return -1;
    }
    const slab = pool.slab;
    const at = pool.offset[packet] + pool.l3Offset[packet];
    const mtu = room - pool.l3Offset[packet];
    if (ip.version(slab, at) === 4) {
      if (!ipv4.dontFragment(slab, at)) {
        this.#sendInPieces(pool, packet, peer, mtu, out);
        return -1;
      }
    } else if (length - pool.l3Offset[packet] <= ipv6.MINIMUM_MTU) {
      pool.flags[packet] |= PacketFlag.MayFragment;
      this.#put(pool, packet, peer, true, length, out);
      return -1;
    }
    const told = ip.version(slab, at) === 6 ? Math.max(mtu, ipv6.MINIMUM_MTU) : mtu;
    const reply = replies === null ? -1 : replies.tooBig(pool, packet, told, this.now);
    pool.drop(packet, TunnelDrop.TooBig);
    return reply;
  }

  #put(pool: Pool, packet: number, peer: number, isIp: boolean, length: number, out: Link): void {
    const slab = pool.slab;
    pool.peer[packet] = peer;
    pool.trafficClass[packet] = isIp ? ecnOf(slab, pool.offset[packet] + pool.l3Offset[packet]) : 0;
    if (this.#etherIp && pool.layer[packet] === 2) {
      // The EtherIP header is written in front of the frame: not into bytes that others share.
      if (!pool.own(packet)) {
        pool.drop(packet, TunnelDrop.NoMemory);
        return;
      }
      const at = pool.offset[packet] - ETHERIP_HEADER;
      slab[at] = ETHERIP[0];
      slab[at + 1] = ETHERIP[1];
      pool.prefixLength[packet] = ETHERIP_HEADER;
    }
    if (length > BASE_DATAGRAM) this.sentLarge = true;
    out.put(packet);
  }

  /** Every wire packet on its own, in fragments of at most `mtu` bytes. */
  #sendInPieces(pool: Pool, packet: number, peer: number, mtu: number, out: Link): void {
    const n = cutSuperframe(pool, packet, this.#pieces);
    for (let i = 0; i < n; i++) this.#fragment(pool, this.#pieces[i], peer, mtu, out);
  }

  #fragment(pool: Pool, packet: number, peer: number, mtu: number, out: Link): void {
    const header = pool.l3Offset[packet];
    const at = pool.offset[packet] + header;
    const end = pool.offset[packet] + pool.length[packet];
    const count = fragmentCount(pool.slab, at, end, mtu);
    if (count <= 0) {
      pool.drop(packet, TunnelDrop.Malformed);
      return;
    }
    if (count === 1) {
      this.#put(pool, packet, peer, true, pool.length[packet], out);
      return;
    }
    for (let i = 0; i < count; i++) {
      const fragment = pool.allocFor(header + mtu, pool.owner[pool.slot[packet]]);
      if (fragment < 0) {
        pool.countDrops(TunnelDrop.NoMemory, 1);
        break;
      }
      const to = pool.offset[fragment];
      copyBytes(pool.slab, pool.offset[packet], pool.slab, to, header);
      pool.length[fragment] = header + emitFragment(pool.slab, at, end, mtu, i, pool.slab, to + header);
      pool.layer[fragment] = pool.layer[packet];
      pool.l3Offset[fragment] = header;
      this.#put(pool, fragment, peer, true, pool.length[fragment], out);
    }
    pool.free(packet);
  }
}
