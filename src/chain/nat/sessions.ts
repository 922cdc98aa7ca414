/**
 * The flows of a NAT. Each has a row, found by its key as the inside knows it and by its key as the outside does. Rows that
 * end after the same idle time are in one list, the one silent longest in front, so that finding those that are over costs
 * nothing.
 */
import { KEY_CELLS } from '../../packet/flow-key.ts';
import { KeyTable, NONE } from '../../packet/key-table.ts';

/** What a flow's idle time goes by. */
export const Idle = {
  /** TCP that is not established, or was reset. */
  Transitory: 0,
  Tcp: 1,
  Udp: 2,
  Icmp: 3,
  /** TCP that both ends have closed. */
  Closed: 4,
  /** A question over UDP, with its answer or not yet. */
  Question: 5,
} as const;
export const IDLE_KINDS = 6;

export class Sessions {
  readonly limit: number;
  /** By row. */
  readonly idle: Uint8Array;
  /** Bits: what was seen of a TCP connection, or of a UDP flow. */
  readonly seen: Uint8Array;
  /** When it had a packet last: ns. */
  readonly last: Float64Array;
  /** Row of its binding. */
  readonly binding: Int32Array;
  readonly #inside: KeyTable;
  readonly #outside: KeyTable;
  /** By row of #inside that of #outside, and the other way round. */
  readonly #out: Int32Array;
  readonly #in: Int32Array;
  // A list for each kind of idle time; cell `limit + kind` is its head.
  readonly #next: Int32Array;
  readonly #before: Int32Array;

  constructor(limit: number) {
    this.limit = limit;
    this.idle = new Uint8Array(limit);
    this.seen = new Uint8Array(limit);
    this.last = new Float64Array(limit);
    this.binding = new Int32Array(limit);
    this.#inside = new KeyTable(limit);
    this.#outside = new KeyTable(limit);
    this.#out = new Int32Array(limit);
    this.#in = new Int32Array(limit);
    this.#next = new Int32Array(limit + IDLE_KINDS);
    this.#before = new Int32Array(limit + IDLE_KINDS);
    for (let head = limit; head < limit + IDLE_KINDS; head++) this.#next[head] = this.#before[head] = head;
  }

  get size(): number {
    return this.#inside.size;
  }

  /** KEY_CELLS for each row, as the inside knows its flow. */
  get keys(): Int32Array {
    return this.#inside.keys;
  }

  /** The direction, by that key, of what goes out. */
  direction(row: number): number {
    return this.#inside.tags[row];
  }

  /** The row of what goes out with this key, in this direction; or NONE. */
  findInside(key: Int32Array, direction: number): number {
    return this.#inside.find(key, direction);
  }

  /** The row of what comes in with this key, in this direction; or NONE. */
  findOutside(key: Int32Array, direction: number): number {
    const row = this.#outside.find(key, direction);
    return row === NONE ? NONE : this.#in[row];
  }

  /** A row for a flow that is not known on either side. There must be one. */
  add(inside: Int32Array, out: number, outside: Int32Array, into: number): number {
    const row = this.#inside.insert(inside, out);
    const other = this.#outside.insert(outside, into);
    this.#out[row] = other;
    this.#in[other] = row;
    this.seen[row] = 0;
    this.#next[row] = this.#before[row] = row;
    return row;
  }

  /** It had a packet now, and is over when there is none for the idle time of this kind. Times must not go back. */
  touch(row: number, idle: number, now: number): void {
    this.idle[row] = idle;
    this.last[row] = now;
    const head = this.limit + idle;
    const last = this.#before[head];
    if (last === row) return;
    this.#unlink(row);
    const newest = this.#before[head];
    this.#next[newest] = row;
    this.#before[row] = newest;
    this.#next[row] = head;
    this.#before[head] = row;
  }

  /** The row of this kind that was silent longest, or NONE. */
  oldest(idle: number): number {
    const row = this.#next[this.limit + idle];
    return row >= this.limit ? NONE : row;
  }

  /** The one of its kind that was silent next longest, or NONE. */
  later(row: number): number {
    const next = this.#next[row];
    return next >= this.limit ? NONE : next;
  }

  remove(row: number): void {
    this.#unlink(row);
    this.#outside.remove(this.#out[row]);
    this.#inside.remove(row);
  }

  /** Rows in use. */
  [Symbol.iterator](): Iterator<number> {
    return this.#inside[Symbol.iterator]();
  }

  /** Where the key of a row starts in `keys`. */
  keyAt(row: number): number {
    return row * KEY_CELLS;
  }

  #unlink(row: number): void {
    const next = this.#next[row];
    const before = this.#before[row];
    this.#next[before] = next;
    this.#before[next] = before;
  }
}
