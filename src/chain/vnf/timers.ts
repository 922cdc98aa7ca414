/** Timers of a function: few, bounded, run between packets by the app that runs it. */
import { TunconnectorError } from '../../errors.ts';

export const MAX_TIMERS = 1024;

interface Timer {
  at: number;
  callback: () => void;
}

export class VnfTimers {
  /** The first first; equal ones in the order in which they were set. */
  readonly #timers: Timer[] = [];

  /** @returns how to cancel it @throws ERR_LIMIT */
  set(at: number, callback: () => void): () => void {
    if (this.#timers.length >= MAX_TIMERS)
      throw new TunconnectorError('ERR_LIMIT', `a function has at most ${MAX_TIMERS} timers`);
    const timer = { at, callback };
    let low = 0;
    let high = this.#timers.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#timers[middle].at <= at) low = middle + 1;
      else high = middle;
    }
    this.#timers.splice(low, 0, timer);
    return () => {
      const place = this.#timers.indexOf(timer);
      if (place >= 0) this.#timers.splice(place, 1);
    };
  }

  /** When the next is due: ns, or Infinity. */
  get next(): number {
    return this.#timers.length === 0 ? Number.POSITIVE_INFINITY : this.#timers[0].at;
  }

  /** The callback of one that is due by now, which is gone then. */
  take(now: number): (() => void) | undefined {
    return this.next <= now ? this.#timers.shift()!.callback : undefined;
  }
}
