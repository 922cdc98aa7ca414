/** When leases end. Only in memory, on the runtime's monotonic clock: what was not heard of while this stood still is not held against anyone. */
import { MILLISECOND, SECOND } from '../../../engine/units.ts';

/** How often somebody looks. */
export const LEASE_TICK = 100 * MILLISECOND;
/** A look that is so late says that this program stood still, and not its clients. */
const STALL = SECOND;

export class Terms {
  readonly #ends = new Map<string, { term: number; end: number }>();
  #nextTick: number;
  /** Stalls after which every lease got a fresh term. */
  stalls = 0;

  constructor(now: number) {
    this.#nextTick = now + LEASE_TICK;
  }

  /** A fresh term. @param term ns */
  renew(lease: string, term: number, now: number): void {
    this.#ends.set(lease, { term, end: now + term });
  }

  forget(lease: string): void {
    this.#ends.delete(lease);
  }

  isOver(lease: string, now: number): boolean {
    const state = this.#ends.get(lease);
    return state !== undefined && state.end <= now;
  }

  /** @returns the leases whose term is over; call it again every `LEASE_TICK` */
  tick(now: number): string[] {
    if (now > this.#nextTick + STALL) {
      this.stalls++;
      for (const state of this.#ends.values()) state.end = now + state.term;
    }
    this.#nextTick = now + LEASE_TICK;
    return [...this.#ends].filter(([, { end }]) => end <= now).map(([lease]) => lease);
  }
}
