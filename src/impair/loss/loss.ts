/** `loss 1%` and its models: wire packets that never leave. */
import { z } from 'zod';
import { probability } from '../quantities.ts';
import { ImpairDrop } from '../reasons.ts';
import { SCOPES, Scoped } from '../scope.ts';
import { PASS, SegmentStage } from '../segment-stage.ts';
import type { ReadWords } from '../spec/words.ts';
import type { StageContext } from '../stage.ts';
import type { LossModel } from './model.ts';
import { RandomLoss } from './random.ts';

const common = {
  kind: z.literal('loss'),
  name: z.string().optional(),
  scope: z.enum(SCOPES).default('flow'),
};

export const lossSchema = z.discriminatedUnion('model', [
  z.strictObject({
    ...common,
    model: z.literal('random'),
    probability,
    correlation: probability.default(0),
  }),
]);
export type LossOptions = z.infer<typeof lossSchema>;

/** `[random] SHARE [CORRELATION] [scope flow|link]` */
export const lossWords: ReadWords = (words) => ({
  model: words.oneOf(['random']) ?? 'random',
  probability: words.take('share'),
  correlation: words.maybe('share'),
  ...words.keys({ scope: SCOPES }),
});

const LOST = 1;

export class Loss extends SegmentStage {
  #model!: LossModel;

  constructor(name: string, context: StageContext, options: LossOptions) {
    super(name, context);
    this.reconfigure(options);
  }

  reconfigure(options: LossOptions): void {
    const scoped = new Scoped(options.scope, this.context);
    this.#model = new RandomLoss(scoped, this.draws('loss'), options.probability, options.correlation);
  }

  protected decide(mark: number, segment: number): number {
    return this.#model.lost(mark, segment) ? LOST : PASS;
  }

  protected act(packet: number): void {
    this.drop(packet, ImpairDrop.Loss);
  }
}
