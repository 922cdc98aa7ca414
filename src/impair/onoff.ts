/**
 * `onoff 2s 1s`: a link that is on and off in turns. It is on at first. Periods are drawn from exponential distributions
 * with these means, as in mm-onoff, or `fixed`. While the link is off packets are dropped, as in mm-onoff, or
 * wait in a queue (`whileOff hold`); what waits leaves when it is on again.
 *
 * With drawn periods and dropping, a silence of more than a thousand mean periods is crossed at once: exponential
 * periods do not remember how long they have lasted, so that what is found behind it is drawn anew.
 */
import { z } from 'zod';
import { MILLISECOND } from '../engine/units.ts';
import { naturalLog } from './distribution.ts';
import type { Draws } from './draw.ts';
import { time } from './quantities.ts';
import { DEFAULT_QUEUE, queueSchema, queueWords } from './queue/queue.ts';
import { ImpairDrop } from './reasons.ts';
import { Server } from './server.ts';
import type { ReadWords } from './spec/words.ts';
import type { StageContext } from './stage.ts';

const period = time.refine((value) => value >= MILLISECOND, 'at least 1ms');

export const onoffSchema = z.strictObject({
  kind: z.literal('onoff'),
  name: z.string().optional(),
  /** How long it is on, or the mean. */
  on: period,
  off: period,
  periods: z.enum(['exponential', 'fixed']).default('exponential'),
  /** What becomes of packets while it is off. */
  whileOff: z.enum(['drop', 'hold']).default('drop'),
  queue: queueSchema.default(DEFAULT_QUEUE),
});
export type OnoffOptions = z.infer<typeof onoffSchema>;

/** `ON OFF [periods exponential|fixed] [whileOff drop|hold] [queue ...]` */
export const onoffWords: ReadWords = (words) => ({
  on: words.take('time'),
  off: words.take('time'),
  ...words.keys({ periods: ['exponential', 'fixed'], whileOff: ['drop', 'hold'] }),
  ...queueWords(words),
});

/** For its queue's default limit. */
const ASSUMED_RATE = 1_000_000_000;
/** Mean periods of silence behind which the state is drawn anew. */
const FORGOTTEN = 1000;

export class Onoff extends Server {
  #options: OnoffOptions;
  readonly #draws: Draws;
  #on = true;
  #period = 0;
  /** When the link switches next, and when what waits leaves: ns. */
  readonly #times = Float64Array.of(0, Number.POSITIVE_INFINITY);

  constructor(name: string, context: StageContext, options: OnoffOptions) {
    super(name, context, options.queue, ASSUMED_RATE);
    this.#options = options;
    this.#draws = this.draws('onoff');
    this.#times[0] = this.#drawn(options.on);
  }

  /** Drawn periods: the one that has begun lasts as long as it was going to. */
  reconfigure(options: OnoffOptions): void {
    this.#options = options;
    this.changeQueue(options.queue, ASSUMED_RATE);
  }

  protected get idle(): boolean {
    return false;
  }

  protected begin(): void {}

  protected advance(): void {
    const times = this.#times;
    if (times[1] > this.until[0]) return;
    this.queue.clock[0] = times[1];
    times[1] = Number.POSITIVE_INFINITY;
    while (this.takeNext()) this.depart();
    this.sendPart();
  }

  protected next(): number {
    return this.#times[1];
  }

  protected override arrive(packet: number, count: number, header: number, size: number): void {
    this.#switch(this.queue.clock[0]);
    if (this.#on) {
      // New options may have let it on earlier than what waits was going to leave: that goes first.
      if (this.queue.packets > 0) {
        this.#times[1] = this.queue.clock[0];
        this.advance();
      }
      this.pass(packet);
    } else if (this.#options.whileOff === 'drop') {
      this.discard(packet, 0, count, ImpairDrop.Off);
    } else {
      this.offer(packet, 0, count, header, size);
      this.#times[1] = this.#times[0];
    }
  }

  /** The state at a time, and when it ends. */
  #switch(at: number): void {
    const times = this.#times;
    const { on, off, periods } = this.#options;
    if (periods === 'fixed') {
      const start = Math.floor(at / (on + off)) * (on + off);
      this.#on = at - start < on;
      times[0] = start + on + (this.#on ? 0 : off);
      return;
    }
    if (at - times[0] > FORGOTTEN * (on + off)) {
      this.#on = this.#draws.at(1, this.#period) < (on / (on + off)) * 4294967296;
      times[0] = at + this.#drawn(this.#on ? on : off);
    }
    while (times[0] <= at) {
      this.#on = !this.#on;
      times[0] += this.#drawn(this.#on ? on : off);
    }
  }

  /** A time of an exponential distribution, at least 1 ns, so that every period ends. */
  #drawn(mean: number): number {
    const uniform = (this.#draws.at(0, this.#period++) + 0.5) / 4294967296;
    return Math.max(1, Math.round(-naturalLog(uniform) * mean));
  }
}
