/** How exact rates are: a link that always has more to send than it may. */
import { rateError } from '../../harness/arrivals.ts';
import { type Lab, OUTER } from '../../harness/lab.ts';
import type { Experiment, Sample } from '../../harness/rounds.ts';
import { steadily } from '../../harness/steady.ts';
import { impairVisit, SUITE } from './command.ts';

/** bit/s by their words, with UDP payloads of which several leave in every 100 ms. */
const RATES: Record<string, { rate: number; size: number }> = {
  '100kbit': { rate: 1e5, size: 58 },
  '1mbit': { rate: 1e6, size: 458 },
  '10mbit': { rate: 1e7, size: 1458 },
  '100mbit': { rate: 1e8, size: 1458 },
  '1gbit': { rate: 1e9, size: 1458 },
};
/** Ethernet, IPv4 and UDP headers: what a rate counts of an Ethernet link besides. */
const HEADERS = 14 + 20 + 8;
const OVERLOAD = 1.15;
/** Less than that, of the rate, says nothing about the link. */
const OFFERED = 1.05;
/** Full, and everybody awake. */
const SETTLED = 200e6;
/** 30 ms of the largest of these rates: it lasts while the sender is kept from its processor. Shorter than what fits into memory. */
const QUEUE = 'queue droptail limit 2500';

export function rateExperiments(seconds: number): Experiment[] {
  return Object.entries(RATES).map(([words, { rate, size }]) => {
    const path = `rate of ${words}, overloaded`;
    const subject = `ours, rate ${words}`;
    const bar = { path, subject };
    return {
      suite: SUITE,
      title: path,
      secondsPerVisit: seconds + 0.5,
      visits: [
        impairVisit(subject, ['--rate', `${words} ${QUEUE}`], {
          measure: (lab) => strayed(lab, path, rate, size),
        }),
      ],
      bars: [
        { ...bar, quantity: 'rateError100ms', atMost: 0.02 },
        { ...bar, quantity: 'rateError1s', atMost: 0.01 },
      ],
    };
  });
}

async function strayed(lab: Lab, path: string, rate: number, size: number): Promise<Sample[]> {
  const onWire = (size + HEADERS) * 8;
  const arrivals = await steadily(lab, {
    ...{ from: lab.a, to: lab.b, address: OUTER.b, size, drain: 200 },
    // Long enough for a window of 1 s once the queue is full.
    ...{ seconds: Math.max(lab.seconds, 1) + 0.5, packetsPerSecond: (rate * OVERLOAD) / onWire },
    ...{ fromCpu: lab.placement.client, toCpu: lab.placement.server },
  });
  if (arrivals.packetsPerSecond * onWire < rate * OFFERED)
    throw new Error(`only ${Math.round(arrivals.packetsPerSecond)} packets per second could be sent`);
  const error = (window: number) => rateError(arrivals, { rate, window, overhead: HEADERS, after: SETTLED });
  return [
    { path, quantity: 'rateError100ms', value: error(100e6) },
    { path, quantity: 'rateError1s', value: error(1e9) },
  ];
}
