import { describe, expect, it } from 'vitest';
import { parseResult, serializeResult } from '../../bench/harness/result.ts';
import { summaryText } from '../../bench/harness/summary.ts';
import { judge } from '../../bench/harness/verdict.ts';
import { bar, resultOf } from './result.ts';

const G = 1e9;

describe('verdicts', () => {
  it('a bar is held by the median of the ratios of the rounds, not by the ratio of the medians', () => {
    // The medians are 10 and 10, but ours was slower in two rounds of three.
    const figures = { 'TCP v4': { ours: [10 * G, 8 * G, 18 * G], C: [12 * G, 10 * G, 9 * G] } };
    const [row] = judge(resultOf(figures, [bar('ours', 'C', { atLeast: 0.88 })]));
    expect(row).toMatchObject({ verdict: 'missed', summary: { median: 10 * G, min: 8 * G, max: 18 * G } });
    expect(row!.ratio).toBeCloseTo(10 / 12);
  });

  it('limits hold where they are reached exactly', () => {
    const figures = { 'TCP v4': { ours: [88, 88], C: [100, 100] } };
    const verdicts = judge(
      resultOf(figures, [
        bar('ours', 'C', { atLeast: 0.88 }),
        bar('ours', 'C', { atMost: 0.88 }),
        bar('ours', 'C', { atLeast: 0.89 }),
        bar('ours', 'C', { atMost: 0.87 }),
        bar('ours', undefined, { atMost: 88 }),
        bar('ours', undefined, { atMost: 87 }),
      ]),
    ).map(({ verdict }) => verdict);
    expect(verdicts).toEqual(['met', 'met', 'missed', 'missed', 'met', 'missed', 'beside']);
  });

  it('a program that is not there is no miss, and its bar is not forgotten', () => {
    const result = resultOf({ 'TCP v4': { ours: [5, 5] } }, [bar('ours', 'OpenVPN', { atLeast: 9 })]);
    result.absences.push({ subject: 'OpenVPN', reason: 'openvpn not installed' });
    expect(judge(result)[0]).toMatchObject({ verdict: 'absent', note: 'OpenVPN: openvpn not installed' });
    expect(summaryText(result, judge(result))).toContain('0 of 1 bars met, 1 not measured');
  });

  it('a subject without figures, or with too few, misses its bars', () => {
    const none = resultOf({ 'TCP v4': { C: [1, 1] } }, [bar('ours', 'C', { atLeast: 0.5 })]);
    expect(judge(none)[0]).toMatchObject({ verdict: 'missed', note: 'no figure' });
    const few = resultOf({ 'TCP v4': { ours: [9, Number.NaN, Number.NaN], C: [1, 1, 1] } }, none.bars);
    expect(judge(few)[0]).toMatchObject({ verdict: 'missed', note: '1 of 3 rounds gave a figure' });
  });

  it('subjects without a bar stand beside, with the others of their path', () => {
    const result = resultOf(
      { 'TCP v4': { socat: [1], ours: [2], C: [2] }, 'UDP 64 B': { ours: [3], C: [3] } },
      [bar('ours', 'C', { atLeast: 0.9 })],
    );
    expect(judge(result).map(({ path, subject, verdict }) => [path, subject, verdict])).toEqual([
      ['TCP v4', 'ours', 'met'],
      ['TCP v4', 'socat', 'beside'],
      ['TCP v4', 'C', 'beside'],
      ['UDP 64 B', 'ours', 'beside'],
      ['UDP 64 B', 'C', 'beside'],
    ]);
  });
});

describe('the summary', () => {
  it('has a line for every bar, and says what was missed', () => {
    const result = resultOf({ 'TCP v4': { ours: [7 * G], C: [14 * G] } }, [
      bar('ours', 'C', { atLeast: 0.88 }),
      bar('C', undefined, { atLeast: 10 * G }),
    ]);
    const text = summaryText(result, judge(result));
    expect(text).toMatch(/ours +│ +7\.00 \(7\.00 - 7\.00\) │ Gbit\/s │ C +│ +0\.50 │ +>= 0\.88 │ MISSED/);
    expect(text).toMatch(/C +│ +14\.00 \(14\.00 - 14\.00\) │ Gbit\/s │ +│ +│ +>= 10\.00 │ met/);
    expect(text).toContain('1 of 2 bars met, 1 MISSED');
  });

  it('says when a twin is too slow to be compared with', () => {
    const result = resultOf({ 'TCP v4': { C: [1], 'plain veth': [20] } }, [
      bar('C', 'plain veth', { atLeast: 0.55, validity: true }),
    ]);
    expect(summaryText(result, judge(result))).toContain(
      'poor twin: tunnel: TCP v4: C is below 0.55 of plain veth',
    );
  });

  it('says what failed, in which round', () => {
    const result = resultOf({});
    result.failures.push({ suite: 'rtt', path: 'ping', subject: 'ours', round: 2, reason: 'no answer' });
    expect(summaryText(result, [])).toContain('failed: rtt: ping, round 2, ours: no answer');
  });
});

describe('result files', () => {
  it('come back as they were, with the rounds that failed', () => {
    const result = resultOf({ 'TCP v4': { ours: [1.5, Number.NaN, 3] } }, [
      bar('ours', 'C', { atLeast: 0.9 }),
    ]);
    expect(parseResult(serializeResult(result))).toEqual(result);
  });

  it('of another version are refused', () => {
    expect(() => parseResult('{"version":7}')).toThrow('no result of this version');
  });
});
