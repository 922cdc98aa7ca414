/** Two stacks in one process. */
import { execute } from '../../harness/execute.ts';
import type { VisitContext } from '../../harness/lab.ts';
import { program } from '../../harness/root.ts';
import type { Experiment, Visit } from '../../harness/rounds.ts';
import { SUITE } from './ends.ts';

const MEGABYTES = '400';
const LIMIT_SECONDS = 60;
const PACKETS = 'ours, packets of 1500';
const SUPERFRAMES = 'ours, superframes';
const PATH = `${MEGABYTES} MB in one process`;

export function pairExperiments(): Experiment[] {
  const bar = { path: PATH, subject: PACKETS };
  return [
    {
      suite: SUITE,
      title: PATH,
      secondsPerVisit: 5,
      visits: [visit(PACKETS, 'cut'), visit(SUPERFRAMES, 'whole')],
      bars: [
        { ...bar, quantity: 'throughput', atLeast: 800e6 },
        { ...bar, quantity: 'packetRate', atLeast: 150e3 },
      ],
    },
  ];
}

function visit(subject: string, form: string): Visit {
  return {
    subject,
    measure: async ({ placement, signal }: VisitContext) => {
      const argv = [process.execPath, program('stack-pair'), MEGABYTES, form];
      const text = await execute(argv, { cpu: placement.server, seconds: LIMIT_SECONDS, signal });
      const { bytesPerSecond, packetsPerSecond } = JSON.parse(text) as Record<string, number>;
      return [
        { path: PATH, quantity: 'throughput', value: bytesPerSecond! * 8 },
        { path: PATH, quantity: 'packetRate', value: packetsPerSecond! },
      ];
    },
  };
}
