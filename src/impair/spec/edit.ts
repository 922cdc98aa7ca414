/** Changes of one rule of a spec, which leave everything else as it was written. */
import { TunconnectorError } from '../../errors.ts';
import type { WrittenSpec } from './spec.ts';

type WrittenRule = NonNullable<WrittenSpec['rules']>[number];
type Stages = WrittenSpec['both'];

/** What is given is changed, null takes it away, and the rest stays. */
export interface RulePatch {
  match?: unknown;
  both?: Stages | null;
  up?: Stages | null;
  down?: Stages | null;
  preset?: WrittenSpec['preset'] | null;
  /** Place among the rules, from 0; beyond the last is the last. */
  position?: number;
}

/** What all packets pass that no rule is for, as if it were a rule. */
export const DEFAULT_LABEL = 'default';
const SIDES = ['both', 'up', 'down', 'preset'] as const;

/**
 * Changes the rule of this label; makes one, the last of all where no position is given, if there is none.
 * @returns a spec that is still to be compiled
 * @throws ERR_CONFIG for a match or a position of the default
 */
export function patchRule(spec: WrittenSpec, label: string, patch: RulePatch): WrittenSpec {
  const { position, ...changes } = patch;
  if (label === DEFAULT_LABEL) {
    for (const key of ['match', 'position'] as const) {
      if (patch[key] !== undefined) throw refuse(key, patch[key], 'none: "default" is for all other packets');
    }
    return merged(spec, changes);
  }
  const rules = [...(spec.rules ?? [])];
  const at = rules.findIndex((rule) => rule.label === label);
  if (at < 0 && patch.match === undefined)
    throw refuse('match', undefined, `one: there is no rule "${label}" yet`);
  const rule = merged(at < 0 ? ({ label, match: patch.match } as WrittenRule) : rules[at], changes);
  if (SIDES.every((side) => rule[side] === undefined))
    throw refuse('both', undefined, 'both, up, down or preset: what packets of the rule pass');
  if (at >= 0 && position === undefined) {
    rules[at] = rule;
  } else {
    if (at >= 0) rules.splice(at, 1);
    rules.splice(position ?? rules.length, 0, rule);
  }
  return { ...spec, rules };
}

/** @throws ERR_NOT_FOUND when there is no such rule */
export function removeRule(spec: WrittenSpec, label: string): WrittenSpec {
  const rules = (spec.rules ?? []).filter((rule) => rule.label !== label);
  if (rules.length === (spec.rules ?? []).length)
    throw new TunconnectorError('ERR_NOT_FOUND', `there is no rule "${label}"`);
  return { ...spec, rules };
}

function merged<T extends object>(before: T, changes: object): T {
  const entries = Object.entries({ ...before, ...changes });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined && value !== null)) as T;
}

function refuse(path: string, value: unknown, expected: string): TunconnectorError {
  const found = value === undefined ? 'nothing' : JSON.stringify(value);
  return new TunconnectorError('ERR_CONFIG', `${path}: found ${found}, expected ${expected}`, {
    place: { path, found, expected },
  });
}
