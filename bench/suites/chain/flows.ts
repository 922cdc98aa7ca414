/** Many flows: new ones all the time, and 100 000 at once, of which the memory counts. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HostProcess } from 'tunconnector/testing';
import { latenessOf } from '../../harness/arrivals.ts';
import type { Experiment, Sample } from '../../harness/rounds.ts';
import { type Steady, steadily } from '../../harness/steady.ts';
import { FIRST_ADDRESS, type Members, membersVisit } from './members.ts';
import { OURS, SUITE } from './path.ts';

const PER_SECOND = 10_000;
const FLOWS = 100_000;
/** The same number of packets every second through flows that are known. */
const KNOWN_SECONDS = 3;
const SIZE = 64;
const DRAIN_MS = 300;
/** What is said of flows behind their packets is said, and memory is as it stays. */
const SETTLE_MS = 5000;
const TITLE = `${PER_SECOND} packets a second`;
const CHURN = `${TITLE}, each a new flow`;
const KNOWN = `${TITLE} of known flows`;
const MEMORY = `${FLOWS} live flows`;

export function flowExperiments(): Experiment[] {
  return [
    {
      suite: SUITE,
      title: CHURN,
      secondsPerVisit: FLOWS / PER_SECOND + KNOWN_SECONDS + SETTLE_MS / 1000 + 4,
      visits: [membersVisit({ replicas: [{ function: 'mark', mark: 0 }], chain: ['mark'] }, churn)],
      bars: [
        { path: CHURN, subject: OURS, quantity: 'missing', atMost: 0 },
        { path: KNOWN, subject: OURS, quantity: 'missing', atMost: 0 },
      ],
    },
  ];
}

async function churn(members: Members): Promise<Sample[]> {
  const { lab, ingress, egress, roulette } = members;
  const flow = (addresses: number, seconds: number, first = FIRST_ADDRESS) =>
    steadily(lab, {
      ...{ from: lab.a, to: lab.b, address: first, addresses, size: SIZE, drain: DRAIN_MS },
      ...{ seconds, packetsPerSecond: PER_SECOND },
    });
  // Of other flows: code is compiled.
  await flow(1000, KNOWN_SECONDS, '10.75.0.0');
  await sleep(1000, undefined, { signal: lab.signal });
  const processes = { ingress, egress, roulette };
  const before = await memoryOf(processes);
  const fresh = await flow(FLOWS, FLOWS / PER_SECOND);
  await sleep(SETTLE_MS, undefined, { signal: lab.signal });
  const after = await memoryOf(processes);
  const known = await flow(FLOWS, KNOWN_SECONDS);
  return [
    ...figures(CHURN, fresh),
    ...figures(KNOWN, known),
    ...Object.keys(processes).map((name): Sample => {
      const value = (after[name]! - before[name]!) / FLOWS;
      return { path: `${MEMORY}, ${name}`, quantity: 'memoryPerFlow', value };
    }),
  ];
}

function figures(path: string, run: Steady): Sample[] {
  const { median, p99 } = latenessOf(run, 0);
  return [
    { path, quantity: 'missing', value: run.sent - run.numbers.length },
    { path, quantity: 'oneWayMedian', value: median },
    { path, quantity: 'oneWayP99', value: p99 },
  ];
}

/** Resident, bytes. */
async function memoryOf(processes: Record<string, HostProcess>): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const [name, { pid }] of Object.entries(processes)) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    found[name] = Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }
  return found;
}
