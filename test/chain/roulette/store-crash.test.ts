/**
 * Power is lost at a random instant while a store is written to. The disk then drops or tears everything that was not synced.
 * Afterwards the store is what it was after some whole number of the transactions, no fewer than somebody was told of.
 */
import { describe, expect, it } from 'vitest';
import type { EmbeddedStore, StoreRuntime } from '../../../src/chain/roulette/embedded/embedded-store.ts';
import type { Entry, Op } from '../../../src/chain/roulette/store.ts';
import type { Storage } from '../../../src/engine/outside.ts';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { openNow, passUntil } from './embedded-world.ts';

const CRASHES_PER_SEED = 3;
const TERM = SECOND;

/** What the first `rev` transactions make, slowly and obviously. */
function stateAfter(history: readonly Op[][], rev: number): Map<string, Entry> {
  const state = new Map<string, Entry>();
  for (const [i, ops] of history.slice(0, rev).entries()) {
    for (const { key, value, lease } of ops) {
      if (value === undefined) state.delete(key);
      else state.set(key, { key, value, rev: i + 1, ...(lease && { lease }) });
    }
  }
  return state;
}

const sorted = (entries: Iterable<Entry>) => [...entries].sort((a, b) => (a.key < b.key ? -1 : 1));

function loadNow(runtime: VirtualRuntime, store: EmbeddedStore) {
  let state: { rev: number; entries: Entry[] } | undefined;
  store.load((_, found) => {
    state = found;
  });
  passUntil(runtime, () => state !== undefined);
  return state!;
}

/** One seed's life of a store. @returns what was found wrong, one line each */
function live(seed: number, disk = (runtime: VirtualRuntime): StoreRuntime => runtime): string[] {
  const runtime = new VirtualRuntime({ seed, disk: { syncTime: '1ms', jitter: '2ms' } });
  const random = runtime.random('writer');
  const options = { compactAfter: 2000 + random.below(4000) };
  const wrong: string[] = [];
  const history: Op[][] = [];
  const open = () => openNow(disk(runtime) as VirtualRuntime, options);
  let store = open();
  let told = 0;
  let lease = '';
  store.grant(TERM, (_, granted) => {
    lease = granted!.lease;
  });
  passUntil(runtime, () => lease !== '');
  const write = () => {
    const keys = new Set(Array.from({ length: 1 + random.below(3) }, () => `k${random.below(20)}`));
    const ops = [...keys].map((key) =>
      random.below(4) === 0 && stateAfter(history, history.length).has(key)
        ? { key }
        : { key, value: 'v'.repeat(random.below(200)), ...(random.below(5) === 0 && { lease }) },
    );
    history.push(ops);
    store.txn([], ops, (error, result) => {
      if (error) return;
      told = Math.max(told, result!.rev);
    });
  };
  for (let crash = 0; crash < CRASHES_PER_SEED; crash++) {
    const end = runtime.now() + random.below(60 * MILLISECOND);
    while (runtime.now() < end) {
      for (let burst = random.below(4); burst > 0; burst--) write();
      runtime.advance(random.below(2 * MILLISECOND));
      store.keepAlive(lease, () => {});
    }
    runtime.disk.crash();
    store.close();
    try {
      store = open();
    } catch (error) {
      return [...wrong, `seed ${seed}: ${(error as Error).message}`];
    }
    const { rev, entries } = loadNow(runtime, store);
    if (rev < told) wrong.push(`seed ${seed}: revision ${rev}, but ${told} was acknowledged`);
    const expected = sorted(stateAfter(history, rev).values());
    if (JSON.stringify(sorted(entries)) !== JSON.stringify(expected)) {
      wrong.push(`seed ${seed}: revision ${rev} is not what its transactions made`);
    }
    // What nobody was told of and the crash took never was.
    history.length = rev;
    told = rev;
  }
  // A fresh term from the restart on, and no longer.
  runtime.advance(TERM - 200 * MILLISECOND);
  if (loadNow(runtime, store).rev !== history.length) wrong.push(`seed ${seed}: the lease had no fresh term`);
  runtime.advance(SECOND);
  if (loadNow(runtime, store).entries.some((entry) => entry.lease)) {
    wrong.push(`seed ${seed}: the lease did not end`);
  }
  return wrong;
}

/** A disk that says it has synced, and has not. */
function withoutSync(runtime: VirtualRuntime): StoreRuntime {
  const lying = (storage: Storage): Storage => ({
    name: storage.name,
    append: storage.append.bind(storage),
    read: storage.read.bind(storage),
    replace: storage.replace.bind(storage),
    truncate: storage.truncate.bind(storage),
    remove: storage.remove.bind(storage),
    list: storage.list.bind(storage),
    sync: (_file, done) => {
      runtime.timer(runtime.now() + MILLISECOND, () => done());
    },
  });
  return new Proxy(runtime, {
    get: (target, name) => {
      if (name === 'storage') return (which: string) => lying(target.storage(which));
      const value = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('the embedded store after a crash', () => {
  it('has lost nothing that was acknowledged, at 200 seeds with three crashes each', () => {
    const wrong = Array.from({ length: 200 }, (_, i) => live(i + 1)).flat();
    expect(wrong).toEqual([]);
  }, 120_000);

  it('has lost something when syncing is taken out, which these checks find', () => {
    const wrong = Array.from({ length: 40 }, (_, i) => live(i + 1, withoutSync)).flat();
    expect(wrong.filter((each) => each.includes('was acknowledged')).length).toBeGreaterThan(10);
  }, 120_000);
});
