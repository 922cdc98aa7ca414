/** Datagrams at a steady rate from one host to another, each with the times at which it was sent and arrived. */
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Host } from 'tunconnector/testing';
import { type Arrivals, parseArrivals } from './arrivals.ts';
import { endOfJson, startJson, stopJson } from './json-program.ts';
import type { Lab } from './lab.ts';
import { twin } from './root.ts';

export interface SteadyOptions {
  from: Host;
  to: Host;
  address: string;
  /** How many addresses they go to in turn, from that one on. */
  addresses?: number;
  /** UDP payload, bytes. */
  size: number;
  seconds: number;
  packetsPerSecond: number;
  /** How long the last one may take, ms. */
  drain: number;
  fromCpu?: number;
  toCpu?: number;
}

const PORT = 7002;

export interface Steady extends Arrivals {
  /** Datagrams that were sent. */
  sent: number;
  /** As it was. */
  packetsPerSecond: number;
}

export async function steadily(lab: Lab, options: SteadyOptions): Promise<Steady> {
  const {
    from,
    to,
    address,
    addresses = 1,
    size,
    seconds,
    packetsPerSecond,
    drain,
    fromCpu,
    toCpu,
  } = options;
  const file = path.join(lab.scratch, 'arrivals');
  const argv = (...words: (string | number)[]) => [twin('oneway'), ...words].map(String);
  try {
    const sink = await startJson(
      lab,
      to,
      toCpu,
      argv('sink', addresses > 1 ? '0.0.0.0' : address, PORT, file),
    );
    const sender = await startJson(
      lab,
      from,
      fromCpu,
      argv('send', address, PORT, size, seconds, packetsPerSecond, ...(addresses > 1 ? [addresses] : [])),
    );
    const { sent = 0, seconds: took = Number.NaN } = await endOfJson(sender, seconds + 10);
    await sleep(drain, undefined, { signal: lab.signal });
    await stopJson(sink);
    return { ...parseArrivals(await readFile(file)), sent, packetsPerSecond: sent / took };
  } finally {
    await rm(file, { force: true });
  }
}
