/** What is said at the end of a run. */
import type { Result } from './result.ts';
import { resultTable } from './table.ts';
import type { Row } from './verdict.ts';

/** Medians of fewer rounds than this are a look, and no proof. */
const ROUNDS_OF_A_PROOF = 9;

export function summaryText(result: Result, rows: readonly Row[]): string {
  const { machine, options, failures, absences, interrupted } = result;
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}, ${machine.date}`,
    `${options.rounds} rounds of ${options.seconds} s, ${options.pinned ? 'pinned' : 'not pinned'}; a ratio is the median of the rounds' ratios`,
    resultTable(rows),
  ];
  for (const { subject, reason } of absences) lines.push(`not measured: ${subject}: ${reason}`);
  for (const { suite, path, round, subject, reason } of failures) {
    lines.push(
      `failed: ${suite}: ${path}, ${round === 0 ? 'warm-up' : `round ${round}`}, ${subject}: ${reason}`,
    );
  }
  for (const { suite, path, subject, reference, bar } of rows.filter(isPoorTwin)) {
    lines.push(
      `poor twin: ${suite}: ${path}: ${subject} is below ${bar!.atLeast} of ${reference}: ratios against it prove nothing`,
    );
  }
  if (options.rounds < ROUNDS_OF_A_PROOF) {
    lines.push(`${options.rounds} rounds are a look: the bars are meant for ${ROUNDS_OF_A_PROOF} or more`);
  }
  if (interrupted) lines.push('interrupted: the figures are of the rounds until then');
  const barred = rows.filter(({ bar }) => bar);
  const count = (verdict: Row['verdict']) => barred.filter((row) => row.verdict === verdict).length;
  const absent = count('absent') > 0 ? `, ${count('absent')} not measured` : '';
  const missed = count('missed') > 0 ? `, ${count('missed')} MISSED` : '';
  lines.push(`${count('met')} of ${barred.length} bars met${missed}${absent}`);
  return `${lines.join('\n')}\n`;
}

const isPoorTwin = ({ bar, verdict }: Row) => bar?.validity === true && verdict === 'missed';
