import { describe, expect, it } from 'vitest';
import { ImpairDrop } from '../../src/impair/reasons.ts';
import { Drive, datagram } from './drive.ts';
import { fates } from './served.ts';

const MS = 1_000_000;

describe('a link that is on and off in turns', () => {
  it('with fixed periods drops what comes while it is off', () => {
    const drive = new Drive({ kind: 'onoff', on: '20ms', off: '10ms', periods: 'fixed' });
    for (let ms = 0; ms < 90; ms++) drive.send(ms * MS, drive.packet());
    expect(drive.left.map(({ number }) => number)).toEqual(
      Array.from({ length: 90 }, (_, ms) => ms).filter((ms) => ms % 30 < 20),
    );
    expect(drive.left.every(({ at, number, time }) => at === number * MS && time === at)).toBe(true);
    expect(drive.dropped(ImpairDrop.Off)).toBe(30);
  });

  it('or holds it until it is on again, as much as its queue does', () => {
    const drive = new Drive({
      kind: 'onoff',
      on: '20ms',
      off: '10ms',
      periods: 'fixed',
      whileOff: 'hold',
      queue: { discipline: 'droptail', limit: 6 },
    });
    for (let ms = 0; ms < 35; ms++) drive.send(ms * MS, drive.packet());
    drive.advance(1e9);
    expect(drive.left.map(({ at }) => at / MS)).toEqual([
      ...Array.from({ length: 20 }, (_, ms) => ms),
      ...Array(6).fill(30),
      ...[30, 31, 32, 33, 34],
    ]);
    expect(drive.dropped(ImpairDrop.QueueFull)).toBe(4);
    expect(drive.close()).toBe(0);
  });

  it('lets what waits go first when new options let it on earlier', () => {
    const options = {
      kind: 'onoff',
      on: 20 * MS,
      off: 100 * MS,
      periods: 'fixed',
      whileOff: 'hold',
    } as const;
    const drive = new Drive(options);
    drive.send(30 * MS, drive.packet());
    const stage = drive.stage() as unknown as { reconfigure(options: object): void };
    stage.reconfigure({ ...options, off: 15 * MS, queue: { discipline: 'droptail', limit: 10 } });
    drive.send(40 * MS, drive.packet());
    drive.advance(1e9);
    expect(drive.left.map(({ number, at }) => [number, at / MS])).toEqual([
      [0, 40],
      [1, 40],
    ]);
    expect(drive.close()).toBe(0);
  });

  it('with drawn periods is on at first and has exponential periods of both means', () => {
    const drive = new Drive({ kind: 'onoff', on: '20ms', off: '10ms' });
    const n = 200_000;
    const on = drive.many(n, 0.5 * MS, datagram(1, 10));
    expect(on[0]).toBe(1);
    const runs: [number[], number[]] = [[], []];
    let length = 1;
    for (let i = 1; i < n; i++) {
      if (on[i] === on[i - 1]) length++;
      else {
        runs[on[i - 1]].push(length / 2);
        length = 1;
      }
    }
    for (const [state, mean] of [
      [1, 20],
      [0, 10],
    ] as const) {
      const lengths = runs[state];
      expect(lengths.length).toBeGreaterThan(2500);
      const average = lengths.reduce((sum, l) => sum + l, 0) / lengths.length;
      // 99.9 %, and what periods shorter than the half millisecond between two packets hide.
      expect(Math.abs(average - mean)).toBeLessThan((3.29 * mean) / Math.sqrt(lengths.length) + 0.75);
      const long = lengths.filter((l) => l > mean).length / lengths.length;
      expect(Math.abs(long - Math.exp(-1))).toBeLessThan(0.04);
    }
  });

  it('is the same for the same seed, also behind a long silence', () => {
    const of = (seed: number) => {
      const drive = new Drive({ kind: 'onoff', on: '20ms', off: '20ms' }, { seed });
      for (let i = 0; i < 300; i++) drive.send(i * 5 * MS + (i > 150 ? 3.6e15 : 0), drive.packet());
      return drive.left.map(({ number }) => number).join();
    };
    expect(of(1)).toBe(of(1));
    expect(of(1)).not.toBe(of(2));
  });

  it('treats a superframe as its wire packets', () => {
    const arrivals = Array.from({ length: 50 }, (_, i) => ({
      at: i * 4 * MS,
      segments: 1 + (i % 9),
      port: 1,
    }));
    const stage = {
      kind: 'onoff',
      on: '10ms',
      off: '10ms',
      whileOff: 'hold',
      queue: { discipline: 'droptail', limit: 12 },
    } as const;
    const single = fates(stage, arrivals, { whole: false });
    const whole = fates(stage, arrivals, { whole: true });
    expect(single.dropped).toBeGreaterThan(5);
    expect(whole.fates).toEqual(single.fates);
    expect(whole.leaked).toBe(0);
  });
});
