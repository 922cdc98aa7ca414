/**
 * What waits to leave through one interface: packets are gathered while the stack runs, and put on the link in one burst.
 * What the link has no room for stays here, up to a limit, and the transports wait.
 */
import type { Link } from '../../engine/link.ts';
import type { Pool } from '../../engine/pool.ts';
import { StackDrop } from '../reasons.ts';

export const OUTLET_PACKETS = 1024;

export class Outlet {
  readonly #pool: Pool;
  readonly #packets = new Int32Array(OUTLET_PACKETS);
  count = 0;
  /** Set when somebody was told that there is no room: the scheduler must say when there is. */
  starved = false;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  get room(): number {
    return OUTLET_PACKETS - this.count;
  }

  put(packet: number): void {
    if (this.count === OUTLET_PACKETS) this.#pool.drop(packet, StackDrop.QueueFull);
    else this.#packets[this.count++] = packet;
  }

  /** Puts on the link what it has room for. */
  flush(link: Link): void {
    if (this.count === 0) return;
    // A link that closes a loop holds nobody up, and one that leads nowhere has no room at all: they count what they drop.
    const n = link.feedback ? this.count : Math.min(this.count, link.room);
    if (n === 0) return;
    link.putBurst(this.#packets, n);
    this.forget(n);
  }

  /** Takes back, and frees, what was put here since `count` was this. */
  takeBack(count: number): void {
    while (this.count > count) this.#pool.free(this.#packets[--this.count]);
  }

  /** The oldest, for who empties it one by one up to `count`, and then calls `forget`. */
  at(place: number): number {
    return this.#packets[place];
  }

  /** The first `n` were taken. */
  forget(n: number): void {
    this.#packets.copyWithin(0, n, this.count);
    this.count -= n;
  }

  clear(): void {
    for (let i = 0; i < this.count; i++) this.#pool.free(this.#packets[i]);
    this.count = 0;
  }
}
