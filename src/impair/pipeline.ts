/**
 * What happens to the packets of one rule in one direction:
 *
 *   1. they come with their marks: when, of which flow, which of its packets (impair.ts);
 *   2. each stage in turn gets what the one before let go by now, and what it holds that is due;
 *   3. what leaves the last stage leaves the pipeline.
 */

import type { Pool } from '../engine/pool.ts';
import type { Stage } from './stage.ts';
import { Train } from './train.ts';

/** Cells of a pipeline's counters: wire packets and bytes that came to each stage, and behind the last those that left. */
const CELLS = 2;

export class Pipeline {
  readonly label: string;
  stages: readonly Stage[] = [];
  /** What has come since the last run. */
  readonly inbox = new Train();
  /** When it must run again though nothing comes: ns, or Infinity. */
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  /** Wire packets that have come so far; wraps at 2^32. */
  readonly order = new Int32Array(1);
  /** By stage, and behind the last: wire packets, bytes. */
  counts = new Float64Array(CELLS);
  readonly #pool: Pool;
  #here = new Train();
  #there = new Train();

  constructor(label: string, pool: Pool) {
    this.label = label;
    this.#pool = pool;
  }

  run(to: Train, now: number): void {
    const { stages } = this;
    let from = this.inbox;
    let due = Number.POSITIVE_INFINITY;
    for (let i = 0; i < stages.length; i++) {
      const stage = stages[i];
      this.#count(i, from);
      if (from.count === 0 && stage.due[0] > now) {
        if (stage.due[0] < due) due = stage.due[0];
        continue;
      }
      const next = from === this.#here ? this.#there : this.#here;
      next.count = 0;
      stage.run(from, next, now);
      from.count = 0;
      from = next;
      if (stage.due[0] < due) due = stage.due[0];
    }
    this.#count(stages.length, from);
    for (let i = 0; i < from.count; i++) to.add(from.packets[i]);
    from.count = 0;
    this.due[0] = due;
  }

  held(): number {
    let held = 0;
    for (const stage of this.stages) held += stage.held();
    return held;
  }

  #count(place: number, train: Train): void {
    const { segments, length } = this.#pool;
    let packets = 0;
    let bytes = 0;
    for (let i = 0; i < train.count; i++) {
      packets += segments[train.packets[i]];
      bytes += length[train.packets[i]];
    }
    this.counts[CELLS * place] += packets;
    this.counts[CELLS * place + 1] += bytes;
  }
}
