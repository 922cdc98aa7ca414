/**
 * What a person writes about an impaired link: both directions, rules and all, in YAML, JSON or a line of text.
 *
 *     seed: 7
 *     up: delay 50ms 5ms loss 1%
 *     down: { preset: lte }
 *     rules:
 *       - { label: dns, match: '*:udp:53', both: loss 20% }
 *     timeline:
 *       - { at: 10s, up: delay 200ms }
 *
 * `compileSpec` makes of it the options of one app for each direction.
 */
import { z } from 'zod';
import { configError } from '../../engine/config.ts';
import { checkOptions } from '../../engine/options.ts';
import { TunconnectorError } from '../../errors.ts';
import type { Direction } from '../match.ts';
import { type ImpairOptions, impairSchema, label } from '../options.ts';
import { isDeployment, specOfDeployment } from './deployment.ts';
import { PRESET_NAMES, type PresetName, presetStages } from './presets.ts';
import { checkRebinds } from './rebinds.ts';

const preset = z.enum(PRESET_NAMES, { error: `expected one of ${PRESET_NAMES.join(', ')}` });
/** Text, a list of stages, or a preset. What is inside is checked as part of the direction's options. */
const stages = z.union([z.strictObject({ preset }), z.string(), z.array(z.unknown())]);

const sides = {
  /** What packets pass each way; `up` and `down` go before it. */
  both: stages.optional(),
  up: stages.optional(),
  down: stages.optional(),
  preset: preset.optional(),
};

const specSchema = z.strictObject({
  ...sides,
  /** The same for both directions, whose draws differ all the same. */
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
  /** A rule is for the directions that it says something about; in the other one the next rule has a look. */
  rules: z.array(z.strictObject({ label, match: z.unknown(), ...sides })).default([]),
  timeline: z
    .array(
      z.strictObject({
        at: z.union([z.string(), z.number()]),
        ...sides,
        rules: z.array(z.strictObject({ label, match: z.unknown().optional(), ...sides })).default([]),
        remove: z.array(z.string()).default([]),
      }),
    )
    .default([]),
  flows: z.number().optional(),
  quantum: z.union([z.string(), z.number()]).optional(),
  packets: z.number().optional(),
  superframes: z.number().optional(),
});

type CheckedSpec = z.infer<typeof specSchema>;
type Sides = { [Key in keyof typeof sides]?: z.infer<(typeof sides)[Key]> };

/** A spec as its author writes it: text is what packets pass each way. */
export type ImpairSpec = string | z.input<typeof specSchema>;

/** A spec in the form that this page describes, whatever its author wrote: plain data, and what `compileSpec` takes. */
export type WrittenSpec = Exclude<ImpairSpec, string>;

/** @throws ERR_CONFIG for a deployment's spec that is none */
export function writtenSpec(spec: unknown): WrittenSpec {
  if (isDeployment(spec)) return specOfDeployment(spec) as WrittenSpec;
  return (typeof spec === 'string' ? { both: spec } : (spec ?? {})) as WrittenSpec;
}

/** Options for `impair`, one for each direction. */
export type CompiledSpec = Record<Direction, z.input<typeof impairSchema>>;

/**
 * Checks a spec, of either form, and takes it apart by direction.
 * @throws ERR_CONFIG with the path, what was found and what was expected
 */
export function compileSpec(spec: unknown): CompiledSpec {
  const checked = checkOptions<CheckedSpec>(specSchema, writtenSpec(spec));
  const up = oneWay(checked, 'up');
  const down = oneWay(checked, 'down');
  checkRebinds(up.checked, down.checked);
  return { up: up.compiled, down: down.compiled };
}

/** The options of a direction as they were given, and as they were understood. */
function oneWay(
  spec: CheckedSpec,
  direction: Direction,
): { compiled: z.input<typeof impairSchema>; checked: ImpairOptions } {
  const { seed, flows, quantum, packets, superframes } = spec;
  const rules = spec.rules.flatMap((rule) => {
    const stages = sideOf(rule, direction);
    return stages === undefined ? [] : [{ label: rule.label, match: rule.match, stages }];
  });
  // Which rules there are in this direction at each time: a rule that comes to say something of it is a new one here.
  const matches = new Map(spec.rules.map((rule) => [rule.label, rule.match]));
  const there = new Set(rules.map((rule) => rule.label));
  const timeline = spec.timeline.map((change, i) => {
    const remove = change.remove.filter((gone, n) => {
      if (!matches.delete(gone))
        throw configError(`timeline.${i}.remove.${n}: found "${gone}", expected a rule`);
      return there.delete(gone);
    });
    const changed = change.rules.flatMap((rule, n) => {
      if (rule.match !== undefined) matches.set(rule.label, rule.match);
      if (!matches.has(rule.label))
        throw configError(`timeline.${i}.rules.${n}.match: found undefined, expected one: the rule is new`);
      const stages = sideOf(rule, direction);
      if (stages === undefined && !there.has(rule.label)) return [];
      const match = there.has(rule.label) ? rule.match : matches.get(rule.label);
      there.add(rule.label);
      return [{ label: rule.label, match, stages }];
    });
    return { at: change.at, stages: sideOf(change, direction), rules: changed, remove };
  });
  const options = { seed, direction, stages: sideOf(spec, direction) ?? [], rules, timeline };
  const compiled = withoutGaps({ ...options, flows, quantum, packets, superframes });
  try {
    const checked = checkOptions<ImpairOptions>(impairSchema, compiled);
    return { compiled: compiled as z.input<typeof impairSchema>, checked };
  } catch (error) {
    const { message, place } = error as TunconnectorError;
    if (!place) throw error;
    // Its author knows the spec, and not the options of a direction.
    const path = writtenPath(place.path, spec, compiled, direction);
    const written = message.startsWith(place.path) ? path + message.slice(place.path.length) : message;
    throw new TunconnectorError('ERR_CONFIG', written, { place: { ...place, path } });
  }
}

/** A path in the options of a direction, as a path in the spec. Rules that say nothing of the direction are not in its options. */
function writtenPath(path: string, spec: CheckedSpec, compiled: WithRules, direction: Direction): string {
  const keys = path.split('.');
  const trail: string[] = [];
  let written: WithRules & Sides = spec;
  let options = compiled;
  while (keys[0] === 'rules' || keys[0] === 'timeline') {
    const [list, index] = keys.splice(0, 2) as ['rules' | 'timeline', string];
    const option = options[list]?.[Number(index)];
    if (option === undefined) return [...trail, list].join('.');
    const place =
      list === 'timeline'
        ? Number(index)
        : written.rules!.findLastIndex((rule) => rule.label === option.label);
    trail.push(list, String(place));
    written = written[list]![place] as Sides;
    options = option;
  }
  if (keys[0] === 'stages') {
    const side = [direction, 'both', 'preset'] as const;
    keys[0] = side.find((key) => written[key] !== undefined) ?? direction;
  }
  return [...trail, ...keys].join('.');
}

interface WithRules {
  label?: string;
  rules?: readonly WithRules[];
  timeline?: readonly WithRules[];
}

/** What a direction's packets pass, in the form of its app's options; undefined when nothing is said of it. */
function sideOf(sides: Sides, direction: Direction): string | unknown[] | undefined {
  const said = sides[direction] ?? sides.both;
  if (typeof said === 'object' && 'preset' in said) return presetStages(said.preset, direction);
  return said ?? (sides.preset && presetStages(sides.preset as PresetName, direction));
}

/** Options travel as JSON: what is undefined is not there. */
function withoutGaps<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withoutGaps) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, each]) => (each === undefined ? [] : [[key, withoutGaps(each)]])),
  ) as T;
}
