import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checksum, fold, rewrite16, sum, update16, update32 } from '../../src/packet/checksum.ts';
import { get16, put16, put32 } from '../../src/packet/word.ts';

/** RFC 1071, word by word, carrying at once. */
function slowSum(bytes: Uint8Array, offset: number, length: number, initial = 0): number {
  let total = BigInt(initial);
  for (let i = 0; i < length; i += 2) {
    const low = i + 1 < length ? bytes[offset + i + 1] : 0;
    total += BigInt(bytes[offset + i] * 256 + low);
  }
  while (total > 0xffffn) total = (total & 0xffffn) + (total >> 16n);
  return Number(total);
}

describe('the Internet checksum', () => {
  it('is that of RFC 1071, section 3', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(sum(bytes, 0, 8)).toBe(0xddf2);
    expect(checksum(bytes, 0, 8)).toBe(0x220d);
  });

  it('keeps zero and minus zero apart', () => {
    expect(sum(new Uint8Array(100), 0, 100)).toBe(0);
    expect(sum(new Uint8Array(100).fill(255), 0, 100)).toBe(0xffff);
    expect(sum(new Uint8Array(0), 0, 0, 0xffffffff)).toBe(0xffff);
    expect(fold(0x10000)).toBe(1);
    expect(fold(0xffffffff)).toBe(0xffff);
  });

  it('is the same sum as the slow one for any offset, length and start', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.nat(40),
        fc.integer({ min: 0, max: 0xffffffff }),
        (bytes, offset, initial) => {
          const length = Math.max(0, bytes.length - offset);
          expect(sum(bytes, offset, length, initial)).toBe(slowSum(bytes, offset, length, initial));
        },
      ),
      { seed: 1, numRuns: 5000 },
    );
  });

  it('does not overflow on the heaviest 68 KiB', () => {
    const bytes = new Uint8Array(68 * 1024 + 1).fill(255);
    expect(sum(bytes, 0, bytes.length, 0xffffffff)).toBe(slowSum(bytes, 0, bytes.length, 0xffffffff));
    expect(sum(bytes, 1, bytes.length - 1)).toBe(0xffff);
  });
});

describe('incremental updates', () => {
  it('are those of RFC 1624, section 4', () => {
    expect(update16(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  it('equal the full computation, word by word', () => {
    // A first byte that is never 0, as in every IP header, keeps the sum away from plus zero.
    const header = fc.uint8Array({ minLength: 20, maxLength: 60 }).map((bytes) => {
      bytes[0] = 0x45;
      return bytes;
    });
    fc.assert(
      fc.property(
        header,
        fc.integer({ min: 2, max: 9 }),
        fc.nat(0xffff),
        fc.nat(0xffffffff),
        (bytes, word, a, b) => {
          const field = 2 * word;
          const before = checksum(bytes, 0, bytes.length);
          const old = get16(bytes, field);
          put16(bytes, field, a);
          expect(update16(before, old, a)).toBe(checksum(bytes, 0, bytes.length));

          const middle = checksum(bytes, 0, bytes.length);
          const old32 = get16(bytes, field - 2) * 0x10000 + a;
          put32(bytes, field - 2, b);
          // A 32-bit field may have overwritten the constant byte only at word 1, which is excluded.
          expect(update32(middle, old32, b)).toBe(checksum(bytes, 0, bytes.length));
        },
      ),
      { seed: 2, numRuns: 5000 },
    );
  });

  it('mend a field in place', () => {
    const bytes = Uint8Array.from({ length: 20 }, (_, i) => i * 11);
    put16(bytes, 10, 0);
    put16(bytes, 10, checksum(bytes, 0, 20));
    rewrite16(bytes, 4, 0xbeef, 10);
    expect(get16(bytes, 4)).toBe(0xbeef);
    expect(sum(bytes, 0, 20)).toBe(0xffff);
  });
});
