/**
 * What is about to leave through a connection: packets from a link become records in one buffer, written to the
 * socket in one call. A superframe is cut on its way into the buffer; one that does not fit whole goes on in the next.
 */
import type { Link } from '../../engine/link.ts';
import type { Pool } from '../../engine/pool.ts';
import {
  completeChecksum,
  emitSegment,
  PLAN_CELLS,
  planSegments,
  segmentLength,
} from '../../packet/segment.ts';
import { copyBytes } from '../../packet/word.ts';
import { RecordWriter } from './framing.ts';
import { StreamDrop } from './reasons.ts';

export class Outbox {
  readonly writer: RecordWriter;
  readonly #pool: Pool;
  /** The longest packet to send, bytes. */
  longest: number;
  /** The packet that is being written, its next segment and how many it has; -1 without. */
  #packet = -1;
  #next = 0;
  #count = 0;
  readonly #plan = new Int32Array(PLAN_CELLS);
  /** Since the start. */
  records = 0;

  /** @param size of the span of the pool's slab that is the buffer */
  constructor(pool: Pool, longest: number, base: number, size: number) {
    this.#pool = pool;
    this.longest = longest;
    this.writer = new RecordWriter(pool.slab, base, size);
  }

  /** Packets it holds. */
  get held(): number {
    return this.#packet < 0 ? 0 : 1;
  }

  /** Takes packets until the buffer is full or the link empty. */
  fill(link: Link): void {
    for (;;) {
      if (this.#packet < 0) {
        if (link.waiting === 0) return;
        this.#begin(link.take());
        continue;
      }
      if (!this.#write()) return;
    }
  }

  /** Makes `packet` the one that is being written, or drops it. */
  #begin(packet: number): void {
    const pool = this.#pool;
    const { slab, offset, length, l3Offset, gsoType, segmentSize } = pool;
    let longest = length[packet];
    this.#count = 1;
    if (segmentSize[packet] > 0) {
      this.#count = planSegments(
        slab,
        offset[packet],
        length[packet],
        l3Offset[packet],
        gsoType[packet],
        segmentSize[packet],
        this.#plan,
      );
      if (this.#count > 0) longest = segmentLength(this.#plan, 0);
    }
    if (this.#count <= 0 || longest === 0) pool.drop(packet, StreamDrop.Malformed);
    else if (longest > this.longest) pool.drop(packet, StreamDrop.TooLong);
    else {
      this.#packet = packet;
      this.#next = 0;
    }
  }

  /** Writes what is left of the packet as records. False when the buffer is full before the end of it. */
  #write(): boolean {
    const pool = this.#pool;
    const { slab } = pool;
    const packet = this.#packet;
    const writer = this.writer;
    const at = pool.offset[packet];
    if (pool.segmentSize[packet] === 0) {
      const length = pool.length[packet];
      if (!writer.fits(length)) return false;
      copyBytes(slab, at, slab, writer.at, length);
      const start = pool.checksumStart[packet];
      const complete =
        start < 0 || completeChecksum(slab, writer.at, length, start, pool.checksumOffset[packet]);
      this.#packet = -1;
      if (!complete) {
        pool.drop(packet, StreamDrop.Malformed);
        return true;
      }
      writer.add(length);
      this.records++;
    } else {
      for (; this.#next < this.#count; this.#next++) {
        if (!writer.fits(segmentLength(this.#plan, this.#next))) return false;
        writer.add(emitSegment(slab, at, this.#plan, this.#next, slab, writer.at));
        this.records++;
      }
      this.#packet = -1;
    }
    pool.free(packet);
    return true;
  }

  /** Forgets and counts everything: the connection is gone. */
  clear(): void {
    const pool = this.#pool;
    let lost = this.writer.discard();
    if (this.#packet >= 0) {
      lost += this.#count - this.#next;
      pool.free(this.#packet);
      this.#packet = -1;
    }
    if (lost > 0) pool.countDrops(StreamDrop.ConnectionLost, lost);
  }
}
