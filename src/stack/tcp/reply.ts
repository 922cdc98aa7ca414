/** Segments without a connection behind them: RST, the last ACK again, SYN cookies. */
import { Protocol } from '../../packet/protocol.ts';
import * as tcp from '../../packet/tcp.ts';
import { put16, put32 } from '../../packet/word.ts';
import type { IpBelow, Route } from './below.ts';
import { writePorts, writeStamps } from './emit.ts';

const { Flag } = tcp;

/** @param ports the local one in the high half @param stamps whether `value` and `echo` go along */
export function reply(
  below: IpBelow,
  route: Route,
  ports: number,
  seq: number,
  ack: number,
  flags: number,
  window: number,
  stamps: boolean,
  value: number,
  echo: number,
): void {
  if (below.room(route) <= 0) return;
  const header = tcp.HEADER + (stamps ? 12 : 0);
  const packet = below.make(route, header);
  if (packet < 0) return;
  const { slab, offset } = below.pool;
  const at = offset[packet];
  writePorts(slab, at, ports);
  put32(slab, at + tcp.SEQUENCE, seq);
  put32(slab, at + tcp.ACKNOWLEDGMENT, ack);
  slab[at + tcp.DATA_OFFSET] = (header >> 2) << 4;
  slab[at + tcp.FLAGS] = flags;
  put16(slab, at + tcp.WINDOW, window);
  if (stamps) writeStamps(slab, at + tcp.OPTIONS, value, echo);
  below.send(packet, route, Protocol.Tcp, 0, 0);
}

/** A SYN with an ACK whose ISN, and time stamp, say what would have to be kept. */
export function cookieReply(
  below: IpBelow,
  route: Route,
  ports: number,
  iss: number,
  ack: number,
  window: number,
  mss: number,
  stamps: boolean,
  value: number,
  echo: number,
  scale: number,
  sack: boolean,
): void {
  if (below.room(route) <= 0) return;
  const header = tcp.HEADER + 4 + (stamps ? 12 : 0) + (scale >= 0 ? 4 : 0);
  const packet = below.make(route, header);
  if (packet < 0) return;
  const { slab, offset } = below.pool;
  const at = offset[packet];
  writePorts(slab, at, ports);
  put32(slab, at + tcp.SEQUENCE, iss);
  put32(slab, at + tcp.ACKNOWLEDGMENT, ack);
  slab[at + tcp.DATA_OFFSET] = (header >> 2) << 4;
  slab[at + tcp.FLAGS] = Flag.Syn | Flag.Ack;
  put16(slab, at + tcp.WINDOW, window);
  let option = at + tcp.OPTIONS;
  put32(slab, option, 0x02040000 | mss);
  option += 4;
  if (stamps) {
    writeStamps(slab, option, value, echo);
    if (sack) put16(slab, option, 0x0402);
    option += 12;
  }
  if (scale >= 0) put32(slab, option, 0x01030300 | scale);
  below.send(packet, route, Protocol.Tcp, 0, 0);
}
