import { describe, expect, it } from 'vitest';
import {
  freeLabel,
  labelsOf,
  sidesOf,
  withoutRule,
  withRule,
  withSides,
} from '../../../src/control/page/impair/rules.ts';

const SPEC = {
  seed: 7,
  up: 'delay 50ms',
  preset: 'lte',
  rules: [{ label: 'dns', match: '*:udp:53', both: 'loss 20%' }],
  timeline: [{ at: '10s' }],
};

describe('changes to the rules of a spec', () => {
  it('are for one rule, and leave all else as it was', () => {
    const changed = withSides(SPEC, 'dns', { up: 'pass' });
    expect(changed).toEqual({ ...SPEC, rules: [{ label: 'dns', match: '*:udp:53', up: 'pass' }] });
    expect(SPEC.rules[0]!.both).toBe('loss 20%');
  });

  it('of the default are at the top of the spec', () => {
    expect(sidesOf(SPEC, 'default')).toEqual({ up: 'delay 50ms', preset: 'lte' });
    const { up: _up, preset: _preset, ...others } = SPEC;
    expect(withSides(SPEC, 'default', { both: 'pass' })).toEqual({ both: 'pass', ...others });
    expect(sidesOf(SPEC, 'nobody')).toBeUndefined();
  });

  it('put a new rule first, and take it away again', () => {
    const more = withRule(SPEC, { label: 'one', match: '*', both: 'pass' });
    expect(labelsOf(more)).toEqual(['default', 'one', 'dns']);
    expect(withoutRule(more, 'one')).toEqual(SPEC);
    expect(withoutRule({ both: 'pass', rules: [SPEC.rules[0]!] }, 'dns')).toEqual({ both: 'pass' });
  });

  it('find a label that is free and one that can be', () => {
    expect(freeLabel(SPEC, 'dns')).toBe('dns-2');
    expect(freeLabel(SPEC, 'tcp 10.0.0.1:443')).toBe('tcp-10-0-0-1-443');
    expect(freeLabel(SPEC, '')).toBe('rule');
    expect(freeLabel(SPEC, 'x'.repeat(99))).toHaveLength(56);
  });
});
