/** A result made by hand. */
import type { Bar, Quantity, Result } from '../../bench/harness/result.ts';

type Figures = Record<string, number[]>;

export const bar = (subject: string, reference: string | undefined, limits: Partial<Bar>): Bar => ({
  suite: 'tunnel',
  path: 'TCP v4',
  quantity: 'throughput',
  subject,
  reference,
  ...limits,
});

/** Series of the suite `tunnel`, by path and subject. */
export function resultOf(figures: Record<string, Figures>, bars: Bar[] = []): Result {
  const quantityOf = (path: string): Quantity => (path.startsWith('UDP') ? 'packetRate' : 'throughput');
  return {
    version: 1,
    machine: {
      cpu: 'Z80 <fast>',
      cores: 2,
      memoryBytes: 65_536,
      kernel: '6.1',
      node: 'v20.19.0',
      date: '2026-01-02T03:04:05.678Z',
      commit: 'abc1234',
      load: 0,
      programs: {},
    },
    options: { suites: ['tunnel'], rounds: 9, seconds: 3, pinned: true },
    series: Object.entries(figures).flatMap(([path, subjects]) =>
      Object.entries(subjects).map(([subject, values]) => ({
        suite: 'tunnel',
        path,
        subject,
        quantity: quantityOf(path),
        values,
      })),
    ),
    bars,
    failures: [],
    absences: [],
    interrupted: false,
  };
}
