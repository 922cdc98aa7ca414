/**
 * Answers to probes, so many per second. A question has the TTL that it started with, 63, and its answer one less: two who take
 * answers for questions would keep each other busy for ever.
 */
import { SECOND } from '../../engine/units.ts';
import * as nsh from '../../packet/nsh.ts';

const PER_SECOND = 2000;
const MOST = 500;

export class Answers {
  /** Tokens, and when they were filled up last (ns). */
  readonly #state = Float64Array.of(MOST, 0);
  given = 0;

  /** At the start of a breath. */
  refill(now: number): void {
    const state = this.#state;
    state[0] = Math.min(MOST, state[0] + ((now - state[1]) * PER_SECOND) / SECOND);
    state[1] = now;
  }

  /** Whether one more may be given. */
  take(): boolean {
    if (this.#state[0] < 1) return false;
    this.#state[0]--;
    this.given++;
    return true;
  }

  /** Makes the probe of a replica its answer, where it stands. False: it is one itself, or there were too many. */
  answer(bytes: Uint8Array, header: number): boolean {
    if (nsh.ttl(bytes, header) !== nsh.DEFAULT_TTL || !this.take()) return false;
    nsh.setTtl(bytes, header, nsh.DEFAULT_TTL - 1);
    return true;
  }
}
