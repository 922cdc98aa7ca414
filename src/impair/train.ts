/** Packets on their way from one stage to the next, in the order of their time. */
import { row } from './marks.ts';

/** One of two rows that are merged: all trains are in one thread. */
let scratch = new Int32Array(256);

export class Train {
  /** Handles, of which the first `count` count. */
  packets = new Int32Array(256);
  count = 0;

  add(packet: number): void {
    if (this.count === this.packets.length) this.#grow();
    this.packets[this.count++] = packet;
  }

  /** Without the first `n`. */
  shift(n: number): void {
    this.packets.copyWithin(0, n, this.count);
    this.count -= n;
  }

  /**
   * Those from the place `first` on, several rows one behind the other, become one row in the order of their times. Of equal times
   * the row that stands in front comes first.
   *
   * @param at times, by row of the marks
   */
  order(first: number, at: Float64Array): void {
    for (let merged = true; merged; ) {
      merged = false;
      for (let start = first; start < this.count; ) {
        const middle = this.#endOfRow(start, at);
        const end = middle < this.count ? this.#endOfRow(middle, at) : middle;
        if (end > middle) {
          this.#merge(start, middle, end, at);
          merged = true;
        }
        start = end;
      }
    }
  }

  #endOfRow(start: number, at: Float64Array): number {
    const { packets, count } = this;
    let end = start + 1;
    while (end < count && at[row(packets[end - 1])] <= at[row(packets[end])]) end++;
    return end;
  }

  #merge(start: number, middle: number, end: number, at: Float64Array): void {
    const { packets } = this;
    const before = middle - start;
    if (scratch.length < before) scratch = new Int32Array(packets.length);
    for (let i = 0; i < before; i++) scratch[i] = packets[start + i];
    let to = start;
    let behind = middle;
    for (let i = 0; i < before; ) {
      const later = behind === end || at[row(scratch[i])] <= at[row(packets[behind])];
      packets[to++] = later ? scratch[i++] : packets[behind++];
    }
  }

  /** Every packet in it has a descriptor of its pool, so that it cannot grow for ever. */
  #grow(): void {
    const more = new Int32Array(this.packets.length * 2);
    more.set(this.packets);
    this.packets = more;
  }
}
