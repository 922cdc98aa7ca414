/** A bucket of tokens: so many per second, so many at once. */
import { SECOND } from '../../engine/units.ts';

export class Bucket {
  readonly #perSecond: number;
  readonly #most: number;
  /** Tokens, and when they were filled up last (ns). */
  readonly #state: Float64Array;

  constructor(perSecond: number, most: number) {
    this.#perSecond = perSecond;
    this.#most = most;
    this.#state = Float64Array.of(most, 0);
  }

  /** At the start of a breath. */
  refill(now: number): void {
    const state = this.#state;
    state[0] = Math.min(this.#most, state[0] + ((now - state[1]) * this.#perSecond) / SECOND);
    state[1] = now;
  }

  take(): boolean {
    if (this.#state[0] < 1) return false;
    this.#state[0]--;
    return true;
  }
}
