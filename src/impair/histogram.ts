/** How long things took, in buckets of powers of two, four to the octave above 4 ns: 19 % wide. Adding allocates nothing. */
export class Histogram {
  readonly buckets = new Float64Array(4 * 45);
  /** Count, sum, maximum. */
  readonly #cells = new Float64Array(3);
  readonly #float = new Float64Array(1);
  readonly #words = new Uint32Array(this.#float.buffer);

  /** @param time ns; negative counts as 0 */
  add(time: number, times = 1): void {
    const cells = this.#cells;
    cells[0] += times;
    if (!(time > 0)) {
      this.buckets[0] += times;
      return;
    }
    cells[1] += time * times;
    if (time > cells[2]) cells[2] = time;
    // Exponent and the first two bits of the fraction of an IEEE 754 double, as one number.
    this.#float[0] = time;
    const place = (this.#words[1] >>> 18) - FIRST;
    this.buckets[place < 0 ? 0 : place >= this.buckets.length ? this.buckets.length - 1 : place] += times;
  }

  get count(): number {
    return this.#cells[0];
  }

  /** ns; 0 when there is none. */
  get mean(): number {
    return this.#cells[0] === 0 ? 0 : this.#cells[1] / this.#cells[0];
  }

  get maximum(): number {
    return this.#cells[2];
  }

  /** The upper edge of the bucket in which the share `p` (0..1) of all times is reached, ns. */
  percentile(p: number): number {
    let left = p * this.#cells[0];
    for (let place = 0; place < this.buckets.length; place++) {
      left -= this.buckets[place];
      if (left <= 0 && this.buckets[place] > 0) return Math.min(edge(place + 1), this.#cells[2]);
    }
    return this.#cells[2];
  }
}

/** Where 4 ns would be among the first 14 bits of doubles. */
const FIRST = (1023 + 2) << 2;

/** The lower edge of a bucket, ns. */
const edge = (place: number): number => 2 ** (2 + (place >> 2)) * (1 + (place & 3) / 4);
