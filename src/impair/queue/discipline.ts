/**
 * A queue discipline: which wire packets wait for a server, in which order they are served, and which are dropped or
 * marked instead. It knows the time from its `clock` alone, which the server sets before every call, and is asked in the
 * order of time: arrivals by `offer`, the server becoming free by `take`.
 */
import type { AppReport } from '../../engine/app.ts';
import type { Pool } from '../../engine/pool.ts';
import type { Draws } from '../draw.ts';
import type { Marks } from '../marks.ts';
import { Backlog, runLength } from './backlog.ts';

/** The server, as its queue sees it. */
export interface QueueOwner {
  readonly pool: Pool;
  readonly marks: Marks;
  draws(purpose: string): Draws;
  /** Ends `count` wire packets of a packet from `first` on, which are in no list. */
  discard(packet: number, first: number, count: number, reason: number): void;
}

export interface QueueLimits {
  /** Most wire packets that wait. */
  limit: number;
  /** Most bytes on the wire that wait. */
  limitBytes: number;
}

export abstract class Discipline {
  /** The time of what happens: ns. */
  readonly clock = new Float64Array(1);
  readonly backlog: Backlog;
  /** Wire packets and bytes that wait, in all lists. */
  packets = 0;
  bytes = 0;
  protected readonly owner: QueueOwner;
  protected readonly pool: Pool;
  protected readonly marks: Marks;
  protected limit = 0;
  protected limitBytes = 0;

  constructor(owner: QueueOwner, lists: number) {
    this.owner = owner;
    this.pool = owner.pool;
    this.marks = owner.marks;
    this.backlog = new Backlog(owner.pool, lists);
  }

  /**
   * Wire packets `first` to `end` of a packet come, one after the other.
   * @param header bytes that each repeats @param size payload bytes of each but the last
   */
  abstract offer(packet: number, first: number, end: number, header: number, size: number): void;

  /** Takes new options of its own kind; what waits stays. False when it cannot, and another must take over. */
  abstract reconfigure(options: QueueLimits): boolean;

  /** Takes the next wire packet to be served, into `backlog`'s fields; false when none is left. */
  abstract take(): boolean;

  details(): AppReport {
    return {};
  }

  /** What waits in another discipline comes over, with the times at which it came. */
  adopt(other: Discipline): void {
    const { backlog } = other;
    while (other.drain()) {
      this.clock[0] = backlog.came[0];
      this.offer(backlog.packet, backlog.segment, backlog.segment + 1, backlog.header, backlog.size);
    }
  }

  /** Takes whatever waits. */
  drain(): boolean {
    for (let list = 0; list < this.backlog.packets.length; list++) {
      if (this.takeFrom(list)) return true;
    }
    return false;
  }

  /** Room for so many wire packets of so many bytes in all. */
  protected fits(count: number, bytes: number): boolean {
    return this.packets + count <= this.limit && this.bytes + bytes <= this.limitBytes;
  }

  protected addTo(
    list: number,
    packet: number,
    first: number,
    end: number,
    header: number,
    size: number,
    marked = false,
  ): void {
    this.backlog.add(list, packet, first, end, header, size, marked, this.clock);
    this.packets += end - first;
    this.bytes += runLength(this.pool.length[packet], header, size, first, end);
  }

  protected limits(options: QueueLimits): void {
    this.limit = options.limit;
    this.limitBytes = options.limitBytes;
  }

  protected takeFrom(list: number): boolean {
    if (!this.backlog.take(list)) return false;
    this.packets--;
    this.bytes -= this.backlog.length;
    return true;
  }

  /** What arrives is taken as far as there is room for it and dropped where there is none. */
  protected addToTail(
    packet: number,
    first: number,
    end: number,
    header: number,
    size: number,
    reason: number,
  ): void {
    const length = this.pool.length[packet];
    if (this.fits(end - first, runLength(length, header, size, first, end))) {
      this.addTo(0, packet, first, end, header, size);
      return;
    }
    // One by one: where bytes run out, a shorter last one may still have room.
    for (let s = first; s < end; s++) {
      if (this.fits(1, runLength(length, header, size, s, s + 1))) {
        this.addTo(0, packet, s, s + 1, header, size);
      } else {
        this.owner.discard(packet, s, 1, reason);
      }
    }
  }
}
