/** The acceptance table. */
import Table from 'cli-table3';
import { formatFigure, formatRatio, unitOf } from './format.ts';
import type { Bar } from './result.ts';
import type { Row } from './verdict.ts';

const HEAD = ['path', 'subject', 'median (min - max)', '', 'against', 'ratio', 'bar', ''];

export function resultTable(rows: readonly Row[]): string {
  const table = new Table({
    head: HEAD,
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    style: { head: [], border: [] },
    colAligns: ['left', 'left', 'right', 'left', 'left', 'right', 'right', 'left'],
  });
  let path = '';
  for (const row of rows) {
    const shown = `${row.suite}: ${row.path}`;
    table.push([shown === path ? '' : shown, ...cells(row)]);
    path = shown;
  }
  return table.toString();
}

function cells(row: Row): string[] {
  const { summary, quantity, reference = '', bar } = row;
  const figure = (value: number) => formatFigure(value, quantity);
  const range = Number.isNaN(summary.median)
    ? '-'
    : `${figure(summary.median)} (${figure(summary.min)} - ${figure(summary.max)})`;
  return [
    row.subject,
    range,
    unitOf(quantity),
    reference,
    formatRatio(row.ratio),
    bar ? barText(bar) : '',
    row.note ? `${WORDS[row.verdict]}: ${row.note}` : WORDS[row.verdict],
  ];
}

const WORDS = { met: 'met', missed: 'MISSED', absent: 'not measured', beside: '' } as const;

function barText({ atLeast, atMost, quantity, reference }: Bar): string {
  const shown = (value: number) => (reference === undefined ? formatFigure(value, quantity) : `${value}`);
  return [
    atLeast === undefined ? '' : `>= ${shown(atLeast)}`,
    atMost === undefined ? '' : `<= ${shown(atMost)}`,
  ].join('');
}
