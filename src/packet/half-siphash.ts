/**
 * HalfSipHash-2-4 with 64 bits of output (Aumasson and Bernstein: "SipHash: a fast short-input PRF", INDOCRYPT 2012; the
 * variant of 32-bit words is the authors' own). Its key of 64 bits keeps senders from choosing flows that collide, which is
 * all that is asked of it here: it authenticates nothing. Additions, rotations and exclusive ors of 32 bits are the same
 * on every machine.
 */

export class HalfSipHash {
  /** Of the last hash: its first 32 bits, signed. */
  high = 0;
  /** And its last. */
  low = 0;

  /**
   * Hashes 4 * `count` bytes, given as words in the order of little-endian machines. The result is in `high` and `low`,
   * words of the same order.
   */
  hash(key0: number, key1: number, words: Int32Array, at: number, count: number): void {
    let v0 = key0 | 0;
    let v1 = key1 ^ 0xee;
    let v2 = key0 ^ 0x6c796765;
    let v3 = key1 ^ 0x74656462;
    // The words, a block with the length, and two that only stir: one for each half of the result.
    for (let block = 0; block < count + 3; block++) {
      const word = block < count ? words[at + block] : block === count ? count << 26 : 0;
      let rounds = 2;
      if (block > count) {
        rounds = 4;
        if (block === count + 1) {
          v2 ^= 0xee;
        } else {
          this.high = v1 ^ v3;
          v1 ^= 0xdd;
        }
      }
      v3 ^= word;
      for (; rounds > 0; rounds--) {
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
      v0 ^= word;
    }
    this.low = v1 ^ v3;
  }
}
