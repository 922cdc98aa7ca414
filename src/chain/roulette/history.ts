/** The last changes, bounded, for who watches from a revision in the past. */
export class History<T extends { readonly rev: number }> {
  readonly #limit: number;
  readonly #changes: T[] = [];
  /** Where the oldest is, for `shift()` of a long array costs its length. */
  #start = 0;
  /** All changes after this revision are here. */
  floor: number;

  /** @param limit changes that are kept @param floor the revision at which it begins */
  constructor(limit: number, floor: number) {
    this.#limit = limit;
    this.floor = floor;
  }

  push(change: T): void {
    this.#changes.push(change);
    if (this.#changes.length - this.#start <= this.#limit) return;
    this.floor = this.#changes[this.#start++].rev;
    if (this.#start <= this.#limit) return;
    this.#changes.splice(0, this.#start);
    this.#start = 0;
  }

  /** The first change after a revision; undefined when there is none, or it is no longer here. */
  after(rev: number): T | undefined {
    if (rev < this.floor) return undefined;
    let low = this.#start;
    for (let high = this.#changes.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (this.#changes[middle].rev <= rev) low = middle + 1;
      else high = middle;
    }
    return this.#changes[low];
  }
}
