import { describe, expect, it } from 'vitest';
import type { VisitContext } from '../../bench/harness/lab.ts';
import { Progress } from '../../bench/harness/progress.ts';
import { type Experiment, runExperiments, selectExperiments } from '../../bench/harness/rounds.ts';

const quiet = { write: () => true };

function plan(rounds: number, abort = new AbortController()) {
  const context: VisitContext = { placement: {}, seconds: 3, scratch: '', signal: abort.signal };
  return { rounds, context, progress: new Progress(quiet, () => 0) };
}

/** Subjects that tell when they are visited; `value` may throw. */
function experiment(
  subjects: string[],
  value: (subject: string, visit: number) => number,
  more: Partial<Experiment> = {},
): Experiment & { log: string[] } {
  const log: string[] = [];
  const counts: Record<string, number> = {};
  return {
    suite: 'tunnel',
    title: 'TCP',
    secondsPerVisit: 1,
    bars: [],
    log,
    visits: subjects.map((subject) => ({
      subject,
      measure: async ({ seconds }) => {
        log.push(`${subject}${seconds === 3 ? '' : '~'}`);
        counts[subject] = (counts[subject] ?? -1) + 1;
        return [{ path: 'TCP', quantity: 'throughput', value: value(subject, counts[subject]) }];
      },
    })),
    ...more,
  };
}

describe('rounds', () => {
  it('take turns, and the first round is short and dropped', async () => {
    const each = experiment(['A', 'B', 'C'], (_subject, visit) => visit);
    const { series } = await runExperiments([each], plan(2));
    expect(each.log.join(' ')).toBe('A~ B~ C~ A B C A B C');
    expect(series.map(({ subject, values }) => [subject, values])).toEqual([
      ['A', [1, 2]],
      ['B', [1, 2]],
      ['C', [1, 2]],
    ]);
  });

  it('a failure is told, and leaves a gap in its round', async () => {
    const each = experiment(['A', 'B'], (subject, visit) => {
      if (subject === 'A' && visit === 2) throw new Error('no answer');
      return visit;
    });
    const { series, failures } = await runExperiments([each], plan(3));
    expect(series[0]!.values).toEqual([1, Number.NaN, 3]);
    expect(series[1]!.values).toEqual([1, 2, 3]);
    expect(failures).toEqual([{ suite: 'tunnel', path: 'TCP', subject: 'A', round: 2, reason: 'no answer' }]);
  });

  it('a subject that fails at the end has as many rounds as the others', async () => {
    const each = experiment(['A'], (_subject, visit) => {
      if (visit > 1) throw new Error('gone');
      return visit;
    });
    const { series } = await runExperiments([each], plan(3));
    expect(series[0]!.values).toEqual([1, Number.NaN, Number.NaN]);
  });

  it('what is not installed is left out and named once', async () => {
    const each = experiment(['A', 'B'], () => 1);
    each.visits[1]!.absent = 'b not installed';
    const { series, absences } = await runExperiments([each, each], plan(1));
    expect(absences).toEqual([{ subject: 'B', reason: 'b not installed' }]);
    expect(new Set(series.map(({ subject }) => subject))).toEqual(new Set(['A']));
  });

  it('end where the signal fires, and what was measured is kept', async () => {
    const abort = new AbortController();
    const each = experiment(['A', 'B'], (subject, visit) => {
      if (subject === 'B' && visit === 2) {
        abort.abort();
        throw new Error('aborted');
      }
      return visit;
    });
    const { series, failures } = await runExperiments([each, each], plan(5, abort));
    expect(series.map(({ values }) => values.slice(0, 2))).toEqual([
      [1, 2],
      [1, Number.NaN],
    ]);
    expect(failures).toEqual([]);
    expect(each.log).toHaveLength(6);
  });
});

describe('--only', () => {
  it('keeps what matches and what its bars refer to', () => {
    const bars = [
      { path: 'TCP', quantity: 'throughput', subject: 'ours', reference: 'C', atLeast: 0.9 } as const,
      { path: 'TCP', quantity: 'throughput', subject: 'C', reference: 'veth', atLeast: 0.5 } as const,
    ];
    const all = [
      experiment(['veth', 'C', 'ours', 'socat'], () => 1, { bars }),
      experiment(['socat'], () => 1),
    ];
    const kept = selectExperiments(all, /tcp\/ours/i);
    expect(kept).toHaveLength(1);
    expect(kept[0]!.visits.map(({ subject }) => subject)).toEqual(['C', 'ours']);
    expect(kept[0]!.bars).toEqual([bars[0]]);
    expect(selectExperiments(all, /nothing/)).toEqual([]);
    expect(selectExperiments(all)).toHaveLength(2);
  });
});

describe('progress', () => {
  it('corrects its guess of the time left by what the turns really take', () => {
    let now = 0;
    const lines: string[] = [];
    const progress = new Progress({ write: (text) => lines.push(text) }, () => now);
    progress.expect([
      { ...experiment(['A', 'B'], () => 1), rounds: 5, secondsPerVisit: 7.5, visits: [{ subject: 'A' }] },
    ]);
    // 4.5 s of warm-up and five turns of 10 s.
    expect(progress.left()).toBe(54_500);
    for (let turn = 0; turn < 3; turn++) progress.visited();
    now = 2 * 24_500;
    expect(progress.left()).toBe(2 * 30_000);
    expect(lines.join('')).toBe('bench: 6 turns, about 0:55\n');
  });
});
