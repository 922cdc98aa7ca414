import { describe, expect, it } from 'vitest';
import type { DirectionStats, RuleStats, Stats } from '../../../src/control/impair/contract.ts';
import { History, latest, recent } from '../../../src/control/page/impair/history.ts';

const rule = (label: string, counters: Partial<RuleStats>): RuleStats => ({
  ...{ label, leaving: false, packets: 0, bytes: 0, packetsOut: 0, bytesOut: 0 },
  ...{ dropped: 0, held: 0, delay: 0, stages: [] },
  ...counters,
});
const direction = (...rules: RuleStats[]) => ({ rules }) as unknown as DirectionStats;
const stats = (at: number, up: RuleStats[], down: RuleStats[] = []): Stats => ({
  ...{ revision: 1, at },
  ...{ up: direction(...up), down: direction(...down) },
});

describe('the history of a link', () => {
  it('has rates, mean delays and shares of losses between two messages', () => {
    const history = new History();
    history.add(stats(0, [rule('default', {})]), 100);
    const counters = {
      packets: 100,
      packetsOut: 80,
      bytesOut: 50_000,
      dropped: 20,
      held: 3,
      delay: 80 * 50e6,
    };
    history.add(stats(0.5e9, [rule('default', counters)]), 100.5);
    const past = history.past('default');
    const values = (['throughput', 'delay', 'held', 'loss'] as const).map((each) => latest(past, 'up', each));
    expect(values).toEqual([800_000, 50, 3, 20]);
    expect(past?.times).toEqual([100.5]);
    expect(latest(past, 'down', 'throughput')).toBeNull();
  });

  it('says nothing where nothing passed, and where a rule began anew', () => {
    const history = new History();
    history.add(stats(0, [rule('a', { packets: 5, packetsOut: 5 })]), 1);
    history.add(stats(1e9, [rule('a', { packets: 5, packetsOut: 5 })]), 2);
    expect([latest(history.past('a'), 'up', 'delay'), latest(history.past('a'), 'up', 'loss')]).toEqual([
      null,
      null,
    ]);
    history.add(stats(2e9, [rule('a', { packets: 1 })]), 3);
    expect(history.past('a')?.times).toEqual([2]);
  });

  it('has a gap where the link was out of sight', () => {
    const history = new History();
    const grown = (n: number) => [rule('a', { packets: n, packetsOut: n, bytesOut: 125 * n })];
    for (const n of [0, 1, 2]) history.add(stats(n * 1e9, grown(n)), n);
    history.interrupt();
    for (const n of [60, 61]) history.add(stats(n * 1e9, grown(n)), n);
    expect(history.past('a')?.up.throughput).toEqual([1000, 1000, null, 1000]);
  });

  it('is bounded in time and in rules', () => {
    const history = new History();
    for (let n = 0; n < 3000; n++) history.add(stats(n * 1e9, [rule('a', { packets: n })]), n);
    const past = history.past('a')!;
    expect(past.times.length).toBeLessThan(1200);
    expect(recent(past.times)).toHaveLength(600);
    expect(past.times.at(-1)).toBe(2999);
    for (let n = 0; n < 1000; n++) {
      for (const at of [0, 1])
        history.add(stats(3001e9 + 2 * n + at, [rule(`r${n}`, { packets: at })]), 3001 + n);
    }
    const known = Array.from({ length: 1000 }, (_, n) => history.past(`r${n}`)).filter(Boolean);
    expect(known).toHaveLength(128);
    expect(history.past('r999')).toBeDefined();
  });
});
