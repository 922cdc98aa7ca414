/** The embedded store on a virtual disk. */

import {
  type EmbeddedStore,
  type EmbeddedStoreOptions,
  openEmbeddedStore,
} from '../../../src/chain/roulette/embedded/embedded-store.ts';
import { MILLISECOND } from '../../../src/engine/units.ts';
import type { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import type { TunconnectorError } from '../../../src/errors.ts';
import type { StoreWorld } from './store-suite.ts';

/** Opens it, and lets time pass until it is open. Throws what it ends with. */
export function openNow(runtime: VirtualRuntime, options: EmbeddedStoreOptions = {}): EmbeddedStore {
  let outcome: { error: TunconnectorError | undefined; store?: EmbeddedStore } | undefined;
  openEmbeddedStore(runtime, options, (error, store) => {
    outcome = { error, store };
  });
  passUntil(runtime, () => outcome !== undefined);
  if (outcome!.error) throw outcome!.error;
  return outcome!.store!;
}

/** Lets time pass until it is so, for a minute at most. */
export function passUntil(runtime: VirtualRuntime, fact: () => boolean): void {
  for (let i = 0; i < 60_000 && !fact(); i++) runtime.advance(MILLISECOND);
  if (!fact()) throw new Error('it did not come to that within a minute');
}

/** The same, once everything that the test asks at this moment has been asked. */
export async function untilSo(runtime: VirtualRuntime, fact: () => boolean): Promise<void> {
  await null;
  passUntil(runtime, fact);
}

export function embeddedWorld(runtime: VirtualRuntime, options: EmbeddedStoreOptions = {}): StoreWorld {
  const store = openNow(runtime, options);
  return {
    store,
    until: (fact) => untilSo(runtime, fact),
    pass: async (time) => runtime.advance(time),
    close: async () => store.close(),
  };
}
