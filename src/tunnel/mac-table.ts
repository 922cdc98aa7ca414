/**
 * Which port a MAC address was last seen behind: open addressing over typed arrays, so that learning and looking up
 * allocate nothing. Bounded: when the few places where an address may stand are taken, the oldest gives way.
 */
import { SECOND } from '../engine/units.ts';

const SIZE = 4096;
const MASK = SIZE - 1;
/** Places an address may stand in. */
const WAYS = 8;
/** IEEE 802.1Q, 8.8.3: the recommended ageing time. */
const AGEING = 300 * SECOND;

export class MacTable {
  readonly #high = new Int32Array(SIZE);
  readonly #low = new Int32Array(SIZE);
  readonly #port = new Int32Array(SIZE).fill(-1);
  readonly #seen = new Float64Array(SIZE);

  /** The MAC address at `bytes[at..at+6)` is behind `port`. Group addresses teach nothing. */
  learn(bytes: Uint8Array, at: number, port: number, now: number): void {
    if (bytes[at] & 1) return;
    const high = (bytes[at] << 8) | bytes[at + 1];
    const low = (bytes[at + 2] << 24) | (bytes[at + 3] << 16) | (bytes[at + 4] << 8) | bytes[at + 5];
    const home = hash(high, low);
    let oldest = home;
    for (let i = 0; i < WAYS; i++) {
      const place = (home + i) & MASK;
      if (this.#port[place] >= 0 && this.#high[place] === high && this.#low[place] === low) {
        this.#port[place] = port;
        this.#seen[place] = now;
        return;
      }
      if (this.#port[place] < 0) {
        if (this.#port[oldest] >= 0) oldest = place;
      } else if (this.#port[oldest] >= 0 && this.#seen[place] < this.#seen[oldest]) {
        oldest = place;
      }
    }
    this.#high[oldest] = high;
    this.#low[oldest] = low;
    this.#port[oldest] = port;
    this.#seen[oldest] = now;
  }

  /** The port behind which the address was last seen, or -1: unknown, too long ago, or a group address. */
  lookup(bytes: Uint8Array, at: number, now: number): number {
    if (bytes[at] & 1) return -1;
    const high = (bytes[at] << 8) | bytes[at + 1];
    const low = (bytes[at + 2] << 24) | (bytes[at + 3] << 16) | (bytes[at + 4] << 8) | bytes[at + 5];
    const home = hash(high, low);
    for (let i = 0; i < WAYS; i++) {
      const place = (home + i) & MASK;
      if (this.#port[place] < 0 || this.#high[place] !== high || this.#low[place] !== low) continue;
      return now - this.#seen[place] <= AGEING ? this.#port[place] : -1;
    }
    return -1;
  }

  /** Forgets everything behind a port. */
  forget(port: number): void {
    for (let i = 0; i < SIZE; i++) if (this.#port[i] === port) this.#port[i] = -1;
  }
}

function hash(high: number, low: number): number {
  let h = Math.imul(low ^ (high << 16) ^ high, 0x9e3779b1);
  h ^= h >>> 15;
  return h & MASK;
}
