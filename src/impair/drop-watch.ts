/**
 * What an impairment drops, for people who watch: at most so many drops from one look to the next, evenly chosen ones when there
 * are more, and how many there were. Whose packet it was is told by the flow's key, which is made text of elsewhere.
 */

import type { Pool } from '../engine/pool.ts';
import { reasonName } from '../engine/reasons.ts';
import { planOf } from '../engine/segment-plan.ts';
import { KEY_CELLS } from '../packet/flow-key.ts';
import { PLAN_CELLS, PlanCell } from '../packet/segment.ts';
import { type Flows, OTHER } from './flows.ts';
import { type Marks, row } from './marks.ts';
import { runLength } from './queue/backlog.ts';

export interface WatchedDrop {
  /** By the link's own time: when it would have gone on, ns. */
  at: number;
  /** KEY_CELLS of its flow; none of what is no IP packet, or of a flow that was forgotten meanwhile. */
  key: Int32Array | undefined;
  /** Whether its packets go from the key's higher endpoint to the lower. */
  backward: boolean;
  /** `up/rule/stage` */
  stage: string;
  why: string;
  /** Wire packets that were dropped at once, and bytes of all of them. */
  packets: number;
  bytes: number;
}

export interface WatchedDrops {
  drops: WatchedDrop[];
  /** Drops there were, those that are not among them too. */
  total: number;
}

const plan = new Int32Array(PLAN_CELLS);

export class DropWatch {
  readonly #pool: Pool;
  readonly #marks: Marks;
  readonly #flows: Flows;
  readonly #limit: number;
  #drops: WatchedDrop[] = [];
  #total = 0;
  /** One in so many is kept. */
  #stride = 1;

  /** @param limit most drops that are kept from one look to the next, at least 2 */
  constructor(pool: Pool, marks: Marks, flows: Flows, limit: number) {
    this.#pool = pool;
    this.#marks = marks;
    this.#flows = flows;
    this.#limit = limit;
  }

  /** `count` wire packets from `first` on. */
  drop(packet: number, first: number, count: number, stage: string, reason: number): void {
    if (this.#total++ % this.#stride !== 0) return;
    if (this.#drops.length === this.#limit) {
      this.#stride *= 2;
      this.#drops = this.#drops.filter((_, i) => i % 2 === 0);
      if ((this.#total - 1) % this.#stride !== 0) return;
    }
    const mark = row(packet);
    const flow = this.#marks.flow[mark];
    const known = flow !== OTHER && this.#flows.hashes[flow] === this.#marks.hash[mark];
    const at = this.#flows.keyAt(flow);
    this.#drops.push({
      at: this.#marks.at[mark],
      key: known ? this.#flows.keys.slice(at, at + KEY_CELLS) : undefined,
      backward: this.#flows.backward(flow),
      stage,
      why: reasonName(reason),
      packets: count,
      bytes: this.#bytes(packet, first, count),
    });
  }

  /** Those since the look before. */
  take(): WatchedDrops {
    const taken = { drops: this.#drops, total: this.#total };
    this.#drops = [];
    this.#total = 0;
    this.#stride = 1;
    return taken;
  }

  #bytes(packet: number, first: number, count: number): number {
    const { length, segmentSize, segments } = this.#pool;
    if (segments[packet] === 1) return length[packet];
    const planned = planOf(this.#pool, packet, plan);
    // One that makes no sense has no headers to repeat.
    const header = planned === segments[packet] ? plan[PlanCell.header] : 0;
    return runLength(length[packet], header, segmentSize[packet], first, first + count);
  }
}
