/** TCP throughput by iperf3. */
import type { Host } from 'tunconnector/testing';
import type { Lab } from './lab.ts';

export interface Throughput {
  bitsPerSecond: number;
  /** Payload bytes that the receiver read. */
  bytes: number;
}

export interface IperfOptions {
  client: Host;
  server: Host;
  /** Where the server listens. */
  address: string;
  seconds: number;
  /** The server sends. */
  reverse?: boolean;
  /** Connections at a time. */
  parallel?: number;
  clientCpu?: number;
  serverCpu?: number;
}

/** What ending connections, and a receiver that is still busy, may add to the time asked for. */
const GRACE_SECONDS = 20;

export async function iperf(lab: Lab, options: IperfOptions): Promise<Throughput> {
  const { client, server, address, seconds, reverse = false, parallel = 1 } = options;
  const listener = lab.spawn(server, options.serverCpu, [
    ...['iperf3', '--server', '--one-off', '--bind', address, '--forceflush'],
  ]);
  try {
    await listener.waitFor('listening');
    // It reads whole numbers alone, and 0 is for ever.
    const argv = ['iperf3', '--client', address, '--time', `${Math.ceil(seconds)}`, '--json'];
    if (reverse) argv.push('--reverse');
    if (parallel > 1) argv.push('--parallel', `${parallel}`);
    const command =
      options.clientCpu === undefined ? argv : ['taskset', '-c', `${options.clientCpu}`, ...argv];
    const { stdout, stderr } = await client.exec(command, {
      timeout: (seconds + GRACE_SECONDS) * 1000,
      signal: lab.signal,
    });
    return parseIperf(stdout || stderr);
  } finally {
    await listener.stop();
  }
}

/** @throws Error with what iperf3 says went wrong */
export function parseIperf(text: string): Throughput {
  let result: { error?: string; end?: { sum_received?: { bits_per_second: number; bytes: number } } };
  try {
    result = JSON.parse(text);
  } catch {
    throw new Error(`iperf3: ${text.trim().split('\n').at(-1) || 'no output'}`);
  }
  if (result.error) throw new Error(`iperf3: ${result.error}`);
  const received = result.end?.sum_received;
  if (!received || !(received.bytes > 0)) throw new Error('iperf3: nothing was received');
  return { bitsPerSecond: received.bits_per_second, bytes: received.bytes };
}
