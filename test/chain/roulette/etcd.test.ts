import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chooser } from '../../../src/chain/placement.ts';
import { Roulette } from '../../../src/chain/roulette/roulette.ts';
import type { Change, RegistryStore, StoreState, TxnResult } from '../../../src/chain/roulette/store.ts';
import { LiveRuntime } from '../../../src/engine/live-runtime.ts';
import { MILLISECOND } from '../../../src/engine/units.ts';
import { needs } from '../../needs.ts';
import { type Etcd, openStore, startEtcd } from './etcd.ts';
import { answerOf, type StoreWorld, storeSuite } from './store-suite.ts';

const TIMEOUT = 60_000;

async function until(fact: () => boolean): Promise<void> {
  for (let i = 0; i < 5000 && !fact(); i++) await wait(4);
  expect(fact()).toBe(true);
}

const write = (store: RegistryStore, key: string, value: string) =>
  answerOf<TxnResult>({ until }, (done) => store.txn([], [{ key, value }], done));

/** Again until it works: what was said of a write that was under way when a member died is not known. */
async function writeAgain(store: RegistryStore, key: string, value: string): Promise<TxnResult> {
  for (let i = 0; ; i++) {
    try {
      return await write(store, key, value);
    } catch (error) {
      if (i === 20) throw error;
      await wait(100);
    }
  }
}

function watched(store: RegistryStore, from: number) {
  const changes: Change[] = [];
  const lost: unknown[] = [];
  store.watch(from, { onChange: (change) => changes.push(change), onLost: (error) => lost.push(error) });
  return { changes, lost };
}

describe.skipIf(needs('etcd'))('etcd', () => {
  let etcd: Etcd;
  let prefixes = 0;
  beforeAll(async () => {
    etcd = await startEtcd();
  }, TIMEOUT);
  afterAll(() => etcd.close());

  storeSuite('as a store', async (): Promise<StoreWorld> => {
    const store = await openStore(etcd.endpoints, `suite${prefixes++}`);
    return { store, until, pass: (time) => wait(time / MILLISECOND), close: async () => store.close() };
  });

  it('has one name for all who use it under one prefix, and another under another', async () => {
    const [one, two, other] = await Promise.all(
      ['a', 'a', 'b'].map((each) => openStore(etcd.endpoints, each)),
    );
    expect(one.id).toBe(two.id);
    expect(one.id).not.toBe(other.id);
    await write(one, 'k', '1');
    const state = await answerOf<StoreState>({ until }, (done) => other.load(done));
    expect(state.entries).toEqual([]);
    for (const each of [one, two, other]) each.close();
  });

  it(
    'is read in pages, as of one revision, while others write',
    async () => {
      const store = await openStore(etcd.endpoints, 'pages');
      const keys = Array.from({ length: 4500 }, (_, i) => `k${String(i).padStart(5, '0')}`);
      for (let at = 0; at < keys.length; at += 100) {
        const ops = keys.slice(at, at + 100).map((key) => ({ key, value: 'old' }));
        await answerOf<TxnResult>({ until }, (done) => store.txn([], ops, done));
      }
      const reading = answerOf<StoreState>({ until }, (done) => store.load(done));
      const writing = write(store, keys.at(-1)!, 'new');
      const { rev, entries } = await reading;
      const written = await writing;
      expect(entries.map(({ key }) => key)).toEqual(keys);
      expect(entries.at(-1)!.value).toBe(written.rev <= rev ? 'new' : 'old');
      store.close();
    },
    TIMEOUT,
  );

  it('is not waited for when what was written last is another program’s', async () => {
    const mine = await openStore(etcd.endpoints, 'mine');
    const others = await openStore(etcd.endpoints, 'others');
    const { rev } = await write(mine, 'k', '1');
    const { changes } = watched(mine, rev + 1);
    const { rev: theirs } = await write(others, 'k', '2');
    // A refused transaction answers with etcd's revision, which no watch of ours brings.
    const refused = await answerOf<TxnResult>({ until }, (done) =>
      mine.txn([{ key: 'k', rev: 0 }], [{ key: 'k', value: '3' }], done),
    );
    expect(refused).toEqual({ ok: false, rev: theirs });
    await until(() => (changes.at(-1)?.rev ?? 0) >= theirs);
    expect(changes.every(({ ops }) => ops.length === 0)).toBe(true);
    mine.close();
    others.close();
  });

  it('that has compacted what a watch asks for says so, and all is read anew', async () => {
    const store = await openStore(etcd.endpoints, 'compacted');
    const { rev } = await write(store, 'k', '1');
    await write(store, 'k', '2');
    const last = await write(store, 'k', '3');
    await fetch(`http://${etcd.endpoints[0]}/v3/kv/compaction`, {
      method: 'POST',
      body: JSON.stringify({ revision: String(last.rev) }),
    });
    const { changes, lost } = watched(store, rev + 1);
    await until(() => lost.length === 1);
    expect([changes, lost]).toEqual([[], [undefined]]);
    store.close();
  });

  it(
    'that is not there is an error in one line',
    async () => {
      await expect(openStore(['127.0.0.1:1'])).rejects.toMatchObject({
        code: 'ERR_STORAGE',
        message: expect.stringMatching(
          /^etcd does not answer at 127.0.0.1:1 \(nobody listens there\); check/,
        ),
      });
    },
    TIMEOUT,
  );
});

describe.skipIf(needs('etcd'))('three members of etcd', () => {
  it(
    'carry on with one killed: nothing that was answered is lost, no change is told twice or missed',
    async () => {
      const etcd = await startEtcd(3);
      try {
        const store = await openStore(etcd.endpoints);
        const { rev } = await write(store, 'start', '');
        const { changes, lost } = watched(store, rev + 1);
        const answered: string[] = [];
        for (let i = 0; i < 150; i++) {
          // The one that this store talks to first.
          if (i === 50) etcd.members[0]!.kill('SIGKILL');
          await writeAgain(store, `k${i}`, `${i}`);
          answered.push(`k${i}`);
        }
        await until(() => changes.some(({ ops }) => ops.some(({ key }) => key === 'k149')));
        const told = changes.flatMap(({ ops }) => ops.map(({ key }) => key));
        // A write that was made twice is two changes, and each is told once.
        expect([...new Set(told)]).toEqual(answered);
        const revs = changes.map((each) => each.rev);
        expect(revs).toEqual([...new Set(revs)].sort((a, b) => a - b));
        expect(lost).toEqual([]);
        const state = await answerOf<StoreState>({ until }, (done) => store.load(done));
        expect(state.entries).toHaveLength(151);
        store.close();
      } finally {
        await etcd.close();
      }
    },
    TIMEOUT,
  );

  it(
    'carry on with one that stands still',
    async () => {
      const etcd = await startEtcd(3);
      try {
        const store = await openStore(etcd.endpoints);
        const { rev } = await write(store, 'start', '');
        const { changes } = watched(store, rev + 1);
        await write(store, 'before', '');
        await until(() => changes.length === 1);
        etcd.members[0]!.kill('SIGSTOP');
        await writeAgain(store, 'after', '');
        await until(() => changes.some(({ ops }) => ops.some(({ key }) => key === 'after')));
        expect(store.counters.reopened).toBeGreaterThan(0);
        store.close();
      } finally {
        for (const each of etcd.members) each.kill('SIGCONT');
        await etcd.close();
      }
    },
    TIMEOUT,
  );
});

describe.skipIf(needs('etcd'))('two Roulettes on one etcd', () => {
  it(
    'know the same; edits through both do not overwrite each other; one goes on without the other',
    async () => {
      const etcd = await startEtcd();
      try {
        const runtime = new LiveRuntime();
        const stores = [await openStore(etcd.endpoints), await openStore(etcd.endpoints)];
        const both = stores.map(
          (store) =>
            new Roulette(runtime, store, {
              choose: chooser(),
              probe: (_tenant, _replica, done) => done(true),
            }),
        );
        await until(() => both.every(({ isReady }) => isReady));
        const ask = (i: number, name: string, body: object) =>
          // biome-ignore lint/suspicious/noExplicitAny: answers are JSON
          answerOf<any>({ until }, (done) => both[i]!.request(42, name, body, done));
        await ask(0, 'tenant.put', {});
        await until(() => both[1]!.view(42).tenant !== undefined);
        const names = Array.from({ length: 40 }, (_, i) => `f${i}`);
        await Promise.all(names.map((name, i) => ask(i % 2, 'function.put', { name })));
        const { rev } = await ask(0, 'chain.put', { spi: 7, functions: ['f0'], ifRev: 0 });
        await until(() => both[1]!.rev >= rev);
        const race = await Promise.allSettled(
          [0, 1].map((i) => ask(i, 'chain.put', { spi: 7, functions: [`f${i + 1}`], ifRev: rev })),
        );
        expect(race.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
        const { lease } = await ask(1, 'lease.grant', { term: '2s' });
        const { id } = await ask(1, 'replica.put', { function: 'f0', address: '10.0.0.1', port: 1, lease });
        await until(() => both[0]!.view(42).replica(id) !== undefined);
        expect(both[0]!.view(42).all('function').size).toBe(40);
        both[1]!.close();
        stores[1]!.close();
        for (let i = 0; i < 4; i++) {
          await wait(1000);
          await ask(0, 'lease.keep', { lease });
        }
        expect(both[0]!.view(42).replica(id)).toBeDefined();
        await until(() => both[0]!.view(42).isStale(id));
        both[0]!.close();
        stores[0]!.close();
      } finally {
        await etcd.close();
      }
    },
    TIMEOUT,
  );
});
