/**
 * ICMP errors that this host sends (RFC 1122, 3.2.2; RFC 1812, 4.3; RFC 4443). How many one address gets in a second
 * is limited, each for itself: a limit for all together would tell strangers what others were sent.
 */
import type { Pool } from '../../engine/pool.ts';
import { SECOND } from '../../engine/units.ts';
import * as icmp from '../../packet/icmp.ts';
import { buildErrorV4, buildErrorV6, MAX_ERROR_V6 } from '../../packet/icmp-error.ts';
import * as icmpv6 from '../../packet/icmpv6.ts';
import * as ip from '../../packet/ip.ts';
import { hashAddress } from '../numbers.ts';
import type { Refusal } from '../tcp/below.ts';
import type { Routing } from './routing.ts';
import type { Sender } from './sender.ts';

const PER_SECOND = 100;
const BURST = 20;
const BUCKETS = 256;

/** What can be said about a packet: type and code of ICMP, then of ICMPv6; -1 where a version has none. */
export const IpError = {
  NoRoute: [icmp.Type.Unreachable, icmp.Unreachable.Network, icmpv6.Type.Unreachable, 0],
  Host: [icmp.Type.Unreachable, icmp.Unreachable.Host, icmpv6.Type.Unreachable, icmpv6.Unreachable.Address],
  /** By somebody's will (RFC 1812, 5.2.7.1). */
  Prohibited: [
    icmp.Type.Unreachable,
    icmp.Unreachable.Prohibited,
    icmpv6.Type.Unreachable,
    icmpv6.Unreachable.Prohibited,
  ],
  Port: [icmp.Type.Unreachable, icmp.Unreachable.Port, icmpv6.Type.Unreachable, icmpv6.Unreachable.Port],
  /** RFC 8200, 4: of IPv6 an unknown next header. */
  Protocol: [icmp.Type.Unreachable, icmp.Unreachable.Protocol, icmpv6.Type.ParameterProblem, 1],
  TooBig: [icmp.Type.Unreachable, icmp.Unreachable.FragmentationNeeded, icmpv6.Type.PacketTooBig, 0],
  Expired: [icmp.Type.TimeExceeded, icmp.TimeExceeded.Transit, icmpv6.Type.TimeExceeded, 0],
  Reassembly: [icmp.Type.TimeExceeded, icmp.TimeExceeded.Reassembly, icmpv6.Type.TimeExceeded, 1],
  /** A field of an IPv6 header. */
  Field: [-1, 0, icmpv6.Type.ParameterProblem, 0],
  /** An option of an IPv6 header. */
  Option: [-1, 0, icmpv6.Type.ParameterProblem, 2],
} as const;
export type IpError = readonly [type4: number, code4: number, type6: number, code6: number];

export const REFUSALS: Record<Refusal, IpError> = {
  port: IpError.Port,
  host: IpError.Host,
  network: IpError.NoRoute,
  prohibited: IpError.Prohibited,
};

export class Errors {
  readonly #pool: Pool;
  readonly #routing: Routing;
  readonly #sender: Sender;
  readonly #clock: Float64Array;
  readonly #secret: number;
  readonly #tokens = new Float64Array(BUCKETS).fill(BURST);
  readonly #filled = new Float64Array(BUCKETS);
  sent = 0;
  suppressed = 0;

  constructor(pool: Pool, routing: Routing, sender: Sender, clock: Float64Array, secret: number) {
    this.#pool = pool;
    this.#routing = routing;
    this.#sender = sender;
    this.#clock = clock;
    this.#secret = secret;
  }

  /**
   * Tells the sender of a packet, which stays the caller's.
   *
   * @param rest the second word of the message: an MTU, or where in the packet the problem is
   * @param from whose error it is to be, when it is not this host's
   */
  tell(packet: number, error: IpError, rest = 0, from?: Uint8Array): void {
    const pool = this.#pool;
    const { slab } = pool;
    const at = pool.offset[packet];
    const end = at + pool.length[packet];
    const family = slab[at] >> 4 === 4 ? 4 : 6;
    const [type, code] = family === 4 ? [error[0], error[1]] : [error[2], error[3]];
    if (type < 0) return;
    const to = ip.sourceAt(slab, at);
    const hop = this.#routing.hop(slab, to, family);
    if (!hop || !this.#allowed(to, family)) return;
    const source = from ?? this.#routing.sourceOfError(slab, ip.destinationAt(slab, at), to, family, hop);
    const reply = source ? this.#sender.make(MAX_ERROR_V6) : -1;
    if (!source || reply < 0) return;
    const build = family === 4 ? buildErrorV4 : buildErrorV6;
    const length = build(slab, at, end, type, code, rest, source, 0, slab, pool.offset[reply]);
    if (length === 0) {
      pool.free(reply);
      return;
    }
    pool.length[reply] = length;
    this.sent++;
    this.#sender.out(reply, hop.interface, hop.peer, MAX_ERROR_V6);
  }

  /**
   * Tells the sender of a packet that is gone, by what is still known of it.
   *
   * @param start of its transport: 8 bytes at least
   * @param from as for `tell`
   */
  tellOf(
    source: Uint8Array,
    destination: Uint8Array,
    protocol: number,
    start: Uint8Array,
    error: IpError,
    from?: Uint8Array,
  ): void {
    const pool = this.#pool;
    const packet = this.#sender.make(start.length);
    if (packet < 0) return;
    this.#sender.write(packet, source, destination, protocol, start);
    this.tell(packet, error, 0, from);
    pool.free(packet);
  }

  /** One token of the bucket that the address at `to` belongs to. */
  #allowed(to: number, family: 4 | 6): boolean {
    const bucket = hashAddress(this.#pool.slab, to, family === 4 ? 4 : 16, this.#secret) & (BUCKETS - 1);
    const now = this.#clock[0];
    const gained = ((now - this.#filled[bucket]) * PER_SECOND) / SECOND;
    this.#tokens[bucket] = Math.min(BURST, this.#tokens[bucket] + gained);
    this.#filled[bucket] = now;
    if (this.#tokens[bucket] < 1) {
      this.suppressed++;
      return false;
    }
    this.#tokens[bucket]--;
    return true;
  }
}
