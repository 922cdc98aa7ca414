/**
 * Cuts superframes into wire packets with full checksums. The network puts one in front of every app that did not
 * ask for superframes, so that the naive app is right.
 */
import { segmentInto } from './segment-tmp.ts';
import type { App, Ports } from './app.ts';
import { Reason } from './reasons.ts';

export class Segmenter implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly superframes = true;
  readonly expansion: number;

  /** @param most segments of one superframe; one with more is dropped as malformed */
  constructor(most: number) {
    this.expansion = most;
  }

  push({ pool, input, output }: Ports): void {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      const count = pool.segments[packet];
      if (count === 1 && pool.segmentSize[packet] === 0) {
        output.out.put(packet);
        continue;
      }
      if (count > this.expansion) {
        pool.drop(packet, Reason.Malformed);
        continue;
      }
      const owner = pool.owner[pool.slot[packet]];
      for (let i = 0; i < count; i++) {
        const segment = pool.alloc(owner);
        if (segment < 0) {
          pool.countDrops(Reason.NoMemory, count - i);
          break;
        }
        const length = segmentInto(pool.slab, pool.offset[packet], pool.length[packet], pool.l3Offset[packet], pool.segmentSize[packet], i, pool.slab, pool.offset[segment]);
        if (length <= 0) {
          pool.free(segment);
          pool.countDrops(Reason.Malformed, count - i);
          break;
        }
        pool.length[segment] = length;
        pool.layer[segment] = pool.layer[packet];
        pool.l3Offset[segment] = pool.l3Offset[packet];
        pool.peer[segment] = pool.peer[packet];
        pool.trafficClass[segment] = pool.trafficClass[packet];
        pool.arrival[segment] = pool.arrival[packet];
        output.out.put(segment);
      }
      pool.free(packet);
    }
  }
}
