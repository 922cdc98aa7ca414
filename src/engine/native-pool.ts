/** Makes a pool known to native code for as long as some port uses it. */
import { native } from '../native/load.ts';
import type { Pool } from './pool.ts';

const attached = new WeakMap<Pool, { id: number; users: number }>();

/** The pool's number for native calls. Each `retainPool` wants one `releasePool`. */
export function retainPool(pool: Pool): number {
  let entry = attached.get(pool);
  if (!entry) {
    entry = { id: native().poolAttach(pool), users: 0 };
    attached.set(pool, entry);
  }
  entry.users++;
  return entry.id;
}

export function releasePool(pool: Pool): void {
  const entry = attached.get(pool);
  if (!entry || --entry.users > 0) return;
  native().poolDetach(entry.id);
  attached.delete(pool);
}
