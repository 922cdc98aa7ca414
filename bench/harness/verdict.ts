/** Rows of the acceptance table: each bar, what was measured for it, and whether it is held. */
import { type Absence, type Bar, findSeries, type Quantity, type Result } from './result.ts';
import { median, pairedRatios, type Summary, summarize } from './stats.ts';

export type Verdict =
  /** The bar is held. */
  | 'met'
  /** It is not, or too few rounds gave a figure. */
  | 'missed'
  /** A program that is not installed, or a subject that cannot run here. */
  | 'absent'
  /** There is no bar: the figure stands beside the others. */
  | 'beside';

export interface Row {
  suite: string;
  path: string;
  subject: string;
  quantity: Quantity;
  summary: Summary;
  reference?: string;
  /** Median of the ratios of the rounds; NaN where there is no reference. */
  ratio: number;
  bar?: Bar;
  verdict: Verdict;
  /** Why there is no figure. */
  note?: string;
}

type Measured = Pick<Result, 'series' | 'bars' | 'absences'>;

/** Rows for all bars in their order, each followed by those subjects of its path that have none. */
export function judge(result: Measured): Row[] {
  const rows = result.bars.map((bar) => judgeBar(result, bar));
  const barred = new Set(rows.map((row) => keyOf(row)));
  const others = result.series
    .filter((series) => !barred.has(keyOf(series)))
    .map(
      (series): Row => ({
        ...series,
        summary: summarize(series.values),
        ratio: Number.NaN,
        verdict: 'beside',
      }),
    );
  return grouped([...rows, ...others]);
}

function judgeBar(result: Measured, bar: Bar): Row {
  const { suite, path, subject, quantity, reference } = bar;
  const values = findSeries(result, bar)?.values ?? [];
  const row: Row = {
    suite,
    path,
    subject,
    quantity,
    reference,
    bar,
    summary: summarize(values),
    ratio: Number.NaN,
    verdict: 'missed',
  };
  const absent = [subject, reference].map((name) => absenceOf(result.absences, name)).find(Boolean);
  if (absent) return { ...row, verdict: 'absent', note: `${absent.subject}: ${absent.reason}` };
  let figure = row.summary.median;
  let pairs = row.summary.rounds;
  if (reference !== undefined) {
    const other = findSeries(result, {
      suite,
      path: bar.referencePath ?? path,
      subject: reference,
      quantity,
    });
    const ratios = pairedRatios(values, other?.values ?? []);
    row.ratio = median(ratios);
    figure = row.ratio;
    pairs = ratios.length;
  }
  // A subject that fails in every second round has no figure, however good the others look.
  const rounds = values.length;
  if (pairs === 0) return { ...row, note: 'no figure' };
  if (pairs < rounds / 2) return { ...row, note: `${pairs} of ${rounds} rounds gave a figure` };
  return { ...row, verdict: holds(bar, figure) ? 'met' : 'missed' };
}

const holds = ({ atLeast = -Infinity, atMost = Infinity }: Bar, figure: number) =>
  figure >= atLeast && figure <= atMost;

const absenceOf = (absences: readonly Absence[], subject: string | undefined) =>
  absences.find((each) => each.subject === subject);

const keyOf = (row: { suite: string; path: string; subject: string; quantity: string }) =>
  [row.suite, row.path, row.subject, row.quantity].join('\0');

/** Suites and paths in the order in which they first appear, and within a path the order of `rows`. */
function grouped(rows: Row[]): Row[] {
  const by = (list: Row[], key: (row: Row) => string) => {
    const groups = new Map<string, Row[]>();
    for (const row of list) groups.set(key(row), [...(groups.get(key(row)) ?? []), row]);
    return [...groups.values()];
  };
  return by(rows, ({ suite }) => suite).flatMap((suite) => by(suite, ({ path }) => path).flat());
}
