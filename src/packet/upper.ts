/**
 * Where a packet's upper layer starts, and what it is, in one integer, so that a walk over extension headers returns
 * without allocating: bits 0 to 7 the protocol, 8 to 24 the distance from the start of the IP header, 25 and 26 what
 * kind of fragment. Negative values are a `Problem` with its sign changed.
 */

const FRAGMENT = 1 << 25;
const LATER = 1 << 26;

export const packUpper = (protocol: number, distance: number, fragment: boolean, later: boolean): number =>
  protocol | (distance << 8) | (fragment ? FRAGMENT : 0) | (later ? LATER : 0);

/** Behind all extension headers; that of the payload for a later fragment. */
export const upperProtocol = (upper: number): number => upper & 0xff;

/** Bytes from the start of the IP header to the upper layer's. */
export const upperDistance = (upper: number): number => (upper >>> 8) & 0x1ffff;

/** A piece of a datagram, the first or a later one: a checksum over it cannot be verified. */
export const isFragment = (upper: number): boolean => (upper & FRAGMENT) !== 0;

/** Not the first piece: there is no transport header at the distance. */
export const isLaterFragment = (upper: number): boolean => (upper & LATER) !== 0;
