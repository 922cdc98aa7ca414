/** What IPv4 and IPv6 have in common, by the version in the first byte. Accessors are safe after `check`. */
import { type IpAddress, ipAt } from './address.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { Problem } from './problem.ts';

/** The first nibble: 4, 6, or something that is not IP. */
export const version = (bytes: Uint8Array, at: number): number => bytes[at] >> 4;

/** Whether a whole IPv4 or IPv6 packet starts at `at` and ends by `end`. */
export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (at >= end || end > bytes.length) return Problem.Truncated;
  const found = bytes[at] >> 4;
  if (found === 4) return ipv4.check(bytes, at, end);
  return found === 6 ? ipv6.check(bytes, at, end) : Problem.Version;
}

/** By the packet's own length. */
export const totalLength = (bytes: Uint8Array, at: number): number =>
  bytes[at] >> 4 === 4 ? ipv4.totalLength(bytes, at) : ipv6.totalLength(bytes, at);

/** Where the packet ends, by its own length. */
export const packetEnd = (bytes: Uint8Array, at: number): number => at + totalLength(bytes, at);

/** Where the upper layer starts and what it is (see `upper.ts`), or a negative `Problem`. */
export const upper = (bytes: Uint8Array, at: number): number =>
  bytes[at] >> 4 === 4 ? ipv4.upper(bytes, at) : ipv6.upper(bytes, at, ipv6.packetEnd(bytes, at));

/** Offset of the source address. */
export const sourceAt = (bytes: Uint8Array, at: number): number =>
  at + (bytes[at] >> 4 === 4 ? ipv4.SOURCE : ipv6.SOURCE);
/** Offset of the destination address. */
export const destinationAt = (bytes: Uint8Array, at: number): number =>
  at + (bytes[at] >> 4 === 4 ? ipv4.DESTINATION : ipv6.DESTINATION);
/** DSCP and ECN. */
export const trafficClass = (bytes: Uint8Array, at: number): number =>
  bytes[at] >> 4 === 4 ? ipv4.trafficClass(bytes, at) : ipv6.trafficClass(bytes, at);
/** TTL or hop limit. */
export const hopLimit = (bytes: Uint8Array, at: number): number =>
  bytes[at] >> 4 === 4 ? ipv4.ttl(bytes, at) : ipv6.hopLimit(bytes, at);

export const source = (bytes: Uint8Array, at: number): IpAddress =>
  ipAt(bytes, sourceAt(bytes, at), bytes[at] >> 4 === 4 ? 4 : 6);
export const destination = (bytes: Uint8Array, at: number): IpAddress =>
  ipAt(bytes, destinationAt(bytes, at), bytes[at] >> 4 === 4 ? 4 : 6);
