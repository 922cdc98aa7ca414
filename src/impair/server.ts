/**
 * A bottleneck: packets wait in a queue and leave one after the other as fast as the server lets them. What kind of server
 * it is (a rate, a trace, slots) says when the next wire packet leaves; the queue discipline says which.
 *
 *   1. a packet comes, at its own time: what leaves until then (or just then) leaves first;
 *   2. it is offered to the queue, which takes it or drops it, as a whole or in part;
 *   3. a free server takes the next wire packet at once, a busy one when the one before has left; it is in the queue no more;
 *   4. a wire packet leaves. Those of one superframe that leave one after the other, within the quantum, leave as one
 *      part, at the time of the last.
 *
 * All of it goes by the packets' own times. When the machine is late, everything happens later and nothing differently.
 */
import type { AppReport } from '../engine/app.ts';
import { Reason } from '../engine/reasons.ts';
import { planOf } from '../engine/segment-plan.ts';
import { PLAN_CELLS, PlanCell } from '../packet/segment.ts';
import type { Draws } from './draw.ts';
import { row } from './marks.ts';
import type { Discipline, QueueOwner } from './queue/discipline.ts';
import { changeQueue, makeQueue, type QueueOptions } from './queue/queue.ts';
import { Stage, type StageContext } from './stage.ts';
import type { Train } from './train.ts';

const NONE = -1;
const plan = new Int32Array(PLAN_CELLS);

export abstract class Server extends Stage {
  protected queue: Discipline;
  /** The wire packet that is being served: its packet (-1 for none), which of it, bytes on the wire, to be marked. */
  protected serving = NONE;
  protected segment = 0;
  protected bytes = 0;
  #marked = false;
  #queueOptions: QueueOptions;
  readonly #owner: QueueOwner;
  #held = 0;
  /** Wire packets of one superframe that have left by time, not yet on their way: packet, first, count, first's and last's time. */
  protected part = NONE;
  #first = 0;
  #count = 0;
  protected readonly partTimes = new Float64Array(2);
  readonly #partEnd = this.partTimes.subarray(1);
  /** Until when to go on: ns. */
  protected readonly until = new Float64Array(1);
  /** When the machine came to it: ns. */
  protected readonly now = new Float64Array(1);
  /** Where packets leave to. */
  protected out!: Train;

  /** @param rate bit/s, for the queue's default limit */
  constructor(name: string, context: StageContext, queue: QueueOptions, rate: number) {
    super(name, context);
    this.#owner = {
      pool: this.pool,
      marks: this.marks,
      draws: (purpose: string): Draws => this.draws(purpose),
      discard: (packet, first, count, reason) => this.discard(packet, first, count, reason),
    };
    this.#queueOptions = queue;
    this.queue = makeQueue(this.#owner, queue, rate);
  }

  /** Whether nothing is being served, so that a packet that comes need not wait for another. */
  protected abstract get idle(): boolean;

  /** The queue has got its first packet, at `queue.clock`: says when it will leave, or takes it to be served. */
  protected abstract begin(): void;

  /** Everything that leaves by `until`, in order. */
  protected abstract advance(): void;

  /** When it has to run again, ns. */
  protected abstract next(): number;

  run(from: Train, to: Train, now: number): void {
    this.now[0] = now;
    this.out = to;
    const { at } = this.marks;
    for (let i = 0; i < from.count; i++) {
      const packet = from.packets[i];
      this.until[0] = at[row(packet)];
      this.advance();
      this.queue.clock[0] = this.until[0];
      this.accept(packet);
    }
    this.until[0] = now;
    this.advance();
    this.due[0] = this.next();
  }

  override held(): number {
    return this.#held;
  }

  override details(): AppReport {
    return { waiting: this.queue.packets, waitingBytes: this.queue.bytes, ...this.queue.details() };
  }

  override close(): void {
    if (this.part !== NONE) this.#settle(this.part, this.#count);
    if (this.serving !== NONE) this.#settle(this.serving, 1);
    this.part = NONE;
    this.serving = NONE;
    while (this.queue.drain()) this.#settle(this.queue.backlog.packet, 1);
  }

  /** What waits stays, in order, with the times at which it came. */
  protected changeQueue(options: QueueOptions, rate: number): void {
    const { clock } = this.queue;
    this.queue = changeQueue(this.#owner, this.queue, this.#queueOptions, options, rate);
    this.queue.clock[0] = clock[0];
    this.#queueOptions = options;
  }

  /** A packet comes, at `queue.clock`. */
  protected accept(packet: number): void {
    const count = this.pool.segments[packet];
    let header = 0;
    let size = this.pool.length[packet];
    if (count > 1) {
      if (planOf(this.pool, packet, plan) !== count) {
        this.drop(packet, Reason.Malformed);
        return;
      }
      header = plan[PlanCell.header];
      size = plan[PlanCell.segmentSize];
    }
    this.marks.left[row(packet)] = count;
    this.#held++;
    this.arrive(packet, count, header, size);
  }

  /** Offers all of a packet to the queue. */
  protected arrive(packet: number, count: number, header: number, size: number): void {
    this.offer(packet, 0, count, header, size);
  }

  protected offer(packet: number, first: number, end: number, header: number, size: number): void {
    let s = first;
    while (s < end && this.idle) {
      this.queue.offer(packet, s, s + 1, header, size);
      s++;
      if (this.queue.packets > 0) this.begin();
    }
    if (s < end) this.queue.offer(packet, s, end, header, size);
  }

  /** Takes the next wire packet out of the queue, at `queue.clock`, to be served. */
  protected takeNext(): boolean {
    const { queue } = this;
    if (!queue.take()) {
      this.serving = NONE;
      return false;
    }
    const { backlog } = queue;
    this.serving = backlog.packet;
    this.segment = backlog.segment;
    this.bytes = backlog.length;
    this.#marked = backlog.marked;
    return true;
  }

  /** What is being served leaves, at `queue.clock`. */
  protected depart(): void {
    const packet = this.serving;
    const segment = this.segment;
    const at = this.queue.clock[0];
    this.serving = NONE;
    if (this.pool.segments[packet] === 1) {
      this.sendPart();
      if (this.#marked) this.mark(packet);
      this.pass(packet);
      return;
    }
    if (this.#marked) {
      this.sendPart();
      const one = this.cut(packet, segment, 1);
      if (one >= 0) {
        this.mark(one);
        this.leave(one, this.queue.clock);
      }
      this.#settle(packet, 1);
      return;
    }
    const times = this.partTimes;
    if (!this.continues(packet, segment, at)) {
      this.sendPart();
      this.part = packet;
      this.#first = segment;
      this.#count = 0;
      times[0] = at;
    }
    this.#count++;
    times[1] = at;
    if (this.marks.left[row(packet)] === this.#count) this.sendPart();
  }

  /** A packet that was accepted leaves at once, at `queue.clock`. */
  protected pass(packet: number): void {
    this.marks.left[row(packet)] = 0;
    this.#held--;
    this.leave(packet, this.queue.clock);
  }

  /** Whether a wire packet that leaves at `at` belongs to the part that is being put together. */
  protected continues(packet: number, segment: number, at: number): boolean {
    return (
      this.part === packet &&
      this.#first + this.#count === segment &&
      at - this.partTimes[0] <= this.context.quantum
    );
  }

  /** The part that was put together goes on its way. */
  protected sendPart(): void {
    const packet = this.part;
    if (packet === NONE) return;
    this.part = NONE;
    if (this.#count === this.pool.segments[packet]) {
      this.marks.left[row(packet)] = 0;
      this.#held--;
      this.leave(packet, this.#partEnd);
      return;
    }
    const part = this.cut(packet, this.#first, this.#count);
    if (part >= 0) this.leave(part, this.#partEnd);
    this.#settle(packet, this.#count);
  }

  /** A packet or part leaves the server, at `time[0]`: a number of its own would be garbage for each packet. */
  protected leave(packet: number, time: Float64Array): void {
    this.release(packet, time[0], this.out, this.now[0]);
  }

  /** Ends wire packets that are in no list. */
  protected discard(packet: number, first: number, count: number, reason: number): void {
    if (count === this.pool.segments[packet]) {
      this.marks.left[row(packet)] = 0;
      this.#held--;
      this.drop(packet, reason);
      return;
    }
    this.dropPart(packet, first, count, reason);
    this.#settle(packet, count);
  }

  /** So many wire packets of a packet are gone. With the last goes the packet. */
  #settle(packet: number, count: number): void {
    const mark = row(packet);
    this.marks.left[mark] -= count;
    if (this.marks.left[mark] > 0) return;
    this.#held--;
    this.pool.free(packet);
  }
}
