/** What each function adds to the latency of a chain, and whether packets stay in order. */
import type { Lab } from '../../harness/lab.ts';
import type { Experiment, Sample } from '../../harness/rounds.ts';
import { fitLine, percentile } from '../../harness/stats.ts';
import { steadily } from '../../harness/steady.ts';
import { udpRate } from '../../harness/udp.ts';
import { innerAddress, OURS, type Path, pathVisit, SUITE, TWIN } from './path.ts';

const PER_HOP = 'latency per function, 1000 packets a second';
const ORDER = 'UDP through 8 functions, as fast as it goes';
const LENGTHS = [0, 1, 2, 4, 8];
const LONGEST = 8;
const PACKETS_PER_SECOND = 1000;
const SIZE = 64;
const UDP_SIZE = 1200;
const DRAIN_MS = 100;

export function latencyExperiments(seconds: number): Experiment[] {
  const bar = { path: PER_HOP, subject: OURS, reference: TWIN };
  return [
    {
      suite: SUITE,
      title: PER_HOP,
      secondsPerVisit: LENGTHS.length * (seconds + 1) + 2,
      visits: [TWIN, OURS].map((subject) => pathVisit(subject as typeof OURS, LENGTHS, latencies)),
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
      visits: [TWIN, OURS].map((subject) => pathVisit(subject as typeof OURS, [LONGEST], burst)),
      bars: [{ path: ORDER, subject: OURS, quantity: 'reordered', atMost: 0 }],
    },
  ];
}

/** One-way latencies of all lengths, and the lines through them: what a function adds is the slope. */
async function latencies({ lab }: Path): Promise<Sample[]> {
  const medians: number[] = [];
  const tails: number[] = [];
  let sent = 0;
  let arrived = 0;
  let late = 0;
  // The code of all is compiled, and compiled again where it is hot.
  await rate(lab, 1, LONGEST);
  for (const length of LENGTHS) {
    await steady(lab, length, 0.5);
    const arrivals = await steady(lab, length, lab.seconds);
    const times = Array.from(arrivals.arrived, (at, i) => at - arrivals.left[i]!);
    medians.push(percentile(times, 0.5));
    tails.push(percentile(times, 0.99));
    sent += arrivals.sent;
    arrived += arrivals.numbers.length;
    late += reordered(arrivals.numbers);
  }
  const median = fitLine(LENGTHS, medians);
  const path = PER_HOP;
  return [
    { path, quantity: 'hopMedian', value: median.slope },
    { path, quantity: 'hopP99', value: fitLine(LENGTHS, tails).slope },
    { path, quantity: 'linearity', value: median.determination },
    { path, quantity: 'lost', value: 1 - arrived / sent },
    { path, quantity: 'reordered', value: late },
    ...LENGTHS.flatMap((length, i): Sample[] => [
      { path: `latency, ${length} functions`, quantity: 'oneWayMedian', value: medians[i]! },
      { path: `latency, ${length} functions`, quantity: 'oneWayP99', value: tails[i]! },
    ]),
  ];
}

const steady = (lab: Lab, length: number, seconds: number) =>
  steadily(lab, {
    ...{ from: lab.a, to: lab.b, address: innerAddress(length), size: SIZE, seconds, drain: DRAIN_MS },
    ...{ packetsPerSecond: PACKETS_PER_SECOND },
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
