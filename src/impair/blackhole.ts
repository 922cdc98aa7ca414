/**
 * `blackhole`, `blackhole from 10s until 12s`: everything that comes is gone, always or between two times. They count from
 * the start of the runtime, as all times on the link do.
 */
import { z } from 'zod';
import { row } from './marks.ts';
import { time } from './quantities.ts';
import { ImpairDrop } from './reasons.ts';
import type { ReadWords } from './spec/words.ts';
import { Stage, type StageContext } from './stage.ts';
import type { Train } from './train.ts';

export const blackholeSchema = z.strictObject({
  kind: z.literal('blackhole'),
  name: z.string().optional(),
  /** The first time at which packets are gone. */
  from: time.default(0),
  /** The first at which they are not any more; never when left out. */
  until: time.optional(),
});
export type BlackholeOptions = z.infer<typeof blackholeSchema>;

/** `[from TIME] [until TIME]` */
export const blackholeWords: ReadWords = (words) => words.keys({ from: 'time', until: 'time' });

export class Blackhole extends Stage {
  #from = 0;
  #until = 0;

  constructor(name: string, context: StageContext, options: BlackholeOptions) {
    super(name, context);
    this.reconfigure(options);
  }

  reconfigure(options: BlackholeOptions): void {
    this.#from = options.from;
    this.#until = options.until ?? Number.POSITIVE_INFINITY;
  }

  run(from: Train, to: Train): void {
    for (let i = 0; i < from.count; i++) {
      const packet = from.packets[i];
      const at = this.marks.at[row(packet)];
      if (at >= this.#from && at < this.#until) this.drop(packet, ImpairDrop.Blackhole);
      else to.add(packet);
    }
  }
}
