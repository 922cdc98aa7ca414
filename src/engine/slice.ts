/**
 * Part of a superframe as a superframe of its own: for apps that must decide for each segment and find that most
 * decisions agree. A slice has its own bytes, headers, prefix and all: nothing that is done to it shows in the original.
 */
import * as ipv4 from '../packet/ipv4.ts';
import * as ipv6 from '../packet/ipv6.ts';
import { Protocol } from '../packet/protocol.ts';
import { completeChecksum, PLAN_CELLS, PlanCell } from '../packet/segment.ts';
import * as tcp from '../packet/tcp.ts';
import { pseudoSum } from '../packet/transport.ts';
import * as udp from '../packet/udp.ts';
import { copyBytes, get16, getInt32, put16, put32 } from '../packet/word.ts';
import type { Pool } from './pool.ts';
import { planOf } from './segment-plan.ts';

const plan = new Int32Array(PLAN_CELLS);

/**
 * A fresh packet that stands for the `count` segments from `first` on. One segment is a wire packet with a complete
 * checksum; more are a superframe whose checksum is open. Returns -1 when there is no memory or the range, the prefix or
 * the superframe makes no sense; the original is unchanged and the caller's in any case.
 */
export function slice(pool: Pool, packet: number, first: number, count: number): number {
  const { slab } = pool;
  const from = pool.offset[packet];
  const total = planOf(pool, packet, plan);
  if (first < 0 || count < 1 || first + count > total) return -1;
  const header = plan[PlanCell.header];
  const size = plan[PlanCell.segmentSize];
  const start = first * size;
  const payload = Math.min(count * size, plan[PlanCell.payload] - start);
  const part = pool.allocFor(header + payload, pool.owner[pool.slot[packet]]);
  if (part < 0) return -1;

  if (!pool.copyPrefix(packet, part)) {
    pool.free(part);
    return -1;
  }
  const to = pool.offset[part];
  copyBytes(slab, from, slab, to, header);
  copyBytes(slab, from + header + start, slab, to + header, payload);
  pool.length[part] = header + payload;
  pool.layer[part] = pool.layer[packet];
  pool.l3Offset[part] = pool.l3Offset[packet];
  pool.peer[part] = pool.peer[packet];
  pool.trafficClass[part] = pool.trafficClass[packet];
  pool.flags[part] = pool.flags[packet];
  pool.arrived[pool.slot[part]] = pool.arrived[pool.slot[packet]];
  if (count > 1) {
    pool.segments[part] = count;
    pool.segmentSize[part] = size;
    pool.gsoType[part] = pool.gsoType[packet];
  }
  mendHeaders(pool, part, first, start, first + count === total);
  return part;
}

/** @param start bytes of payload in front of the slice @param last whether it holds the last segment */
function mendHeaders(pool: Pool, part: number, first: number, start: number, last: boolean): void {
  const { slab } = pool;
  const to = pool.offset[part];
  const end = to + pool.length[part];
  const l3 = to + plan[PlanCell.l3];
  if (plan[PlanCell.version] === 4) {
    put16(slab, l3 + ipv4.TOTAL_LENGTH, end - l3);
    put16(slab, l3 + ipv4.IDENTIFICATION, get16(slab, l3 + ipv4.IDENTIFICATION) + first);
    ipv4.fillChecksum(slab, l3);
  } else {
    put16(slab, l3 + ipv6.PAYLOAD_LENGTH, end - l3 - ipv6.HEADER);
  }
  const transport = to + plan[PlanCell.transport];
  const protocol = plan[PlanCell.protocol];
  let field = udp.CHECKSUM;
  if (protocol === Protocol.Tcp) {
    field = tcp.CHECKSUM;
    put32(slab, transport + tcp.SEQUENCE, getInt32(slab, transport + tcp.SEQUENCE) + start);
    // RFC 3168, 6.1.2: CWR on the first segment alone.
    if (first > 0) slab[transport + tcp.FLAGS] &= ~tcp.Flag.Cwr;
    if (!last) slab[transport + tcp.FLAGS] &= ~(tcp.Flag.Fin | tcp.Flag.Psh);
  } else {
    put16(slab, transport + udp.LENGTH, end - transport);
  }
  // An open checksum holds the sum of the pseudo-header, not inverted.
  put16(slab, transport + field, pseudoSum(slab, l3, end, protocol, end - transport));
  if (pool.segments[part] > 1) {
    pool.checksumStart[part] = transport - to;
    pool.checksumOffset[part] = field;
  } else {
    completeChecksum(slab, to, pool.length[part], transport - to, field);
  }
}
