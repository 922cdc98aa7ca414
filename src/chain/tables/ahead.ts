/**
 * Revisions that packets carry before Roulette has told of them here: whoever sends may have heard of an edit first. How far ahead
 * they may be, and for how long, is bounded, for a member that is broken or hostile can write any number.
 */
import { SECOND } from '../../engine/units.ts';

/** So many revisions ahead of the newest that is known: a power of two. */
export const AHEAD = 1024;
/** ns after its first packet within which Roulette has to tell of a revision. */
export const PATIENCE = 10 * SECOND;

export class Ahead {
  /** ns. A field, for a double that is passed becomes an object. */
  now = 0;
  #newest = 0;
  #watched = true;
  /** By the lower bits of the revision: when its first packet came, ns. Infinity: none has. */
  readonly #since = new Float64Array(AHEAD).fill(Infinity);
  /** When the patience with the first of them ends: ns, or Infinity. */
  nextDeadline = Infinity;

  /** The newest revision that is known of any chain: all chains of a tenant count together. */
  set newest(revision: number) {
    const from = Math.min(revision, this.#newest);
    const to = Math.max(revision, this.#newest);
    this.#newest = revision;
    // Their places are those of other revisions from now on.
    for (let i = from + 1; i <= Math.min(to, from + AHEAD); i++) this.#since[i & (AHEAD - 1)] = Infinity;
    this.#arm();
  }

  /** While Roulette cannot be heard, that it does not tell of a revision proves nothing. */
  set watched(watched: boolean) {
    if (watched === this.#watched) return;
    this.#watched = watched;
    this.#since.fill(Infinity);
    this.#arm();
  }

  /** Whether packets may carry a revision that is not known. @param revision 32 bits, unsigned */
  take(revision: number): boolean {
    if (revision <= this.#newest || revision > this.#newest + AHEAD) return false;
    if (!this.#watched) return true;
    const place = revision & (AHEAD - 1);
    const since = this.#since[place];
    if (since !== Infinity) return this.now - since < PATIENCE;
    this.#since[place] = this.now;
    this.nextDeadline = Math.min(this.nextDeadline, this.now + PATIENCE);
    return true;
  }

  /** Returns whether revisions that were taken are so no longer. */
  tick(now: number): boolean {
    this.now = now;
    if (now < this.nextDeadline) return false;
    this.#arm();
    return true;
  }

  #arm(): void {
    this.nextDeadline = Infinity;
    for (const since of this.#since) {
      const until = since + PATIENCE;
      if (until > this.now && until < this.nextDeadline) this.nextDeadline = until;
    }
  }
}
