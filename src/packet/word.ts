/**
 * Big-endian words in place. Plain byte reads: V8 compiles them to loads with one bounds check each, and unlike a
 * DataView they need no second object beside the bytes.
 */

export function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Unsigned: 0 to 2^32 - 1. */
export function get32(bytes: Uint8Array, at: number): number {
  return getInt32(bytes, at) >>> 0;
}

/** The same bits as a signed integer, which V8 keeps out of the heap: for comparing, hashing and Int32Arrays. */
export function getInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}

export function put32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Copies without a view object. The two places may be in one array, and may overlap. */
export function copyBytes(
  from: Uint8Array,
  fromAt: number,
  into: Uint8Array,
  intoAt: number,
  length: number,
): void {
  if (from === into) {
    into.copyWithin(intoAt, fromAt, fromAt + length);
    return;
  }
  for (let i = 0; i < length; i++) into[intoAt + i] = from[fromAt + i];
}
