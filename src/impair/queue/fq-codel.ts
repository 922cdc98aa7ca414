/**
 * `queue fq_codel` (RFC 8290): a queue for each of `flows` hashes of flows, served in turn, `quantum` bytes each, and each
 * kept short by CoDel. Queues that have just become busy come first, so that flows that send little hardly wait.
 * When the limit is exceeded the longest queue (in bytes) loses packets from its head (section 4.1): one at a time, where the
 * RFC and Linux take half of the queue, at most 64, to look for the longest less often. Here it is known at any time.
 */
import type { AppReport } from '../../engine/app.ts';
import type { Draws } from '../draw.ts';
import { row } from '../marks.ts';
import { ImpairDrop } from '../reasons.ts';
import { CodelLists, type CodelOptions } from './codel.ts';
import type { QueueOwner } from './discipline.ts';
import { Longest } from './longest.ts';

export interface FqCodelOptions extends CodelOptions {
  flows: number;
  /** Bytes a queue may send in its turn. */
  quantum: number;
}

const NONE = -1;
/** The two lists of queues. */
const NEW = 0;
const OLD = 1;

export class FqCodel extends CodelLists {
  readonly #flows: number;
  #quantum: number;
  readonly #hashes: Draws;
  readonly #longest: Longest;
  readonly #deficit: Int32Array;
  /** Whether a queue is in one of the two lists, and which follows it there. */
  readonly #listed: Uint8Array;
  readonly #link: Int32Array;
  readonly #heads = new Int32Array(2).fill(NONE);
  readonly #tails = new Int32Array(2).fill(NONE);

  constructor(owner: QueueOwner, options: FqCodelOptions) {
    super(owner, options.flows);
    this.tell(options);
    this.#flows = options.flows;
    this.#quantum = options.quantum;
    this.#hashes = owner.draws('queue');
    this.#longest = new Longest(this.backlog.bytes);
    this.#deficit = new Int32Array(options.flows);
    this.#listed = new Uint8Array(options.flows);
    this.#link = new Int32Array(options.flows);
  }

  reconfigure(options: FqCodelOptions): boolean {
    if (options.flows !== this.#flows) return false;
    this.tell(options);
    this.#quantum = options.quantum;
    return true;
  }

  override details(): AppReport {
    let busy = 0;
    for (const packets of this.backlog.packets) if (packets > 0) busy++;
    return { ...super.details(), busy };
  }

  offer(packet: number, first: number, end: number, header: number, size: number): void {
    // Perturbed by the seed: which flows share a queue differs from run to run, and not within one.
    const hash = this.#hashes.at(this.marks.hash[row(packet)], 0);
    const queue = Math.floor((hash * this.#flows) / 4294967296);
    const { backlog } = this;
    for (let s = first; s < end; s++) {
      this.addTo(queue, packet, s, s + 1, header, size);
      this.#longest.changed(queue);
      if (this.#listed[queue] === 0) {
        this.#listed[queue] = 1;
        this.#deficit[queue] = this.#quantum;
        this.#append(NEW, queue);
      }
      while (this.packets > this.limit || this.bytes > this.limitBytes) {
        if (!this.takeFrom(this.#longest.queue)) break;
        this.owner.discard(backlog.packet, backlog.segment, 1, ImpairDrop.QueueFull);
      }
    }
  }

  take(): boolean {
    for (;;) {
      const list = this.#heads[NEW] !== NONE ? NEW : OLD;
      const queue = this.#heads[list];
      if (queue === NONE) return false;
      if (this.#deficit[queue] <= 0) {
        this.#deficit[queue] += this.#quantum;
        this.#behead(list);
        this.#append(OLD, queue);
        continue;
      }
      if (!this.takeControlled(queue)) {
        this.#behead(list);
        // A new queue stays a round among the old ones, or it could come back as new at once and starve them.
        if (list === NEW) this.#append(OLD, queue);
        else this.#listed[queue] = 0;
        continue;
      }
      this.#deficit[queue] -= this.backlog.length;
      return true;
    }
  }

  protected override takeFrom(queue: number): boolean {
    if (!super.takeFrom(queue)) return false;
    if (2 * this.packets < this.limit && 2 * this.bytes < this.limitBytes) this.#longest.rest();
    else this.#longest.changed(queue);
    return true;
  }

  #behead(list: number): void {
    const next = this.#link[this.#heads[list]];
    this.#heads[list] = next;
    if (next === NONE) this.#tails[list] = NONE;
  }

  #append(list: number, queue: number): void {
    this.#link[queue] = NONE;
    if (this.#tails[list] === NONE) this.#heads[list] = queue;
    else this.#link[this.#tails[list]] = queue;
    this.#tails[list] = queue;
  }
}
