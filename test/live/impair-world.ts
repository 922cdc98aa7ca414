/** A near and a far host, and one between them that joins the two by the built command. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'vitest';
import { createWorld, type Host, type HostProcess } from '../../src/testing/index.ts';
import { BIN } from './cli-world.ts';

export const FAR = '10.9.0.2';
/** On a machine that runs other tests besides. */
export const START_LIMIT_MS = 20_000;

export interface Bridged extends AsyncDisposable {
  near: Host;
  middle: Host;
  far: Host;
  /** For files; removed at the end. */
  directory: string;
  /** Resolves when packets pass. */
  start(...words: string[]): Promise<HostProcess>;
}

export async function bridged(): Promise<Bridged> {
  const directory = await mkdtemp(path.join(tmpdir(), 'tunconnector-impair-'));
  const world = await createWorld({ name: 'impair' });
  const [near, middle, far] = await Promise.all(['near', 'middle', 'far'].map((name) => world.host(name)));
  await world.wire(near!, middle!, { a: '10.9.0.1/24', names: { b: 'left' } });
  await world.wire(far!, middle!, { a: `${FAR}/24`, names: { b: 'right' } });
  return {
    ...{ near: near!, middle: middle!, far: far!, directory },
    async start(...words) {
      const command = middle!.node(BIN, ['impair', 'left', 'right', ...words]);
      await command.waitFor(/are joined|"event":"up"/, START_LIMIT_MS);
      return command;
    },
    async [Symbol.asyncDispose]() {
      await world.close();
      await rm(directory, { recursive: true });
    },
  };
}

/** Round-trip times in ms of the pings that were answered. */
export async function pings(host: Host, count: number, interval = 0.02): Promise<number[]> {
  const argv = ['ping', '-n', '-c', `${count}`, '-i', `${interval}`, '-W', '1', FAR];
  const { stdout } = await host.exec(argv, { timeout: 60_000 });
  return [...stdout.matchAll(/ time=([\d.]+) ms/g)].map((found) => Number(found[1]));
}

export async function iperf(from: Host, to: Host, ...words: string[]): Promise<{ bitsPerSecond: number }> {
  const server = to.spawn(['iperf3', '-s', '-1', '--forceflush']);
  await server.waitFor(/listening/);
  const { stdout } = await from.exec(['iperf3', '-c', FAR, '-J', ...words], { timeout: 30_000 });
  return { bitsPerSecond: JSON.parse(stdout).end.sum_received.bits_per_second };
}

/** Of the command's report, in one direction. */
export interface Way {
  packets: number;
  packetsOut: number;
  pipelines: { stages: { name: string; packets: number; drops: Record<string, number> }[] }[];
}

/** Ends it as Ctrl-C does, and gives its report. */
export async function reportOf(command: HostProcess): Promise<{ up: Way; down: Way }> {
  const { code } = await command.stop('SIGINT', 20_000);
  expect(code, command.stderr).toBe(0);
  const line = command.stdout.split('\n').findLast((each) => each.includes('"event":"report"'));
  return JSON.parse(line!);
}
