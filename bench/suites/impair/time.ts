/**
 * How well delays keep time. A stage says of its own error how long after their time packets left it; beside it stands
 * what a host sees: from the call that sends a datagram to the interrupt in which it arrives, without the delay.
 */
import { latenessOf } from '../../harness/arrivals.ts';
import { startJson, stopJson } from '../../harness/json-program.ts';
import { type Lab, OUTER, withBridgeLab } from '../../harness/lab.ts';
import { ping } from '../../harness/ping.ts';
import { program, twin } from '../../harness/root.ts';
import type { Experiment, Sample, Visit } from '../../harness/rounds.ts';
import { steadily } from '../../harness/steady.ts';
import { samples } from '../rtt.ts';
import { bridgeVisit, impairVisit, type Measurement, ownLateness, SUITE } from './command.ts';

const BRIDGE = 'ours, no pipeline';
/** Wakes once for each packet that is sent here. */
const SLEEP = 'C, sleeps alone';
const STAGES = 'ours, ten stages';

const MS = 1e6;
const SIZE = 64;
const STEADY = 1000;
const FAST = 5000;
/** 100 000 packets, whatever `--seconds` says: with none of them early, less than one in 14 000 is (99.9 %). */
const MANY = { packetsPerSecond: 20_000, seconds: 5 };
/** What a packet takes of the processor that is let in and out alone, ns, about. */
const TURN = 100_000;
/** What the last packet may be late, ms. */
const DRAIN = 300;

export function timeExperiments(seconds: number): Experiment[] {
  return [
    ...[1, 10, 100, 1000].map((ms) => idle(seconds, ms)),
    busy(seconds),
    fast(seconds),
    many(),
    tenStages(seconds),
  ];
}

const outside = (path: string) => `${path}, outside`;

interface Steady {
  delay: number;
  packetsPerSecond: number;
  seconds?: number;
}

/** Datagrams up the link. */
function delayed(path: string, { delay, packetsPerSecond, seconds }: Steady): Measurement['measure'] {
  return async (lab) => {
    const arrivals = await steadily(lab, {
      ...{ from: lab.a, to: lab.b, address: OUTER.b, size: SIZE, packetsPerSecond },
      ...{ seconds: seconds ?? lab.seconds, drain: delay / MS + DRAIN },
      ...{ fromCpu: lab.placement.client, toCpu: lab.placement.server },
    });
    const { median, p99, early } = latenessOf(arrivals, delay);
    return [
      { path: outside(path), quantity: 'lateMedian', value: median },
      { path: outside(path), quantity: 'lateP99', value: p99 },
      { path, quantity: 'early', value: early },
      { path, quantity: 'lost', value: 1 - arrivals.numbers.length / arrivals.sent },
    ];
  };
}

function idle(seconds: number, ms: number): Experiment {
  const path = `delay of ${ms} ms, 1 kpps`;
  const subject = `ours, delay ${ms}ms`;
  const visits = [
    impairVisit(subject, ['--delay', `${ms}ms`], {
      free: true,
      measure: delayed(path, { delay: ms * MS, packetsPerSecond: STEADY }),
      report: ownLateness(path),
    }),
  ];
  // Once is enough: it knows of no delay.
  if (ms === 1) {
    const argv = [process.execPath, program('bridge'), 'left', 'right'];
    const measure = delayed(path, { delay: 0, packetsPerSecond: STEADY });
    visits.push(bridgeVisit(BRIDGE, argv, { measure }), sleepVisit(path));
  }
  return {
    suite: SUITE,
    title: path,
    secondsPerVisit: seconds + (ms + DRAIN) / 1000,
    visits,
    bars: [
      { path, quantity: 'lateMedian', subject, atMost: 50_000 },
      { path, quantity: 'lateP99', subject, atMost: 250_000 },
      { path, quantity: 'early', subject, atMost: 0 },
    ],
  };
}

/** What else runs on the same processor makes everybody late who sleeps; a timer alone, and as much work, say how late. */
function busy(seconds: number): Experiment {
  const path = 'delay of 10 ms, 1 kpps, on a busy processor';
  const subject = 'ours, delay 10ms';
  const crowded = (measure: Measurement['measure']) => (lab: Lab) => besideLoad(lab, () => measure(lab));
  return {
    suite: SUITE,
    title: path,
    secondsPerVisit: seconds,
    visits: [
      sleepVisit(path, TURN, crowded),
      impairVisit(subject, ['--delay', '10ms'], {
        measure: crowded(delayed(path, { delay: 10 * MS, packetsPerSecond: STEADY })),
        report: ownLateness(path),
      }),
    ],
    bars: [{ path, quantity: 'early', subject, atMost: 0 }],
  };
}

/** Runs `work` while a program that never sleeps shares the bridge's processor. */
async function besideLoad<T>(lab: Lab, work: () => Promise<T>): Promise<T> {
  const load = lab.spawn(lab.b, lab.placement.bridge, ['sh', '-c', 'while :; do :; done']);
  try {
    return await work();
  } finally {
    await load.stop('SIGKILL');
  }
}

/** @param work what it computes after each time, ns */
function sleepVisit(
  path: string,
  work = 0,
  around: (measure: Measurement['measure']) => Measurement['measure'] = (measure) => measure,
): Visit {
  const measure = around(async (lab) => {
    const process = await startJson(lab, lab.b, lab.placement.bridge, [
      twin('sleep'),
      `${1e9 / STEADY}`,
      `${work}`,
    ]);
    await lab.run(lab.a, undefined, ['sleep', `${lab.seconds}`], lab.seconds * 1000 + 5000);
    const { p50 = Number.NaN, p99 = Number.NaN } = await stopJson(process);
    return [
      { path, quantity: 'lateMedian', value: p50 },
      { path, quantity: 'lateP99', value: p99 },
    ];
  });
  return { subject: SLEEP, measure: (context) => withBridgeLab(context, measure) };
}

function fast(seconds: number): Experiment {
  const path = 'delay of 100 ms, 5 kpps';
  const subject = 'ours, delay 100ms';
  return {
    suite: SUITE,
    title: path,
    secondsPerVisit: seconds + 0.4,
    visits: [
      impairVisit(subject, ['--delay', '100ms'], {
        measure: delayed(path, { delay: 100 * MS, packetsPerSecond: FAST }),
        report: ownLateness(path),
      }),
    ],
    bars: [
      { path, quantity: 'lost', subject, atMost: 0 },
      { path: outside(path), quantity: 'lateMedian', subject, atMost: 1 * MS },
      { path, quantity: 'early', subject, atMost: 0 },
    ],
  };
}

function many(): Experiment {
  const path = 'delay of 5 ms, 100 000 packets at 20 kpps';
  const subject = 'ours, delay 5ms';
  return {
    suite: SUITE,
    title: path,
    rounds: 1,
    secondsPerVisit: MANY.seconds,
    visits: [
      impairVisit(subject, ['--delay', '5ms'], {
        measure: delayed(path, { delay: 5 * MS, ...MANY }),
        report: ownLateness(path),
      }),
    ],
    bars: [{ path, quantity: 'early', subject, atMost: 0 }],
  };
}

function tenStages(seconds: number): Experiment {
  const path = 'ping through ten delays of 10 ms each way';
  const words = Array.from({ length: 10 }, () => ['--delay', '10ms']).flat();
  return {
    suite: SUITE,
    title: path,
    secondsPerVisit: seconds,
    visits: [impairVisit(STAGES, words, { measure: (lab) => roundTrips(lab, path) })],
    bars: [{ path, quantity: 'rttMedian', subject: STAGES, atLeast: 200 * MS, atMost: 202 * MS }],
  };
}

async function roundTrips(lab: Lab, path: string): Promise<Sample[]> {
  const { seconds, signal } = lab;
  const times = await ping(lab.a, OUTER.b, { seconds, cpu: lab.placement.client, signal });
  return samples(path, times, ['rttMean', 'rttMedian', 'rttP99']);
}
