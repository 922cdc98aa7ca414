import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { logVerdicts } from '../../src/cli/impair/verdict-log.ts';
import { NetworkHere } from '../../src/engine/live-hosted.ts';
import { impair } from '../../src/impair/impair.ts';
import { parseVerdicts } from '../../src/impair/log/parse.ts';
import { udpPacket } from '../../src/packet/build.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

let folder: string;
let network: NetworkHere;
let a: MemoryPort;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'verdicts-'));
  network = new NetworkHere();
  a = new MemoryPort();
  network.network.app('a', a).app('b', new MemoryPort());
  const apps = { up: impair({ seed: 7, stages: 'delay 1ms' }) };
  await network.start({ apps, links: ['a.out -> up.in', 'up.out -> b.in'] });
});
afterEach(async () => {
  await network.close();
  await rm(folder, { recursive: true });
});

const fail = (error: Error) => {
  throw error;
};

it('a file has the verdicts of all packets when its log is stopped, and some of them before', async () => {
  const file = path.join(folder, 'log');
  const log = await logVerdicts(network, file, fail);
  a.send(udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2' }));
  const written = () => readFile(file, 'utf8');
  while (!(await written()).includes('"out"')) await sleep(20);
  a.send(udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2' }));
  while (network.network.get('up').report!().packetsOut !== 2) await sleep(1);
  await log.stop();
  const [flow] = parseVerdicts(await written()).get('up udp 10.0.0.1:1 > 10.0.0.2:2')!;
  expect(Array.from(flow.delays)).toEqual([1_000_000, 1_000_000]);
});

it('a file that cannot be made is said to be so', async () => {
  await expect(logVerdicts(network, path.join(folder, 'no', 'log'), fail)).rejects.toThrow('cannot write');
});

it('a full disk is told of once, while the network goes on', async () => {
  const told: Error[] = [];
  const log = await logVerdicts(network, '/dev/full', (error) => told.push(error));
  for (const sent of [1, 2]) {
    a.send(udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2' }));
    while (network.network.get('up').report!().packetsOut !== sent) await sleep(1);
    while (told.length === 0) await sleep(20);
  }
  await log.stop();
  expect(told.map(({ message }) => message)).toEqual([
    '--log: cannot write /dev/full (ENOSPC); make room on the disk',
  ]);
});
