/**
 * `queue codel` (RFC 8289): packets that waited longer than `target` for a whole `interval` say that the queue stands. Then one
 * is dropped, and the next ones at intervals that shrink with the square root of their number, until a wait is short
 * again. With `ecn` those whose senders understand marks are marked instead.
 *
 * The names are those of the RFC's section 5. A packet's wait ends when the server begins with it; the RFC's
 * `maxpacket` is the longest wire packet seen so far.
 */
import type { AppReport } from '../../engine/app.ts';
import { markable } from '../markable.ts';
import { ImpairDrop } from '../reasons.ts';
import { Discipline, type QueueLimits, type QueueOwner } from './discipline.ts';

export interface CodelOptions extends QueueLimits {
  /** The wait that is acceptable: ns. */
  target: number;
  /** How long it must be exceeded: ns, about the longest round-trip time. */
  interval: number;
  ecn: boolean;
}

/** A discipline whose lists are each kept short by CoDel. */
export abstract class CodelLists extends Discipline {
  protected target = 0;
  protected interval = 0;
  protected ecn = false;
  /** Wire packets dropped and marked by the control law. */
  protected readonly counts = new Float64Array(2);
  #maxPacket = 0;
  readonly #firstAboveTime: Float64Array;
  readonly #dropNext: Float64Array;
  readonly #count: Int32Array;
  readonly #lastCount: Int32Array;
  readonly #dropping: Uint8Array;

  constructor(owner: QueueOwner, lists: number) {
    super(owner, lists);
    this.#firstAboveTime = new Float64Array(lists);
    this.#dropNext = new Float64Array(lists);
    this.#count = new Int32Array(lists);
    this.#lastCount = new Int32Array(lists);
    this.#dropping = new Uint8Array(lists);
  }

  override details(): AppReport {
    return { dropped: this.counts[0], marked: this.counts[1] };
  }

  protected tell(options: CodelOptions): void {
    this.limits(options);
    this.target = options.target;
    this.interval = options.interval;
    this.ecn = options.ecn;
  }

  /** The RFC's `deque`. What is taken stands in `backlog`'s fields. */
  protected takeControlled(list: number): boolean {
    const dropNext = this.#dropNext;
    const now = this.clock[0];
    let okToDrop = this.#doDeque(list);
    if (this.#dropping[list] === 1) {
      if (!okToDrop) this.#dropping[list] = 0;
      while (this.#dropping[list] === 1 && now >= dropNext[list]) {
        this.#count[list]++;
        if (this.#marks()) {
          this.#controlLaw(list, dropNext[list]);
          return true;
        }
        this.#drop();
        okToDrop = this.#doDeque(list);
        if (okToDrop) this.#controlLaw(list, dropNext[list]);
        else this.#dropping[list] = 0;
      }
    } else if (okToDrop) {
      if (!this.#marks()) {
        this.#drop();
        this.#doDeque(list);
      }
      this.#dropping[list] = 1;
      const delta = this.#count[list] - this.#lastCount[list];
      this.#count[list] = delta > 1 && now - dropNext[list] < 16 * this.interval ? delta : 1;
      this.#controlLaw(list, now);
      this.#lastCount[list] = this.#count[list];
    }
    return this.backlog.packet >= 0;
  }

  /** Takes the first; whether it may be dropped. */
  #doDeque(list: number): boolean {
    const { backlog } = this;
    if (!this.takeFrom(list)) {
      backlog.packet = -1;
      this.#firstAboveTime[list] = 0;
      return false;
    }
    if (backlog.length > this.#maxPacket) this.#maxPacket = backlog.length;
    const now = this.clock[0];
    if (now - backlog.came[0] < this.target || backlog.bytes[list] <= this.#maxPacket) {
      this.#firstAboveTime[list] = 0;
      return false;
    }
    if (this.#firstAboveTime[list] === 0) {
      this.#firstAboveTime[list] = now + this.interval;
      return false;
    }
    return now >= this.#firstAboveTime[list];
  }

  #controlLaw(list: number, from: number): void {
    this.#dropNext[list] = from + Math.round(this.interval / Math.sqrt(this.#count[list]));
  }

  #marks(): boolean {
    if (!this.ecn || !markable(this.pool, this.backlog.packet)) return false;
    this.backlog.marked = true;
    this.counts[1]++;
    return true;
  }

  #drop(): void {
    this.counts[0]++;
    this.owner.discard(this.backlog.packet, this.backlog.segment, 1, ImpairDrop.Aqm);
  }
}

export class Codel extends CodelLists {
  constructor(owner: QueueOwner, options: CodelOptions) {
    super(owner, 1);
    this.tell(options);
  }

  reconfigure(options: CodelOptions): boolean {
    this.tell(options);
    return true;
  }

  offer(packet: number, first: number, end: number, header: number, size: number): void {
    this.addToTail(packet, first, end, header, size, ImpairDrop.QueueFull);
  }

  take(): boolean {
    return this.takeControlled(0);
  }
}
