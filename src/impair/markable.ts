/** Which packets may be marked instead of dropped. */
import type { Pool } from '../engine/pool.ts';
import { ecnOf } from '../packet/ecn.ts';
import * as ipv4 from '../packet/ipv4.ts';
import { Ecn } from '../packet/protocol.ts';

/** Whether a packet's sender has said that it understands marks (RFC 3168). */
export function markable({ slab, offset, l3Offset, length }: Pool, packet: number): boolean {
  if (length[packet] - l3Offset[packet] < ipv4.HEADER) return false;
  const at = offset[packet] + l3Offset[packet];
  const version = slab[at] >> 4;
  return (version === 4 || version === 6) && ecnOf(slab, at) !== Ecn.NotEct;
}
