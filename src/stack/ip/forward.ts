/** A router's half: packets for others go on (RFC 1812, 5; RFC 8200). Whether this host is one, its options say. */
import type { Pool } from '../../engine/pool.ts';
import { MAX_SEGMENTS } from '../../engine/pool-memory.ts';
import { Reason } from '../../engine/reasons.ts';
import { cutSuperframe } from '../../engine/segmenter.ts';
import * as ip from '../../packet/ip.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { PLAN_CELLS, PlanCell, planSegments } from '../../packet/segment.ts';
import { decrementTtl } from '../../packet/ttl.ts';
import { StackDrop } from '../reasons.ts';
import { type Errors, IpError } from './errors.ts';
import type { Routing } from './routing.ts';
import type { Sender } from './sender.ts';

export class Forwarder {
  readonly #pool: Pool;
  readonly #routing: Routing;
  readonly #sender: Sender;
  readonly #errors: Errors;
  readonly #plan = new Int32Array(PLAN_CELLS);
  readonly #cut = new Int32Array(MAX_SEGMENTS);
  forwarded = 0;

  constructor(pool: Pool, routing: Routing, sender: Sender, errors: Errors) {
    this.#pool = pool;
    this.#routing = routing;
    this.#sender = sender;
    this.#errors = errors;
  }

  /** A checked packet that is for somebody else; it is the forwarder's from here on. */
  forward(packet: number, family: 4 | 6): void {
    const pool = this.#pool;
    const { slab } = pool;
    const at = pool.offset[packet];
    if (staysOnLink(slab, at, family)) {
      pool.drop(packet, StackDrop.NotMine);
      return;
    }
    const hop = this.#routing.hop(slab, ip.destinationAt(slab, at), family);
    // The TTL first, as routers do: traceroute finds this one on its way to nowhere, too.
    if (ip.hopLimit(slab, at) <= 1) {
      this.#refuse(packet, IpError.Expired, 0, StackDrop.Expired);
      return;
    }
    if (!hop) {
      this.#refuse(packet, IpError.NoRoute, 0, StackDrop.NoRoute);
      return;
    }
    const { mtu } = this.#routing.interfaces[hop.interface];
    if (pool.segmentSize[packet] > 0) {
      if (!this.#segmentsFit(packet, mtu)) {
        this.#onePerSegment(packet, family);
        return;
      }
    } else if (pool.length[packet] > mtu && (family === 6 || ipv4.dontFragment(slab, at))) {
      this.#refuse(packet, IpError.TooBig, mtu, StackDrop.TooBig);
      return;
    }
    if (!pool.own(packet)) {
      pool.drop(packet, Reason.NoMemory);
      return;
    }
    decrementTtl(slab, pool.offset[packet]);
    this.forwarded += pool.segments[packet];
    this.#sender.out(packet, hop.interface, hop.peer, mtu);
  }

  #refuse(packet: number, error: IpError, rest: number, why: number): void {
    this.#errors.tell(packet, error, rest);
    this.#pool.drop(packet, why);
  }

  #segmentsFit(packet: number, mtu: number): boolean {
    const pool = this.#pool;
    const plan = this.#plan;
    const count = planSegments(
      pool.slab,
      pool.offset[packet],
      pool.length[packet],
      0,
      pool.gsoType[packet],
      pool.segmentSize[packet],
      plan,
    );
    return count > 0 && plan[PlanCell.header] + plan[PlanCell.segmentSize] <= mtu;
  }

  /** Each of its packets has its own fate: one may be answered, fragmented, or fit. */
  #onePerSegment(packet: number, family: 4 | 6): void {
    const n = cutSuperframe(this.#pool, packet, this.#cut);
    for (let i = 0; i < n; i++) this.forward(this.#cut[i], family);
  }
}

/** Groups, and addresses that mean something on one link alone (RFC 4291, 2.5.6; RFC 3927, 2.7). */
function staysOnLink(bytes: Uint8Array, at: number, family: 4 | 6): boolean {
  if (family === 4)
    return (
      bytes[at + ipv4.DESTINATION] >= 224 ||
      linkLocal4(bytes, at + ipv4.SOURCE) ||
      linkLocal4(bytes, at + ipv4.DESTINATION)
    );
  return (
    bytes[at + ipv6.DESTINATION] === 0xff ||
    linkLocal6(bytes, at + ipv6.SOURCE) ||
    linkLocal6(bytes, at + ipv6.DESTINATION)
  );
}
const linkLocal4 = (bytes: Uint8Array, at: number) => bytes[at] === 169 && bytes[at + 1] === 254;
const linkLocal6 = (bytes: Uint8Array, at: number) => bytes[at] === 0xfe && bytes[at + 1] >> 6 === 2;
