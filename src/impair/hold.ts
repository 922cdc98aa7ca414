/**
 * Packets that wait for their time, the earliest first; those of the same time in the order in which they came. A heap
 * in typed arrays. It grows up to its limit and never shrinks.
 */
export class Hold {
  /** Most packets (handles) at a time. */
  limit: number;
  count = 0;
  #packets = new Int32Array(64);
  #times = new Float64Array(64);
  #turns = new Float64Array(64);
  readonly #turn = new Float64Array(1);

  constructor(limit: number) {
    this.limit = limit;
  }

  get full(): boolean {
    return this.count >= this.limit;
  }

  /** The earliest time into `cell[0]`, Infinity when there is none. */
  earliest(cell: Float64Array): void {
    cell[0] = this.count === 0 ? Number.POSITIVE_INFINITY : this.#times[0];
  }

  /** Whether the earliest is due. */
  ready(now: number): boolean {
    return this.count > 0 && this.#times[0] <= now;
  }

  add(packet: number, time: number): void {
    if (this.count === this.#packets.length) this.#grow();
    const turn = this.#turn[0]++;
    let place = this.count++;
    // Most come in the order of their time and stay where they are put.
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (this.#times[parent] <= time) break;
      this.#move(parent, place);
      place = parent;
    }
    this.#packets[place] = packet;
    this.#times[place] = time;
    this.#turns[place] = turn;
  }

  /** Takes the earliest out; its time into `cell[0]`. */
  take(cell: Float64Array): number {
    const packet = this.#packets[0];
    cell[0] = this.#times[0];
    const last = --this.count;
    const time = this.#times[last];
    const turn = this.#turns[last];
    let place = 0;
    for (;;) {
      let child = place * 2 + 1;
      if (child >= last) break;
      if (child + 1 < last && this.#before(child + 1, child)) child++;
      if (!(this.#times[child] < time || (this.#times[child] === time && this.#turns[child] < turn))) break;
      this.#move(child, place);
      place = child;
    }
    this.#packets[place] = this.#packets[last];
    this.#times[place] = time;
    this.#turns[place] = turn;
    return packet;
  }

  /** Every packet in it, in no order. */
  *[Symbol.iterator](): Iterator<number> {
    for (let i = 0; i < this.count; i++) yield this.#packets[i];
  }

  #before(a: number, b: number): boolean {
    return (
      this.#times[a] < this.#times[b] ||
      (this.#times[a] === this.#times[b] && this.#turns[a] < this.#turns[b])
    );
  }

  #move(from: number, to: number): void {
    this.#packets[to] = this.#packets[from];
    this.#times[to] = this.#times[from];
    this.#turns[to] = this.#turns[from];
  }

  #grow(): void {
    const packets = new Int32Array(this.count * 2);
    const times = new Float64Array(this.count * 2);
    const turns = new Float64Array(this.count * 2);
    packets.set(this.#packets);
    times.set(this.#times);
    turns.set(this.#turns);
    this.#packets = packets;
    this.#times = times;
    this.#turns = turns;
  }
}
