/** What flows see of a replica that dies, or hangs, and of a chain that is edited. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Experiment, Sample } from '../../harness/rounds.ts';
import { percentile } from '../../harness/stats.ts';
import { steadily } from '../../harness/steady.ts';
import { type Fates, FIRST_ADDRESS, fatesOf, type Members, membersVisit } from './members.ts';
import { OURS, SUITE } from './path.ts';

const FLOWS = 1000;
/** Packets a second: enough to see when something is lost, and few enough for the seven processes of an edit. */
const DEATH_RATE = 5000;
const EDIT_RATE = 1000;
const SIZE = 64;
const REPLICAS = 4;
/** All flows are placed, registered and known, and code is compiled. */
const SETTLED_SECONDS = 3;
/** What happens afterwards. */
const AFTER_SECONDS = 2;
const DRAIN_MS = 300;

const DEATHS = {
  'kill -9 of one replica of 4': { signal: 'SIGKILL', atMost: 20e6 },
  'SIGSTOP of one replica of 4': { signal: 'SIGSTOP', atMost: 400e6 },
} as const;
const EDIT = 'a chain of 2 functions gets 2 others';
const OLD = ['old1', 'old2'];
const NEW = ['new1', 'new2'];
const SWITCHED = 50e6;

export function failureExperiments(): Experiment[] {
  const secondsPerVisit = SETTLED_SECONDS + AFTER_SECONDS + 1;
  return [
    ...Object.entries(DEATHS).map(([path, { signal, atMost }]): Experiment => {
      const bar = { path, subject: OURS };
      return {
        ...{ suite: SUITE, title: path, secondsPerVisit },
        visits: [
          membersVisit(
            {
              replicas: Array.from({ length: REPLICAS }, (_, mark) => ({ function: 'mark', mark })),
              chain: ['mark'],
            },
            (members) => death(members, path, signal),
          ),
        ],
        bars: [
          { ...bar, quantity: 'outageP99', atMost },
          { ...bar, quantity: 'collateral', atMost: 0 },
        ],
      };
    }),
    {
      ...{ suite: SUITE, title: EDIT, secondsPerVisit },
      visits: [
        membersVisit(
          { replicas: [...OLD, ...NEW].map((name, mark) => ({ function: name, mark })), chain: OLD },
          edit,
        ),
      ],
      bars: [
        { path: EDIT, subject: OURS, quantity: 'switched', atMost: SWITCHED },
        { path: EDIT, subject: OURS, quantity: 'mixed', atMost: 0 },
        { path: EDIT, subject: OURS, quantity: 'missing', atMost: 0 },
      ],
    },
  ];
}

/** Traffic of all flows, with something that happens meanwhile: what became of each packet, and when it happened. */
async function withTraffic<T>(
  { lab }: Members,
  packetsPerSecond: number,
  happens: () => T | Promise<T>,
): Promise<[Fates, T]> {
  const flow = (seconds: number) =>
    steadily(lab, {
      ...{ from: lab.a, to: lab.b, address: FIRST_ADDRESS, addresses: FLOWS, size: SIZE },
      ...{ seconds, packetsPerSecond, drain: DRAIN_MS },
    });
  await flow(SETTLED_SECONDS);
  const run = flow(1 + AFTER_SECONDS);
  run.catch(() => {});
  await sleep(1000, undefined, { signal: lab.signal });
  const happened = await happens();
  return [fatesOf(await run), happened];
}

/**
 * The outage of a flow is from the death of the replica to the last of its packets that was lost: flows send in turn, so that all
 * together they look every 0.2 ms, and each by itself every 200.
 */
async function death(members: Members, path: string, signal: NodeJS.Signals): Promise<Sample[]> {
  const dead = members.replicas[0]!;
  let gone = Number.NaN;
  const [fates, at] = await withTraffic(members, DEATH_RATE, () => {
    const now = Date.now();
    dead.kill(signal);
    void dead.ended.then(() => {
      gone = Date.now();
    });
    return now;
  });
  const before = new Int16Array(FLOWS).fill(-1);
  const outage = new Float64Array(FLOWS);
  let lost = 0;
  let collateral = 0;
  for (let number = 0; number < fates.sent; number++) {
    const flow = number % FLOWS;
    const mark = fates.marks[number]!;
    const arrived = mark >= 0;
    if (before[flow]! < 0) before[flow] = mark;
    const wasHit = before[flow] === 1;
    if (wasHit && !arrived) {
      lost++;
      outage[flow] = (fates.left[number]! - at) * 1e6;
    }
    if (!wasHit && (!arrived || mark !== before[flow])) collateral++;
  }
  const hit = before.filter((mark) => mark === 1).length;
  const last = fates.marks.slice(-FLOWS);
  if (hit === 0) throw new Error('no flow went through the replica that was to die');
  if (last.some((mark) => mark <= 1)) throw new Error('not all flows have another replica in the end');
  const outages = Array.from(outage).filter((each) => each !== 0);
  return [
    { path, quantity: 'outageMedian', value: outages.length > 0 ? percentile(outages, 0.5) : 0 },
    { path, quantity: 'outageP99', value: outages.length > 0 ? percentile(outages, 0.99) : 0 },
    { path, quantity: 'collateral', value: collateral },
    { path, quantity: 'missing', value: lost },
    { path, quantity: 'flowsHit', value: hit },
    ...(Number.isNaN(gone) ? [] : [{ path, quantity: 'gone' as const, value: (gone - at) * 1e6 }]),
  ];
}

async function edit(members: Members): Promise<Sample[]> {
  const [fates, { asked }] = await withTraffic(members, EDIT_RATE, () => members.put(NEW));
  const [oldMarks, newMarks] = [0b0011, 0b1100];
  let missing = 0;
  let mixed = 0;
  let first = Number.POSITIVE_INFINITY;
  let lastOld = Number.NEGATIVE_INFINITY;
  for (let number = 0; number < fates.sent; number++) {
    const mark = fates.marks[number]!;
    if (mark < 0) missing++;
    else if (mark === newMarks) first = Math.min(first, fates.arrived[number]!);
    else if (mark === oldMarks) lastOld = Math.max(lastOld, fates.left[number]!);
    else mixed++;
  }
  if (first === Number.POSITIVE_INFINITY) throw new Error('no packet came by the new path');
  if (first < asked) throw new Error('the new path was there before it was asked for');
  return [
    { path: EDIT, quantity: 'switched', value: (first - asked) * 1e6 },
    { path: EDIT, quantity: 'settled', value: (lastOld - asked) * 1e6 },
    { path: EDIT, quantity: 'mixed', value: mixed },
    { path: EDIT, quantity: 'missing', value: missing },
  ];
}
