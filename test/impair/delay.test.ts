import { describe, expect, it } from 'vitest';
import { ImpairDrop } from '../../src/impair/reasons.ts';
import { parseStages } from '../../src/impair/spec/text.ts';
import { Drive, type StageInput } from './drive.ts';

const MS = 1_000_000;

describe('a delay', () => {
  it('keeps each packet for exactly its time, a superframe whole', () => {
    const drive = new Drive({ kind: 'delay', time: '10ms' });
    drive.send(0, drive.packet());
    drive.send(3 * MS, drive.superframe({ segments: 40 }));
    drive.send(3 * MS + 1, drive.packet());
    drive.advance(100 * MS);
    expect(drive.left.map(({ at, time, segments }) => [at, time, segments])).toEqual([
      [10 * MS, 10 * MS, 1],
      [13 * MS, 13 * MS, 40],
      [13 * MS + 1, 13 * MS + 1, 1],
    ]);
  });

  it('drops and counts what is over its limit', () => {
    const drive = new Drive({ kind: 'delay', time: '10ms', limit: 3 });
    drive.send(0, ...Array.from({ length: 5 }, () => drive.packet()));
    drive.advance(10 * MS);
    expect([drive.left.length, drive.dropped(ImpairDrop.Limit)]).toEqual([3, 2]);
    expect(drive.close()).toBe(0);
  });

  it('has room for what came after others had left, also where the machine comes late to all of them', () => {
    // 256 packets to a breath, 10 of them on their way at any time and one that comes.
    const drive = new Drive({ kind: 'delay', time: '10ms', limit: 11 });
    expect(drive.many(1000, MS).every((times) => times === 1)).toBe(true);
    expect(drive.dropped()).toBe(0);
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
  reorder: 0,
  reorderCorrelation: 0,
  gap: 1,
  limit: 65536,
};

describe('reordering', () => {
  const numbers = (options: object, n = 1000) => {
    const drive = new Drive({ kind: 'delay', time: '10ms', ...options });
    for (let i = 0; i < n; i++) drive.send(i * 100_000, drive.packet());
    drive.advance(10_000 * MS);
    expect(drive.left).toHaveLength(n);
    return { ahead: drive.left.filter(({ at, number }) => at === number * 100_000), left: drive.left };
  };

  it('with gap 5 is exactly every fifth packet, and the others keep their times and order', () => {
    const { ahead, left } = numbers({ reorder: '100%', gap: 5 });
    expect(ahead.map(({ number }) => number)).toEqual(Array.from({ length: 200 }, (_, i) => 5 * i + 4));
    const others = left.filter(({ number }) => number % 5 !== 4);
    expect(others.map(({ at, number }) => at - number * 100_000)).toEqual(others.map(() => 10 * MS));
    expect(others.every(({ number }, i) => i === 0 || number > others[i - 1].number)).toBe(true);
  });

  it('reorders the share asked for, at most one in each gap, with the correlation asked for', () => {
    const at = new Float64Array(100_000);
    new Drive(parseStages('delay 10ms reorder 25% 50%') as StageInput[]).many(at.length, MS, undefined, at);
    const ahead = at.map((time, i) => (time === i * MS ? 1 : 0));
    const p = ahead.reduce((sum, v) => sum + v, 0) / at.length;
    expect(Math.abs(p - 0.25)).toBeLessThan(3.29 * Math.sqrt((0.25 * 0.75 * 3) / at.length));
    let both = 0;
    for (let i = 1; i < at.length; i++) both += ahead[i] & ahead[i - 1];
    expect(Math.abs((both / at.length - p * p) / (p * (1 - p)) - 0.5)).toBeLessThan(0.02);
    const spread = numbers({ reorder: '50%', gap: 3 }).ahead.map(({ number }) => number);
    expect(spread.length).toBeGreaterThan(200);
    expect(Math.min(...spread.map((n, i) => (i === 0 ? n + 1 : n - spread[i - 1])))).toBe(3);
  });

  it('takes the same packets out of a superframe as of the same packets one by one', () => {
    const run = (whole: boolean) => {
      const drive = new Drive(parseStages('delay 10ms 1ms reorder 30% gap 2') as StageInput[]);
      if (whole) drive.send(0, drive.superframe({ segments: 44 }));
      else for (let s = 0; s < 44; s++) drive.send(0, drive.superframe({ segments: 1 }));
      drive.advance(1000 * MS);
      const times: number[] = [];
      for (const { number, segments, at } of drive.left)
        for (let s = 0; s < segments; s++) times[number + s] = at;
      return times;
    };
    expect(run(true)).toEqual(run(false));
    expect(run(true).filter((at) => at === 0).length).toBeGreaterThan(5);
  });
});

describe('reordering that cannot be', () => {
  it.each([
    ['delay 0ms reorder 25%', 'nobody to overtake'],
    ['delay 10ms gap 5', 'with gap'],
  ])('is refused: %s', (text, message) => {
    expect(() => new Drive(parseStages(text) as StageInput[])).toThrow(message);
  });
});

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

  it('has the shape of a table, of numbers or of a file’s text, with the mean and the width asked for', () => {
    const found = waits({ table: '# ours\n-8192 -8192\n\n24576\t-8192\n', order: 'allow' });
    expect(found).toEqual(waits({ table: [-1, -1, -1, 3], order: 'allow' }));
    expect(Math.abs(mean(found) - 100 * MS)).toBeLessThan((3.29 * 10 * MS) / Math.sqrt(N));
    const m = mean(found);
    expect(Math.abs(Math.sqrt(mean(found.map((v) => (v - m) ** 2))) / (10 * MS) - 1)).toBeLessThan(0.02);
    // Two thirds of the way from the first value to the last nothing rises.
    const lowest = Math.min(...found.subarray(0, 1000));
    const flat = found.filter((v) => v === lowest).length;
    expect(Math.abs(flat - (N * 2) / 3)).toBeLessThan(3.29 * Math.sqrt((N * 2) / 9) + N / 4096);
  });

  it.each([
    [{ table: '5' }, 'at least 2'],
    [{ table: '5\nx' }, 'line 2: found'],
    [{ table: [1] }, 'Too small'],
    [{ table: [-1e308, 1e308] }, 'Too small'],
    [{ table: [1, 2], distribution: 'normal' }, 'either a table or a distribution'],
  ])('refuses a table that makes no sense: %j', (options, message) => {
    const stage = { kind: 'delay', time: '1ms', jitter: '1ms', ...options } as StageInput;
    expect(() => new Drive(stage)).toThrow(message);
  });

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

describe('a delay for a share of the packets', () => {
  it.each(['allow', 'preserve'] as const)('delays that share, with order %s', (order) => {
    const drive = new Drive({ kind: 'delay', time: '1s', share: '25%', order });
    const times = new Float64Array(50_000);
    drive.many(times.length, 1_000_000, undefined, times);
    const late = [...times].filter((time, n) => time === n * 1_000_000 + 1_000_000_000).length;
    // 99.9 % of a binomial distribution.
    expect(Math.abs(late - 12_500)).toBeLessThan(3.29 * Math.sqrt(50_000 * 0.25 * 0.75));
    const early = [...times].filter((time, n) => n > 0 && time < times[n - 1]).length;
    expect(early > 0).toBe(order === 'allow');
    expect(drive.close()).toBe(0);
  });
});
