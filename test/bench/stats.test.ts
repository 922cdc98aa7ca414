import { describe, expect, it } from 'vitest';
import { parseCpuSeconds } from '../../bench/harness/cpu.ts';
import { parseCpuList, pinned } from '../../bench/harness/placement.ts';
import { fitLine, median, pairedRatios, percentile, summarize } from '../../bench/harness/stats.ts';

describe('figures of rounds', () => {
  it('the median is the middle value, or the mean of the two in the middle', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  it('rounds that failed count nowhere', () => {
    expect(summarize([Number.NaN, 5, 1, Number.NaN, 3])).toEqual({ median: 3, min: 1, max: 5, rounds: 3 });
    expect(summarize([Number.NaN])).toEqual({
      median: Number.NaN,
      min: Number.NaN,
      max: Number.NaN,
      rounds: 0,
    });
  });

  it('ratios are of equal rounds, so that a machine that slows down changes nothing', () => {
    const reference = [100, 50, 25];
    expect(pairedRatios([90, 45, 22.5], reference)).toEqual([0.9, 0.9, 0.9]);
  });

  it('a round in which either failed gives no ratio', () => {
    expect(pairedRatios([1, Number.NaN, 3, 4], [2, 2, Number.NaN])).toEqual([0.5]);
    expect(pairedRatios([1], [0])).toEqual([]);
  });

  it('a percentile is a value that was seen, by the nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect(percentile(values, 0.99)).toBe(99);
    expect(percentile(values, 0.5)).toBe(50);
    expect(percentile([7], 0.99)).toBe(7);
  });
});

describe('processors', () => {
  it('the time of a process is its user and system time, whatever its name', () => {
    const fields = ['S', ...Array.from({ length: 10 }, () => '1'), '250', '50', '900', '900', '20'];
    expect(parseCpuSeconds(`4711 (a) b (c) ${fields.join(' ')}`)).toBe(3);
  });

  it('lists of processors are read as the kernel writes them', () => {
    expect(parseCpuList('0-2,5\n')).toEqual([0, 1, 2, 5]);
    expect(parseCpuList('')).toEqual([]);
  });

  it('each of the first two has one end of the tunnel and one end of the traffic', () => {
    const { client, server, tunnelA, tunnelB } = pinned([4, 6, 7]);
    expect([client, tunnelB]).toEqual([4, 4]);
    expect([server, tunnelA]).toEqual([6, 6]);
  });

  it('with one processor nothing is pinned', () => {
    expect(pinned([3])).toEqual({});
  });
});

describe('a line through points', () => {
  it('has the slope of least squares, and says how much it explains', () => {
    expect(fitLine([0, 1, 2, 4], [3, 5, 7, 11])).toEqual({ slope: 2, determination: 1 });
    const { slope, determination } = fitLine([0, 1, 2], [0, 0, 3]);
    expect([slope, determination]).toEqual([1.5, 0.75]);
    expect(fitLine([1, 1], [2, 3]).slope).toBeNaN();
  });
});
