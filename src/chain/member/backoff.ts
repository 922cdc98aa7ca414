/** How long to wait before the next attempt: longer each time, and not the same for all who lost one Roulette at once. */
import type { RandomStream } from '../../engine/random.ts';
import { MILLISECOND, SECOND } from '../../engine/units.ts';

const FIRST = 50 * MILLISECOND;
/** Who comes back is met again within 3 s, so the last wait is well below that. */
const LONGEST = SECOND;

export class Backoff {
  readonly #random: RandomStream;
  #delay = FIRST;

  constructor(random: RandomStream) {
    this.#random = random;
  }

  /** ns: between half of the present delay and the whole. */
  next(): number {
    const delay = this.#delay;
    this.#delay = Math.min(LONGEST, 2 * delay);
    return Math.round(delay * (0.5 + this.#random.unit() / 2));
  }

  /** It went well. */
  reset(): void {
    this.#delay = FIRST;
  }
}
