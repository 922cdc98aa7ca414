/**
 * `police 5mbit burst 32kb`: what comes faster than a token bucket fills is dropped, or marked. Nothing waits. The
 * bucket holds `burst` bytes, is full at first and fills at `rate`; a packet that finds as many tokens as it has bytes
 * takes them and passes, and one that does not leaves the bucket as it is.
 *
 * `action mark` sets CE on packets whose senders understand marks (RFC 3168) instead of dropping them; the others are
 * dropped. A marked packet takes no tokens.
 */
import { z } from 'zod';
import { planOf } from '../engine/segment-plan.ts';
import { MILLISECOND, SECOND } from '../engine/units.ts';
import { PLAN_CELLS, segmentLength } from '../packet/segment.ts';
import { markable } from './markable.ts';
import { packetAt } from './marks.ts';
import { parseSize, parseTime, rate } from './quantities.ts';
import { runLength } from './queue/backlog.ts';
import { ImpairDrop } from './reasons.ts';
import { PASS, SegmentStage } from './segment-stage.ts';
import type { ReadWords } from './spec/words.ts';
import type { StageContext } from './stage.ts';
import type { Train } from './train.ts';

/** Bytes, or a time as text: what the rate fills in that time. */
const burst = z
  .union([z.string(), z.number()])
  .refine(
    (value) => burstBytes(value, 1) !== undefined,
    'expected a size such as 32kb or a time such as 10ms',
  );

export const policeSchema = z.strictObject({
  kind: z.literal('police'),
  name: z.string().optional(),
  /** bit/s */
  rate,
  /** What the bucket holds; never less than one frame of 1514 bytes, as it is counted. */
  burst: burst.default(`${100 * MILLISECOND}ns`),
  action: z.enum(['drop', 'mark']).default('drop'),
  /**
   * What counts as a packet's bytes. `ethernet`: those of its frame, at least 60, and 24 for checksum, preamble and gap,
   * which is what a device's rate counts (IEEE 802.3).
   */
  framing: z.enum(['none', 'ethernet']).default('none'),
});
export type PoliceOptions = z.infer<typeof policeSchema>;

/** `RATE [burst BYTES|TIME] [action drop|mark] [framing none|ethernet]` */
export const policeWords: ReadWords = (words) => ({
  rate: words.take('rate'),
  ...words.keys({ burst: 'word', action: ['drop', 'mark'], framing: ['none', 'ethernet'] }),
});

const LEAST = 1514;
const ETHERNET_HEADER = 14;
const LEAST_FRAME = 60;
const FRAME_OVERHEAD = 24;
const DROP = 1;
const MARK = 2;

function burstBytes(value: string | number, rate: number): number | undefined {
  const bytes = parseSize(value);
  if (bytes !== undefined) return bytes;
  const time = parseTime(value);
  return time === undefined ? undefined : Math.ceil((rate / 8 / SECOND) * time);
}

const plan = new Int32Array(PLAN_CELLS);

export class Police extends SegmentStage {
  #rate = 0;
  #burst = 0;
  #marks = false;
  #ethernet = false;
  /** Tokens in bytes, and since when: ns. */
  readonly #bucket = new Float64Array(2);
  #planned = false;

  constructor(name: string, context: StageContext, options: PoliceOptions) {
    super(name, context);
    this.reconfigure(options);
    this.#bucket[0] = this.#burst;
  }

  /** Tokens that were saved stay, as far as the new bucket holds them. */
  reconfigure(options: PoliceOptions): void {
    this.#rate = options.rate;
    this.#marks = options.action === 'mark';
    this.#ethernet = options.framing === 'ethernet';
    const least = this.#ethernet ? LEAST + FRAME_OVERHEAD : LEAST;
    this.#burst = Math.max(least, burstBytes(options.burst, options.rate) ?? 0);
  }

  protected decide(mark: number, segment: number): number {
    const packet = packetAt(mark);
    const bytes = this.#framed(packet, this.#wireLength(packet, segment));
    const bucket = this.#bucket;
    const at = this.marks.at[mark];
    const filled = bucket[0] + ((at - bucket[1]) * this.#rate) / (8 * SECOND);
    bucket[0] = Math.min(filled, this.#burst);
    bucket[1] = at;
    if (bucket[0] >= bytes) {
      bucket[0] -= bytes;
      return PASS;
    }
    return this.#marks && markable(this.pool, packet) ? MARK : DROP;
  }

  protected act(packet: number, decision: number, to: Train): void {
    if (decision === MARK && this.mark(packet)) to.add(packet);
    else this.drop(packet, ImpairDrop.Policed);
  }

  #framed(packet: number, length: number): number {
    if (!this.#ethernet) return length;
    // An IP packet alone has its header still to come.
    const frame = this.pool.l3Offset[packet] === 0 ? length + ETHERNET_HEADER : length;
    return Math.max(frame, LEAST_FRAME) + FRAME_OVERHEAD;
  }

  /** Bytes of one wire packet. The segments of a superframe are asked for in order. */
  #wireLength(packet: number, segment: number): number {
    const { length, segmentSize, segments } = this.pool;
    if (segments[packet] === 1) return length[packet];
    if (segment === 0) this.#planned = planOf(this.pool, packet, plan) === segments[packet];
    // One that makes no sense has no headers to repeat.
    if (!this.#planned) return runLength(length[packet], 0, segmentSize[packet], segment, segment + 1);
    return segmentLength(plan, segment);
  }
}
