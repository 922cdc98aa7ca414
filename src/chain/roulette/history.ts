/** The last changes, bounded, for who watches from a revision in the past. */
export class History<T extends { readonly rev: number }> {
  readonly #limit: number;
  /** A ring: the oldest makes room for the newest, and nothing holds on to it. */
  readonly #changes: T[] = [];
  #oldest = 0;
  /** All changes after this revision are here. */
  floor: number;

  /** @param limit changes that are kept @param floor the revision at which it begins */
  constructor(limit: number, floor: number) {
    this.#limit = limit;
    this.floor = floor;
  }

  push(change: T): void {
    if (this.#changes.length < this.#limit) {
      this.#changes.push(change);
      return;
    }
    this.floor = this.#changes[this.#oldest].rev;
    this.#changes[this.#oldest] = change;
    this.#oldest = (this.#oldest + 1) % this.#limit;
  }

  /** The first change after a revision; undefined when there is none, or it is no longer here. */
  after(rev: number): T | undefined {
    if (rev < this.floor) return undefined;
    let low = 0;
    for (let high = this.#changes.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (this.#at(middle).rev <= rev) low = middle + 1;
      else high = middle;
    }
    return low < this.#changes.length ? this.#at(low) : undefined;
  }

  /** @param age 0 for the oldest */
  #at(age: number): T {
    return this.#changes[(this.#oldest + age) % this.#changes.length];
  }
}
