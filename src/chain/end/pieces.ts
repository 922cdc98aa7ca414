/** IPv4 packets that are too long for a chain and may be fragmented. */
import type { Link } from '../../engine/link.ts';
import type { Pool } from '../../engine/pool.ts';
import { cutSuperframe, MAX_SEGMENTS } from '../../engine/segmenter.ts';
import { emitFragment, fragmentCount } from '../../packet/ip-fragment.ts';
import { EndDrop } from './reasons.ts';

const pieces = new Int32Array(MAX_SEGMENTS);

/**
 * Sends a packet, or each that a superframe stands for, in fragments of at most `mtu` bytes. Each is sent like the packet: with the
 * prefix in front of it, to its peer.
 */
export function sendInPieces(pool: Pool, packet: number, mtu: number, out: Link): void {
  const n = cutSuperframe(pool, packet, pieces);
  for (let i = 0; i < n; i++) fragment(pool, pieces[i], mtu, out);
}

function fragment(pool: Pool, packet: number, mtu: number, out: Link): void {
  const at = pool.offset[packet];
  const end = at + pool.length[packet];
  const count = fragmentCount(pool.slab, at, end, mtu);
  if (count <= 0) {
    pool.drop(packet, EndDrop.Malformed);
    return;
  }
  if (count === 1) {
    out.put(packet);
    return;
  }
  for (let i = 0; i < count; i++) {
    const piece = pool.allocFor(mtu, pool.owner[pool.slot[packet]]);
    if (piece < 0) {
      pool.countDrops(EndDrop.NoMemory, 1);
      break;
    }
    pool.length[piece] = emitFragment(pool.slab, at, end, mtu, i, pool.slab, pool.offset[piece]);
    pool.layer[piece] = 3;
    pool.copyPrefix(packet, piece);
    pool.peer[piece] = pool.peer[packet];
    pool.trafficClass[piece] = pool.trafficClass[packet];
    out.put(piece);
  }
  pool.free(packet);
}
