/** Packets that a function holds, each under a ticket: bounded in number, superframes and time. */
import type { Pool } from '../../engine/pool.ts';

export class HeldPackets {
  readonly limit: number;
  /** Packets in it. */
  count = 0;
  superframes = 0;
  readonly #superframeLimit: number;
  readonly #time: number;
  readonly #handles: Int32Array;
  /** By slot: how often it was used, so that an old ticket is not a new packet's. */
  readonly #uses: Int32Array;
  readonly #since: Float64Array;
  readonly #free: Int32Array;
  /** Slots in the order in which they were taken; those released meanwhile are passed over. */
  readonly #order: Int32Array;
  readonly #orderUses: Int32Array;
  #head = 0;
  #tail = 0;

  /** @param time ns that a packet may be held */
  constructor(limit: number, superframes: number, time: number) {
    this.limit = limit;
    this.#superframeLimit = superframes;
    this.#time = time;
    this.#handles = new Int32Array(limit).fill(-1);
    this.#uses = new Int32Array(limit);
    this.#since = new Float64Array(limit);
    this.#free = Int32Array.from({ length: limit }, (_, i) => i);
    this.#order = new Int32Array(2 * limit);
    this.#orderUses = new Int32Array(2 * limit);
  }

  /** The ticket that the next packet will have; -1 when there is no room. */
  get next(): number {
    if (this.count === this.limit) return -1;
    const slot = this.#free[this.count];
    return slot + this.limit * this.#uses[slot];
  }

  /** Takes a packet. False when there is no room. */
  hold(pool: Pool, packet: number, now: number): boolean {
    const large = pool.segmentSize[packet] > 0;
    if (this.count === this.limit || (large && this.superframes === this.#superframeLimit)) return false;
    const slot = this.#free[this.count++];
    if (large) this.superframes++;
    this.#handles[slot] = packet;
    this.#since[slot] = now;
    if (this.#tail - this.#head === this.#order.length) this.#compact();
    const place = this.#tail++ % this.#order.length;
    this.#order[place] = slot;
    this.#orderUses[place] = this.#uses[slot];
    return true;
  }

  /** Hands a packet back; -1 when the ticket is no packet's. */
  take(pool: Pool, ticket: number): number {
    const slot = ticket % this.limit;
    if (!Number.isInteger(ticket) || ticket < 0 || this.#handles[slot] < 0) return -1;
    if (Math.floor(ticket / this.limit) !== this.#uses[slot]) return -1;
    return this.#release(pool, slot);
  }

  #release(pool: Pool, slot: number): number {
    const packet = this.#handles[slot];
    this.#handles[slot] = -1;
    this.#uses[slot] = (this.#uses[slot] + 1) & 0xfffff;
    this.#free[--this.count] = slot;
    if (pool.segmentSize[packet] > 0) this.superframes--;
    return packet;
  }

  /** A packet that was held for too long, or -1. With `now` Infinity, any. */
  expire(pool: Pool, now: number): number {
    return this.nextDeadline() <= now && this.count > 0
      ? this.#release(pool, this.#order[this.#head++ % this.#order.length])
      : -1;
  }

  /** When `expire` has something to do: ns, or Infinity. */
  nextDeadline(): number {
    while (this.#head < this.#tail && !this.#isHeld(this.#head)) this.#head++;
    if (this.#head === this.#tail) return Number.POSITIVE_INFINITY;
    return this.#since[this.#order[this.#head % this.#order.length]] + this.#time;
  }

  #isHeld(place: number): boolean {
    const i = place % this.#order.length;
    const slot = this.#order[i];
    return this.#handles[slot] >= 0 && this.#uses[slot] === this.#orderUses[i];
  }

  /** Takes those out of the order that were released; half of it is free then. */
  #compact(): void {
    let to = this.#head;
    for (let from = this.#head; from < this.#tail; from++) {
      if (!this.#isHeld(from)) continue;
      this.#order[to % this.#order.length] = this.#order[from % this.#order.length];
      this.#orderUses[to % this.#order.length] = this.#orderUses[from % this.#order.length];
      to++;
    }
    this.#tail = to;
  }
}
