/** Throughput of tunnels: TCP over IPv4 and IPv6 both ways, TCP without offloads, small and large UDP packets. */
import type { Bar } from '../harness/result.ts';
import type { Experiment, Sample } from '../harness/rounds.ts';
import { udpRate } from '../harness/udp.ts';
import { main, plain, worker } from '../subjects/ours.ts';
import { openvpn, socat, wireguardGo } from '../subjects/peers.ts';
import type { Subject } from '../subjects/subject.ts';
import { packetTwin, superframeTwin } from '../subjects/twins.ts';
import { veth } from '../subjects/veth.ts';
import { tunnelVisit, withCpu } from './suite.ts';
import { cpuSample, tcp, warmUp } from './tcp.ts';

const SUITE = 'tunnel';
const OURS = [worker, main];
const UDP_SIZES = [64, 1300];
/** So that bursts of small packets are lost for want of speed, and not for want of a queue. */
const UDP_QUEUE = 4000;

export function tunnelExperiments(seconds: number): Experiment[] {
  return [
    tcpExperiment(4, seconds),
    tcpExperiment(6, seconds),
    plainExperiment(seconds),
    udpExperiment(seconds),
  ];
}

function tcpExperiment(family: 4 | 6, seconds: number): Experiment {
  const title = `TCP v${family}`;
  const paths = [title, `${title}, reverse`];
  // Peers without a bar are seen once: IPv6 inside makes no difference to them.
  const beside = family === 4 ? [wireguardGo, socat] : [];
  const subjects = [veth, superframeTwin, worker, main, packetTwin, openvpn, ...beside];
  return {
    suite: SUITE,
    title,
    secondsPerVisit: 2 * seconds + 1,
    visits: subjects.map((subject) =>
      tunnelVisit(subject, async (lab, tunnel) => {
        await warmUp(lab, tunnel);
        const options = { family, seconds: lab.seconds };
        return [
          ...(await tcp(lab, tunnel, { ...options, path: paths[0]! })),
          ...(await tcp(lab, tunnel, { ...options, path: paths[1]!, reverse: true })),
        ];
      }),
    ),
    bars: paths.flatMap((path) => [...OURS.flatMap((subject) => tcpBars(path, subject)), ...twinBars(path)]),
  };
}

function tcpBars(path: string, subject: Subject): Omit<Bar, 'suite'>[] {
  const bar = { path, subject: subject.name, quantity: 'throughput' as const };
  return [
    { ...bar, reference: superframeTwin.name, atLeast: 0.88 },
    { ...bar, reference: openvpn.name, atLeast: 9 },
    { ...bar, reference: veth.name, atLeast: 0.5 },
    { ...bar, quantity: 'cpuPerGB', reference: superframeTwin.name, atMost: 1.2 },
  ];
}

/** A twin counts only if it is good itself. */
function twinBars(path: string): Omit<Bar, 'suite'>[] {
  const bar = { path, quantity: 'throughput' as const, reference: veth.name, validity: true };
  return [
    { ...bar, subject: superframeTwin.name, atLeast: 0.55 },
    { ...bar, subject: packetTwin.name, atLeast: 0.06 },
  ];
}

function plainExperiment(seconds: number): Experiment {
  const title = 'TCP v4, no offloads';
  return {
    suite: SUITE,
    title,
    secondsPerVisit: seconds + 1,
    visits: [packetTwin, plain].map((subject) =>
      tunnelVisit(subject, async (lab, tunnel) => {
        await warmUp(lab, tunnel);
        return tcp(lab, tunnel, { path: title, seconds: lab.seconds });
      }),
    ),
    bars: [
      { path: title, quantity: 'throughput', subject: plain.name, reference: packetTwin.name, atLeast: 0.95 },
    ],
  };
}

function udpExperiment(seconds: number): Experiment {
  const paths = UDP_SIZES.map((size) => ({ size, path: `UDP ${size} B` }));
  return {
    suite: SUITE,
    title: 'UDP',
    secondsPerVisit: paths.length * seconds + 1,
    visits: [veth, superframeTwin, worker, main, packetTwin, openvpn, wireguardGo, socat].map((subject) =>
      tunnelVisit(subject, async (lab, tunnel) => {
        for (const end of ['a', 'b'] as const) {
          await lab[end].ip(`link set dev ${tunnel[end].interface} txqueuelen ${UDP_QUEUE}`);
        }
        const { client, server } = lab.placement;
        const samples: Sample[] = [];
        for (const { size, path } of paths) {
          const { result, cpu } = await withCpu(tunnel, () =>
            udpRate(lab, {
              ...{ from: lab.a, to: lab.b, address: tunnel.b.v4, size, seconds: lab.seconds },
              ...{ fromCpu: client, toCpu: server },
            }),
          );
          samples.push(
            { path, quantity: 'packetRate', value: result.packetsPerSecond },
            ...cpuSample(path, 'cpuPerPacket', (cpu * 1e9) / result.packets),
          );
        }
        return samples;
      }),
    ),
    bars: paths.flatMap(({ path }) =>
      OURS.flatMap((subject) => {
        const bar = { path, quantity: 'packetRate' as const, subject: subject.name };
        return [
          { ...bar, reference: packetTwin.name, atLeast: 1.4 },
          { ...bar, reference: superframeTwin.name, atLeast: subject === worker ? 0.93 : 0.85 },
        ];
      }),
    ),
  };
}
