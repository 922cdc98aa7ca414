/** A spec's rules, and changes to them. The spec that is given stays as it is. */
import type { Rule, Sides, Spec } from '../../client/index.ts';

/** What all packets pass that no rule is for. */
export const DEFAULT = 'default';

/** `default` first, then the rules in their order. */
export const labelsOf = (spec: Spec): string[] => [DEFAULT, ...(spec.rules ?? []).map(({ label }) => label)];

export const ruleOf = (spec: Spec, label: string): Rule | undefined =>
  spec.rules?.find((rule) => rule.label === label);

/** What is said of a rule's packets; undefined when there is no such rule. */
export function sidesOf(spec: Spec, label: string): Sides | undefined {
  const from = label === DEFAULT ? spec : ruleOf(spec, label);
  if (!from) return undefined;
  const { both, up, down, preset } = from;
  return withoutGaps({ both, up, down, preset });
}

export function withSides(spec: Spec, label: string, sides: Sides): Spec {
  if (label === DEFAULT) {
    const { both: _both, up: _up, down: _down, preset: _preset, ...others } = spec;
    return { ...withoutGaps(sides), ...others };
  }
  const rules = (spec.rules ?? []).map((rule) =>
    rule.label === label ? { label, match: rule.match, ...withoutGaps(sides) } : rule,
  );
  return { ...spec, rules };
}

/** The new one stands first: it is for less than those it came from, and the first that matches has the flow. */
export const withRule = (spec: Spec, rule: Rule): Spec => ({ ...spec, rules: [rule, ...(spec.rules ?? [])] });

export function withoutRule(spec: Spec, label: string): Spec {
  const rules = (spec.rules ?? []).filter((rule) => rule.label !== label);
  const { rules: _rules, ...others } = spec;
  return rules.length === 0 ? others : { ...others, rules };
}

/** `wanted`, or the first of `wanted-2`, `wanted-3`, ... that no rule has. */
export function freeLabel(spec: Spec, wanted: string): string {
  const taken = new Set(labelsOf(spec));
  const base = wanted.replace(/[^\w-]+/g, '-').slice(0, 56) || 'rule';
  for (let n = 1; ; n++) {
    const label = n === 1 ? base : `${base}-${n}`;
    if (!taken.has(label)) return label;
  }
}

const withoutGaps = (sides: Sides): Sides =>
  Object.fromEntries(Object.entries(sides).filter(([, value]) => value !== undefined));
