/**
 * Finds any of many byte patterns in a stream, one byte after the other (Aho and Corasick: "Efficient string matching", CACM
 * 1975). Where a search stands is one integer, so that it goes on in the flow's next segment.
 */

/** Bytes of all patterns together: each is a row of 1 KiB. */
export const MAX_PATTERN_BYTES = 4096;

export class PatternSearch {
  /** Where a search begins. */
  static readonly START = 0;
  readonly #next: Int32Array;
  /** By state: the pattern that ends there, the first of several; -1 for none. */
  readonly #found: Int32Array;

  /** @param patterns none of them empty */
  constructor(patterns: readonly Uint8Array[]) {
    const states = 1 + patterns.reduce((sum, pattern) => sum + pattern.length, 0);
    const next = new Int32Array(states * 256).fill(-1);
    const found = new Int32Array(states).fill(-1);
    let count = 1;
    for (const [i, pattern] of patterns.entries()) {
      let state = 0;
      for (const byte of pattern) {
        if (next[state * 256 + byte] < 0) next[state * 256 + byte] = count++;
        state = next[state * 256 + byte];
      }
      if (found[state] < 0) found[state] = i;
    }
    // In the order of depth: a state's fallback is shallower.
    const fallback = new Int32Array(states);
    const queue: number[] = [];
    for (let byte = 0; byte < 256; byte++) {
      if (next[byte] < 0) next[byte] = 0;
      else queue.push(next[byte]);
    }
    for (let head = 0; head < queue.length; head++) {
      const state = queue[head];
      const back = fallback[state];
      if (found[back] >= 0 && (found[state] < 0 || found[back] < found[state])) found[state] = found[back];
      for (let byte = 0; byte < 256; byte++) {
        const to = next[state * 256 + byte];
        if (to < 0) {
          next[state * 256 + byte] = next[back * 256 + byte];
        } else {
          fallback[to] = next[back * 256 + byte];
          queue.push(to);
        }
      }
    }
    this.#next = next;
    this.#found = found;
  }

  step(state: number, byte: number): number {
    return this.#next[state * 256 + byte];
  }

  /** The pattern that has just ended; -1 for none. */
  found(state: number): number {
    return this.#found[state];
  }
}
