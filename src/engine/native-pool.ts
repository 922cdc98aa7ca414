/** Makes a pool known to native code for as long as somebody uses it there: ports, or the pool for its bursts. */
import { TunconnectorError } from '../errors.ts';
import type { Native } from '../native/binding.ts';
import { native } from '../native/load.ts';
import type { Pool } from './pool.ts';

const attached = new WeakMap<Pool, { id: number; users: number }>();
/** Native code holds a pool's memory, not the pool: one that nobody closed and nobody knows any more is let go. */
const forgotten = new FinalizationRegistry<number>((id) => native().poolDetach(id));

/** The pool's number for native calls. Each `retainPool` wants one `releasePool`. */
export function retainPool(pool: Pool): number {
  let entry = attached.get(pool);
  if (!entry) {
    entry = { id: native().poolAttach(pool), users: 0 };
    attached.set(pool, entry);
    forgotten.register(pool, entry.id, pool);
  }
  entry.users++;
  return entry.id;
}

export function releasePool(pool: Pool): void {
  const entry = attached.get(pool);
  if (!entry || --entry.users > 0) return;
  forgotten.unregister(pool);
  native().poolDetach(entry.id);
  attached.delete(pool);
}

/** The addon, or null where there is none: then the engine does without. */
export function addonOrNull(): Native | null {
  try {
    return native();
  } catch (error) {
    const code = error instanceof TunconnectorError ? error.code : '';
    if (code === 'ERR_NATIVE' || code === 'ERR_PLATFORM') return null;
    throw error;
  }
}
