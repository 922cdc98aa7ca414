/**
 * Cuts superframes into wire packets with full checksums. The network puts a `Segmenter` in front of every app that
 * did not ask for superframes, so that the naive app is right.
 */
import { HEADROOM } from '../native/binding.ts';
import { completeChecksum, emitSegment, PLAN_CELLS, planSegments, segmentLength } from '../packet/segment.ts';
import type { App, Ports } from './app.ts';
import type { Pool } from './pool.ts';
import { MAX_SEGMENTS } from './pool-memory.ts';
import { Reason } from './reasons.ts';

export { MAX_SEGMENTS };

const plan = new Int32Array(PLAN_CELLS);

/**
 * Wire packets with complete checksums for one packet, each with its prefix, into `into[0..n)`; the packet itself is one of them or freed.
 * What has no memory or makes no sense is a counted drop; n may be 0.
 * @param into at least `MAX_SEGMENTS` long
 */
export function cutSuperframe(pool: Pool, packet: number, into: Int32Array): number {
  const at = pool.offset[packet];
  const length = pool.length[packet];
  if (pool.segmentSize[packet] === 0) {
    into[0] = packet;
    return finishChecksum(pool, packet) ? 1 : 0;
  }
  const cut = pool.cutNatively(packet);
  if (cut > 0) {
    for (let i = 0; i < cut; i++) into[i] = pool.cut[i];
    pool.free(packet);
    return cut;
  }
  const count = planSegments(
    pool.slab,
    at,
    length,
    pool.l3Offset[packet],
    pool.gsoType[packet],
    pool.segmentSize[packet],
    plan,
  );
  if (count <= 0 || count > MAX_SEGMENTS || pool.prefixLength[packet] > HEADROOM) {
    pool.drop(packet, Reason.Malformed);
    return 0;
  }
  const account = pool.owner[pool.slot[packet]];
  let made = 0;
  while (made < count) {
    const segment = pool.allocFor(segmentLength(plan, made), account);
    if (segment < 0) {
      pool.countDrops(Reason.NoMemory, count - made);
      break;
    }
    pool.copyPrefix(packet, segment);
    pool.length[segment] = emitSegment(pool.slab, at, plan, made, pool.slab, pool.offset[segment]);
    pool.layer[segment] = pool.layer[packet];
    pool.l3Offset[segment] = pool.l3Offset[packet];
    pool.peer[segment] = pool.peer[packet];
    pool.trafficClass[segment] = pool.trafficClass[packet];
    pool.flags[segment] = pool.flags[packet];
    pool.arrived[pool.slot[segment]] = pool.arrived[pool.slot[packet]];
    into[made++] = segment;
  }
  pool.free(packet);
  return made;
}

/** Fills a checksum that was left to the hardware. False, with the packet dropped, when that cannot be. */
function finishChecksum(pool: Pool, packet: number): boolean {
  const start = pool.checksumStart[packet];
  if (start < 0) return true;
  if (!pool.own(packet)) {
    pool.drop(packet, Reason.NoMemory);
    return false;
  }
  if (
    !completeChecksum(pool.slab, pool.offset[packet], pool.length[packet], start, pool.checksumOffset[packet])
  ) {
    pool.drop(packet, Reason.Malformed);
    return false;
  }
  pool.checksumStart[packet] = -1;
  return true;
}

export class Segmenter implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly superframes = true;
  /** What one superframe may become: `waiting` leaves room for it. */
  readonly expansion = MAX_SEGMENTS;
  readonly #cut = new Int32Array(MAX_SEGMENTS);

  push({ pool, input, output }: Ports): void {
    // Asked anew for each packet: most are not superframes, and then far more fit than `waiting` promises.
    while (input.in.waiting > 0) {
      const n = cutSuperframe(pool, input.in.take(), this.#cut);
      output.out.putBurst(this.#cut, n);
    }
  }
}
