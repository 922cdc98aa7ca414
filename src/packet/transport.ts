/**
 * The checksum of TCP, UDP, ICMP or ICMPv6 in a whole IP packet, extension headers and routing headers considered.
 * All of it is for packets that passed `ip.check`.
 */
import { pseudoSum4, pseudoSum6, sum } from './checksum.ts';
import * as icmp from './icmp.ts';
import * as icmpv6 from './icmpv6.ts';
import * as ip from './ip.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { Protocol } from './protocol.ts';
import * as tcp from './tcp.ts';
import * as udp from './udp.ts';
import { isFragment, upperDistance, upperProtocol } from './upper.ts';
import { get16, put16 } from './word.ts';

/** Where the checksum field is, from the start of the transport header; -1 for a protocol without one known here. */
export function checksumField(protocol: number): number {
  switch (protocol) {
    case Protocol.Tcp:
      return tcp.CHECKSUM;
    case Protocol.Udp:
      return udp.CHECKSUM;
    case Protocol.Icmp:
      return icmp.CHECKSUM;
    case Protocol.Icmpv6:
      return icmpv6.CHECKSUM;
    default:
      return -1;
  }
}

/**
 * Sum of the pseudo-header, 0 where the protocol has none (ICMP). `length` is that of the transport header and its
 * payload.
 */
export function pseudoSum(
  bytes: Uint8Array,
  at: number,
  end: number,
  protocol: number,
  length: number,
): number {
  if (bytes[at] >> 4 === 4) {
    return protocol === Protocol.Icmp ? 0 : pseudoSum4(bytes, at + ipv4.SOURCE, protocol, length);
  }
  return pseudoSum6(bytes, at + ipv6.SOURCE, ipv6.finalDestination(bytes, at, end), protocol, length);
}

/** Transport bytes that the checksum covers, or -1 when the headers do not fit: UDP has a length of its own. */
function covered(bytes: Uint8Array, transport: number, end: number, protocol: number): number {
  const available = end - transport;
  if (protocol === Protocol.Udp) {
    if (available < udp.HEADER) return -1;
    const length = get16(bytes, transport + udp.LENGTH);
    return length < udp.HEADER || length > available ? -1 : length;
  }
  const least = protocol === Protocol.Tcp ? tcp.HEADER : icmp.HEADER;
  return available < least ? -1 : available;
}

/** What `verifyTransport` says. */
export const Verdict = {
  Wrong: 0,
  Right: 1,
  /** Nothing to verify: a fragment, a protocol without a checksum known here, or UDP over IPv4 without one. */
  None: 2,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** Verifies the transport checksum of the IP packet at `at`. Headers that do not fit their packet are Wrong. */
export function verifyTransport(bytes: Uint8Array, at: number): Verdict {
  const upper = ip.upper(bytes, at);
  if (upper < 0) return Verdict.Wrong;
  const protocol = upperProtocol(upper);
  const field = checksumField(protocol);
  if (field < 0 || isFragment(upper)) return Verdict.None;
  const transport = at + upperDistance(upper);
  const end = ip.packetEnd(bytes, at);
  const length = covered(bytes, transport, end, protocol);
  if (length < 0) return Verdict.Wrong;
  if (protocol === Protocol.Udp && get16(bytes, transport + field) === 0) {
    // RFC 768: none was made. RFC 8200, 8.1: over IPv6 there must be one.
    return bytes[at] >> 4 === 4 ? Verdict.None : Verdict.Wrong;
  }
  const pseudo = pseudoSum(bytes, at, end, protocol, length);
  return sum(bytes, transport, length, pseudo) === 0xffff ? Verdict.Right : Verdict.Wrong;
}

/**
 * Computes and writes the transport checksum of the IP packet at `at`. Returns false, and writes nothing, for a
 * fragment, an unknown protocol, or headers that do not fit.
 */
export function fillTransport(bytes: Uint8Array, at: number): boolean {
  const upper = ip.upper(bytes, at);
  if (upper < 0 || isFragment(upper)) return false;
  const protocol = upperProtocol(upper);
  const field = checksumField(protocol);
  if (field < 0) return false;
  const transport = at + upperDistance(upper);
  const end = ip.packetEnd(bytes, at);
  const length = covered(bytes, transport, end, protocol);
  if (length < 0) return false;
  put16(bytes, transport + field, 0);
  const value = ~sum(bytes, transport, length, pseudoSum(bytes, at, end, protocol, length)) & 0xffff;
  // RFC 768: a sum that comes out as zero is sent as all ones, for zero means none.
  put16(bytes, transport + field, value === 0 && protocol === Protocol.Udp ? 0xffff : value);
  return true;
}
