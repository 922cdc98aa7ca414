/** Every kind of stage there is. */
import { z } from 'zod';
import { Delay, type DelayOptions, delaySchema, delayWords } from './delay.ts';
import { Loss } from './loss/loss.ts';
import { type LossOptions, lossSchema, lossWords } from './loss/options.ts';
import type { ReadWords } from './spec/words.ts';
import type { Stage, StageContext } from './stage.ts';

export const stageSchema = z.discriminatedUnion('kind', [delaySchema, lossSchema]);
export type StageOptions = z.infer<typeof stageSchema>;

/** A stage that can be told new options and keeps what it holds. */
export interface Tellable {
  reconfigure(options: StageOptions): void;
}

const MAKERS: {
  [Kind in StageOptions['kind']]: new (
    name: string,
    context: StageContext,
    options: never,
  ) => Stage;
} = {
  delay: Delay,
  loss: Loss,
};

/** What reads each kind's words in a pipeline's text; they are those of netem where netem has the kind. */
export const STAGE_WORDS: { [Kind in StageOptions['kind']]: ReadWords } = {
  delay: delayWords,
  loss: lossWords,
};

export function makeStage(name: string, context: StageContext, options: StageOptions): Stage {
  return new MAKERS[options.kind](name, context, options as never);
}
export type { DelayOptions, LossOptions };
