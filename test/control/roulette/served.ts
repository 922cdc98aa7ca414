/** A Roulette on the machine's disk and clock, and the server of it. */
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { writtenMatchSchema } from '../../../src/chain/classifier/match.ts';
import { chooser } from '../../../src/chain/placement.ts';
import { openEmbeddedStore } from '../../../src/chain/roulette/embedded/embedded-store.ts';
import { Roulette, type RouletteOptions } from '../../../src/chain/roulette/roulette.ts';
import type { RegistryStore } from '../../../src/chain/roulette/store.ts';
import { type Grant, Tokens } from '../../../src/control/http/token.ts';
import { makeRouletteServer, type ServeRouletteOptions } from '../../../src/control/roulette/serve.ts';
import { LiveRuntime } from '../../../src/engine/live-runtime.ts';
import { asker } from '../ask.ts';

export const TENANT = 42;
export const T = `/v1/tenants/${TENANT}`;

export async function until(fact: () => boolean, most = 10_000): Promise<void> {
  const end = performance.now() + most;
  while (!fact()) {
    if (performance.now() > end) throw new Error('it never came to be');
    await wait(2);
  }
}

const openStore = (runtime: LiveRuntime) =>
  new Promise<RegistryStore>((resolve, reject) =>
    openEmbeddedStore(runtime, {}, (error, store) => (store ? resolve(store) : reject(error))),
  );

export interface ServedOptions extends Partial<RouletteOptions> {
  tokens?: Record<string, number[] | 'all'>;
  serve?: Partial<ServeRouletteOptions>;
  /** Another one's; one of its own in a throw-away folder when left out. */
  store?: RegistryStore;
}

export async function testRoulette(options: ServedOptions = {}) {
  const { tokens, serve, store: given, ...core } = options;
  const folder = mkdtempSync(path.join(tmpdir(), 'roulette-'));
  const runtime = new LiveRuntime({ storage: folder });
  const store = given ?? (await openStore(runtime));
  const roulette = new Roulette(runtime, store, {
    choose: chooser(),
    probe: (_tenant, _replica, done) => setTimeout(() => done(true), 1),
    match: writtenMatchSchema,
    ...core,
  });
  await until(() => roulette.isReady);
  const faults: Error[] = [];
  const grants = Object.entries(tokens ?? {}).map(([token, grant]): [string, Grant] => [
    token,
    grant === 'all' ? 'all' : new Set(grant),
  ]);
  const { server, watchers } = await makeRouletteServer(roulette, runtime, {
    version: '1.2.3',
    unexpected: (error) => faults.push(error),
    ...(tokens && { tokens: new Tokens(grants) }),
    ...serve,
  });
  const request = (name: string, body: object = {}, tenant = TENANT) =>
    // biome-ignore lint/suspicious/noExplicitAny: answers are JSON
    new Promise<any>((resolve, reject) =>
      roulette.request(tenant, name, body, (error, answer) => (error ? reject(error) : resolve(answer))),
    );
  return {
    ...{ runtime, store, roulette, server, watchers, faults, request },
    /** Asks without a socket. */
    ask: asker(server),
    /** A tenant with functions, and a ready replica for every id. */
    async set(functions: Record<string, readonly number[]>, tenant = TENANT): Promise<string> {
      await request('tenant.put', {}, tenant);
      const { lease } = await request('lease.grant', { term: '1h' }, tenant);
      for (const [name, ids] of Object.entries(functions)) {
        if (name !== 'ingress' && name !== 'egress') await request('function.put', { name }, tenant);
        for (const id of ids) {
          const body = { id, function: name, address: '127.0.0.1', port: 10_000 + id, lease };
          await request('replica.put', body, tenant);
        }
      }
      return lease;
    },
    /** Where it listens, from now on. */
    async listen(port = 0): Promise<string> {
      if (!server.server.listening) await server.listen({ host: '127.0.0.1', port });
      return `http://127.0.0.1:${(server.server.address() as AddressInfo).port}`;
    },
    async [Symbol.asyncDispose]() {
      watchers.close();
      await server.close();
      roulette.close();
      if (!given) store.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
export type TestRoulette = Awaited<ReturnType<typeof testRoulette>>;

export const flowId = (n: number): string => n.toString(16).padStart(16, '0');
