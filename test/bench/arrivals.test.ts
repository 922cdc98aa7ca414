import { describe, expect, it } from 'vitest';
import { latenessOf, parseArrivals, rateError } from '../../bench/harness/arrivals.ts';

/** As oneway writes them: number, sent, arrived, bytes. */
const file = (...records: [number, number, number, number][]) =>
  new Uint8Array(BigUint64Array.from(records.flat(), BigInt).buffer);

describe('arrivals', () => {
  it('are told from when the first was sent', () => {
    const T = 1_700_000_000_000_000_000;
    const { numbers, left, arrived, bytes } = parseArrivals(
      file([1, T + 2048, T + 9216, 64], [0, T, T + 9728, 64]),
    );
    expect([[...numbers], [...left], [...arrived], [...bytes]]).toEqual([
      [1, 0],
      [2048, 0],
      [9216, 9728],
      [64, 64],
    ]);
    expect(() => parseArrivals(new Uint8Array(31))).toThrow('no packet');
  });

  it('say which class a packet came with, and when the first was sent', () => {
    const T = 1_700_000_000_000_000_000;
    const { bytes, dscp, epoch } = parseArrivals(file([0, T, T + 512, 2 ** 32 * 0xb8 + 64]));
    expect([[...bytes], [...dscp], epoch]).toEqual([[64], [46], T / 1e6]);
  });

  it('are late or early by what they took beyond the delay', () => {
    const arrivals = parseArrivals(file([0, 100, 150, 1], [1, 200, 249, 1], [2, 300, 380, 1]));
    expect(latenessOf(arrivals, 50)).toEqual({ median: 0, p99: 30, early: 1 });
  });
});

describe('a rate', () => {
  /** 1250 bytes every `interval` ns, the payload 1200 of them. */
  const every = (intervals: number[]) => {
    let at = 0;
    return parseArrivals(
      file(
        ...intervals.map((interval, n) => [n, 0, (at += interval), 1200] as [number, number, number, number]),
      ),
    );
  };
  const options = { rate: 1e7, window: 1e7, overhead: 50, after: 0 };
  const MS = 1e6;

  it('that is kept is off by nothing', () => {
    expect(rateError(every(Array(100).fill(MS)), options)).toBe(0);
  });

  it('may be off by a packet, and is off by what is more', () => {
    const paused = (pause: number) => every([...Array(50).fill(MS), pause, ...Array(50).fill(MS)]);
    expect(rateError(paused(2 * MS), options)).toBe(0);
    // In 12 ms 9 packets instead of 12: two too few, of 12.
    expect(rateError(paused(4 * MS), { ...options, window: 12 * MS })).toBeCloseTo(2 / 12, 9);
    // Eleven in 10 ms, and three at once: three too many in 10 ms but for one.
    expect(rateError(every([...Array(50).fill(MS), 0, 0, 0, ...Array(50).fill(MS)]), options)).toBeCloseTo(
      2 / 10,
      9,
    );
  });

  it('is not looked at before its time', () => {
    const slow = every([...Array(50).fill(3 * MS), ...Array(50).fill(MS)]);
    expect(rateError(slow, options)).toBeGreaterThan(0.5);
    expect(rateError(slow, { ...options, after: 150 * MS })).toBe(0);
    expect(rateError(slow, { ...options, after: 1e12 })).toBeNaN();
  });
});
