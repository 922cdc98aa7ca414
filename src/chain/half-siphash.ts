/**
 * HalfSipHash-2-4 with 64 bits of output (Aumasson and Bernstein: "SipHash: a fast short-input PRF", INDOCRYPT 2012; the
 * variant of 32-bit words is the authors' own). Its key of 64 bits keeps senders from choosing flows that collide, which is
 * all that is asked of it here: it authenticates nothing. Additions, rotations and exclusive ors of 32 bits are the same
 * on every machine.
 */

export class HalfSipHash {
  #v0 = 0;
  #v1 = 0;
  #v2 = 0;
  #v3 = 0;
  /** Of the last hash: its first 32 bits, signed. */
  high = 0;
  /** And its last. */
  low = 0;

  /**
   * Hashes 4 * `count` bytes, given as words in the order of little-endian machines. The result is in `high` and `low`,
   * words of the same order.
   */
  hash(key0: number, key1: number, words: Int32Array, at: number, count: number): void {
    this.#v0 = key0 | 0;
    this.#v1 = key1 ^ 0xee;
    this.#v2 = key0 ^ 0x6c796765;
    this.#v3 = key1 ^ 0x74656462;
    for (let i = 0; i < count; i++) this.#absorb(words[at + i]);
    this.#absorb((count << 26) | 0);
    this.#v2 ^= 0xee;
    this.#rounds(4);
    this.high = this.#v1 ^ this.#v3;
    this.#v1 ^= 0xdd;
    this.#rounds(4);
    this.low = this.#v1 ^ this.#v3;
  }

  #absorb(word: number): void {
    this.#v3 ^= word;
    this.#rounds(2);
    this.#v0 ^= word;
  }

  #rounds(count: number): void {
    let v0 = this.#v0;
    let v1 = this.#v1;
    let v2 = this.#v2;
    let v3 = this.#v3;
    for (let i = 0; i < count; i++) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    this.#v0 = v0;
    this.#v1 = v1;
    this.#v2 = v2;
    this.#v3 = v3;
  }
}
