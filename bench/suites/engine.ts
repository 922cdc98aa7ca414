/** Source -> Tee -> two Sinks: how many packets per second apps hand on, against the same design in C. */
import path from 'node:path';
import { execute } from '../harness/execute.ts';
import type { VisitContext } from '../harness/lab.ts';
import { ROOT, twin } from '../harness/root.ts';
import type { Experiment, Visit } from '../harness/rounds.ts';

const SUITE = 'engine';
const PATH = 'Source -> Tee -> 2 Sinks';
const TWIN = 'C, copies';
const SNABB = 'C, copies, slots 2 KiB apart';
const PROGRAM = path.join(ROOT, 'build', 'bench', 'engine', 'engine.js');
const GRACE_SECONDS = 30;

export function engineExperiments(seconds: number): Experiment[] {
  const bar = { path: PATH, quantity: 'handOverRate' as const };
  return [
    {
      suite: SUITE,
      title: PATH,
      secondsPerVisit: seconds + 1,
      visits: [
        visit(TWIN, (time) => [twin('engine'), time]),
        // As Snabb has them, and this engine had: all packets begin in two sets of the first-level cache.
        visit(SNABB, (time) => [twin('engine'), time, 'rush', '256', '2048']),
        visit('ours, shared', (time) => [process.execPath, PROGRAM, time, 'shared']),
        visit('ours, copies', (time) => [process.execPath, PROGRAM, time, 'copies']),
      ],
      bars: [TWIN, SNABB].flatMap((reference) => [
        { ...bar, subject: 'ours, shared', reference, atLeast: 2 },
        { ...bar, subject: 'ours, copies', reference, atLeast: 0.7 },
      ]),
    },
  ];
}

/** A process of its own for each turn: what one has compiled does not serve, or hinder, the next. */
function visit(subject: string, argv: (seconds: string) => string[]): Visit {
  return {
    subject,
    overhead: 0.5,
    measure: async ({ placement, seconds, signal }: VisitContext) => {
      const limit = { cpu: placement.server, seconds: seconds + GRACE_SECONDS, signal };
      const text = await execute(argv(`${seconds}`), limit);
      const { packetsPerSecond: value } = JSON.parse(text) as { packetsPerSecond: number };
      return [{ path: PATH, quantity: 'handOverRate', value }];
    },
  };
}
