/**
 * `rate 5mbit`: a link of so many bits per second, with a queue in front of it. Packets leave when their last bit has, and
 * the next one's first bit follows at once: over any time a busy link sends exactly its rate.
 *
 * What a packet takes is netem's: its bytes and `overhead` more, in cells of `cellSize` bytes with `cellOverhead` more each
 * if cells there are (53-byte ATM cells: `cellSize 48 cellOverhead 5`). netem cuts times to its ticks and counts the packet
 * being sent among those that wait; here fractions of nanoseconds carry over, and only those behind it wait.
 *
 * New options: the packet that is being sent leaves when it was going to, the next one goes at the new rate.
 */
import { z } from 'zod';
import { SECOND } from '../engine/units.ts';
import { rate } from './quantities.ts';
import { DEFAULT_QUEUE, queueSchema, queueWords } from './queue/queue.ts';
import { Server } from './server.ts';
import type { ReadWords } from './spec/words.ts';
import type { StageContext } from './stage.ts';

const overhead = z.number().int().min(-1500).max(65535).default(0);

export const rateSchema = z.strictObject({
  kind: z.literal('rate'),
  name: z.string().optional(),
  /** bit/s */
  rate,
  /** Bytes that each packet takes besides its own; may be negative. */
  overhead,
  /** Bytes of payload of a cell; 0 for none. */
  cellSize: z.number().int().min(0).max(65535).default(0),
  /** Bytes that each cell takes besides its payload. */
  cellOverhead: overhead,
  queue: queueSchema.default(DEFAULT_QUEUE),
});
export type RateOptions = z.infer<typeof rateSchema>;

/** `RATE [OVERHEAD [CELLSIZE [CELLOVERHEAD]]] [queue ...]` */
export const rateWords: ReadWords = (words) => ({
  rate: words.take('rate'),
  overhead: words.maybe('integer'),
  cellSize: words.maybe('count'),
  cellOverhead: words.maybe('integer'),
  ...words.keys({}),
  ...queueWords(words),
});

/** Bytes on the line of a packet of `length` bytes; netem's arithmetic. */
export function lineBytes(length: number, overhead: number, cellSize: number, cellOverhead: number): number {
  const bytes = length + overhead;
  if (cellSize === 0) return Math.max(bytes, 0);
  const cells = bytes > 0 ? Math.ceil(bytes / cellSize) : 0;
  const all = cells * (cellSize + cellOverhead);
  return Math.max(all, 0);
}

/** Places of the times. */
const Cell = { whole: 0, fraction: 1, finish: 2, lasts: 3 } as const;

export class Rate extends Server {
  #options: RateOptions;
  /** When the packet's last bit leaves, whole ns and a fraction; rounded up, it leaves then; and how long it takes. */
  readonly #times = Float64Array.of(0, 0, Number.POSITIVE_INFINITY, 0);

  constructor(name: string, context: StageContext, options: RateOptions) {
    super(name, context, options.queue, options.rate);
    this.#options = options;
  }

  reconfigure(options: RateOptions): void {
    this.#options = options;
    this.changeQueue(options.queue, options.rate);
  }

  protected get idle(): boolean {
    return this.serving < 0;
  }

  protected begin(): void {
    this.#times[Cell.whole] = this.queue.clock[0];
    this.#times[Cell.fraction] = 0;
    this.#serve();
  }

  protected advance(): void {
    const times = this.#times;
    while (times[Cell.finish] <= this.until[0]) {
      this.queue.clock[0] = times[Cell.finish];
      this.depart();
      this.#serve();
    }
    // What follows in time decides whether more comes to the part.
    if (this.part >= 0 && !this.#grows()) this.sendPart();
  }

  protected next(): number {
    const times = this.#times;
    const finish = times[Cell.finish];
    const lasts = times[Cell.lasts];
    if (this.serving < 0 || lasts <= 0) return finish;
    const more = this.pool.segments[this.serving] - 1 - this.segment;
    if (more <= 0) return finish;
    // Nothing of a superframe goes before the quantum is full or the superframe ends.
    const full = (this.part >= 0 ? this.partTimes[0] : finish) + this.context.quantum;
    const within = Math.floor((full - finish) / lasts);
    return within > 0 ? finish + Math.floor(Math.min(more, within) * lasts) : finish;
  }

  #grows(): boolean {
    return this.serving >= 0 && this.continues(this.serving, this.segment, this.#times[Cell.finish]);
  }

  /** The next packet's first bit follows the last one's last. */
  #serve(): void {
    const times = this.#times;
    if (!this.takeNext()) {
      times[Cell.finish] = Number.POSITIVE_INFINITY;
      return;
    }
    const { rate, overhead, cellSize, cellOverhead } = this.#options;
    const lasts = (lineBytes(this.bytes, overhead, cellSize, cellOverhead) * 8 * SECOND) / rate;
    const until = times[Cell.fraction] + lasts;
    const whole = Math.floor(until);
    times[Cell.lasts] = lasts;
    times[Cell.whole] += whole;
    times[Cell.fraction] = until - whole;
    times[Cell.finish] = times[Cell.whole] + (times[Cell.fraction] > 0 ? 1 : 0);
  }
}
