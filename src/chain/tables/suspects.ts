/**
 * Replicas that could not be reached from here. A suspicion is this member's own and ends by itself: whether a replica is
 * gone, Roulette decides.
 */
import { SECOND } from '../../engine/units.ts';

/** How long a suspicion lasts that nothing confirms: ns. */
export const SUSPICION = 5 * SECOND;
/** Suspicions at a time. Beyond, a replica is not suspected. */
export const MAX_SUSPECTS = 4096;

export class Suspects {
  /** When each ends, ns, in the order of their ends: all last equally long. */
  readonly #until = new Map<number, number>();

  has(id: number): boolean {
    return this.#until.has(id);
  }

  get count(): number {
    return this.#until.size;
  }

  /** From `now` on for SUSPICION. Returns whether it is a new one. */
  add(id: number, now: number): boolean {
    const known = this.#until.delete(id);
    if (!known && this.#until.size >= MAX_SUSPECTS) return false;
    this.#until.set(id, now + SUSPICION);
    return !known;
  }

  /** Returns whether there was one. */
  end(id: number): boolean {
    return this.#until.delete(id);
  }

  /** A replica whose suspicion has ended by itself, or 0. Ask until there is none. */
  expire(now: number): number {
    for (const [id, until] of this.#until) {
      if (until > now) break;
      this.#until.delete(id);
      return id;
    }
    return 0;
  }

  /** When the first ends: ns, or Infinity. */
  nextDeadline(): number {
    for (const until of this.#until.values()) return until;
    return Number.POSITIVE_INFINITY;
  }
}
