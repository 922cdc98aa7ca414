/** Two interfaces joined by packet sockets, with superframes. */
import type { HostProcess } from 'tunconnector/testing';
import { cpuSeconds } from '../harness/cpu.ts';
import { iperf } from '../harness/iperf.ts';
import { startJson, stopJson } from '../harness/json-program.ts';
import { type Lab, OUTER, reachable, withBridgeLab } from '../harness/lab.ts';
import { ping } from '../harness/ping.ts';
import { program, twin } from '../harness/root.ts';
import type { Experiment, Sample, Visit } from '../harness/rounds.ts';
import { udpRate } from '../harness/udp.ts';
import { samples } from './rtt.ts';
import { bytesToGB } from './suite.ts';
import { cpuSample } from './tcp.ts';

const SUITE = 'bridge';
const TCP = 'TCP v4';
const UDP = 'UDP 64 B';
const RTT = 'ping, idle';
const OURS = 'ours, worker';
const TWIN = 'C, recvmmsg';
const UDP_SIZE = 64;
const PING_SECONDS = 1;

export function bridgeExperiments(seconds: number): Experiment[] {
  const bar = { subject: OURS, reference: TWIN, atLeast: 0.9 };
  return [
    {
      suite: SUITE,
      title: 'bridge of two veths',
      secondsPerVisit: 2 * seconds + PING_SECONDS + 1,
      visits: [
        bridgeVisit(TWIN, [twin('bridge'), 'left', 'right']),
        bridgeVisit(OURS, [process.execPath, program('bridge'), 'left', 'right']),
      ],
      bars: [
        { ...bar, path: TCP, quantity: 'throughput' },
        { ...bar, path: UDP, quantity: 'packetRate' },
      ],
    },
  ];
}

function bridgeVisit(subject: string, argv: string[]): Visit {
  return {
    subject,
    measure: (context) =>
      withBridgeLab(context, async (lab, middle) => {
        const bridge = await startJson(lab, middle, lab.placement.bridge, argv);
        await reachable(lab, lab.a, OUTER.b);
        const measured = await traffic(lab, bridge);
        await stopJson(bridge);
        return measured;
      }),
  };
}

async function traffic(lab: Lab, bridge: HostProcess): Promise<Sample[]> {
  const { a, b, seconds } = lab;
  const { client, server } = lab.placement;
  const tcp = (duration: number) =>
    iperf(lab, {
      ...{ client: a, server: b, address: OUTER.b, seconds: duration },
      ...{ clientCpu: client, serverCpu: server },
    });
  await tcp(1);
  const throughput = await measured(bridge, () => tcp(seconds));
  const rate = await measured(bridge, () =>
    udpRate(lab, {
      ...{ from: a, to: b, address: OUTER.b, size: UDP_SIZE, seconds },
      ...{ fromCpu: client, toCpu: server },
    }),
  );
  const times = await ping(a, OUTER.b, { seconds: PING_SECONDS, cpu: client, signal: lab.signal });
  return [
    { path: TCP, quantity: 'throughput', value: throughput.result.bitsPerSecond },
    ...cpuSample(TCP, 'cpuPerGB', throughput.cpu / bytesToGB(throughput.result.bytes)),
    { path: UDP, quantity: 'packetRate', value: rate.result.packetsPerSecond },
    ...cpuSample(UDP, 'cpuPerPacket', (rate.cpu * 1e9) / rate.result.packets),
    ...samples(RTT, times, ['rttMean', 'rttMedian']),
  ];
}

async function measured<T>(
  process: HostProcess,
  work: () => Promise<T>,
): Promise<{ result: T; cpu: number }> {
  const before = await cpuSeconds([process.pid!]);
  const result = await work();
  return { result, cpu: (await cpuSeconds([process.pid!])) - before };
}
