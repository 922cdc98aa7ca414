/**
 * A stage is one impairment in a pipeline. It gets packets in the order of their time and passes them on in the order of
 * their time, some of them later, some of them never.
 *
 * Time travels with the packets: `marks.at` says when a packet came to this stage by the link's own time. A stage that holds
 * packets writes there when each leaves, computed from when it came and not from when the machine got round to it. So what
 * a pipeline decides depends on when packets entered it and on nothing else, and ten stages in a row are as late as one.
 */
import type { AppReport } from '../engine/app.ts';
import type { Pool } from '../engine/pool.ts';
import { Reason } from '../engine/reasons.ts';
import { slice } from '../engine/slice.ts';
import { setEcn } from '../packet/ecn.ts';
import { Ecn } from '../packet/protocol.ts';
import { Draws } from './draw.ts';
import type { Flows } from './flows.ts';
import { Histogram } from './histogram.ts';
import { type Marks, row } from './marks.ts';
import type { Direction } from './match.ts';
import type { Mappings } from './rebind/mappings.ts';
import type { Train } from './train.ts';

/** What a stage works with; all stages of an app share it. */
export interface StageContext {
  readonly pool: Pool;
  readonly marks: Marks;
  readonly flows: Flows;
  /** Of all draws. */
  readonly seed: number;
  /** Wire packets of one superframe whose times lie within so many ns may leave together, at the last one's time. */
  readonly quantum: number;
  /** Of the packets that pass. */
  readonly direction: Direction;
  /** How flows are called outside, which both directions of the link know. */
  readonly mappings: Mappings;
  /** The place of its pipeline, by which flows know theirs. */
  readonly pipeline: number;
  /** The first of its own cells in a flow's state. */
  readonly cell: number;
  /** What goes back to senders: errors about packets that cannot pass. Nothing does where there is none. */
  readonly answers?: Train;
}

export abstract class Stage {
  /** `direction/rule/kind`: what its draws are named after. */
  readonly name: string;
  protected readonly context: StageContext;
  protected readonly pool: Pool;
  protected readonly marks: Marks;
  /** When it must run again though nothing comes: ns, or Infinity. */
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  /** How long after their time packets left it, which says how well the machine keeps time: ns. */
  readonly lateness = new Histogram();
  /** Wire packets dropped, by reason. */
  readonly drops = new Map<number, Float64Array>();

  constructor(name: string, context: StageContext) {
    this.name = name;
    this.context = context;
    this.pool = context.pool;
    this.marks = context.marks;
  }

  /** Takes everything in `from`, and adds to `to` what leaves by `now`. */
  abstract run(from: Train, to: Train, now: number): void;

  /** Wire packets it has dropped. */
  dropped(): number {
    let dropped = 0;
    for (const cell of this.drops.values()) dropped += cell[0];
    return dropped;
  }

  /** Packets (handles) it holds. */
  held(): number {
    return 0;
  }

  /** What is special about it, for reports. */
  details(): AppReport {
    return {};
  }

  /** Frees what it holds. */
  close(): void {}

  protected draws(purpose: string): Draws {
    return Draws.named(this.context.seed, `${this.name}/${purpose}`);
  }

  /** Ends a packet, and counts why. */
  protected drop(packet: number, reason: number): void {
    const count = this.pool.segments[packet];
    this.marks.log?.drop(packet, 0, count, this.name, reason);
    this.marks.watch?.drop(packet, 0, count, this.name, reason);
    this.#dropped(reason, count);
    this.pool.drop(packet, reason);
  }

  /** Ends `count` wire packets of a superframe from `first` on, and counts why. The superframe stays as it is. */
  protected dropPart(packet: number, first: number, count: number, reason: number): void {
    if (this.pool.witness === null) {
      this.marks.log?.drop(packet, first, count, this.name, reason);
      this.marks.watch?.drop(packet, first, count, this.name, reason);
      this.#dropped(reason, count);
      this.pool.countDrops(reason, count);
      return;
    }
    const part = this.cut(packet, first, count);
    if (part >= 0) this.drop(part, reason);
  }

  /** A packet says from now on that it met congestion (RFC 3168). False when there is no memory for that. */
  protected mark(packet: number): boolean {
    const { pool } = this;
    if (!pool.own(packet)) return false;
    setEcn(pool.slab, pool.offset[packet] + pool.l3Offset[packet], Ecn.Ce);
    this.marks.log?.mark(packet, this.name);
    return true;
  }

  /** A packet leaves that should have left at `at`. */
  protected release(packet: number, at: number, to: Train, now: number): void {
    this.marks.at[row(packet)] = at;
    this.lateness.add(now - at);
    to.add(packet);
  }

  /** `count` wire packets of a superframe from `first` on, with marks; -1, counted, when there is no memory. */
  protected cut(packet: number, first: number, count: number): number {
    const part = slice(this.pool, packet, first, count);
    if (part < 0) {
      this.marks.log?.drop(packet, first, count, this.name, Reason.NoMemory);
      this.marks.watch?.drop(packet, first, count, this.name, Reason.NoMemory);
      this.#dropped(Reason.NoMemory, count);
      this.pool.countDrops(Reason.NoMemory, count);
    } else {
      this.marks.copy(packet, part, first);
    }
    return part;
  }

  #dropped(reason: number, packets: number): void {
    let cell = this.drops.get(reason);
    if (!cell) {
      cell = new Float64Array(1);
      this.drops.set(reason, cell);
    }
    cell[0] += packets;
  }
}
