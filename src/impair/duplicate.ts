/**
 * `duplicate 1%`: a copy of a wire packet follows directly behind it. The stages behind decide for the copy anew, with draws
 * of its own: it may be lost where the original is not.
 *
 * In netem one decision covers both: a packet that is to be lost and to be duplicated passes once, and the copy passes
 * through the whole qdisc again. Here what an earlier stage lost is not there to be duplicated, and a copy sees the stages
 * behind this one alone. A copy has its original's number: `loss list` takes both.
 */
import { z } from 'zod';
import type { AppReport } from '../engine/app.ts';
import { Reason } from '../engine/reasons.ts';
import { Before, Chance } from './chance.ts';
import type { Draws } from './draw.ts';
import { row } from './marks.ts';
import { probability } from './quantities.ts';
import { SCOPES, Scoped } from './scope.ts';
import { PASS, SegmentStage } from './segment-stage.ts';
import type { ReadWords } from './spec/words.ts';
import type { StageContext } from './stage.ts';
import type { Train } from './train.ts';

export const duplicateSchema = z.strictObject({
  kind: z.literal('duplicate'),
  name: z.string().optional(),
  probability,
  /** Of neighbours, 0 to 1. */
  correlation: probability.default(0),
  scope: z.enum(SCOPES).default('flow'),
});
export type DuplicateOptions = z.infer<typeof duplicateSchema>;

/** `P [CORRELATION] [scope flow|link]` */
export const duplicateWords: ReadWords = (words) => ({
  probability: words.take('share'),
  correlation: words.maybe('share'),
  ...words.keys({ scope: SCOPES }),
});

const DUPLICATE = 1;

export class Duplicate extends SegmentStage {
  #chance!: Chance;
  #scoped!: Scoped;
  readonly #draws: Draws;
  /** What tells this stage's copies from originals, and from other stages' copies. */
  readonly #twin: number;
  /** Copies, and those there was no memory for. */
  readonly #counts = new Float64Array(2);

  constructor(name: string, context: StageContext, options: DuplicateOptions) {
    super(name, context);
    this.#draws = this.draws('duplicate');
    this.#twin = this.draws('twin').at(0, 0) | 1;
    this.reconfigure(options);
  }

  reconfigure(options: DuplicateOptions): void {
    if (this.#scoped?.scope !== options.scope) this.#scoped = new Scoped(options.scope, this.context);
    this.#chance = new Chance(options.probability, options.correlation);
  }

  override details(): AppReport {
    return { copies: this.#counts[0], missed: this.#counts[1] };
  }

  protected decide(mark: number, segment: number): number {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark);
    const next = this.#chance.next(this.#scoped.draw(this.#draws, mark, segment), state[place]);
    state[place] = next;
    return next === Before.Happened ? DUPLICATE : PASS;
  }

  protected act(packet: number, _decision: number, to: Train): void {
    to.add(packet);
    const copy = this.pool.clone(packet);
    if (copy < 0) {
      this.pool.countDrops(Reason.NoMemory, 1);
      this.#counts[1]++;
      return;
    }
    this.marks.copy(packet, copy, 0);
    this.marks.twin[row(copy)] ^= this.#twin;
    this.marks.log?.duplicate(packet, copy, this.name);
    this.#counts[0]++;
    to.add(copy);
  }
}
