import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect, it } from 'vitest';
import {
  type EmbeddedStore,
  openEmbeddedStore,
} from '../../../src/chain/roulette/embedded/embedded-store.ts';
import type { StoreState, TxnResult } from '../../../src/chain/roulette/store.ts';
import { LiveRuntime } from '../../../src/engine/live-runtime.ts';
import { MILLISECOND } from '../../../src/engine/units.ts';
import { answerOf, type StoreWorld, storeSuite } from './store-suite.ts';

const newFolder = () => mkdtempSync(path.join(tmpdir(), 'roulette-'));

const open = (folder: string) =>
  new Promise<EmbeddedStore>((resolve, reject) =>
    openEmbeddedStore(new LiveRuntime({ storage: folder }), {}, (error, store) =>
      store ? resolve(store) : reject(error),
    ),
  );

async function until(fact: () => boolean): Promise<void> {
  for (let i = 0; i < 5000 && !fact(); i++) await wait(2);
  expect(fact()).toBe(true);
}

storeSuite('the embedded store on the machine’s disk and clock', async (): Promise<StoreWorld> => {
  const folder = newFolder();
  const store = await open(folder);
  return {
    store,
    until,
    pass: (time) => wait(time / MILLISECOND),
    close: async () => {
      store.close();
      rmSync(folder, { recursive: true });
    },
  };
});

it('the embedded store on the machine’s disk is there again for the next program', async () => {
  const folder = newFolder();
  try {
    const first = await open(folder);
    const ops = [{ key: 'a', value: '1' }];
    const { rev } = await answerOf<TxnResult>({ until }, (done) => first.txn([], ops, done));
    first.close();
    const second = await open(folder);
    const state = await answerOf<StoreState>({ until }, (done) => second.load(done));
    expect(state).toEqual({ rev, entries: [{ key: 'a', value: '1', rev }] });
    expect(second.id).toBe(first.id);
    second.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
