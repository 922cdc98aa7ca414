/** Packets on their way from one stage to the next, in the order of their time. */

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

  /** Every packet in it has a descriptor of its pool, so that it cannot grow for ever. */
  #grow(): void {
    const more = new Int32Array(this.packets.length * 2);
    more.set(this.packets);
    this.packets = more;
  }
}
