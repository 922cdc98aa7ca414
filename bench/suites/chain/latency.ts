/** What each function adds to the latency of a chain, and whether packets stay in order. */
import type { Lab } from '../../harness/lab.ts';
import type { Experiment, Sample } from '../../harness/rounds.ts';
import { fitLine, percentile } from '../../harness/stats.ts';
import { steadily } from '../../harness/steady.ts';
import { udpRate } from '../../harness/udp.ts';
import { functionsOf, innerAddress, OURS, type Path, pathVisit, SUBJECTS, SUITE, TWIN } from './path.ts';

const PER_HOP = 'latency per function, 1000 packets a second';
const ORDER = 'UDP through 8 functions, as fast as it goes';
const LENGTHS = [0, 1, 2, 4, 8];
const LONGEST = 8;
const PACKETS_PER_SECOND = 1000;
const SIZE = 64;
const UDP_SIZE = 1200;
const DRAIN_MS = 50;
const WARM_UP_RATE = 4000;
const WARM_UP_SECONDS = 6;
/** One length's turn. */
const SLICE_SECONDS = 0.5;

export function latencyExperiments(seconds: number): Experiment[] {
  const bar = { path: PER_HOP, subject: OURS, reference: TWIN };
  return [
    {
      suite: SUITE,
      title: PER_HOP,
      secondsPerVisit: LENGTHS.length * 1.4 * (seconds + SLICE_SECONDS) + WARM_UP_SECONDS + 2,
      visits: SUBJECTS.map((subject) => pathVisit(subject, LENGTHS, latencies)),
      bars: [
        { ...bar, quantity: 'hopMedian', atMost: 1.5 },
        { ...bar, quantity: 'hopP99', atMost: 2 },
        { path: PER_HOP, subject: OURS, quantity: 'linearity', atLeast: 0.98 },
        { path: PER_HOP, subject: OURS, quantity: 'lost', atMost: 0 },
        { path: PER_HOP, subject: OURS, quantity: 'reordered', atMost: 0 },
      ],
    },
    {
      suite: SUITE,
      title: ORDER,
      secondsPerVisit: seconds + 2,
      visits: SUBJECTS.map((subject) => pathVisit(subject, [LONGEST], burst)),
      bars: [{ path: ORDER, subject: OURS, quantity: 'reordered', atMost: 0 }],
    },
  ];
}

/**
 * One-way latencies of all lengths, and the lines through them: what a function adds is the slope. The lengths take turns, so that
 * what the machine does meanwhile is in the figures of all.
 */
async function latencies({ lab }: Path): Promise<Sample[]> {
  const times = LENGTHS.map((): number[] => []);
  let sent = 0;
  let late = 0;
  await warmUp(lab);
  for (let slice = 0; slice < lab.seconds / SLICE_SECONDS; slice++) {
    for (const [i, length] of LENGTHS.entries()) {
      const arrivals = await steady(lab, length, SLICE_SECONDS);
      for (const [n, at] of arrivals.arrived.entries()) times[i]!.push(at - arrivals.left[n]!);
      sent += arrivals.sent;
      late += reordered(arrivals.numbers);
    }
  }
  const medians = times.map((each) => percentile(each, 0.5));
  const tails = times.map((each) => percentile(each, 0.99));
  const { slope, determination } = fitLine(LENGTHS, medians);
  const path = PER_HOP;
  return [
    { path, quantity: 'hopMedian', value: slope },
    { path, quantity: 'hopP99', value: fitLine(LENGTHS, tails).slope },
    { path, quantity: 'linearity', value: determination },
    { path, quantity: 'lost', value: 1 - times.flat().length / sent },
    { path, quantity: 'reordered', value: late },
    ...LENGTHS.flatMap((length, i): Sample[] => [
      { path: `latency, ${functionsOf(length)}`, quantity: 'oneWayMedian', value: medians[i]! },
      { path: `latency, ${functionsOf(length)}`, quantity: 'oneWayP99', value: tails[i]! },
    ]),
  ];
}

/**
 * Until the code of all is compiled, and compiled again where it is hot: what runs once for each packet that comes alone has to
 * be seen some 10 000 times. A program that has just been started is three times as slow.
 */
async function warmUp(lab: Lab): Promise<void> {
  await rate(lab, 1, LONGEST);
  await steady(lab, LONGEST, WARM_UP_SECONDS, WARM_UP_RATE);
  for (const length of LENGTHS) await steady(lab, length, SLICE_SECONDS);
}

const steady = (lab: Lab, length: number, seconds: number, packetsPerSecond = PACKETS_PER_SECOND) =>
  steadily(lab, {
    ...{ from: lab.a, to: lab.b, address: innerAddress(length), size: SIZE, seconds, drain: DRAIN_MS },
    ...{ packetsPerSecond },
    ...{ fromCpu: lab.placement.client, toCpu: lab.placement.server },
  });

/** Packets with a lower number than one that came before. */
function reordered(numbers: Float64Array): number {
  let highest = -1;
  let count = 0;
  for (const number of numbers) {
    if (number < highest) count++;
    else highest = number;
  }
  return count;
}

async function burst({ lab }: Path): Promise<Sample[]> {
  await rate(lab, 1, LONGEST);
  const found = await rate(lab, lab.seconds, LONGEST);
  return [
    { path: ORDER, quantity: 'reordered', value: found.reordered },
    { path: ORDER, quantity: 'packetRate', value: found.packetsPerSecond },
  ];
}

const rate = (lab: Lab, seconds: number, length: number) =>
  udpRate(lab, {
    ...{ from: lab.a, to: lab.b, address: innerAddress(length), size: UDP_SIZE, seconds },
    ...{ fromCpu: lab.placement.client, toCpu: lab.placement.server },
  });
