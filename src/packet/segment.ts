/**
 * Cuts a superframe into the wire packets it stands for, as TSO and USO do: the TypeScript twin of the addon's
 * `segment`. `planSegments` looks once and says how many; `emitSegment` writes any one of them. Neither allocates.
 *
 * Nothing that came with the frame is trusted but its length: header lengths are read from the headers, lengths and
 * checksums are computed anew (as read from a TUN the transport checksum holds the pseudo-header's sum alone).
 *
 * What differs from segment to segment (RFC 9293; Linux inet_gso_segment, tcp_gso_segment, __udp_gso_segment):
 * total or payload length, IPv4 identification counting up, TCP sequence number, FIN and PSH on the last alone, CWR
 * on the first alone (RFC 3168, 6.1.2), UDP length, and all checksums.
 */
import { fold, sum } from './checksum.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { Problem } from './problem.ts';
import { Protocol } from './protocol.ts';
import * as tcp from './tcp.ts';
import { pseudoSum } from './transport.ts';
import * as udp from './udp.ts';
import { isFragment, upperDistance, upperProtocol } from './upper.ts';
import { copyBytes, get16, getInt32, put16, put32 } from './word.ts';

/** virtio_net_hdr gso_type. */
export const Gso = { None: 0, TcpV4: 1, TcpV6: 4, Udp: 5, EcnBit: 0x80 } as const;

/** Cells of a plan. Distances are from the start of the frame. */
export const PlanCell = {
  count: 0,
  l3: 1,
  transport: 2,
  /** Headers that every segment repeats. */
  header: 3,
  segmentSize: 4,
  /** Of all segments. */
  payload: 5,
  protocol: 6,
  version: 7,
} as const;
export const PLAN_CELLS = 8;

/**
 * Looks at the superframe `bytes[at..at+length)` and fills `plan` (an Int32Array of PLAN_CELLS).
 *
 * @param l3Offset where the IP header starts, from `at`
 * @param gsoType a value of Gso, with or without EcnBit
 * @param segmentSize payload bytes of every segment but the last
 * @returns number of segments, at least 1, or a negative Problem
 */
export function planSegments(
  bytes: Uint8Array,
  at: number,
  length: number,
  l3Offset: number,
  gsoType: number,
  segmentSize: number,
  plan: Int32Array,
): number {
  const end = at + length;
  const l3 = at + l3Offset;
  if (segmentSize <= 0 || segmentSize > 0xffff || l3Offset < 0) return -Problem.Length;
  if (end > bytes.length || end - l3 < ipv4.HEADER) return -Problem.Truncated;
  const version = bytes[l3] >> 4;
  const type = gsoType & ~Gso.EcnBit;
  if (
    type === Gso.TcpV4 ? version !== 4 : type === Gso.TcpV6 ? version !== 6 : version !== 4 && version !== 6
  )
    return -Problem.Version;
  if (type !== Gso.TcpV4 && type !== Gso.TcpV6 && type !== Gso.Udp) return -Problem.Protocol;
  let upper: number;
  if (version === 4) {
    const header = ipv4.headerLength(bytes, l3);
    if (header < ipv4.HEADER) return -Problem.HeaderLength;
    if (header > end - l3) return -Problem.Truncated;
    upper = ipv4.upper(bytes, l3);
  } else {
    if (end - l3 < ipv6.HEADER) return -Problem.Truncated;
    upper = ipv6.upper(bytes, l3, end);
    if (upper < 0) return upper;
    // What is authenticated as one packet cannot be sent as several.
    if (ipv6.findExtension(bytes, l3, end, Protocol.Ah) >= 0) return -Problem.Protocol;
  }
  const protocol = type === Gso.Udp ? Protocol.Udp : Protocol.Tcp;
  if (upperProtocol(upper) !== protocol || isFragment(upper)) return -Problem.Protocol;
  const transport = l3Offset + upperDistance(upper);
  let header = transport + udp.HEADER;
  if (protocol === Protocol.Tcp) {
    const problem = tcp.check(bytes, at + transport, end);
    if (problem !== Problem.None) return -problem;
    header = transport + tcp.headerLength(bytes, at + transport);
  }
  const payload = length - header;
  if (payload <= 0) return -Problem.Truncated;
  // Every segment must fit its own length fields.
  if (header - l3Offset + Math.min(segmentSize, payload) > 0xffff) return -Problem.Length;
  const count = Math.ceil(payload / segmentSize);
  plan[PlanCell.count] = count;
  plan[PlanCell.l3] = l3Offset;
  plan[PlanCell.transport] = transport;
  plan[PlanCell.header] = header;
  plan[PlanCell.segmentSize] = segmentSize;
  plan[PlanCell.payload] = payload;
  plan[PlanCell.protocol] = protocol;
  plan[PlanCell.version] = version;
  return count;
}

/** Bytes of segment `index`, headers and all. */
export function segmentLength(plan: Int32Array, index: number): number {
  const size = plan[PlanCell.segmentSize];
  return plan[PlanCell.header] + Math.min(size, plan[PlanCell.payload] - index * size);
}

/**
 * Writes segment `index` (0 to count - 1) at `into[intoAt]`, with full checksums, and returns its length. The
 * superframe at `bytes[at]` is the one that was planned and stays as it is; the two places must not overlap.
 */
export function emitSegment(
  bytes: Uint8Array,
  at: number,
  plan: Int32Array,
  index: number,
  into: Uint8Array,
  intoAt: number,
): number {
  const header = plan[PlanCell.header];
  const size = plan[PlanCell.segmentSize];
  const length = segmentLength(plan, index);
  copyBytes(bytes, at, into, intoAt, header);
  copyBytes(bytes, at + header + index * size, into, intoAt + header, length - header);

  const l3 = intoAt + plan[PlanCell.l3];
  const end = intoAt + length;
  if (plan[PlanCell.version] === 4) {
    put16(into, l3 + ipv4.TOTAL_LENGTH, end - l3);
    put16(into, l3 + ipv4.IDENTIFICATION, get16(bytes, at + plan[PlanCell.l3] + ipv4.IDENTIFICATION) + index);
    ipv4.fillChecksum(into, l3);
  } else {
    put16(into, l3 + ipv6.PAYLOAD_LENGTH, end - l3 - ipv6.HEADER);
  }

  const transport = intoAt + plan[PlanCell.transport];
  const protocol = plan[PlanCell.protocol];
  let field = transport + udp.CHECKSUM;
  if (protocol === Protocol.Tcp) {
    field = transport + tcp.CHECKSUM;
    const first = getInt32(bytes, at + plan[PlanCell.transport] + tcp.SEQUENCE);
    put32(into, transport + tcp.SEQUENCE, first + index * size);
    let flags = into[transport + tcp.FLAGS];
    if (index > 0) flags &= ~tcp.Flag.Cwr;
    if (index < plan[PlanCell.count] - 1) flags &= ~(tcp.Flag.Fin | tcp.Flag.Psh);
    into[transport + tcp.FLAGS] = flags;
  } else {
    put16(into, transport + udp.LENGTH, end - transport);
  }
  put16(into, field, 0);
  const pseudo = pseudoSum(into, l3, end, protocol, end - transport);
  let checksum = ~sum(into, transport, end - transport, pseudo) & 0xffff;
  if (checksum === 0 && protocol === Protocol.Udp) checksum = 0xffff;
  put16(into, field, checksum);
  return length;
}

/**
 * Fills the checksum that an offload left open: the field holds the pseudo-header's sum, everything from
 * `checksumStart` to the end is added. The twin of the addon's `completeChecksum`, and of virtio's definition
 * (VIRTIO 1.2, 5.1.6.2). Returns false when the field is outside the packet.
 */
export function completeChecksum(
  bytes: Uint8Array,
  at: number,
  length: number,
  checksumStart: number,
  checksumOffset: number,
): boolean {
  if (checksumStart < 0 || checksumOffset < 0 || checksumStart + checksumOffset + 2 > length) return false;
  const start = at + checksumStart;
  // The field itself is part of what is summed, and so brings the pseudo-header in.
  const checksum = ~fold(sum(bytes, start, length - checksumStart)) & 0xffff;
  // Zero would mean "none" to UDP; to the others all ones is the same number.
  put16(bytes, start + checksumOffset, checksum === 0 ? 0xffff : checksum);
  return true;
}
