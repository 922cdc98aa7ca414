/** Round-trip times through a tunnel that sleeps between packets, and through one that TCP keeps busy. */
import { setTimeout as sleep } from 'node:timers/promises';
import { iperf } from '../harness/iperf.ts';
import type { Lab } from '../harness/lab.ts';
import { ping, type RoundTrips } from '../harness/ping.ts';
import type { Quantity } from '../harness/result.ts';
import type { Experiment, Sample } from '../harness/rounds.ts';
import { main, worker } from '../subjects/ours.ts';
import { openvpn, socat, wireguardGo } from '../subjects/peers.ts';
import type { Tunnel } from '../subjects/subject.ts';
import { packetTwin, superframeTwin } from '../subjects/twins.ts';
import { veth } from '../subjects/veth.ts';
import { tunnelVisit } from './suite.ts';
import { warmUp } from './tcp.ts';

const SUITE = 'rtt';
const IDLE = 'ping, idle';
const BUSY = 'ping while TCP runs';
/** TCP has found its speed, and goes on until the last reply has come. */
const LEAD_MS = 500;
const TAIL_SECONDS = 1.5;

export function rttExperiments(seconds: number): Experiment[] {
  return [idle(seconds), busy(seconds)];
}

function idle(seconds: number): Experiment {
  const bar = { path: IDLE, subject: worker.name, reference: superframeTwin.name, atMost: 1.15 };
  return {
    suite: SUITE,
    title: IDLE,
    secondsPerVisit: seconds,
    visits: [veth, superframeTwin, worker, main, packetTwin, openvpn, wireguardGo, socat].map((subject) =>
      tunnelVisit(subject, async (lab, tunnel) => {
        // The first replies wait for neighbours to be found and code to be compiled.
        await pingThrough(lab, tunnel, 0.5);
        return samples(IDLE, await pingThrough(lab, tunnel, lab.seconds), ['rttMean', 'rttMedian']);
      }),
    ),
    bars: [
      { ...bar, quantity: 'rttMean' },
      { ...bar, quantity: 'rttMedian' },
    ],
  };
}

function busy(seconds: number): Experiment {
  const bar = { path: BUSY, quantity: 'rttP99' as const, reference: superframeTwin.name, atMost: 1.5 };
  return {
    suite: SUITE,
    title: BUSY,
    secondsPerVisit: seconds + 3,
    visits: [superframeTwin, worker, main].map((subject) =>
      tunnelVisit(subject, async (lab, tunnel) => {
        await warmUp(lab, tunnel);
        const load = iperf(lab, {
          client: lab.a,
          server: lab.b,
          address: tunnel.b.v4,
          seconds: lab.seconds + LEAD_MS / 1000 + TAIL_SECONDS,
          clientCpu: lab.placement.client,
          serverCpu: lab.placement.server,
        });
        // What goes wrong with it is told below, when it is waited for.
        load.catch(() => {});
        await sleep(LEAD_MS, undefined, { signal: lab.signal });
        const times = await pingThrough(lab, tunnel, lab.seconds);
        const { bitsPerSecond } = await load;
        return [
          ...samples(BUSY, times, ['rttP99', 'rttMedian']),
          { path: BUSY, quantity: 'throughput', value: bitsPerSecond },
        ];
      }),
    ),
    bars: [worker, main].map((subject) => ({ ...bar, subject: subject.name })),
  };
}

const pingThrough = (lab: Lab, tunnel: Tunnel, seconds: number) =>
  ping(lab.a, tunnel.b.v4, { seconds, cpu: lab.placement.client, signal: lab.signal });

type RttQuantity = Extract<Quantity, 'rttMean' | 'rttMedian' | 'rttP99'>;

export function samples(path: string, times: RoundTrips, quantities: RttQuantity[]): Sample[] {
  const values = { rttMean: times.mean, rttMedian: times.median, rttP99: times.p99 };
  return quantities.map((quantity) => ({ path, quantity, value: values[quantity] }));
}
