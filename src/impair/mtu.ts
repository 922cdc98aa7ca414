/**
 * `mtu 1400`: wire packets whose IP packet is longer are gone without a word, as behind a router whose "fragmentation
 * needed" or "packet too big" a firewall eats. Of a superframe that goes for all segments but perhaps the last, shorter one.
 */
import { z } from 'zod';
import { PLAN_CELLS, PlanCell, planSegments, segmentLength } from '../packet/segment.ts';
import { size } from './quantities.ts';
import { ImpairDrop } from './reasons.ts';
import type { ReadWords } from './spec/words.ts';
import { Stage, type StageContext } from './stage.ts';
import type { Train } from './train.ts';

export const mtuSchema = z.strictObject({
  kind: z.literal('mtu'),
  name: z.string().optional(),
  /** Longest IP packet that passes: bytes. */
  mtu: size.refine((bytes) => bytes >= 68, { error: 'expected at least 68 bytes (RFC 791)' }),
});
export type MtuOptions = z.infer<typeof mtuSchema>;

/** `BYTES` */
export const mtuWords: ReadWords = (words) => ({ mtu: words.take('size'), ...words.keys({}) });

const plan = new Int32Array(PLAN_CELLS);

export class Mtu extends Stage {
  #mtu = 0;

  constructor(name: string, context: StageContext, options: MtuOptions) {
    super(name, context);
    this.reconfigure(options);
  }

  reconfigure(options: MtuOptions): void {
    this.#mtu = options.mtu;
  }

  run(from: Train, to: Train): void {
    const { segments, length, l3Offset } = this.pool;
    for (let i = 0; i < from.count; i++) {
      const packet = from.packets[i];
      if (length[packet] - l3Offset[packet] <= this.#mtu) to.add(packet);
      else if (segments[packet] === 1) this.drop(packet, ImpairDrop.Mtu);
      else this.#superframe(packet, to);
    }
  }

  #superframe(packet: number, to: Train): void {
    const { pool } = this;
    const count = planSegments(
      pool.slab,
      pool.offset[packet],
      pool.length[packet],
      pool.l3Offset[packet],
      pool.gsoType[packet],
      pool.segmentSize[packet],
      plan,
    );
    const longest = this.#mtu + pool.l3Offset[packet];
    if (count > 0 && plan[PlanCell.header] + plan[PlanCell.segmentSize] <= longest) {
      to.add(packet);
    } else if (count < 2 || segmentLength(plan, count - 1) > longest) {
      this.drop(packet, ImpairDrop.Mtu);
    } else {
      const last = this.cut(packet, count - 1, 1);
      const rest = this.cut(packet, 0, count - 1);
      this.pool.free(packet);
      if (rest >= 0) this.drop(rest, ImpairDrop.Mtu);
      if (last >= 0) to.add(last);
    }
  }
}
