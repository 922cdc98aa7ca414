import { describe, expect, it } from 'vitest';
import { ImpairDrop } from '../../src/impair/reasons.ts';
import { Drive } from './drive.ts';

const MS = 1_000_000;

describe('a delay', () => {
  it('keeps each packet for exactly its time, a superframe whole', () => {
    const drive = new Drive({ kind: 'delay', time: '10ms' });
    drive.send(0, drive.packet());
    drive.send(3 * MS, drive.superframe({ segments: 40 }));
    drive.advance(100 * MS);
    expect(drive.left.map(({ at, time, segments }) => [at, time, segments])).toEqual([
      [10 * MS, 10 * MS, 1],
      [13 * MS, 13 * MS, 40],
    ]);
  });

  it('drops and counts what is over its limit', () => {
    const drive = new Drive({ kind: 'delay', time: '10ms', limit: 3 });
    drive.send(0, ...Array.from({ length: 5 }, () => drive.packet()));
    drive.advance(10 * MS);
    expect([drive.left.length, drive.dropped(ImpairDrop.Limit)]).toEqual([3, 2]);
    expect(drive.close()).toBe(0);
  });

  it('gives packets that wait the time they were told, whatever it is told later', () => {
    const drive = new Drive({ kind: 'delay', time: '500ms' });
    drive.send(0, drive.packet());
    drive.advance(50 * MS);
    const stage = drive.stage() as unknown as { reconfigure(options: unknown): void };
    stage.reconfigure({ ...BASE, time: 100 * MS, order: 'allow' });
    drive.send(60 * MS, drive.packet());
    drive.advance(1000 * MS);
    expect(drive.left.map(({ time }) => time)).toEqual([160 * MS, 500 * MS]);
  });
});

const BASE = {
  kind: 'delay',
  time: 0,
  jitter: 0,
  correlation: 0,
  distribution: 'uniform',
  order: 'preserve',
  scope: 'flow',
  limit: 65536,
};

describe('jitter', () => {
  const N = 100_000;
  /** What each of many packets, far enough apart not to meet, waited: ns. */
  function waits(options: object): Float64Array {
    const drive = new Drive({ kind: 'delay', time: '100ms', jitter: '10ms', ...options });
    const times = new Float64Array(N);
    drive.many(N, 10 * MS, undefined, times);
    return times.map((time, i) => time - i * 10 * MS);
  }
  const mean = (values: Float64Array) => values.reduce((sum, v) => sum + v, 0) / values.length;
  function lag1(values: Float64Array): number {
    const m = mean(values);
    let both = 0;
    let all = 0;
    for (let i = 0; i < values.length; i++) {
      all += (values[i] - m) ** 2;
      if (i > 0) both += (values[i] - m) * (values[i - 1] - m);
    }
    return both / all;
  }

  it.each(['uniform', 'normal', 'pareto', 'paretonormal'])(
    'has the width and the mean asked for: %s',
    (d) => {
      const found = waits({ distribution: d, order: 'allow' });
      const width = d === 'uniform' ? (10 * MS) / Math.sqrt(3) : 10 * MS;
      expect(Math.abs(mean(found) - 100 * MS)).toBeLessThan((3.29 * width) / Math.sqrt(N));
      const m = mean(found);
      const deviation = Math.sqrt(mean(found.map((v) => (v - m) ** 2)));
      expect(Math.abs(deviation / width - 1)).toBeLessThan(d.startsWith('pareto') ? 0.1 : 0.01);
    },
  );

  it('correlates as asked, and stays as wide', () => {
    const found = waits({ correlation: '60%', distribution: 'normal', order: 'allow' });
    expect(Math.abs(lag1(found) - 0.6)).toBeLessThan(0.02);
    const m = mean(found);
    expect(Math.abs(Math.sqrt(mean(found.map((v) => (v - m) ** 2))) / (10 * MS) - 1)).toBeLessThan(0.03);
  });

  it('reorders nothing while order is preserved, and only then', () => {
    const order = (options: object) => {
      const drive = new Drive({ kind: 'delay', time: '100ms', jitter: '50ms', ...options });
      for (let i = 0; i < 1000; i++) drive.send(i * MS, drive.packet());
      drive.advance(10_000 * MS);
      const numbers = drive.left.map(({ number }) => number);
      expect(numbers).toHaveLength(1000);
      return numbers.filter((n, i) => i > 0 && n < numbers[i - 1]).length;
    };
    expect(order({ order: 'preserve' })).toBe(0);
    expect(order({ order: 'allow' })).toBeGreaterThan(100);
  });

  it('gives the segments of a superframe the times they would have on their own', () => {
    const run = (whole: boolean, quantum: number) => {
      const drive = new Drive({ kind: 'delay', time: '10ms', jitter: '1ms' }, { quantum });
      if (whole) drive.send(0, drive.superframe({ segments: 50 }));
      else for (let s = 0; s < 50; s++) drive.send(0, drive.superframe({ segments: 1 }));
      drive.advance(1000 * MS);
      const times: number[] = [];
      for (const { number, segments, at } of drive.left)
        for (let s = 0; s < segments; s++) times[number + s] = at;
      return times;
    };
    const alone = run(false, 0);
    expect(run(true, 0)).toEqual(alone);
    // With a quantum some wait for their neighbours: never less, and never longer than that.
    const together = run(true, 50_000);
    for (let s = 0; s < 50; s++) {
      expect(together[s]).toBeGreaterThanOrEqual(alone[s]);
      expect(together[s] - alone[s]).toBeLessThanOrEqual(50_000);
    }
  });
});
