import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KNOBS, knobs, shown, slotOf, slots, valueAt } from '../../../src/control/page/impair/knob.ts';

const { rate, delay, loss } = knobs;

describe('the sliders', () => {
  it.each(KNOBS)('of %s come back to each of their places', (name) => {
    const knob = knobs[name];
    for (let slot = 0; slot < slots(knob); slot++) expect(slotOf(knob, valueAt(knob, slot))).toBe(slot);
  });

  it.each(KNOBS)('of %s rise, by at most a third at a time', (name) => {
    const { places } = knobs[name];
    for (const [i, place] of places.entries()) {
      if (i > 0) expect(place / places[i - 1]!).toBeGreaterThan(1);
      if (i > 0) expect(place / places[i - 1]!).toBeLessThan(1.34);
    }
  });

  it('go from 10 kbit/s to 10 Gbit/s and no limit, from none and 0.1 ms to 10 s, from none and 0.001 % to 100 %', () => {
    const ends = (name: (typeof KNOBS)[number]) =>
      [0, 1, slots(knobs[name]) - 2, slots(knobs[name]) - 1].map((slot) =>
        shown(knobs[name], valueAt(knobs[name], slot)),
      );
    expect(ends('rate')).toEqual(['10 kbit/s', '12 kbit/s', '10 Gbit/s', 'no limit']);
    expect(ends('delay')).toEqual(['none', '100 µs', '8 s', '10 s']);
    expect(ends('loss')).toEqual(['none', '0.001 %', '80 %', '100 %']);
  });

  it('stand at the nearest place of a value that is none of theirs', () => {
    expect(valueAt(delay, slotOf(delay, 51e6))).toBe(50e6);
    expect(valueAt(rate, slotOf(rate, 13.89e6))).toBe(15e6);
    expect(valueAt(loss, slotOf(loss, 1e-9))).toBe(1e-5);
  });
});

describe('the numbers beside them', () => {
  it('are read with and without units', () => {
    expect(['50', '50ms', ' 50 ms ', '0.05s', '50000us'].map(delay.read)).toEqual(Array(5).fill(50e6));
    expect(['5', '5mbit', '5 Mbit/s', '5000k', '0.005 gbit'].map(rate.read)).toEqual(Array(5).fill(5e6));
    expect(['1', '1%', '1 %', '1,0'].map(loss.read)).toEqual(Array(4).fill(0.01));
  });

  it('may be none', () => {
    expect(['', 'none', 'off', '0'].map(delay.read)).toEqual(Array(4).fill(undefined));
    expect(rate.read('no limit')).toBeUndefined();
  });

  it('are refused when they are none, or too much', () => {
    expect(['fast', '5 furlongs', '-1', '1e3', '__proto__'].map(rate.read)).toEqual(Array(5).fill(null));
    expect([loss.read('101'), delay.read('2h'), delay.read('3601s')]).toEqual([null, null, null]);
  });

  it.each(KNOBS)('of %s say of each value what is read as the same value', (name) => {
    const knob = knobs[name];
    const most = { rate: 1e12, delay: 3600e9, loss: 1e7 }[name];
    const whole = fc.integer({ min: 1, max: most });
    fc.assert(
      fc.property(whole, (n) => {
        const value = name === 'loss' ? n / 1e7 : n;
        for (const text of [knob.show(value), knob.write(value)]) {
          expect(Math.abs(knob.read(text)! / value - 1)).toBeLessThan(1e-11);
        }
      }),
      { seed: 4 },
    );
  });
});
