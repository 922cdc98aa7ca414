/** Simulated networks of 10, 100 and 1000 hosts with 10 flows each: whether what they take grows in proportion. */
import path from 'node:path';
import { execute } from '../harness/execute.ts';
import type { VisitContext } from '../harness/lab.ts';
import { ROOT } from '../harness/root.ts';
import type { Experiment, Sample, Visit } from '../harness/rounds.ts';

const SUITE = 'sim';
const programOf = (name: string) => path.join(ROOT, 'build', 'bench', 'programs', `${name}.js`);
const PATH = '10 flows of 20 kB for each host';
const FLOWS = 10;
const PROGRAM = programOf('sim');
const TIMES = programOf('sim-times');
const LONG = 'long runs';
const LIMIT_SECONDS = 300;
const SIZES = [10, 100, 1000];
const subjectOf = (hosts: number) => `${hosts} hosts`;

export function simExperiments(): Experiment[] {
  const bar = { path: PATH, subject: subjectOf(1000), reference: subjectOf(100) };
  return [
    {
      suite: SUITE,
      title: PATH,
      secondsPerVisit: 20,
      visits: SIZES.map(visit),
      bars: [
        { ...bar, quantity: 'eventRate', atLeast: 0.5 },
        { ...bar, quantity: 'memoryPerHost', atMost: 1.3 },
      ],
    },
    {
      suite: SUITE,
      title: LONG,
      secondsPerVisit: 25,
      visits: [{ subject: 'ours', measure: longRuns }],
      bars: [
        { path: LONG, subject: 'ours', quantity: 'simulatedMinute', atMost: 0.5e9 },
        { path: LONG, subject: 'ours', quantity: 'simulatedHour', atMost: 5e9 },
        { path: LONG, subject: 'ours', quantity: 'stepBack', atMost: 0.5e9 },
      ],
    },
  ];
}

async function longRuns({ placement, signal }: VisitContext): Promise<Sample[]> {
  const limit = { cpu: placement.server, seconds: LIMIT_SECONDS, signal };
  const { minute, hour, back } = JSON.parse(await execute([process.execPath, TIMES], limit)) as Record<
    string,
    number
  >;
  return [
    { path: LONG, quantity: 'simulatedMinute', value: minute! },
    { path: LONG, quantity: 'simulatedHour', value: hour! },
    { path: LONG, quantity: 'stepBack', value: back! },
  ];
}

/** A process of its own for each turn. */
function visit(hosts: number): Visit {
  return {
    subject: subjectOf(hosts),
    measure: async ({ placement, signal }: VisitContext) => {
      const limit = { cpu: placement.server, seconds: LIMIT_SECONDS, signal };
      const text = await execute([process.execPath, PROGRAM, `${hosts}`, `${FLOWS}`], limit);
      const { eventsPerSecond, memoryPerHost, startPerHost } = JSON.parse(text) as Record<string, number>;
      return [
        { path: PATH, quantity: 'eventRate', value: eventsPerSecond! },
        { path: PATH, quantity: 'memoryPerHost', value: memoryPerHost! },
        { path: PATH, quantity: 'startPerHost', value: startPerHost! },
      ];
    },
  };
}
