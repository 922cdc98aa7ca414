/**
 * `slot 800us 1ms packets 5 bytes 64kb`: a link that sends in slots, as Wi-Fi and cable do. Packets wait for the next
 * slot and leave in it together, up to `packets` of them and until `bytes` are reached.
 *
 * The semantics are netem's. A packet that comes when the last slot has begun, to an empty queue, finds the next slot a
 * drawn time after it came; when a slot is full, the next one begins a drawn time after it. The time is between `min` and
 * `max`, or `min` with jitter of a distribution. What waits for its slot waits in a queue of any discipline, where
 * netem's is the delay's own.
 */
import { z } from 'zod';
import { DISTRIBUTIONS, Distribution } from './distribution.ts';
import type { Draws } from './draw.ts';
import { size, time } from './quantities.ts';
import { DEFAULT_QUEUE, queueSchema, queueWords } from './queue/queue.ts';
import { Server } from './server.ts';
import type { ReadWords } from './spec/words.ts';
import type { StageContext } from './stage.ts';

export const slotSchema = z
  .strictObject({
    kind: z.literal('slot'),
    name: z.string().optional(),
    /** Least time from a slot to the next; with a distribution its mean. */
    min: time,
    /** Most; `min` when left out. */
    max: time.optional(),
    /** Standard deviation of the distribution; of `uniform`, the most. */
    jitter: time.default(0),
    distribution: z.enum(DISTRIBUTIONS).optional(),
    /** Most packets in a slot; 0 for any number. */
    packets: z.number().int().min(0).default(0),
    /** A slot is over when so many bytes have left in it; 0 for any number. */
    bytes: size.default(0),
    queue: queueSchema.default(DEFAULT_QUEUE),
  })
  .refine(({ min, max }) => max === undefined || max >= min, 'max must not be less than min')
  .refine(
    ({ max, distribution }) => max === undefined || distribution === undefined,
    'either max or a distribution',
  );
export type SlotOptions = z.infer<typeof slotSchema>;

/** `MIN [MAX] | distribution NAME TIME JITTER`, then `[packets N] [bytes BYTES] [queue ...]` */
export const slotWords: ReadWords = (words) => {
  const keys = { packets: 'count', bytes: 'size' } as const;
  if (words.accept('distribution')) {
    const distribution = words.oneOf(DISTRIBUTIONS);
    if (distribution === undefined) throw words.error(`one of ${DISTRIBUTIONS.join(', ')}`);
    const min = words.take('time');
    const jitter = words.take('time');
    return { distribution, min, jitter, ...words.keys(keys), ...queueWords(words) };
  }
  return {
    min: words.take('time'),
    max: words.maybe('time'),
    ...words.keys(keys),
    ...queueWords(words),
  };
};

/** For its queue's default limit. */
const ASSUMED_RATE = 1_000_000_000;

export class Slot extends Server {
  #options: SlotOptions;
  #distribution: Distribution;
  readonly #draws: Draws;
  /**
   * When the slot begins that packets wait for or leave in, before all packets at first; which number it has; packets and
   * bytes that left in it.
   */
  readonly #slot = Float64Array.of(-1, 0, 0, 0);

  constructor(name: string, context: StageContext, options: SlotOptions) {
    super(name, context, options.queue, ASSUMED_RATE);
    this.#options = options;
    this.#distribution = Distribution.named(options.distribution ?? 'uniform');
    this.#draws = this.draws('slot');
  }

  /** The slot that packets wait for begins when it was going to. */
  reconfigure(options: SlotOptions): void {
    this.#options = options;
    this.#distribution = Distribution.named(options.distribution ?? 'uniform');
    this.changeQueue(options.queue, ASSUMED_RATE);
  }

  protected get idle(): boolean {
    return this.queue.packets === 0;
  }

  protected begin(): void {
    if (this.#slot[0] < this.queue.clock[0]) this.#nextAfter(this.queue.clock[0]);
  }

  protected advance(): void {
    const slot = this.#slot;
    const { packets, bytes } = this.#options;
    while (this.queue.packets > 0 && slot[0] <= this.until[0]) {
      this.queue.clock[0] = slot[0];
      if (!this.takeNext()) break;
      slot[2]++;
      slot[3] += this.bytes;
      this.depart();
      if ((packets > 0 && slot[2] >= packets) || (bytes > 0 && slot[3] >= bytes)) this.#nextAfter(slot[0]);
    }
    if (this.part >= 0) this.sendPart();
  }

  protected next(): number {
    return this.queue.packets > 0 ? this.#slot[0] : Number.POSITIVE_INFINITY;
  }

  #nextAfter(time: number): void {
    const slot = this.#slot;
    const { min, max = min, jitter, distribution } = this.#options;
    const draw = this.#draws.at(0, slot[1]);
    let wait = min;
    if (distribution === undefined) {
      wait += Math.floor(((max - min) * draw) / 4294967296);
    } else {
      const width = distribution === 'uniform' ? jitter / Math.sqrt(3) : jitter;
      wait = Math.max(0, Math.round(min + width * this.#distribution.at(draw)));
    }
    // Without any time between slots that are full the link would never be done with this instant.
    slot[0] = time + Math.max(1, wait);
    slot[1]++;
    slot[2] = 0;
    slot[3] = 0;
  }
}
