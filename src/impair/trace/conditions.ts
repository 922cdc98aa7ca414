/**
 * A link's conditions over time, as CSV: a header that names the columns (`time` and any of `rate`, `delay`, `loss`), then
 * a row for each change. Values are words (`1.5s`, `5mbit`, `20ms`, `1%`); bare numbers are seconds for `time`, milliseconds
 * for `delay`, bit/s for `rate`, 0 .. 1 for `loss`. A rate of 0 is an outage.
 */
import { configError } from '../../engine/config.ts';
import { MICROSECOND, MILLISECOND, SECOND } from '../../engine/units.ts';
import { parseProbability, parseRate, parseTime } from '../quantities.ts';

/** By row. A column that the file does not have is as if there were no such impairment. */
export interface Conditions {
  /** ns, rising. */
  time: Float64Array;
  /** bit/s; Infinity without a column. */
  rate: Float64Array;
  /** ns */
  delay: Float64Array;
  /** 0 .. 1 */
  loss: Float64Array;
}

const COLUMNS = ['time', 'rate', 'delay', 'loss'] as const;
type Column = (typeof COLUMNS)[number];
const ROWS = 1_000_000;
/** ns between two rows at least: each one that is passed takes time. */
const APART = MICROSECOND;
const BARE = /^\d+(\.\d+)?$/;
const ZERO = /^0+(\.0+)?[a-z]*$/i;

const READ: Record<Column, { read: (word: string) => number | undefined; expected: string }> = {
  time: {
    read: (word) => parseTime(BARE.test(word) ? Number(word) * SECOND : word),
    expected: 'seconds or a time such as 1.5s',
  },
  rate: {
    read: (word) => (ZERO.test(word) ? 0 : parseRate(BARE.test(word) ? Number(word) : word)),
    expected: 'bit/s or a rate such as 5mbit',
  },
  delay: {
    read: (word) => parseTime(BARE.test(word) ? Number(word) * MILLISECOND : word),
    expected: 'milliseconds or a time such as 20ms',
  },
  loss: { read: parseProbability, expected: 'a share such as 1% or 0.01' },
};

/** @throws ERR_CONFIG with the line that makes no sense */
export function parseConditions(text: string): Conditions {
  const lines = text.split('\n').map((line) => line.trim());
  const names = (lines[0] ?? '').split(',').map((name) => name.trim().toLowerCase());
  for (const name of names) {
    if (!COLUMNS.includes(name as Column))
      throw configError(`trace, line 1: found column "${name}", expected some of ${COLUMNS.join(', ')}`);
  }
  if (new Set(names).size !== names.length) throw configError('trace, line 1: a column stands there twice');
  if (!names.includes('time')) throw configError('trace, line 1: no column "time"');
  const rows: Record<Column, number>[] = [];
  for (const [i, line] of lines.entries()) {
    if (i === 0 || line === '') continue;
    if (rows.length === ROWS) throw configError(`trace: more than ${ROWS} rows`);
    const cells = line.split(',').map((cell) => cell.trim());
    if (cells.length !== names.length)
      throw configError(`trace, line ${i + 1}: found ${cells.length} values, expected ${names.length}`);
    const row = { time: 0, rate: Number.POSITIVE_INFINITY, delay: 0, loss: 0 };
    for (const [c, name] of names.entries()) {
      const { read, expected } = READ[name as Column];
      const value = read(cells[c]);
      if (value === undefined)
        throw configError(`trace, line ${i + 1}: found ${name} "${cells[c]}", expected ${expected}`);
      row[name as Column] = value;
    }
    const before = rows.at(-1);
    if (before === undefined ? row.time !== 0 : row.time <= before.time)
      throw configError(`trace, line ${i + 1}: times start at 0 and rise from row to row`);
    if (before !== undefined && row.time - before.time < APART)
      throw configError(`trace, line ${i + 1}: rows are 1us apart or more`);
    rows.push(row);
  }
  if (rows.length === 0) throw configError('trace: no rows');
  const column = (name: Column) => Float64Array.from(rows, (row) => row[name]);
  return { time: column('time'), rate: column('rate'), delay: column('delay'), loss: column('loss') };
}
