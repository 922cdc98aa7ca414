import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect } from 'vitest';
import {
  type EmbeddedStore,
  openEmbeddedStore,
} from '../../../src/chain/roulette/embedded/embedded-store.ts';
import { LiveRuntime } from '../../../src/engine/live-runtime.ts';
import { MILLISECOND } from '../../../src/engine/units.ts';
import { storeSuite } from './store-suite.ts';

storeSuite('the embedded store on the machine’s disk and clock', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'roulette-'));
  const runtime = new LiveRuntime({ storage: folder });
  const store = await new Promise<EmbeddedStore>((resolve, reject) =>
    openEmbeddedStore(runtime, {}, (error, store) => (store ? resolve(store) : reject(error))),
  );
  return {
    store,
    until: async (fact) => {
      for (let i = 0; i < 5000 && !fact(); i++) await wait(2);
      expect(fact()).toBe(true);
    },
    pass: (time) => wait(time / MILLISECOND),
    close: async () => {
      store.close();
      rmSync(folder, { recursive: true });
    },
  };
});
