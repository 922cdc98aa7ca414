/**
 * Complete ICMP and ICMPv6 error packets, IP header and all, about a packet that cannot go on. Every builder writes
 * into bytes it is given and returns the reply's length, or 0 when the rules say that none must be sent
 * (RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4 e). Nothing is allocated.
 *
 * What the caller must know: frames that came as a link-layer broadcast get no error, the directed broadcast address of
 * its subnets neither, and errors are rate-limited (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f).
 */
import { pseudoSum6, sum } from './checksum.ts';
import * as icmp from './icmp.ts';
import * as icmpv6 from './icmpv6.ts';
import * as ip from './ip.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { Problem } from './problem.ts';
import { Protocol } from './protocol.ts';
import { isLaterFragment, upperDistance, upperProtocol } from './upper.ts';
import { copyBytes, put16, put32 } from './word.ts';

/** RFC 1812, 4.3.2.3: as much of the offender as fits into 576 bytes. */
export const MAX_ERROR_V4 = 576;
/** RFC 4443, 2.4 c: as much as fits into the minimum MTU. */
export const MAX_ERROR_V6 = 1280;

/** RFC 1812, 4.3.2.5: precedence 6, internetwork control. */
const INTERNETWORK_CONTROL = 0xc0;
const ERROR_HOP_LIMIT = 64;

/** Whether RFC 1122 and RFC 1812 allow an error about the IPv4 packet at `at`. */
export function mayAnswerV4(bytes: Uint8Array, at: number, end: number): boolean {
  if (ipv4.check(bytes, at, end) !== Problem.None) return false;
  const upper = ipv4.upper(bytes, at);
  if (isLaterFragment(upper)) return false;
  const source = bytes[at + ipv4.SOURCE];
  // The source must be one host: not 0/8, loopback, multicast, class E or broadcast.
  if (source === 0 || source === 127 || source >= 224) return false;
  const destination = bytes[at + ipv4.DESTINATION];
  if (destination >= 224 && destination < 240) return false;
  if (
    destination === 255 &&
    bytes[at + ipv4.DESTINATION + 1] === 255 &&
    bytes[at + ipv4.DESTINATION + 2] === 255 &&
    bytes[at + ipv4.DESTINATION + 3] === 255
  )
    return false;
  if (upperProtocol(upper) !== Protocol.Icmp) return true;
  // Without its type it may be an error.
  const message = at + upperDistance(upper);
  return message < ipv4.packetEnd(bytes, at) && !icmp.isError(bytes[message]);
}

/**
 * Whether RFC 4443 allows an error about the IPv6 packet at `at`.
 *
 * @param toMulticast packet too big, and parameter problem code 2, may answer a multicast packet
 */
export function mayAnswerV6(bytes: Uint8Array, at: number, end: number, toMulticast = false): boolean {
  if (ipv6.check(bytes, at, end) !== Problem.None) return false;
  if (bytes[at + ipv6.SOURCE] === 0xff) return false;
  if (!toMulticast && bytes[at + ipv6.DESTINATION] === 0xff) return false;
  let set = 0;
  for (let i = 0; i < 15; i++) set |= bytes[at + ipv6.SOURCE + i];
  // :: is nobody, and ::1 never comes from outside (RFC 4291, 2.5.3).
  if (set === 0 && bytes[at + ipv6.SOURCE + 15] <= 1) return false;
  const packetEnd = ipv6.packetEnd(bytes, at);
  const upper = ipv6.upper(bytes, at, packetEnd);
  // With a broken chain it cannot be ruled out that this is an error.
  if (upper < 0) return false;
  if (upperProtocol(upper) !== Protocol.Icmpv6) return true;
  const message = at + upperDistance(upper);
  if (isLaterFragment(upper) || message >= packetEnd) return false;
  const type = bytes[message];
  return !icmpv6.isError(type) && type !== icmpv6.Type.Redirect;
}

/**
 * Any ICMP error about the IPv4 packet at `bytes[at..end)`.
 *
 * @param rest the second word of the message
 * @param source holds the 4 bytes of the reply's source address at `sourceAt`
 * @param into where the reply goes: 576 bytes from `intoAt`, away from the offender
 * @returns length of the reply, 0 for none
 */
export function buildErrorV4(
  bytes: Uint8Array,
  at: number,
  end: number,
  type: number,
  code: number,
  rest: number,
  source: Uint8Array,
  sourceAt: number,
  into: Uint8Array,
  intoAt: number,
): number {
  if (!mayAnswerV4(bytes, at, end)) return 0;
  const quoted = Math.min(ipv4.totalLength(bytes, at), MAX_ERROR_V4 - ipv4.HEADER - icmp.HEADER);
  const total = ipv4.HEADER + icmp.HEADER + quoted;
  const message = intoAt + ipv4.HEADER;
  copyBytes(bytes, at, into, message + icmp.BODY, quoted);
  copyBytes(bytes, at + ipv4.SOURCE, into, intoAt + ipv4.DESTINATION, 4);
  copyBytes(source, sourceAt, into, intoAt + ipv4.SOURCE, 4);
  into[intoAt] = 0x45;
  into[intoAt + ipv4.TRAFFIC_CLASS] = INTERNETWORK_CONTROL;
  put16(into, intoAt + ipv4.TOTAL_LENGTH, total);
  // RFC 6864, 4.1: a packet that is never fragmented needs no identification.
  put32(into, intoAt + ipv4.IDENTIFICATION, ipv4.DONT_FRAGMENT);
  into[intoAt + ipv4.TTL] = ERROR_HOP_LIMIT;
  into[intoAt + ipv4.PROTOCOL] = Protocol.Icmp;
  ipv4.fillChecksum(into, intoAt);
  into[message + icmp.TYPE] = type;
  into[message + icmp.CODE] = code;
  put32(into, message + icmp.IDENTIFIER, rest);
  icmp.fillChecksum(into, message, intoAt + total);
  return total;
}

/** Any ICMPv6 error; the parameters are those of `buildErrorV4`, with 16 bytes of source and 1280 of room. */
export function buildErrorV6(
  bytes: Uint8Array,
  at: number,
  end: number,
  type: number,
  code: number,
  rest: number,
  source: Uint8Array,
  sourceAt: number,
  into: Uint8Array,
  intoAt: number,
): number {
  const toMulticast =
    type === icmpv6.Type.PacketTooBig || (type === icmpv6.Type.ParameterProblem && code === 2);
  if (!mayAnswerV6(bytes, at, end, toMulticast)) return 0;
  const quoted = Math.min(ipv6.totalLength(bytes, at), MAX_ERROR_V6 - ipv6.HEADER - icmpv6.HEADER);
  const payload = icmpv6.HEADER + quoted;
  const message = intoAt + ipv6.HEADER;
  copyBytes(bytes, at, into, message + icmpv6.BODY, quoted);
  copyBytes(bytes, at + ipv6.SOURCE, into, intoAt + ipv6.DESTINATION, 16);
  copyBytes(source, sourceAt, into, intoAt + ipv6.SOURCE, 16);
  put32(into, intoAt, 0x60000000);
  put16(into, intoAt + ipv6.PAYLOAD_LENGTH, payload);
  into[intoAt + ipv6.NEXT_HEADER] = Protocol.Icmpv6;
  into[intoAt + ipv6.HOP_LIMIT] = ERROR_HOP_LIMIT;
  into[message + icmpv6.TYPE] = type;
  into[message + icmpv6.CODE] = code;
  put16(into, message + icmpv6.CHECKSUM, 0);
  put32(into, message + icmpv6.IDENTIFIER, rest);
  const pseudo = pseudoSum6(into, intoAt + ipv6.SOURCE, intoAt + ipv6.DESTINATION, Protocol.Icmpv6, payload);
  put16(into, message + icmpv6.CHECKSUM, ~sum(into, message, payload, pseudo));
  return ipv6.HEADER + payload;
}

/**
 * The packet is longer than the next link's MTU: "fragmentation needed" with the MTU (RFC 1191) or "packet too big".
 * Whether IPv4 may be fragmented instead (DF clear) is the caller's to see.
 *
 * @param mtu bytes of an IP packet
 */
export function tooBig(
  bytes: Uint8Array,
  at: number,
  end: number,
  mtu: number,
  source: Uint8Array,
  sourceAt: number,
  into: Uint8Array,
  intoAt: number,
): number {
  return ip.version(bytes, at) === 4
    ? buildErrorV4(
        bytes,
        at,
        end,
        icmp.Type.Unreachable,
        icmp.Unreachable.FragmentationNeeded,
        Math.min(mtu, 0xffff),
        source,
        sourceAt,
        into,
        intoAt,
      )
    : buildErrorV6(bytes, at, end, icmpv6.Type.PacketTooBig, 0, mtu, source, sourceAt, into, intoAt);
}

/** TTL or hop limit ended in transit. */
export function timeExceeded(
  bytes: Uint8Array,
  at: number,
  end: number,
  source: Uint8Array,
  sourceAt: number,
  into: Uint8Array,
  intoAt: number,
): number {
  return ip.version(bytes, at) === 4
    ? buildErrorV4(bytes, at, end, icmp.Type.TimeExceeded, 0, 0, source, sourceAt, into, intoAt)
    : buildErrorV6(bytes, at, end, icmpv6.Type.TimeExceeded, 0, 0, source, sourceAt, into, intoAt);
}

/** Why a destination is unreachable, in both versions: the code of ICMP in the high byte, of ICMPv6 in the low. */
export const UnreachableReason = {
  NoRoute: (icmp.Unreachable.Network << 8) | icmpv6.Unreachable.NoRoute,
  Host: (icmp.Unreachable.Host << 8) | icmpv6.Unreachable.Address,
  Port: (icmp.Unreachable.Port << 8) | icmpv6.Unreachable.Port,
  Prohibited: (icmp.Unreachable.Prohibited << 8) | icmpv6.Unreachable.Prohibited,
} as const;

/** @param reason one of UnreachableReason */
export function unreachable(
  bytes: Uint8Array,
  at: number,
  end: number,
  reason: number,
  source: Uint8Array,
  sourceAt: number,
  into: Uint8Array,
  intoAt: number,
): number {
  return ip.version(bytes, at) === 4
    ? buildErrorV4(bytes, at, end, icmp.Type.Unreachable, reason >> 8, 0, source, sourceAt, into, intoAt)
    : buildErrorV6(bytes, at, end, icmpv6.Type.Unreachable, reason & 255, 0, source, sourceAt, into, intoAt);
}
