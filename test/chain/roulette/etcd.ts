/** etcd on loopback, in throw-away folders: one member, or three that elect. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type EtcdStore, openEtcdStore } from '../../../src/chain/roulette/etcd/live-etcd-store.ts';
import { LiveRuntime } from '../../../src/engine/live-runtime.ts';

const HOST = '127.0.0.1';

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(servers.map((each) => new Promise<void>((resolve) => each.listen(0, HOST, resolve))));
  const ports = servers.map((each) => (each.address() as AddressInfo).port);
  await Promise.all(servers.map((each) => new Promise((resolve) => each.close(resolve))));
  return ports;
}

export interface Etcd {
  /** `HOST:PORT` of each member. */
  endpoints: string[];
  members: ChildProcess[];
  close(): Promise<void>;
}

export async function startEtcd(members = 1): Promise<Etcd> {
  const folder = mkdtempSync(path.join(tmpdir(), 'etcd-'));
  const ports = await freePorts(2 * members);
  const client = (i: number) => `http://${HOST}:${ports[2 * i]}`;
  const peer = (i: number) => `http://${HOST}:${ports[2 * i + 1]}`;
  const names = Array.from({ length: members }, (_, i) => `m${i}`);
  const start = (name: string, i: number) =>
    spawn(
      'etcd',
      [
        ...['--name', name, '--data-dir', path.join(folder, name), '--logger', 'zap'],
        ...['--listen-client-urls', client(i), '--advertise-client-urls', client(i)],
        ...['--listen-peer-urls', peer(i), '--initial-advertise-peer-urls', peer(i)],
        ...['--initial-cluster', names.map((each, n) => `${each}=${peer(n)}`).join(',')],
      ],
      { stdio: 'ignore' },
    );
  const running = names.map(start);
  const etcd: Etcd = {
    endpoints: names.map((_, i) => client(i).slice('http://'.length)),
    members: running,
    async close() {
      const ended = running.map((each) =>
        each.exitCode !== null || each.signalCode !== null
          ? undefined
          : new Promise((resolve) => each.once('exit', resolve)),
      );
      for (const each of running) each.kill('SIGKILL');
      await Promise.all(ended);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  for (let i = 0; i < 200; i++) {
    const healthy = await Promise.all(names.map((_, n) => isHealthy(client(n))));
    if (healthy.every(Boolean)) return etcd;
    await wait(100);
  }
  await etcd.close();
  throw new Error('etcd did not start');
}

const isHealthy = (url: string) =>
  fetch(`${url}/health`).then(
    async (answer) => (await answer.json()).health === 'true',
    () => false,
  );

export const openStore = (endpoints: readonly string[], prefix?: string): Promise<EtcdStore> =>
  new Promise((resolve, reject) =>
    openEtcdStore(
      new LiveRuntime(),
      { endpoints, ...(prefix !== undefined && { prefix }) },
      (error, store) => (store ? resolve(store) : reject(error)),
    ),
  );
