import { describe, expect, it } from 'vitest';
import type { Change, Lease, TxnResult } from '../../../src/chain/roulette/store.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { embeddedWorld, openNow, untilSo } from './embedded-world.ts';
import { answerOf, storeSuite } from './store-suite.ts';

storeSuite('the embedded store', async () => embeddedWorld(new VirtualRuntime({ seed: 5 })));
storeSuite('the embedded store on a slow disk, with a snapshot every few records', async () =>
  embeddedWorld(new VirtualRuntime({ seed: 6, disk: { syncTime: '5ms', jitter: '20ms' } }), {
    compactAfter: 500,
  }),
);

const put = (key: string, value: string) => ({ key, value });

/** A store, and the files under it. */
function workshop(disk = {}) {
  const runtime = new VirtualRuntime({ seed: 9, disk });
  const until = (fact: () => boolean) => untilSo(runtime, fact);
  let store = openNow(runtime);
  const storage = () => runtime.storage('roulette');
  return {
    runtime,
    store: () => store,
    write: (key: string, value: string) =>
      answerOf<TxnResult>({ until }, (done) => store.txn([], [put(key, value)], done)),
    load: () => answerOf<{ rev: number }>({ until }, (done) => store.load(done as never)),
    grant: (term: number) => answerOf<Lease>({ until }, (done) => store.grant(term, done)),
    keepAlive: (lease: string) => answerOf<boolean>({ until }, (done) => store.keepAlive(lease, done)),
    files: () => answerOf<string[]>({ until }, (done) => storage().list(done)),
    read: (file: string) => answerOf<Uint8Array>({ until }, (done) => storage().read(file, done)),
    replace: (file: string, bytes: Uint8Array) =>
      answerOf<void>({ until }, (done) => storage().replace(file, bytes, done)),
    reopen: (options = {}) => {
      store.close();
      store = openNow(runtime, options);
    },
  };
}

const LOG = 'log-0000000000000001';

describe('the embedded store', () => {
  it('is the same store after a restart', async () => {
    const shop = workshop();
    const { id } = shop.store();
    await shop.write('a', '1');
    const { lease } = await shop.grant(SECOND);
    const before = await shop.load();
    shop.reopen();
    expect(shop.store().id).toBe(id);
    expect(await shop.load()).toEqual(before);
    const next = await shop.grant(SECOND);
    expect(Number(next.lease)).toBeGreaterThan(Number(lease));
    expect((await shop.write('a', '2')).rev).toBe(before.rev + 1);
  });

  it('syncs once for all that waits', async () => {
    const shop = workshop();
    const store = shop.store();
    const before = store.counters.syncs;
    await Promise.all(Array.from({ length: 300 }, (_, i) => shop.write(`k${i}`, 'v')));
    expect(store.counters.syncs - before).toBeLessThanOrEqual(2);
    expect((await shop.load()).rev).toBe(300);
  });

  it('cuts a torn end, and goes on behind what is whole', async () => {
    const shop = workshop();
    await shop.write('a', '1');
    const whole = await shop.read(LOG);
    await shop.write('b', '2');
    const both = await shop.read(LOG);
    for (let length = whole.length + 1; length < both.length; length++) {
      await shop.replace(LOG, both.slice(0, length));
      shop.reopen();
      expect((await shop.load()).rev).toBe(1);
      expect((await shop.read(LOG)).length).toBe(whole.length);
    }
    const zeros = both.slice();
    zeros.fill(0, whole.length + 5);
    await shop.replace(LOG, zeros);
    shop.reopen();
    await shop.write('c', '3');
    shop.reopen();
    expect((await shop.load()).rev).toBe(2);
  });

  it('names file, offset and remedy when bytes are spoilt that were durable', async () => {
    const shop = workshop();
    await shop.write('a', '1');
    const { length } = await shop.read(LOG);
    await shop.write('b', '2');
    await shop.write('c', '3');
    const good = await shop.read(LOG);
    for (const offset of [length, length + 4, length + 8, length + 20]) {
      const bad = good.slice();
      bad[offset] ^= 1;
      await shop.replace(LOG, bad);
      const reopen = () => shop.reopen();
      expect(reopen).toThrow(`${LOG} of the store roulette cannot be read from byte ${length} on`);
      expect(reopen).toThrow(/put a copy of the whole folder/);
    }
    const snapshot = await shop.read('snapshot');
    await shop.replace(LOG, good);
    await shop.replace('snapshot', snapshot.slice(0, -1));
    expect(() => shop.reopen()).toThrow('snapshot of the store roulette cannot be read from byte 0 on');
  });

  it('says so when a log is missing between others', async () => {
    const shop = workshop();
    await shop.write('a', '1');
    const first = await shop.read(LOG);
    await shop.write('b', '2');
    await shop.write('c', '3');
    const all = await shop.read(LOG);
    await shop.replace(LOG, all.slice(first.length));
    expect(() => shop.reopen()).toThrow('frame 2 follows 0, what was between is missing');
  });

  it('writes a snapshot in place of a long log, and removes the log', async () => {
    const shop = workshop();
    shop.reopen({ compactAfter: 1000 });
    for (let i = 0; i < 200; i++) await shop.write(`k${i % 10}`, `${i}`);
    shop.runtime.advance(SECOND);
    expect(shop.store().counters.compactions).toBeGreaterThan(5);
    expect((await shop.files()).length).toBeLessThanOrEqual(2);
    const before = await shop.load();
    shop.reopen();
    expect(await shop.load()).toEqual(before);
  });

  it('refuses writes while the disk is full, loses nothing, and goes on when there is room', async () => {
    const shop = workshop();
    await shop.write('a', '1');
    const heard: Change[] = [];
    shop.store().watch(1, { onChange: (change) => heard.push(change), onLost: () => expect.fail('lost') });
    shop.runtime.disk.configure({ capacity: shop.runtime.disk.used + 10 });
    const refused = await Promise.allSettled([
      shop.write('a', '2'),
      shop.write('b', '3'),
      shop.grant(SECOND),
    ]);
    for (const each of refused) {
      expect(each).toMatchObject({ status: 'rejected', reason: { code: 'ERR_STORAGE', errno: 'ENOSPC' } });
    }
    expect(await shop.load()).toEqual({ rev: 1, entries: [{ key: 'a', value: '1', rev: 1 }] });
    shop.runtime.disk.configure({ capacity: 1 << 20 });
    expect(await shop.write('b', '4')).toEqual({ ok: true, rev: 2 });
    const before = await shop.load();
    expect(heard.map(({ rev }) => rev)).toEqual([1, 2]);
    shop.reopen();
    expect(await shop.load()).toEqual(before);
  });

  it('keeps the log when there is no room for a snapshot', async () => {
    const shop = workshop();
    shop.reopen({ compactAfter: 300 });
    shop.runtime.disk.failNext({ operation: 'replace', errno: 'ENOSPC' });
    for (let i = 0; i < 6; i++) await shop.write(`k${i}`, `${i}`);
    expect(shop.store().counters).toMatchObject({ failures: 1, compactions: 0 });
    const before = await shop.load();
    shop.reopen({ compactAfter: 300 });
    expect(await shop.load()).toEqual(before);
    for (let i = 0; i < 6; i++) await shop.write(`k${i}`, `${i}`);
    shop.runtime.advance(SECOND);
    expect(shop.store().counters.compactions).toBeGreaterThan(0);
    expect((await shop.files()).length).toBeLessThanOrEqual(2);
  });

  it('says so when a watch asks for what is compacted', async () => {
    const shop = workshop();
    shop.reopen({ history: 5 });
    for (let i = 0; i < 20; i++) await shop.write('k', `${i}`);
    const lost: unknown[] = [];
    const seen: number[] = [];
    const handlers = { onChange: ({ rev }: Change) => seen.push(rev), onLost: () => lost.push('lost') };
    shop.store().watch(15, handlers);
    shop.runtime.advance(SECOND);
    expect([lost, seen]).toEqual([['lost'], []]);
    shop.store().watch(16, handlers);
    shop.runtime.advance(SECOND);
    expect([lost, seen]).toEqual([['lost'], [16, 17, 18, 19, 20]]);
  });

  it('has a bound on what waits for the disk', async () => {
    const shop = workshop();
    shop.reopen({ waiting: 10 });
    const writes = await Promise.allSettled(Array.from({ length: 12 }, (_, i) => shop.write(`k${i}`, '')));
    const refused = writes.filter(({ status }) => status === 'rejected');
    expect(refused).toHaveLength(2);
    expect(refused[0]).toMatchObject({ reason: { code: 'ERR_BUSY' } });
  });

  it('gives every lease a fresh term after it stood still itself', async () => {
    const shop = workshop();
    const { lease } = await shop.grant(2 * SECOND);
    shop.runtime.advance(SECOND);
    const late = shop.runtime.timer;
    // The machine gives this program no time: what is due now comes five seconds later.
    shop.runtime.timer = (at, callback) => late.call(shop.runtime, at + 5 * SECOND, callback);
    shop.runtime.advance(SECOND / 5);
    shop.runtime.timer = late;
    shop.runtime.advance(6 * SECOND);
    expect(shop.store().stalls).toBe(1);
    expect(await shop.keepAlive(lease)).toBe(true);
    shop.runtime.advance(3 * SECOND);
    expect(await shop.keepAlive(lease)).toBe(false);
  });
});
