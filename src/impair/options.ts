/**
 * The options of an impaired link in one direction: what its packets pass by default, what those of some flows pass
 * instead, and how that changes with time.
 */
import { z } from 'zod';
import { MICROSECOND } from '../engine/units.ts';
import { TunconnectorError } from '../errors.ts';
import { DIRECTIONS, matchSchema } from './match.ts';
import { withNames } from './names.ts';
import { time } from './quantities.ts';
import { parseStages } from './spec/text.ts';
import { type StageOptions, stageSchema } from './stages.ts';

/** Most stages in one pipeline. Each may remember something of every flow. */
export const STAGES = 16;
const RULES = 4096;
const CHANGES = 4096;

/** Options of a stage with the name that tells it apart in its pipeline. */
export type NamedStage = StageOptions & { name: string };

const stages = z
  .array(stageSchema)
  .max(STAGES)
  .refine(
    (stages) => stages.filter(({ kind }) => kind === 'rebind').length < 2,
    'expected one rebind at most',
  )
  .transform((stages, context) => {
    const named = withNames(stages);
    const names = named.map(({ name }) => name);
    const twice = names.findIndex((name, i) => names.indexOf(name) !== i);
    if (twice < 0) return named;
    context.addIssue({ code: 'custom', path: [twice, 'name'], message: 'expected a name that no other has' });
    return z.NEVER;
  });

/** Text, or a list of stages, of which each may be text. */
export const stagesSchema = z
  .union([z.string(), z.array(z.union([z.string(), z.record(z.string(), z.unknown())]))])
  .transform((value, context) => {
    const found: Record<string, unknown>[] = [];
    /** Of each: where in the list it was written. */
    const places: number[] = [];
    for (const [i, part] of (typeof value === 'string' ? [value] : value).entries()) {
      try {
        found.push(...(typeof part === 'string' ? parseStages(part) : [part]));
      } catch (error) {
        if (!(error instanceof TunconnectorError)) throw error;
        const path = typeof value === 'string' ? [] : [i];
        context.addIssue({ code: 'custom', path, message: error.message });
        return z.NEVER;
      }
      while (places.length < found.length) places.push(typeof value === 'string' ? places.length : i);
    }
    const { data, error } = stages.safeParse(found);
    if (data) return data;
    for (const issue of error.issues) {
      const [nth, ...path] = issue.path;
      const place = nth === undefined ? [] : [places[Number(nth)]];
      context.issues.push({ ...issue, input: value, path: [...place, ...path] } as never);
    }
    return z.NEVER;
  });

/** `default` is what all packets pass that no rule is for. */
export const label = z
  .string()
  .regex(/^[\w-]{1,64}$/, 'expected letters, digits, "_" and "-"')
  .refine((text) => text !== 'default', 'expected another name: "default" is that of all other packets');

export const ruleSchema = z.strictObject({ label, match: matchSchema, stages: stagesSchema });
export type Rule = z.infer<typeof ruleSchema>;

const changeSchema = z.strictObject({
  /** On the runtime's clock. */
  at: time,
  /** The default's. */
  stages: stagesSchema.optional(),
  /** Those named change in what is given here. One that there was not yet needs a match, and comes last. */
  rules: z
    .array(z.strictObject({ label, match: matchSchema.optional(), stages: stagesSchema.optional() }))
    .default([]),
  /** Labels of rules that end. */
  remove: z.array(z.string()).default([]),
});
export type Change = z.infer<typeof changeSchema>;

/** What packets pass at one time. */
export interface Arrangement {
  stages: readonly NamedStage[];
  rules: readonly Rule[];
}

export const impairSchema = z
  .strictObject({
    /** Of all draws; drawn when left out, and reported. */
    seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
    /** `up` leaves for the remote side, `down` comes from it: for rules, and as a part of the draws' names. */
    direction: z.enum(DIRECTIONS).default('up'),
    /** Of the two directions of one link the same, of other links in the network another. */
    link: z.string().default('link'),
    stages: stagesSchema.default([]),
    /** The first that matches a flow has it. */
    rules: z.array(ruleSchema).max(RULES).default([]),
    /** Changes at their times, in order. */
    timeline: z.array(changeSchema).max(CHANGES).default([]),
    /** Flows that are told apart at a time. */
    flows: z
      .number()
      .int()
      .min(2)
      .max(1 << 20)
      .default(16384),
    /** Wire packets of one superframe whose times lie within this may leave together, at the last one's. */
    quantum: time.default(50 * MICROSECOND),
    /** Packets and superframes that all stages together may hold. */
    packets: z.number().int().min(1).default(8192),
    superframes: z.number().int().min(0).default(256),
  })
  .superRefine((options, context) => {
    const refuse = (path: PropertyKey[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    const labels = new Set<string>();
    for (const [i, rule] of options.rules.entries()) {
      if (labels.has(rule.label)) refuse(['rules', i, 'label'], 'expected a label that no other rule has');
      labels.add(rule.label);
    }
    for (const [i, change] of options.timeline.entries()) {
      if (i > 0 && change.at < options.timeline[i - 1].at)
        refuse(['timeline', i, 'at'], 'expected a time that is not before the one above');
      for (const [n, gone] of change.remove.entries()) {
        if (!labels.delete(gone))
          refuse(['timeline', i, 'remove', n], 'expected the label of a rule that is there then');
      }
      for (const [n, rule] of change.rules.entries()) {
        if (!labels.has(rule.label) && rule.match === undefined)
          refuse(['timeline', i, 'rules', n, 'match'], 'expected one: there is no such rule yet');
        labels.add(rule.label);
      }
      if (labels.size > RULES) {
        refuse(['timeline', i, 'rules'], `expected at most ${RULES} rules at a time, found ${labels.size}`);
        break;
      }
    }
  });
export type ImpairOptions = z.output<typeof impairSchema>;

/** What is in force at `time`: the options with every change up to then, that of the very time among them. */
export function arrangementAt(options: ImpairOptions, time: number): Arrangement {
  let { stages } = options;
  const rules = new Map(options.rules.map((rule) => [rule.label, rule]));
  for (const change of options.timeline) {
    if (change.at > time) break;
    stages = change.stages ?? stages;
    for (const gone of change.remove) rules.delete(gone);
    for (const { label, match, stages } of change.rules) {
      const before = rules.get(label);
      // A new one has a match: that was checked.
      rules.set(label, { label, match: match ?? before!.match, stages: stages ?? before?.stages ?? [] });
    }
  }
  return { stages, rules: [...rules.values()] };
}
