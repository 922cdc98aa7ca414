/** ECN in a tunnel (RFC 6040): what the outer header starts with, and what the inner one has at the end. */
import { rewrite16 } from './checksum.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { Ecn } from './protocol.ts';
import { get16 } from './word.ts';

/** `decapsulateEcn` says so when the packet must be dropped. */
export const ECN_DROP = -1;

/** RFC 6040, 4.1: normal mode copies the inner field; compatibility mode, for old egresses, sends Not-ECT. */
export const encapsulateEcn = (inner: number, mode: 'normal' | 'compatibility' = 'normal'): number =>
  mode === 'normal' ? inner & 3 : Ecn.NotEct;

/** RFC 6040, 4.2, figure 4. Row: inner; column: outer; both Not-ECT, ECT(1), ECT(0), CE as in the field. */
const DECAPSULATION = Int8Array.of(
  // inner Not-ECT
  ...[Ecn.NotEct, Ecn.NotEct, Ecn.NotEct, ECN_DROP],
  // inner ECT(1)
  ...[Ecn.Ect1, Ecn.Ect1, Ecn.Ect1, Ecn.Ce],
  // inner ECT(0)
  ...[Ecn.Ect0, Ecn.Ect1, Ecn.Ect0, Ecn.Ce],
  // inner CE
  ...[Ecn.Ce, Ecn.Ce, Ecn.Ce, Ecn.Ce],
);

/**
 * The inner field to forward with, or ECN_DROP: congestion was met and an inner Not-ECT packet can only say so by
 * its loss.
 */
export const decapsulateEcn = (inner: number, outer: number): number =>
  DECAPSULATION[((inner & 3) << 2) | (outer & 3)];

/** ECN of the IP packet at `at`, after a check. */
export const ecnOf = (bytes: Uint8Array, at: number): number =>
  bytes[at] >> 4 === 4 ? ipv4.ecn(bytes, at) : ipv6.ecn(bytes, at);

/** Writes the field and mends the checksum of IPv4. */
export function setEcn(bytes: Uint8Array, at: number, ecn: number): void {
  if (bytes[at] >> 4 === 4) {
    rewrite16(bytes, at, (get16(bytes, at) & 0xfffc) | ecn, at + ipv4.CHECKSUM);
  } else {
    bytes[at + 1] = (bytes[at + 1] & 0xcf) | (ecn << 4);
  }
}

/**
 * Puts what the outer header met into the packet that comes out of a tunnel. Returns false when the packet must be
 * dropped; nothing is changed then.
 */
export function applyOuterEcn(bytes: Uint8Array, at: number, outer: number): boolean {
  const inner = ecnOf(bytes, at);
  const forwarded = decapsulateEcn(inner, outer);
  if (forwarded === ECN_DROP) return false;
  if (forwarded !== inner) setEcn(bytes, at, forwarded);
  return true;
}
