/** A spec taken apart for those who show and change it: text and presets as stages, each with its name. */

import type { Direction } from '../match.ts';
import { withNames } from '../names.ts';
import { type PresetName, presetStages } from './presets.ts';
import type { WrittenSpec } from './spec.ts';
import { parseStages } from './text.ts';

/** A stage with its values as they were written. */
export type ReadStage = Record<string, unknown> & { kind: string; name: string };

export interface ReadRule {
  label: string;
  match?: unknown;
  /** null: the rule is not for this direction. */
  up: ReadStage[] | null;
  down: ReadStage[] | null;
}

type Sides = Pick<WrittenSpec, 'both' | 'up' | 'down' | 'preset'>;

/** What all packets pass that no rule is for, as `default`, then the rules in their order. @param spec one that compiles */
export function readRules(spec: WrittenSpec): ReadRule[] {
  const { rules = [] } = spec;
  return [
    { label: 'default', up: readSide(spec, 'up') ?? [], down: readSide(spec, 'down') ?? [] },
    ...rules.map((rule) => ({
      label: rule.label,
      match: rule.match,
      up: readSide(rule, 'up'),
      down: readSide(rule, 'down'),
    })),
  ];
}

function readSide(sides: Sides, direction: Direction): ReadStage[] | null {
  const said =
    sides[direction] ?? sides.both ?? (sides.preset === undefined ? undefined : { preset: sides.preset });
  if (said === undefined) return null;
  if (typeof said === 'string') return readStages([said]);
  return readStages(Array.isArray(said) ? said : [presetStages(said.preset as PresetName, direction)]);
}

function readStages(parts: readonly unknown[]): ReadStage[] {
  const stages = parts.flatMap((part) => (typeof part === 'string' ? parseStages(part) : [part]));
  return withNames(stages as { kind: string; name?: string }[]) as ReadStage[];
}
