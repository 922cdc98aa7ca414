/** Sequence numbers as signed 32-bit integers, compared modulo 2^32 (RFC 9293, 3.4). */

export const before = (a: number, b: number): boolean => ((a - b) | 0) < 0;
export const notAfter = (a: number, b: number): boolean => ((a - b) | 0) <= 0;
/** From `a` on to `b`; negative when b is before a. */
export const distance = (a: number, b: number): number => (b - a) | 0;
export const later = (a: number, b: number): number => (((a - b) | 0) < 0 ? b : a);
export const earlier = (a: number, b: number): number => (((a - b) | 0) < 0 ? a : b);
