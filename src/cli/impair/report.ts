/** What an impaired link did: a line while it runs, tables at its end. */
import Table from 'cli-table3';
import type { ImpairInspection, StageReport } from '../../impair/inspect.ts';
import { formatBitRate, formatBytes, grouped } from '../format.ts';

export type Directions = Record<'up' | 'down', ImpairInspection>;

/** Of both directions, by name of the interfaces. */
export interface LinkNames {
  left: string;
  right: string;
}

const arrow = ({ left, right }: LinkNames, direction: 'up' | 'down') =>
  direction === 'up' ? `${left} to ${right}` : `${right} to ${left}`;

/** Rates since the look before. @param seconds since then */
export function statsLine(
  now: Directions,
  before: Directions | undefined,
  seconds: number,
  names: LinkNames,
): string {
  return (['up', 'down'] as const)
    .map((direction) => {
      const [to, from] = [now[direction], before?.[direction]];
      const bits = ((to.bytesOut - (from?.bytesOut ?? 0)) * 8) / seconds;
      const dropped = to.dropped - (from?.dropped ?? 0);
      return `${arrow(names, direction)} ${formatBitRate(bits).padStart(12)}  held ${grouped(to.held)}  dropped ${grouped(dropped)}`;
    })
    .join(' | ');
}

/** A table for each direction: its rules, and what each of their stages did. */
export function reportText(directions: Directions, names: LinkNames): string {
  return (['up', 'down'] as const)
    .map((direction) => {
      const report = directions[direction];
      const table = new Table({
        head: [arrow(names, direction), 'in', 'out', 'bytes out', 'dropped', 'late p50', 'p99'],
        colAligns: ['left', 'right', 'right', 'right', 'left', 'right', 'right'],
        chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
        style: { head: [], border: [] },
      });
      for (const { label, packets, packetsOut, bytesOut, stages } of report.pipelines) {
        const whole = report.pipelines.length > 1 ? label : 'all packets';
        table.push([whole, grouped(packets), grouped(packetsOut), formatBytes(bytesOut), '', '', '']);
        for (const stage of stages) table.push(stageRow(stage));
      }
      return table.toString();
    })
    .join('\n');
}

function stageRow({ name, packets, packetsOut, bytesOut, drops, lateness }: StageReport): string[] {
  const reasons = Object.entries(drops).map(([reason, n]) => `${grouped(n)} ${reason}`);
  const late = (ns: number) => (lateness.count === 0 ? '' : `${(ns / 1000).toFixed(ns < 10_000 ? 1 : 0)} µs`);
  const { p50, p99 } = lateness;
  return [
    `  ${name}`,
    grouped(packets),
    grouped(packetsOut),
    formatBytes(bytesOut),
    reasons.join(', '),
    late(p50),
    late(p99),
  ];
}
