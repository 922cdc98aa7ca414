/** Segments as bytes: a header with its options in front of payload from a ring, into a packet of the pool. */
import { Protocol } from '../../packet/protocol.ts';
import * as tcp from '../../packet/tcp.ts';
import { put16, put32 } from '../../packet/word.ts';
import type { IpBelow, Route } from './below.ts';
import type { Connection } from './connection.ts';
import { distance, later } from './sequence.ts';
import { Time } from './state.ts';

const { Flag } = tcp;
export const ECT0 = 2;
const STAMPS = 12;

/** The clock of time stamps: 1 ms, from a secret start for every connection (RFC 7323, 5.4). */
export const stampOf = (c: Connection, now: number): number => (Math.trunc(now / 1e6) + c.stampOffset) | 0;

/** Bytes that an IP packet has besides TCP's payload, options other than time stamps apart. */
export const overhead = (c: Connection, stamps: boolean): number =>
  (c.route.family === 4 ? 20 : 40) + tcp.HEADER + (stamps ? STAMPS : 0);

/** The MSS to tell the peer: what the way out takes, without options (RFC 6691). */
export const ownMss = (route: Route): number => Math.min(65_535, route.mtu - (route.family === 4 ? 40 : 60));

export function writePorts(slab: Uint8Array, at: number, ports: number): void {
  put32(slab, at, ports);
  put16(slab, at + tcp.CHECKSUM, 0);
  put16(slab, at + tcp.URGENT, 0);
}

export function writeStamps(slab: Uint8Array, at: number, value: number, echo: number): void {
  put32(slab, at, 0x0101080a);
  put32(slab, at + 4, value);
  put32(slab, at + 8, echo);
}

/** The window field, and with it the edge that the peer may count on: it never goes back (RFC 9293, 3.8.6.2.2). */
export function windowField(c: Connection): number {
  const { receiveBuffer } = c.settings;
  const open = distance(c.next, c.edge);
  let free = c.receiveWindow;
  // Against silly windows (RFC 9293, 3.8.6.2.2): the edge moves by a segment or half the buffer at a time.
  if (free - open < Math.min(c.receivedMss, receiveBuffer >> 1)) free = open;
  const field = Math.min(free >> c.receiveScale, 0xffff);
  c.edge = later(c.edge, (c.next + (field << c.receiveScale)) | 0);
  // What lies between the edge and the last multiple of the scale is still taken when it comes.
  return Math.min(distance(c.next, c.edge) >> c.receiveScale, 0xffff);
}

/**
 * Sends one segment of an established connection. False: no memory, nothing has happened.
 *
 * @param length of the payload, from the send ring at `seq`
 * @param ecn bits of the IP header
 */
export function emit(
  below: IpBelow,
  c: Connection,
  seq: number,
  length: number,
  flags: number,
  ecn: number,
): boolean {
  const now = below.clock[0];
  const pure = length === 0 && (flags & (Flag.Fin | Flag.Rst)) === 0;
  const sack = pure && c.sackOk && (c.ranges.count > 0 || c.duplicate);
  const blocks = sack ? Math.min(c.ranges.count + (c.duplicate ? 1 : 0), c.timestampsOk ? 3 : 4) : 0;
  const header = tcp.HEADER + (c.timestampsOk ? STAMPS : 0) + (blocks > 0 ? 4 + 8 * blocks : 0);
  const packet = below.make(c.route, header + length);
  if (packet < 0) return false;
  const { pool } = below;
  const { slab } = pool;
  const at = pool.offset[packet];
  writePorts(slab, at, c.key[8]);
  put32(slab, at + tcp.SEQUENCE, seq);
  put32(slab, at + tcp.ACKNOWLEDGMENT, c.next);
  slab[at + tcp.DATA_OFFSET] = (header >> 2) << 4;
  if (c.echoCongestion) flags |= Flag.Ece;
  slab[at + tcp.FLAGS] = flags;
  put16(slab, at + tcp.WINDOW, windowField(c));
  let option = at + tcp.OPTIONS;
  if (c.timestampsOk) {
    writeStamps(slab, option, stampOf(c, now), c.recent);
    option += STAMPS;
  }
  if (blocks > 0) writeSack(c, slab, option, blocks);
  if (length > 0) c.sendRing.get(seq, slab, at + header, length);
  const superframe = length > c.mss;
  const segments = superframe ? Math.ceil(length / c.mss) : 1;
  below.send(packet, c.route, Protocol.Tcp, ecn, superframe ? c.mss : 0);
  c.segmentsSent += segments;
  c.time[Time.sent] = now;
  // Whatever goes out acknowledges.
  c.lastAckSent = c.next;
  c.unacked = 0;
  c.ackNow = false;
  c.time[Time.delayedAck] = Number.POSITIVE_INFINITY;
  return true;
}

/** RFC 2018, 4: the latest first; RFC 2883: a duplicate before them. */
function writeSack(c: Connection, slab: Uint8Array, at: number, blocks: number): void {
  put16(slab, at, 0x0101);
  slab[at + 2] = tcp.Option.Sack;
  slab[at + 3] = 2 + 8 * blocks;
  let block = at + 4;
  const end = block + 8 * blocks;
  if (c.duplicate) {
    put32(slab, block, c.duplicateLeft);
    put32(slab, block + 4, c.duplicateRight);
    block += 8;
    c.duplicate = false;
  }
  const { ranges } = c;
  let turn = ranges.first;
  let last = turn;
  for (; block < end; block += 8) {
    let range = ranges.recent(turn);
    // Room for more than is left to tell: the latest again.
    if (range < 0) range = ranges.recent(Number.POSITIVE_INFINITY);
    turn = ranges.turnOf(range);
    last = Math.min(last, turn);
    put32(slab, block, ranges.left[range]);
    put32(slab, block + 4, ranges.right[range]);
  }
  ranges.tell(last);
}

/** SYN, or SYN with ACK. */
export function emitSyn(below: IpBelow, c: Connection, ack: boolean, askEcn: boolean): boolean {
  const now = below.clock[0];
  const { settings } = c;
  const stamps = ack ? c.timestampsOk : settings.timestamps;
  const sack = ack ? c.sackOk : settings.sack;
  const scaled = ack ? c.scaleOk : settings.windowScaling;
  const header = tcp.HEADER + 4 + (stamps ? STAMPS : sack ? 4 : 0) + (scaled ? 4 : 0);
  const packet = below.make(c.route, header);
  if (packet < 0) return false;
  const { slab } = below.pool;
  const at = below.pool.offset[packet];
  let flags: number = Flag.Syn;
  if (ack) flags |= Flag.Ack | (c.ecnOk ? Flag.Ece : 0);
  else if (askEcn) flags |= Flag.Ece | Flag.Cwr;
  writePorts(slab, at, c.key[8]);
  put32(slab, at + tcp.SEQUENCE, c.iss);
  put32(slab, at + tcp.ACKNOWLEDGMENT, ack ? c.next : 0);
  slab[at + tcp.DATA_OFFSET] = (header >> 2) << 4;
  slab[at + tcp.FLAGS] = flags;
  const window = Math.min(c.receiveWindow, 0xffff);
  put16(slab, at + tcp.WINDOW, window);
  if (ack) c.edge = later(c.edge, (c.next + window) | 0);
  let option = at + tcp.OPTIONS;
  put32(slab, option, 0x02040000 | ownMss(c.route));
  option += 4;
  if (stamps) {
    writeStamps(slab, option, stampOf(c, now), ack ? c.recent : 0);
    // RFC 7323 allows it in place of the padding.
    if (sack) put16(slab, option, 0x0402);
    option += STAMPS;
  } else if (sack) {
    put32(slab, option, 0x01010402);
    option += 4;
  }
  if (scaled) put32(slab, option, 0x01030300 | scaleFor(settings.receiveBuffer));
  below.send(packet, c.route, Protocol.Tcp, 0, 0);
  c.segmentsSent++;
  c.time[Time.sent] = now;
  return true;
}

/** The least shift with which a window of so many bytes can be told (RFC 7323, 2.2). */
export function scaleFor(bytes: number): number {
  let scale = 0;
  while (scale < 14 && bytes >> scale > 0xffff) scale++;
  return scale;
}
