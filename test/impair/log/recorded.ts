/** Verdict logs of links in virtual time, and what of them does not depend on the order in which things were written down. */
import { createHash } from 'node:crypto';
import type { Impair } from '../../../src/impair/impair.ts';
import { udpPacket } from '../../../src/packet/build.ts';
import { impairedPair } from '../../../src/testing/impaired-pair.ts';
import { numbers } from '../served.ts';

export interface Arrival {
  at: number;
  bytes: Uint8Array;
}

/** Packets of five flows, of different lengths, with ECN: `n` of them, up to 1 ms apart. */
export function traffic(n: number, seed = 1): Arrival[] {
  const random = numbers(seed);
  let at = 1_000_000;
  return Array.from({ length: n }, () => {
    at += Math.floor(random() * 1_000_000);
    const from = `10.0.0.1:${1 + Math.floor(random() * 5)}`;
    const payload = Math.floor(random() * 1200);
    return { at, bytes: udpPacket({ from, to: '10.0.0.2:9', payload, ecn: 2 }) };
  });
}

export interface Event {
  event: string;
  at: number;
  flow: string;
  n: number;
  copy?: string;
}

/** A link that is opened a hundred times needs little memory. */
const SMALL = { packets: 2048, superframes: 0, flows: 64 };

/** What packets that come at these times pass, and the log of it. */
export async function logOf(spec: object, arrivals: readonly Arrival[]): Promise<string> {
  const { net, runtime, a } = await impairedPair({ ...SMALL, ...spec }, { memory: 32 << 20 });
  let log = '';
  const up = net.get<Impair>('up');
  up.record((lines) => {
    log += lines;
    return true;
  });
  for (const { at, bytes } of arrivals) {
    runtime.runTo(at);
    a.send(bytes);
  }
  runtime.advance('60s');
  up.record(undefined);
  await net.close();
  return log;
}

/** The events of packets, flows by their names. */
export function events(log: string): Event[] {
  const names = new Map<string, string>();
  const found: Event[] = [];
  for (const line of log.trimEnd().split('\n')) {
    const value = JSON.parse(line) as Event & { is: string };
    if (value.event === 'flow') names.set(value.flow, value.is);
    else if (value.n !== undefined) found.push({ ...value, flow: names.get(value.flow)! });
  }
  return found;
}

/** Of all verdicts, whatever their order. */
export const hashOf = (log: string): string =>
  createHash('sha256')
    .update(
      events(log)
        .map((event) => JSON.stringify(event))
        .sort()
        .join('\n'),
    )
    .digest('hex');

/** When each wire packet left: `flow n at`. */
export const departures = (log: string): string[] =>
  events(log)
    .filter(({ event }) => event === 'out')
    .map(({ flow, n, at }) => `${flow} ${n} ${at}`)
    .sort();
