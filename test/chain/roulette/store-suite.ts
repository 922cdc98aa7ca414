/** What Roulette relies on of any store. Each store brings a world to run it in. */
import { describe, expect, it } from 'vitest';
import type {
  Change,
  Compare,
  Lease,
  Op,
  RegistryStore,
  StoreState,
  TxnResult,
} from '../../../src/chain/roulette/store.ts';
import { SECOND } from '../../../src/engine/units.ts';
import type { TunconnectorError } from '../../../src/errors.ts';

export interface StoreWorld {
  store: RegistryStore;
  /** Lets time pass until it is so; fails when it never is. */
  until(fact: () => boolean): Promise<void>;
  /** Lets so much time pass, ns. */
  pass(time: number): Promise<void>;
  close(): Promise<void>;
}

type Ask<T> = (done: (error: TunconnectorError | undefined, answer?: T) => void) => void;

/** Asks and waits for the answer; throws the error. */
export async function answerOf<T>(world: Pick<StoreWorld, 'until'>, ask: Ask<T>): Promise<T> {
  let outcome: { error: TunconnectorError | undefined; answer?: T } | undefined;
  let inside = true;
  ask((error, answer) => {
    expect(inside, 'answers come after the call').toBe(false);
    expect(outcome, 'one question has one answer').toBeUndefined();
    outcome = { error, answer };
  });
  inside = false;
  await world.until(() => outcome !== undefined);
  if (outcome!.error) throw outcome!.error;
  return outcome!.answer as T;
}

export function storeSuite(name: string, open: () => Promise<StoreWorld>): void {
  const run = (fact: string, test: (world: Steps) => Promise<void>) =>
    it(fact, async () => {
      const world = await open();
      try {
        await test(new Steps(world));
      } finally {
        await world.close();
      }
    });

  describe(name, () => {
    run('raises the revision by one with each transaction that writes', async (store) => {
      const { rev } = await store.txn([], [{ key: 'a', value: '1' }]);
      expect(await store.txn([], [{ key: 'a', value: '2' }])).toEqual({ ok: true, rev: rev + 1 });
      const both = [
        { key: 'b', value: '3' },
        { key: 'c', value: '4' },
      ];
      expect(await store.txn([], both)).toEqual({ ok: true, rev: rev + 2 });
      expect(await store.load()).toEqual({
        rev: rev + 2,
        entries: [
          { key: 'a', value: '2', rev: rev + 1 },
          { key: 'b', value: '3', rev: rev + 2 },
          { key: 'c', value: '4', rev: rev + 2 },
        ],
      });
    });

    run('writes all or nothing, by the revisions of the keys compared', async (store) => {
      const { rev } = await store.txn([{ key: 'a', rev: 0 }], [{ key: 'a', value: '1' }]);
      const twice = await store.txn([{ key: 'a', rev: 0 }], [{ key: 'a', value: '2' }]);
      expect(twice).toEqual({ ok: false, rev });
      const half = await store.txn(
        [
          { key: 'a', rev },
          { key: 'b', rev: 9 },
        ],
        [{ key: 'a', value: '3' }],
      );
      expect(half.ok).toBe(false);
      expect((await store.load()).entries).toEqual([{ key: 'a', value: '1', rev }]);
      expect((await store.txn([{ key: 'a', rev }], [{ key: 'a' }])).ok).toBe(true);
      expect((await store.load()).entries).toEqual([]);
    });

    run('lets one of two writers win who saw the same', async (store) => {
      const { rev } = await store.txn([], [{ key: 'a', value: '0' }]);
      const writers = ['1', '2', '3'].map((value) => store.txn([{ key: 'a', rev }], [{ key: 'a', value }]));
      const results = await Promise.all(writers);
      expect(results.filter(({ ok }) => ok)).toHaveLength(1);
      const winner = String(results.findIndex(({ ok }) => ok) + 1);
      expect((await store.load()).entries[0].value).toBe(winner);
    });

    run('makes no revision where nothing changes', async (store) => {
      const { rev } = await store.txn([], [{ key: 'a', value: '1' }]);
      expect(await store.txn([], [{ key: 'nobody' }])).toEqual({ ok: true, rev });
      expect(await store.txn([{ key: 'a', rev }], [])).toEqual({ ok: true, rev });
    });

    run('tells a watch of every transaction, whole, once and in order, from the past on', async (store) => {
      const { rev } = await store.txn([], [{ key: 'a', value: '1' }]);
      await store.txn([], [{ key: 'b', value: '2' }]);
      const watch = store.watch(rev + 1);
      const both = [{ key: 'a' }, { key: 'c', value: '3' }];
      await store.txn([], both);
      await store.until(() => watch.changes.length === 2);
      expect(watch.changes).toEqual([
        { rev: rev + 1, ops: [{ key: 'b', value: '2' }] },
        { rev: rev + 2, ops: both },
      ]);
      watch.close();
      await store.txn([], [{ key: 'd', value: '4' }]);
      await store.pass(SECOND / 10);
      expect(watch.changes).toHaveLength(2);
    });

    run('loses none of a thousand transactions that a watch slept through', async (store) => {
      const { rev } = await store.txn([], [{ key: 'start', value: '' }]);
      const writes = Array.from({ length: 1000 }, (_, i) => ({ key: `k${i % 7}`, value: `${i}` }));
      const results = await Promise.all(writes.map((op) => store.txn([], [op])));
      const watch = store.watch(rev + 1);
      await store.until(() => watch.changes.length === 1000);
      expect(watch.changes.map((change) => change.rev)).toEqual(writes.map((_, i) => rev + 1 + i));
      // Of what is written at the same time, the answers say which was first.
      const inOrder = writes.map((_, i) => writes[results.findIndex((result) => result.rev === rev + 1 + i)]);
      expect(watch.changes.map(({ ops }) => ops[0])).toEqual(inOrder);
    });

    run('deletes what hangs on a lease when it ends, all in one revision', async (store) => {
      const { lease, term } = await store.grant(2 * SECOND);
      const keys = [
        { key: 'a', value: '1', lease },
        { key: 'b', value: '2', lease },
      ];
      const { rev } = await store.txn([], [...keys, { key: 'c', value: '3' }]);
      const watch = store.watch(rev + 1);
      for (let i = 0; i < 4; i++) {
        await store.pass(term / 2);
        expect(await store.keepAlive(lease)).toBe(true);
      }
      expect((await store.load()).entries).toHaveLength(3);
      await store.pass(term + SECOND);
      await store.until(() => watch.changes.length === 1);
      expect(watch.changes[0].rev).toBe(rev + 1);
      expect(watch.changes[0].ops.map(({ key }) => key).sort()).toEqual(['a', 'b']);
      expect(watch.changes[0].ops.every(({ value }) => value === undefined)).toBe(true);
      expect((await store.load()).entries).toEqual([{ key: 'c', value: '3', rev }]);
      expect(await store.keepAlive(lease)).toBe(false);
      await expect(store.txn([], [{ key: 'd', value: '', lease }])).rejects.toMatchObject({
        code: 'ERR_NOT_FOUND',
      });
    });

    run('ends a lease when told to, and lets a key leave it before', async (store) => {
      const { lease } = await store.grant(60 * SECOND);
      await store.txn([], [{ key: 'a', value: '1', lease }]);
      await store.txn([], [{ key: 'b', value: '1', lease }]);
      await store.txn([], [{ key: 'a', value: '2' }]);
      await store.revoke(lease);
      await store.revoke(lease);
      expect((await store.load()).entries.map(({ key }) => key)).toEqual(['a']);
    });

    run('refuses a transaction that writes a key twice or has too much in it', async (store) => {
      const twice = [
        { key: 'a', value: '1' },
        { key: 'a', value: '2' },
      ];
      await expect(store.txn([], twice)).rejects.toMatchObject({ code: 'ERR_LIMIT' });
      const many = Array.from({ length: 129 }, (_, i) => ({ key: `${i}`, value: '' }));
      await expect(store.txn([], many)).rejects.toMatchObject({ code: 'ERR_LIMIT' });
      expect((await store.txn([], many.slice(1))).ok).toBe(true);
    });
  });
}

/** The calls of a store as steps of a test. */
class Steps {
  readonly #world: StoreWorld;
  readonly until: (fact: () => boolean) => Promise<void>;
  readonly pass: (time: number) => Promise<void>;

  constructor(world: StoreWorld) {
    this.#world = world;
    this.until = world.until.bind(world);
    this.pass = world.pass.bind(world);
  }

  txn(compare: Compare[], ops: Op[]): Promise<TxnResult> {
    return this.#ask((store, done) => store.txn(compare, ops, done));
  }

  async load(): Promise<StoreState> {
    const { rev, entries } = await this.#ask<StoreState>((store, done) => store.load(done));
    return { rev, entries: [...entries].sort((a, b) => (a.key < b.key ? -1 : 1)) };
  }

  grant(term: number): Promise<Lease> {
    return this.#ask((store, done) => store.grant(term, done));
  }

  keepAlive(lease: string): Promise<boolean> {
    return this.#ask((store, done) => store.keepAlive(lease, done));
  }

  revoke(lease: string): Promise<void> {
    return this.#ask((store, done) => store.revoke(lease, done));
  }

  watch(from: number) {
    const seen: { changes: Change[]; lost: (TunconnectorError | undefined)[] } = { changes: [], lost: [] };
    const watch = this.#world.store.watch(from, {
      onChange: (change) => seen.changes.push(change),
      onLost: (error) => seen.lost.push(error),
    });
    return { ...seen, close: () => watch.close() };
  }

  #ask<T>(ask: (store: RegistryStore, done: Parameters<Ask<T>>[0]) => void): Promise<T> {
    return answerOf<T>(this.#world, (done) => ask(this.#world.store, done));
  }
}
