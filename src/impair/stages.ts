/** Every kind of stage there is. */
import { z } from 'zod';
import { Delay, type DelayOptions, delaySchema } from './delay.ts';
import { Loss, type LossOptions, lossSchema } from './loss/loss.ts';
import type { Stage, StageContext } from './stage.ts';

export const stageSchema = z.union([delaySchema, lossSchema]);
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

export function makeStage(name: string, context: StageContext, options: StageOptions): Stage {
  return new MAKERS[options.kind](name, context, options as never);
}
export type { DelayOptions, LossOptions };
