import { describe, expect, it } from 'vitest';
import { DISTRIBUTIONS, Distribution } from '../../src/impair/distribution.ts';
import { Draws, threshold } from '../../src/impair/draw.ts';

describe('draws', () => {
  // Of Random123's kat_vectors, threefry2x32 with 13 rounds: counter, key, result.
  it.each([
    [0, 0, 0, 0, 0x9d1c5ec6, 0x8bd50731],
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xfd36d048, 0x2d17272c],
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xba3e4725, 0xf27d669e],
  ])('are those of Threefry-2x32-13: %#', (c0, c1, k0, k1, first, second) => {
    const draws = new Draws(k0, k1);
    expect([draws.at(c1, c0), draws.second]).toEqual([first, second]);
  });

  it('differ by seed, also beyond 32 bits, and by name', () => {
    const of = (seed: number, name: string) => Draws.named(seed, name).at(1, 2);
    const all = [of(1, 'a'), of(2, 'a'), of(1 + 2 ** 32, 'a'), of(1, 'b'), of(2 ** 52, 'a')];
    expect(new Set(all).size).toBe(all.length);
  });

  it('turn probabilities into thresholds that always and never are exact', () => {
    expect([threshold(0), threshold(0.5), threshold(1)]).toEqual([0, 2 ** 31, 2 ** 32]);
  });
});

describe.each(DISTRIBUTIONS)('the %s distribution', (name) => {
  const draws = Draws.named(7, name);
  const values = Array.from({ length: 200_000 }, (_, i) => Distribution.named(name).at(draws.at(0, i)));
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;

  it('has mean 0 and standard deviation 1', () => {
    // 99.9 % of the mean of 200 000; the width's own deviation is larger where tails are long.
    expect(Math.abs(mean)).toBeLessThan(3.29 / Math.sqrt(values.length));
    expect(Math.abs(Math.sqrt(variance) - 1)).toBeLessThan(name.startsWith('pareto') ? 0.05 : 0.006);
  });
});

describe('the normal distribution', () => {
  it('has the quantiles of a table of the normal distribution', () => {
    const at = (p: number) => Distribution.named('normal').at(p * 2 ** 32);
    expect(at(0.5)).toBeCloseTo(0, 3);
    expect(at(0.975)).toBeCloseTo(1.96, 2);
    expect(at(0.025)).toBeCloseTo(-1.96, 2);
    expect(at(0.999)).toBeCloseTo(3.09, 1);
  });
});
