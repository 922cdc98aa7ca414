/** Every kind of stage there is. */
import { z } from 'zod';
import { Blackhole, blackholeSchema, blackholeWords } from './blackhole.ts';
import { Corrupt, corruptSchema, corruptWords } from './corrupt.ts';
import { Delay, type DelayOptions, delaySchema, delayWords } from './delay.ts';
import { Duplicate, duplicateSchema, duplicateWords } from './duplicate.ts';
import { Loss } from './loss/loss.ts';
import { type LossOptions, lossSchema, lossWords } from './loss/options.ts';
import { Mtu, mtuSchema, mtuWords } from './mtu.ts';
import { Onoff, onoffSchema, onoffWords } from './onoff.ts';
import { Police, policeSchema, policeWords } from './police.ts';
import { Rate, rateSchema, rateWords } from './rate.ts';
import { Rebind, rebindSchema, rebindWords } from './rebind/rebind.ts';
import { Replay, replaySchema } from './replay.ts';
import { Slot, slotSchema, slotWords } from './slot.ts';
import type { ReadWords } from './spec/words.ts';
import type { Stage, StageContext } from './stage.ts';
import { makeTrace, traceSchema } from './trace/trace.ts';

export const stageSchema = z.discriminatedUnion('kind', [
  blackholeSchema,
  corruptSchema,
  delaySchema,
  duplicateSchema,
  lossSchema,
  mtuSchema,
  onoffSchema,
  policeSchema,
  rateSchema,
  rebindSchema,
  replaySchema,
  slotSchema,
  traceSchema,
]);
export type StageOptions = z.infer<typeof stageSchema>;

/** A stage that can be told new options and keeps what it holds. */
export interface Tellable {
  /** @param now when they come into force: ns */
  reconfigure(options: StageOptions, now: number): void;
}

/** Whether a stage with the first options can be told the second: they are of one kind, and traces of one format. */
export const tellable = (before: StageOptions, after: StageOptions): boolean =>
  before.kind === after.kind &&
  (before.kind !== 'trace' || after.kind !== 'trace' || before.format === after.format);

const MAKERS: {
  [Kind in Exclude<StageOptions['kind'], 'trace'>]: new (
    name: string,
    context: StageContext,
    options: never,
  ) => Stage;
} = {
  blackhole: Blackhole,
  corrupt: Corrupt,
  delay: Delay,
  duplicate: Duplicate,
  loss: Loss,
  mtu: Mtu,
  onoff: Onoff,
  police: Police,
  rate: Rate,
  rebind: Rebind,
  replay: Replay,
  slot: Slot,
};

/**
 * What reads each kind's words in a pipeline's text; they are those of netem where netem has the kind. A trace has none: it
 * is a file, and so is the log of a replay: whoever reads files gives them as options.
 */
export const STAGE_WORDS: { [Kind in Exclude<StageOptions['kind'], 'trace' | 'replay'>]: ReadWords } = {
  blackhole: blackholeWords,
  corrupt: corruptWords,
  delay: delayWords,
  duplicate: duplicateWords,
  loss: lossWords,
  mtu: mtuWords,
  onoff: onoffWords,
  police: policeWords,
  rate: rateWords,
  rebind: rebindWords,
  slot: slotWords,
};

export function makeStage(name: string, context: StageContext, options: StageOptions): Stage {
  if (options.kind === 'trace') return makeTrace(name, context, options);
  return new MAKERS[options.kind](name, context, options as never);
}
export type { DelayOptions, LossOptions };
