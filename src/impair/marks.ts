/**
 * What an impairment knows of each packet it has in its hands, in columns by the packet's descriptor. A packet's wire
 * packets are numbered from `number` (in its flow) and `order` (in its pipeline) on.
 */
import type { Pool } from '../engine/pool.ts';
import { DESCRIPTOR_CELLS } from '../native/binding.ts';
import type { DropWatch } from './drop-watch.ts';
import type { VerdictLog } from './log/verdict-log.ts';

export class Marks {
  /** When it came to the stage where it is, by the link's own time: what stages before it took is in it exactly. ns. */
  readonly at: Float64Array;
  /** When it came to its pipeline: ns. */
  readonly entered: Float64Array;
  /** Its flow's place in the flow table. */
  readonly flow: Int32Array;
  /** Its flow's name for draws, which outlives its place in the table. */
  readonly hash: Int32Array;
  /** How many wire packets of its flow came before it. */
  readonly number: Int32Array;
  /** How many wire packets came to its pipeline before it. */
  readonly order: Int32Array;
  /** While a server has it: how many of its wire packets have neither left nor been dropped. */
  readonly left: Int32Array;
  /** 0 for an original; a copy has the name of the stage that made it. Draws differ by it. */
  readonly twin: Int32Array;
  /** Hears what becomes of each wire packet, while somebody wants to know. */
  log: VerdictLog | null = null;
  /** Hears of each drop, while somebody watches. */
  watch: DropWatch | null = null;

  constructor(pool: Pool) {
    const rows = pool.descriptors.length / DESCRIPTOR_CELLS;
    this.at = new Float64Array(rows);
    this.entered = new Float64Array(rows);
    this.flow = new Int32Array(rows);
    this.hash = new Int32Array(rows);
    this.number = new Int32Array(rows);
    this.order = new Int32Array(rows);
    this.left = new Int32Array(rows);
    this.twin = new Int32Array(rows);
  }

  /** The marks of a slice or a duplicate, whose first wire packet is `skipped` after the original's. */
  copy(from: number, to: number, skipped: number): void {
    const a = row(from);
    const b = row(to);
    this.at[b] = this.at[a];
    this.entered[b] = this.entered[a];
    this.flow[b] = this.flow[a];
    this.hash[b] = this.hash[a];
    this.number[b] = this.number[a] + skipped;
    this.order[b] = this.order[a] + skipped;
    this.twin[b] = this.twin[a];
    if (this.log !== null) this.log.copied(a, b);
  }
}

const SHIFT = Math.log2(DESCRIPTOR_CELLS);

/** Where a packet's marks are. */
export const row = (packet: number): number => packet >> SHIFT;

/** The packet whose marks are there. */
export const packetAt = (mark: number): number => mark << SHIFT;
