/** Tables of what Roulette has. */
import Table from 'cli-table3';

export type Row = (string | number)[];

/** Numbers to the right. */
export function table(
  head: string[],
  numbers: readonly string[],
  rows: readonly Row[],
  none: string,
): string {
  if (rows.length === 0) return none;
  const made = new Table({
    head,
    colAligns: head.map((name) => (numbers.includes(name) ? 'right' : 'left')),
    style: { head: [], border: [] },
  });
  made.push(...rows.map((row) => row.map(String)));
  return made.toString();
}
