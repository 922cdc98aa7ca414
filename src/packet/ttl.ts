/** Forwarding takes one off the TTL or hop limit (RFC 1812, 5.3.1; RFC 8200, 3). */
import { rewrite16 } from './checksum.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { get16 } from './word.ts';

/**
 * Decrements and mends the checksum of IPv4 (RFC 1624). Returns false, and changes nothing, when the packet has
 * reached its end: it must be answered with "time exceeded" and dropped.
 */
export function decrementTtl(bytes: Uint8Array, at: number): boolean {
  if (bytes[at] >> 4 === 4) {
    if (bytes[at + ipv4.TTL] <= 1) return false;
    rewrite16(bytes, at + ipv4.TTL, get16(bytes, at + ipv4.TTL) - 0x100, at + ipv4.CHECKSUM);
    return true;
  }
  if (bytes[at + ipv6.HOP_LIMIT] <= 1) return false;
  bytes[at + ipv6.HOP_LIMIT]--;
  return true;
}
