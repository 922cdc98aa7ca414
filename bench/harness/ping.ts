/** Round-trip times by ping(8). */
import type { Host } from 'tunconnector/testing';
import { onCpu } from './placement.ts';
import { median, percentile } from './stats.ts';

export interface RoundTrips {
  /** Nanoseconds. */
  mean: number;
  median: number;
  p99: number;
  replies: number;
}

const INTERVAL_SECONDS = 0.005;

/** Pings every 5 ms, so that the tunnel sleeps in between. */
export async function ping(
  host: Host,
  address: string,
  { seconds, cpu, signal }: { seconds: number; cpu: number | undefined; signal: AbortSignal },
): Promise<RoundTrips> {
  const count = Math.max(20, Math.round(seconds / INTERVAL_SECONDS));
  const argv = ['ping', '-n', '-i', `${INTERVAL_SECONDS}`, '-c', `${count}`, '-W', '1', address];
  // A reply that does not come costs a second, and some loss is no reason to give up.
  const { stdout } = await host.exec(onCpu(cpu, argv), { timeout: (seconds * 3 + 20) * 1000, signal });
  return parsePing(stdout, count);
}

/** @throws Error when less than nine tenths of the `sent` were answered: the figures would be of the lucky ones */
export function parsePing(text: string, sent: number): RoundTrips {
  const times = [...text.matchAll(/ time=([\d.]+) ms/g)].map((found) => Number(found[1]) * 1e6);
  if (times.length < sent * 0.9) throw new Error(`ping: ${times.length} of ${sent} were answered`);
  return {
    mean: times.reduce((sum, each) => sum + each, 0) / times.length,
    median: median(times),
    p99: percentile(times, 0.99),
    replies: times.length,
  };
}
