/**
 * The Internet checksum (RFC 1071): ones' complement sums, pseudo-headers, and incremental updates (RFC 1624).
 *
 * Two forms of number appear. A *sum* is folded to 16 bits and not inverted, so sums can be added up; `sum` is the
 * TypeScript twin of the addon's `checksum`. A *checksum* is what stands in a header: the sum inverted.
 */
import { get16 } from './word.ts';

/** Bytes summed between two folds: 2^14 words of 0xffff and a folded start stay below 2^31, a V8 small integer. */
const BLOCK = 1 << 15;

/** Adds the carries back in (RFC 1071): any sum of 0 to 2^32 - 1 becomes 16 bits, and only 0 becomes 0. */
export function fold(sum: number): number {
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

/**
 * Ones' complement sum of `bytes[offset..offset+length)` as big-endian words, plus `initial` (0 to 2^32 - 1), folded to
 * 16 bits, not inverted. A last odd byte is the high byte of a word.
 */
export function sum(bytes: Uint8Array, offset: number, length: number, initial = 0): number {
  let total = fold(initial);
  const end = offset + length;
  let i = offset;
  while (end - i >= 16) {
    const stop = Math.min(end, i + BLOCK) - 15;
    // The high and the low bytes of the words apart: half the shifts, and eight loads that do not wait for one another.
    let high = 0;
    let low = 0;
    for (; i < stop; i += 16) {
      high += bytes[i] + bytes[i + 2] + bytes[i + 4] + bytes[i + 6];
      low += bytes[i + 1] + bytes[i + 3] + bytes[i + 5] + bytes[i + 7];
      high += bytes[i + 8] + bytes[i + 10] + bytes[i + 12] + bytes[i + 14];
      low += bytes[i + 9] + bytes[i + 11] + bytes[i + 13] + bytes[i + 15];
    }
    total = fold(total + (high << 8) + low);
  }
  for (; end - i >= 2; i += 2) total += (bytes[i] << 8) | bytes[i + 1];
  if (i < end) total += bytes[i] << 8;
  return fold(total);
}

/** The checksum of `bytes[offset..offset+length)`, ready to be written. The field itself must hold 0 meanwhile. */
export function checksum(bytes: Uint8Array, offset: number, length: number, initial = 0): number {
  return ~sum(bytes, offset, length, initial) & 0xffff;
}

/**
 * Sum of the pseudo-header of IPv4 (RFC 9293, 3.1; RFC 768).
 *
 * @param addresses where the source address stands; the destination follows it, as in the header
 * @param length of the transport header and its payload
 */
export function pseudoSum4(bytes: Uint8Array, addresses: number, protocol: number, length: number): number {
  return sum(bytes, addresses, 8, protocol + length);
}

/**
 * Sum of the pseudo-header of IPv6 (RFC 8200, 8.1).
 *
 * @param source where the source address stands
 * @param destination where the final destination stands: behind a routing header not the header's own
 * @param protocol the upper-layer protocol, not an extension header
 * @param length of the transport header and its payload, up to 2^32 - 1
 */
export function pseudoSum6(
  bytes: Uint8Array,
  source: number,
  destination: number,
  protocol: number,
  length: number,
): number {
  return sum(bytes, source, 16, sum(bytes, destination, 16, fold(length) + protocol));
}

/** RFC 1624, equation 3: the checksum after one aligned 16-bit word of what it covers went from `before` to `after`. */
export function update16(checksum: number, before: number, after: number): number {
  return ~fold((~checksum & 0xffff) + (~before & 0xffff) + after) & 0xffff;
}

/** The same for a 32-bit field at an even distance from the start. */
export function update32(checksum: number, before: number, after: number): number {
  return (
    ~fold(
      (~checksum & 0xffff) +
        (~before & 0xffff) +
        ((~before >>> 16) & 0xffff) +
        (after & 0xffff) +
        ((after >>> 16) & 0xffff),
    ) & 0xffff
  );
}

/** Writes a 16-bit field at `at` and mends the checksum at `checksumAt`. */
export function rewrite16(bytes: Uint8Array, at: number, value: number, checksumAt: number): void {
  const mended = update16(get16(bytes, checksumAt), get16(bytes, at), value);
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
  bytes[checksumAt] = mended >>> 8;
  bytes[checksumAt + 1] = mended;
}
