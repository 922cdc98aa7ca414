import { describe, expect, it } from 'vitest';
import { Drive, datagram } from './drive.ts';
import { fates } from './served.ts';

const MS = 1_000_000;

describe('slots', () => {
  it('begin a time after a packet that found none, and let so many leave together', () => {
    const drive = new Drive({ kind: 'slot', min: '10ms', packets: 2 });
    drive.send(5 * MS, ...[1, 2, 3, 4, 5].map(() => drive.packet()));
    drive.send(16 * MS, drive.packet());
    drive.advance(1e9);
    // Two at 15 ms, two at 25 ms, and with the fifth the one that came at 16 ms.
    expect(drive.left.map(({ at }) => at / MS)).toEqual([15, 15, 25, 25, 35, 35]);
  });

  it('begin a time after the first packet, also where that comes at the very start', () => {
    const drive = new Drive({ kind: 'slot', min: '10ms', packets: 2 });
    drive.send(0, ...[1, 2, 3].map(() => drive.packet()));
    drive.advance(1e9);
    expect(drive.left.map(({ at }) => at / MS)).toEqual([10, 10, 20]);
  });

  it('are over when their bytes have been reached', () => {
    const drive = new Drive({ kind: 'slot', min: '1ms', bytes: 2500 });
    drive.send(MS, ...[1, 2, 3, 4].map(() => drive.packet(datagram(1, 972))));
    drive.advance(1e9);
    expect(drive.left.map(({ at }) => at / MS)).toEqual([2, 2, 2, 3]);
  });

  it('that are not full take whoever comes just in time, and later ones wait for the next', () => {
    const drive = new Drive({ kind: 'slot', min: '10ms' });
    drive.send(5 * MS, drive.packet());
    drive.send(15 * MS, drive.packet());
    drive.send(16 * MS, drive.packet());
    drive.advance(1e9);
    expect(drive.left.map(({ at }) => at / MS)).toEqual([15, 15, 26]);
  });

  it.each([
    [{ min: '1ms', max: '3ms' }, 2, 1 / Math.sqrt(3)],
    [{ min: '5ms', jitter: '1ms', distribution: 'normal' }, 5, 1],
  ] as const)('are as far from each other as they are told: %j', (options, mean, deviation) => {
    const drive = new Drive({ kind: 'slot', packets: 1, ...options });
    drive.send(0, ...Array.from({ length: 2001 }, () => drive.packet(datagram(1, 10))));
    drive.advance(1e12);
    const gaps = drive.left.slice(1).map(({ at }, i) => (at - drive.left[i].at) / MS);
    const average = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - average) ** 2, 0) / gaps.length;
    expect(Math.abs(average - mean)).toBeLessThan((3.29 * deviation) / Math.sqrt(gaps.length));
    expect(Math.abs(Math.sqrt(variance) - deviation)).toBeLessThan(0.06 * deviation);
    if ('max' in options) {
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1);
      expect(Math.max(...gaps)).toBeLessThan(3);
    }
  });

  it('treat a superframe as its wire packets, and let those of one slot leave as one', () => {
    const arrivals = Array.from({ length: 60 }, (_, i) => ({
      at: i * 7 * MS,
      segments: 1 + (i % 13),
      port: 1 + (i % 2),
    }));
    const stage = { kind: 'slot', min: '2ms', max: '5ms', packets: 5, bytes: 4000 } as const;
    const single = fates(stage, arrivals, { whole: false });
    const whole = fates(stage, arrivals, { whole: true });
    expect(whole.fates).toEqual(single.fates);
    expect(whole.left).toBeLessThan(single.left);
    expect(whole.leaked).toBe(0);
  });
});
