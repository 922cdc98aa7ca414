import { describe, expect, it } from 'vitest';
import type { Sides } from '../../../src/control/impair/contract.ts';
import type { KnobName } from '../../../src/control/page/impair/knob.ts';
import {
  type Direction,
  KINDS,
  pipelineText,
  settingOf,
  stagesOf,
  turned,
} from '../../../src/control/page/impair/stages.ts';
import { PRESET_NAMES, presetStages } from '../../../src/impair/spec/presets.ts';
import { compileSpec } from '../../../src/impair/spec/spec.ts';
import { STAGE_WORDS } from '../../../src/impair/stages.ts';

const PRESETS = Object.fromEntries(
  PRESET_NAMES.map((name) => [name, { up: presetStages(name, 'up'), down: presetStages(name, 'down') }]),
);
const setting = (sides: Sides, direction: Direction, name: KnobName) =>
  settingOf(stagesOf(sides, direction, PRESETS) ?? [], name);
const turn = (sides: Sides, direction: Direction, name: KnobName, value: number | undefined) =>
  turned(sides, direction, name, value, PRESETS);

it('the page knows every word that begins a stage', () => {
  expect([...KINDS].sort()).toEqual(Object.keys(STAGE_WORDS).sort());
});

describe('a knob stands where the spec has it', () => {
  it.each<[Sides, KnobName, number]>([
    [{ up: 'delay 50ms 5ms distribution normal' }, 'delay', 50e6],
    [{ both: 'loss 1% rate 5mbit' }, 'loss', 0.01],
    [{ both: 'loss random 1% 25%' }, 'loss', 0.01],
    [{ preset: 'lte' }, 'rate', 12e6],
    [{ up: { preset: 'dsl' } }, 'rate', 384e3],
    [{ up: [{ kind: 'delay', time: '50ms' }, 'rate 2mbit'] }, 'rate', 2e6],
    [{ up: [{ kind: 'delay', time: 20e6 }] }, 'delay', 20e6],
    [{ up: [{ kind: 'loss', model: 'random', probability: '0.02' }] }, 'loss', 0.02],
    [{ up: 'rate 1mbit name delay delay 3ms' }, 'delay', 3e6],
  ])('%j: %s', (sides, name, value) => {
    expect(setting(sides, 'up', name)).toEqual({ value });
  });

  it('and says so where it cannot say it by a number', () => {
    expect(setting({ up: 'loss gemodel 1% 50%' }, 'up', 'loss')).toEqual({ other: 'gemodel' });
    expect(setting({ up: 'delay 1ms delay 2ms' }, 'up', 'delay')).toEqual({ other: '2 stages' });
    expect(setting({ up: 'rate 64kbps' }, 'up', 'rate')).toEqual({ other: '64kbps' });
    expect(setting({ down: 'delay 1ms' }, 'up', 'delay')).toEqual({ value: undefined });
  });
});

describe('turning a knob', () => {
  it('keeps all else that is said of the stage, and of the other direction', () => {
    expect(turn({ both: 'delay 50ms 5ms distribution normal loss 1%' }, 'up', 'delay', 80e6)).toEqual({
      up: 'delay 80ms 5ms distribution normal loss 1%',
      down: 'delay 50ms 5ms distribution normal loss 1%',
    });
    const queue = { discipline: 'codel' };
    expect(turn({ up: [{ kind: 'rate', rate: 5e6, queue }] }, 'up', 'rate', 2e6)).toEqual({
      up: [{ kind: 'rate', rate: '2mbit', queue }],
    });
  });

  it('takes a preset apart where it is turned, and leaves it where it is not', () => {
    expect(turn({ preset: 'lte' }, 'down', 'loss', 0.02)).toEqual({
      up: { preset: 'lte' },
      down: 'loss 2% rate 12mbit delay 35ms',
    });
  });

  it('adds a stage in its place and takes it away again', () => {
    expect(turn({}, 'up', 'delay', 5e6)).toEqual({ up: 'delay 5ms' });
    expect(turn({ up: 'delay 5ms' }, 'up', 'rate', 1e6)).toEqual({ up: 'rate 1mbit delay 5ms' });
    expect(turn({ up: 'rate 1mbit delay 5ms' }, 'up', 'rate', undefined)).toEqual({ up: 'delay 5ms' });
    expect(turn({ up: 'delay 5ms' }, 'up', 'delay', undefined)).toEqual({ up: 'pass' });
    expect(turn({ up: 'pass' }, 'up', 'delay', undefined)).toEqual({ up: 'pass' });
  });

  it('to none keeps a jitter that stands behind the delay', () => {
    expect(turn({ up: 'delay 50ms 5ms' }, 'up', 'delay', undefined)).toEqual({ up: 'delay 0ns 5ms' });
  });

  it.each(PRESET_NAMES)('of the preset %s makes a spec that compiles, with that value', (preset) => {
    let sides: Sides = { preset };
    for (const direction of ['up', 'down'] as const) {
      sides = turn(turn(sides, direction, 'rate', 3e6), direction, 'delay', 7e6);
    }
    for (const options of Object.values(compileSpec(sides))) {
      expect(options.stages).toMatch(/\brate 3mbit\b.*\bdelay 7ms\b/);
    }
  });
});

describe('a pipeline as text', () => {
  it('is what its author wrote, objects and all', () => {
    expect(pipelineText({ both: 'delay 1ms  loss 1%' }, 'up', PRESETS)).toBe('delay 1ms loss 1%');
    const table = Array(100).fill(1);
    expect(pipelineText({ up: [{ kind: 'delay', time: '1ms', table }] }, 'up', PRESETS)).toMatch(
      /^delay time 1ms table \[1,1,.*…$/,
    );
    expect(pipelineText({ down: 'pass' }, 'down', PRESETS)).toBe('');
    expect(pipelineText({ down: 'pass' }, 'up', PRESETS)).toBeUndefined();
  });
});
