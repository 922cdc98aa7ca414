/**
 * What comes over a link, in bursts. Live, wire packets of one flow that follow each other are made one superframe first, with
 * checksums that were verified on the way: natively, as network cards and kernels do (GRO). TCP then looks at 64 KiB once,
 * not at 1500 bytes each time. In virtual time every packet stays the one that was sent.
 */
import type { Link } from '../../engine/link.ts';
import { addonOrNull, releasePool, retainPool } from '../../engine/native-pool.ts';
import type { Pool } from '../../engine/pool.ts';
import { Coalesce, type Native } from '../../native/binding.ts';

const BURST = 256;
/** So few are not worth a native call. */
const MERGE_FROM = 4;

export class Arrivals {
  /** What `take` took. */
  readonly packets = new Int32Array(BURST);
  readonly #pool: Pool;
  readonly #native: Native | null;
  readonly #id: number = -1;
  /** In debug builds: what was there before some of it was merged. */
  readonly #before: Int32Array | null;

  constructor(pool: Pool, merges: boolean) {
    this.#pool = pool;
    this.#native = merges ? addonOrNull() : null;
    if (this.#native) this.#id = retainPool(pool);
    this.#before = pool.ledger ? new Int32Array(BURST) : null;
  }

  /** Takes up to `most` packets off a link, and returns how many handles stand in `packets` then. */
  take(link: Link, most: number): number {
    const { packets } = this;
    const n = link.takeBurst(packets, Math.min(most, BURST));
    if (this.#native === null || n < MERGE_FROM) return n;
    this.#before?.set(packets);
    const left = this.#native.coalesce(this.#id, packets, n, Coalesce.ip);
    if (left < 0) return n;
    if (this.#before && left < n) this.#settle(n, left);
    return left;
  }

  /** Native code has freed those that joined others. */
  #settle(before: number, left: number): void {
    const { ledger, actor } = this.#pool;
    for (let i = 0, kept = 0; i < before; i++) {
      const packet = this.#before![i];
      if (kept < left && this.packets[kept] === packet) kept++;
      else ledger!.forgotten(packet, actor);
    }
  }

  close(): void {
    if (this.#native) releasePool(this.#pool);
  }
}
