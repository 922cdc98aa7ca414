import { describe, expect, it } from 'vitest';
import { HalfSipHash } from '../../src/packet/half-siphash.ts';

const hash = new HalfSipHash();
/** The hash's 8 bytes for a message of little-endian words. */
function digest(key0: number, key1: number, words: Int32Array): string {
  hash.hash(key0, key1, words, 0, words.length);
  const bytes = Buffer.alloc(8);
  bytes.writeInt32LE(hash.high, 0);
  bytes.writeInt32LE(hash.low, 4);
  return bytes.toString('hex');
}

describe('HalfSipHash-2-4', () => {
  // The authors' own vectors: the key is 00 01 .. 07, the message 00 01 .. of so many bytes.
  it.each([
    [0, '218d1f59b9b83cc8'],
    [4, 'd5e78a175be52ea1'],
    [8, 'edfee820bce4858c'],
    [44, '1e30f3ad27dcb15a'],
    [48, 'a9eaa8c04ba93e3e'],
  ])('of %i bytes is what its authors publish', (length, expected) => {
    const message = Buffer.from(Array.from({ length }, (_, i) => i));
    const words = Int32Array.from({ length: length / 4 }, (_, i) => message.readInt32LE(4 * i));
    expect(digest(0x03020100, 0x07060504, words)).toBe(expected);
  });

  it('changes half of its bits with any bit of the message or the key', () => {
    let flipped = 0;
    const runs = 2000;
    const words = new Int32Array(11);
    for (let n = 0; n < runs; n++) {
      words[3] = Math.imul(n, 0x9e3779b1);
      hash.hash(1, 2, words, 0, 11);
      const [high, low] = [hash.high, hash.low];
      const bit = n % (64 + 352);
      const key = [1, 2];
      if (bit < 64) key[bit >> 5]! ^= 1 << (bit & 31);
      else words[(bit - 64) >> 5]! ^= 1 << (bit & 31);
      hash.hash(key[0]!, key[1]!, words, 0, 11);
      words.fill(0);
      for (let x of [hash.high ^ high, hash.low ^ low]) for (; x !== 0; x &= x - 1) flipped++;
    }
    // Binomial: 64 * 2000 tosses, six standard deviations are 1074.
    expect(Math.abs(flipped - 32 * runs)).toBeLessThan(1074);
  });
});
