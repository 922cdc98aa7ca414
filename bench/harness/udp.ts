/** UDP packets by the batch generator: sent as fast as they go, counted where they arrive. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Host } from 'tunconnector/testing';
import { endOfJson, startJson, stopJson } from './json-program.ts';
import type { Lab } from './lab.ts';
import { twin } from './root.ts';

export interface PacketRate {
  /** Packets that arrived, per second. */
  packetsPerSecond: number;
  packets: number;
  /** 0..1 of those sent. */
  lost: number;
  /** That came behind one sent later. */
  reordered: number;
}

export interface UdpOptions {
  from: Host;
  to: Host;
  address: string;
  /** UDP payload, bytes. */
  size: number;
  seconds: number;
  fromCpu?: number;
  toCpu?: number;
}

const PORT = 7001;
/** What is still under way when the sender has ended. */
const DRAIN_MS = 300;

export async function udpRate(lab: Lab, options: UdpOptions): Promise<PacketRate> {
  const { from, to, address, size, seconds } = options;
  const argv = (mode: string, ...words: (string | number)[]) =>
    [twin('udpgen'), mode, address, PORT, ...words].map(String);
  const sink = await startJson(lab, to, options.toCpu, argv('sink', seconds + 30));
  const sender = await startJson(lab, from, options.fromCpu, argv('send', size, seconds));
  const { sent = 0 } = await endOfJson(sender, seconds + 10);
  await sleep(DRAIN_MS, undefined, { signal: lab.signal });
  const { packets = 0, pps = 0, reordered = 0 } = await stopJson(sink);
  if (packets === 0) throw new Error('udpgen: no packet arrived');
  return { packetsPerSecond: pps, packets, lost: Math.max(0, 1 - packets / sent), reordered };
}
