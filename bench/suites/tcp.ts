/** TCP through a tunnel, one connection, both directions. */
import { iperf } from '../harness/iperf.ts';
import type { Lab } from '../harness/lab.ts';
import type { Sample } from '../harness/rounds.ts';
import type { Tunnel } from '../subjects/subject.ts';
import { addressOf, bytesToGB, withCpu } from './suite.ts';

export interface TcpOptions {
  path: string;
  family?: 4 | 6;
  reverse?: boolean;
  parallel?: number;
  seconds: number;
}

/** Fills caches, opens the congestion window, and lets the compiler of JavaScript see what is hot. */
const WARM_UP_SECONDS = 1;

export async function warmUp(lab: Lab, tunnel: Tunnel): Promise<void> {
  await tcp(lab, tunnel, { path: '', seconds: WARM_UP_SECONDS });
}

export async function tcp(lab: Lab, tunnel: Tunnel, options: TcpOptions): Promise<Sample[]> {
  const { path, family = 4, reverse = false, parallel = 1, seconds } = options;
  const { result, cpu } = await withCpu(tunnel, () =>
    iperf(lab, {
      client: lab.a,
      server: lab.b,
      address: addressOf(tunnel.b, family),
      clientCpu: lab.placement.client,
      serverCpu: lab.placement.server,
      ...{ seconds, reverse, parallel },
    }),
  );
  return [
    { path, quantity: 'throughput', value: result.bitsPerSecond },
    ...cpuSample(path, 'cpuPerGB', cpu / bytesToGB(result.bytes)),
  ];
}

/** Where the kernel does the work there is no figure. */
export function cpuSample(path: string, quantity: 'cpuPerGB' | 'cpuPerPacket', value: number): Sample[] {
  return Number.isNaN(value) ? [] : [{ path, quantity, value }];
}
