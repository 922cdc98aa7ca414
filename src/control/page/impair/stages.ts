/**
 * Reads and sets rate, delay and loss in specs as their authors write them: text, lists of objects and text, presets, for
 * both directions or one. What else is said of a stage (a jitter, a queue) stays as it is.
 */
import type { Sides, Stages } from '../../client/index.ts';
import { type KnobName, knobs } from './knob.ts';

export const DIRECTIONS = ['up', 'down'] as const;
export type Direction = (typeof DIRECTIONS)[number];

type StageObject = Record<string, unknown>;

/** Presets by name, as text. */
export type Presets = Readonly<Record<string, Readonly<Record<Direction, string>>>>;

/** One stage: its words, or an object. */
type Stage = readonly string[] | StageObject;

/** A knob's position, or why it has none. */
export type Setting = { value: number | undefined } | { other: string };

/** The words with which stages begin. */
export const KINDS: ReadonlySet<string> = new Set([
  ...['blackhole', 'corrupt', 'delay', 'duplicate', 'loss', 'mtu', 'onoff'],
  ...['police', 'rate', 'rebind', 'slot'],
]);
/** A new stage comes in front of those that are named behind it here. */
const ORDER: readonly string[] = ['loss', 'rate', 'delay'];

const isText = (stage: Stage): stage is readonly string[] => Array.isArray(stage);
const kindOf = (stage: Stage): unknown => (isText(stage) ? stage[0] : stage.kind);

/** The stages of a direction; undefined when nothing is said of it. */
export function stagesOf(sides: Sides, direction: Direction, presets: Presets): Stage[] | undefined {
  const said = sides[direction] ?? sides.both ?? (sides.preset ? { preset: sides.preset } : undefined);
  if (said === undefined) return undefined;
  if (typeof said === 'string') return split(said);
  if ('preset' in said) return split(presets[said.preset]?.[direction] ?? '');
  return said.flatMap((part) => (typeof part === 'string' ? split(part) : [part]));
}

/** Words, stage by stage. The word behind `name` is a name, whatever it is. */
function split(text: string): Stage[] {
  const stages: string[][] = [];
  let before = '';
  for (const word of text.split(/\s+/).filter((each) => each !== '' && each !== 'pass')) {
    if (stages.length === 0 || (KINDS.has(word) && before !== 'name')) stages.push([word]);
    else stages.at(-1)!.push(word);
    before = word;
  }
  return stages;
}

/** Text where text can say it. */
function written(stages: readonly Stage[]): Stages {
  if (stages.length === 0) return 'pass';
  if (stages.every(isText)) return stages.map((words) => words.join(' ')).join(' ');
  return stages.map((stage) => (isText(stage) ? stage.join(' ') : stage));
}

/** Which word, or which key, has the value. */
function placeOf(name: KnobName, stage: Stage): number | string | undefined {
  if (name === 'loss') {
    if (isText(stage)) return stage[1] === 'random' ? 2 : /^[\d.]/.test(stage[1] ?? '') ? 1 : undefined;
    return stage.model === 'random' ? 'probability' : undefined;
  }
  return isText(stage) ? 1 : name === 'delay' ? 'time' : 'rate';
}

/** Where a knob stands. */
export function settingOf(stages: readonly Stage[], name: KnobName): Setting {
  const found = stages.filter((stage) => kindOf(stage) === name);
  const [stage] = found;
  if (stage === undefined) return { value: undefined };
  if (found.length > 1) return { other: `${found.length} stages` };
  const place = placeOf(name, stage);
  if (place === undefined) return { other: String(isText(stage) ? stage[1] : stage.model) };
  const value = isText(stage) ? stage[place as number] : stage[place];
  if (typeof value === 'number') return { value: value === 0 ? undefined : value };
  // In an object a share without % is a number of 0..1.
  const bare = name === 'loss' && !isText(stage) && /^[\d.]+$/.test(String(value));
  const read = bare ? Number(value) : knobs[name].read(String(value));
  return read === null ? { other: String(value) } : { value: read };
}

/** The same with a knob in another position. @param value undefined for none */
function withSetting(stages: readonly Stage[], name: KnobName, value: number | undefined): Stage[] {
  const at = stages.findIndex((stage) => kindOf(stage) === name);
  if (at < 0) {
    if (value === undefined) return [...stages];
    const behind = ORDER.slice(ORDER.indexOf(name) + 1);
    const next = stages.findIndex((stage) => behind.includes(String(kindOf(stage))));
    return stages.toSpliced(next < 0 ? stages.length : next, 0, [name, knobs[name].write(value)]);
  }
  const stage = stages[at]!;
  const place = placeOf(name, stage);
  if (place === undefined) return [...stages];
  const text = knobs[name].write(value ?? 0);
  if (value === undefined && isPlain(stage, place)) return stages.toSpliced(at, 1);
  // A delay of 0 keeps its jitter, a loss of 0 its correlation; a rate of nothing there is not.
  if (value === undefined && name === 'rate') return stages.toSpliced(at, 1);
  return stages.with(at, isText(stage) ? stage.with(place as number, text) : { ...stage, [place]: text });
}

/** Nothing is said but the value. */
function isPlain(stage: Stage, place: number | string): boolean {
  if (isText(stage)) return stage.length === (place as number) + 1;
  return Object.keys(stage).every((key) => ['kind', 'model', 'name', place].includes(key));
}

/** What a direction's packets pass, for people to read. */
export function pipelineText(sides: Sides, direction: Direction, presets: Presets): string | undefined {
  return stagesOf(sides, direction, presets)
    ?.map((stage) => (isText(stage) ? stage.join(' ') : objectText(stage)))
    .join(' ');
}

const objectText = ({ kind, ...options }: StageObject): string =>
  [kind, ...Object.entries(options).map(([key, value]) => `${key} ${valueText(value)}`)].join(' ');

/** Traces and tables are long. */
function valueText(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

/** What is said of each way, with one knob turned in one direction. */
export function turned(
  sides: Sides,
  direction: Direction,
  name: KnobName,
  value: number | undefined,
  presets: Presets,
): Sides {
  const { both: _both, preset: _preset, up: _up, down: _down, ...others } = sides;
  const result: Sides = { ...others };
  for (const way of DIRECTIONS) {
    const stages = stagesOf(sides, way, presets);
    // What another direction says as it is, text or preset, stays as it is.
    if (way === direction) result[way] = written(withSetting(stages ?? [], name, value));
    else if (sides[way] !== undefined) result[way] = sides[way];
    else if (sides.both !== undefined) result[way] = sides.both;
    else if (sides.preset !== undefined) result[way] = { preset: sides.preset };
  }
  return result;
}
