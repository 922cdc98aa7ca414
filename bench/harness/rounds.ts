/**
 * Interleaved rounds: A B C, A B C, ... with the first round dropped as warm-up. What changes slowly on a machine, its
 * heat and its neighbours, then changes for all, and the ratios of a round cancel it out.
 */
import type { VisitContext } from './lab.ts';
import type { Progress } from './progress.ts';
import type { Absence, Bar, Failure, Quantity, Series } from './result.ts';

export interface Sample {
  path: string;
  quantity: Quantity;
  value: number;
}

/** One subject's turn in a round. */
export interface Visit {
  subject: string;
  /** Why it cannot take part here. */
  absent?: string;
  /** Seconds that a turn takes, about, apart from what is measured. */
  overhead?: number;
  measure(context: VisitContext): Promise<Sample[]>;
}

/** What is measured together, round by round. */
export interface Experiment {
  suite: string;
  title: string;
  visits: Visit[];
  bars: Omit<Bar, 'suite'>[];
  /** Seconds of measuring in one turn, for what is shown of the time left. */
  secondsPerVisit: number;
  /** Overrides the rounds asked for, where a figure is a count and needs no median. */
  rounds?: number;
}

export interface Measured {
  series: Series[];
  bars: Bar[];
  failures: Failure[];
  absences: Absence[];
}

export interface RunPlan {
  rounds: number;
  context: VisitContext;
  progress: Progress;
}

/** Seconds of traffic in the warm-up round, whose figures nobody reads. */
const WARM_UP_SECONDS = 1;

/** Runs one experiment after the other, and gives what was measured until then when the signal fires. */
export async function runExperiments(experiments: readonly Experiment[], plan: RunPlan): Promise<Measured> {
  const measured: Measured = { series: [], bars: [], failures: [], absences: [] };
  plan.progress.expect(experiments.map((each) => ({ ...each, rounds: each.rounds ?? plan.rounds })));
  for (const experiment of experiments) {
    if (plan.context.signal.aborted) break;
    await runExperiment(experiment, plan, measured);
  }
  return measured;
}

async function runExperiment(experiment: Experiment, plan: RunPlan, measured: Measured): Promise<void> {
  const { suite, title, visits, bars } = experiment;
  const { context, progress } = plan;
  const rounds = experiment.rounds ?? plan.rounds;
  for (const { subject, absent } of visits) {
    if (absent && !measured.absences.some((each) => each.subject === subject)) {
      measured.absences.push({ subject, reason: absent });
      progress.note(`${subject} is left out: ${absent}`);
    }
  }
  const present = visits.filter((visit) => !visit.absent);
  const series: Series[] = [];
  // Without the warm-up where there is but one round: that is a look, and no measurement.
  const first = rounds > 1 ? 0 : 1;
  for (let round = first; round <= rounds && !context.signal.aborted; round++) {
    for (const visit of present) {
      if (context.signal.aborted) break;
      progress.visit({ suite, title, round, rounds, subject: visit.subject });
      const seconds = round === 0 ? Math.min(WARM_UP_SECONDS, context.seconds) : context.seconds;
      try {
        const samples = await visit.measure({ ...context, seconds });
        if (round > 0) record(series, suite, visit.subject, round, samples);
      } catch (error) {
        if (context.signal.aborted) break;
        const reason = oneLine(error instanceof Error ? error.message : String(error));
        measured.failures.push({ suite, path: title, subject: visit.subject, round, reason });
        progress.note(`${suite}: ${title}, round ${round}, ${visit.subject} failed: ${reason}`);
      }
      progress.visited();
    }
  }
  for (const { values } of series) fill(values, rounds);
  measured.series.push(...series);
  measured.bars.push(...bars.map((bar) => ({ ...bar, suite })));
}

const oneLine = (text: string) => text.replace(/\s+/g, ' ').trim().slice(0, 400);

function record(series: Series[], suite: string, subject: string, round: number, samples: Sample[]): void {
  for (const { path, quantity, value } of samples) {
    let found = series.find(
      (each) =>
        each.suite === suite && each.path === path && each.subject === subject && each.quantity === quantity,
    );
    if (!found) {
      found = { suite, path, subject, quantity, values: [] };
      series.push(found);
    }
    fill(found.values, round - 1);
    found.values[round - 1] = value;
  }
}

/** A round without a figure is NaN, so that the others stay in their places. */
function fill(values: number[], length: number): void {
  while (values.length < length) values.push(Number.NaN);
}

/**
 * What matches the pattern, by `suite/title/subject`, with what its bars refer to. Without a pattern, everything.
 */
export function selectExperiments(experiments: readonly Experiment[], only?: RegExp): Experiment[] {
  if (!only) return [...experiments];
  return experiments.flatMap((experiment) => {
    const { suite, title, visits, bars } = experiment;
    const wanted = new Set(
      visits.map(({ subject }) => subject).filter((subject) => only.test(`${suite}/${title}/${subject}`)),
    );
    if (wanted.size === 0) return [];
    const kept = bars.filter(({ subject }) => wanted.has(subject));
    for (const { reference } of kept) if (reference) wanted.add(reference);
    return [{ ...experiment, visits: visits.filter(({ subject }) => wanted.has(subject)), bars: kept }];
  });
}
