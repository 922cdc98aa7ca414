/**
 * `mtu 1400`: wire packets whose IP packet is longer are gone without a word, as behind a router whose "fragmentation
 * needed" or "packet too big" a firewall eats. Of a superframe that goes for all segments but perhaps the last, shorter one.
 *
 * `mtu 1400 answer` is that router without the firewall: senders are told, at most 200 times a second (RFC 1812, 4.3.2.8).
 * It comes from where the packet was going, since the link has no address of its own. Nothing is fragmented: an IPv4 packet
 * that may be is gone without a word all the same.
 */
import { z } from 'zod';
import type { AppReport } from '../engine/app.ts';
import { IcmpReplies } from '../engine/icmp-replies.ts';
import { planOf } from '../engine/segment-plan.ts';
import { slice } from '../engine/slice.ts';
import * as ip from '../packet/ip.ts';
import * as ipv4 from '../packet/ipv4.ts';
import { Problem } from '../packet/problem.ts';
import { PLAN_CELLS, PlanCell, segmentLength } from '../packet/segment.ts';
import { row } from './marks.ts';
import { size } from './quantities.ts';
import { ImpairDrop } from './reasons.ts';
import type { ReadWords } from './spec/words.ts';
import { Stage, type StageContext } from './stage.ts';
import type { Train } from './train.ts';

export const mtuSchema = z.strictObject({
  kind: z.literal('mtu'),
  name: z.string().optional(),
  /** Longest IP packet that passes: bytes. */
  mtu: size.refine((bytes) => bytes >= 68, { error: 'expected at least 68 bytes (RFC 791)' }),
  /** Whether senders are told: "fragmentation needed", "packet too big". */
  answer: z.boolean().default(false),
});
export type MtuOptions = z.infer<typeof mtuSchema>;

/** `BYTES [answer]` */
export const mtuWords: ReadWords = (words) => ({
  mtu: words.take('size'),
  ...words.keys({ answer: 'flag' }),
});

const plan = new Int32Array(PLAN_CELLS);

export class Mtu extends Stage {
  #mtu = 0;
  #answers = false;
  readonly #replies = new IcmpReplies([]);

  constructor(name: string, context: StageContext, options: MtuOptions) {
    super(name, context);
    this.reconfigure(options);
  }

  reconfigure(options: MtuOptions): void {
    this.#mtu = options.mtu;
    this.#answers = options.answer;
  }

  run(from: Train, to: Train): void {
    const { segments, length, l3Offset } = this.pool;
    for (let i = 0; i < from.count; i++) {
      const packet = from.packets[i];
      if (length[packet] - l3Offset[packet] <= this.#mtu) to.add(packet);
      else if (segments[packet] === 1) this.#refuse(packet);
      else this.#superframe(packet, to);
    }
  }

  override details(): AppReport {
    return this.#answers ? { answered: this.#replies.sent, suppressed: this.#replies.suppressed } : {};
  }

  #refuse(packet: number): void {
    if (this.#answers) this.#answer(packet);
    this.drop(packet, ImpairDrop.Mtu);
  }

  /** About a wire packet. */
  #answer(packet: number): void {
    const { pool } = this;
    const { answers } = this.context;
    const at = pool.offset[packet] + pool.l3Offset[packet];
    const end = pool.offset[packet] + pool.length[packet];
    if (!answers || ip.check(pool.slab, at, end) !== Problem.None) return;
    if (ip.version(pool.slab, at) === 4 && !ipv4.dontFragment(pool.slab, at)) return;
    const reply = this.#replies.tooBig(pool, packet, this.#mtu, this.marks.at[row(packet)]);
    if (reply >= 0) answers.add(reply);
  }

  #superframe(packet: number, to: Train): void {
    const { pool } = this;
    const count = planOf(pool, packet, plan);
    const longest = this.#mtu + pool.l3Offset[packet];
    if (count > 0 && plan[PlanCell.header] + plan[PlanCell.segmentSize] <= longest) {
      to.add(packet);
      return;
    }
    const lastPasses = count >= 2 && segmentLength(plan, count - 1) <= longest;
    if (this.#answers) {
      // What is quoted is a packet as it would have been on the wire.
      const one = slice(pool, packet, 0, 1);
      if (one >= 0) {
        this.marks.copy(packet, one, 0);
        this.#answer(one);
        pool.free(one);
      }
    }
    if (!lastPasses) {
      this.drop(packet, ImpairDrop.Mtu);
    } else {
      const last = this.cut(packet, count - 1, 1);
      this.dropPart(packet, 0, count - 1, ImpairDrop.Mtu);
      this.pool.free(packet);
      if (last >= 0) to.add(last);
    }
  }
}
