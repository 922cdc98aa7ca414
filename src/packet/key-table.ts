/**
 * A table of flow keys with a bound: each has a row, whose number the columns of its owner go by. When all rows are taken, a
 * new key gets that of the one that has been silent longest. Once it is made it allocates nothing.
 */
import { equalKeys, KEY_CELLS, KeyCell } from './flow-key.ts';

/** No row. */
export const NONE = -1;

export class KeyTable {
  readonly limit: number;
  /** KEY_CELLS for each row. */
  readonly keys: Int32Array;
  /** By row: what tells equal keys apart, such as the direction or a tenant. */
  readonly tags: Int32Array;
  /** Rows that were ever taken. */
  count: number;
  /** Keys in it. */
  size = 0;
  /** Keys that had to go for another. */
  evicted = 0;

  readonly #buckets: Int32Array;
  readonly #chain: Int32Array;
  readonly #newer: Int32Array;
  readonly #older: Int32Array;
  /** Rows whose keys were removed, linked through #chain. */
  #free = NONE;
  #newest = NONE;
  #oldest = NONE;

  /** @param limit rows @param reserved the first rows, which no key gets */
  constructor(limit: number, reserved = 0) {
    this.limit = limit;
    this.count = reserved;
    this.keys = new Int32Array(limit * KEY_CELLS);
    this.tags = new Int32Array(limit);
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(limit))).fill(NONE);
    this.#chain = new Int32Array(limit).fill(NONE);
    this.#newer = new Int32Array(limit).fill(NONE);
    this.#older = new Int32Array(limit).fill(NONE);
  }

  /** The row of a key, or NONE. */
  find(key: Int32Array, tag = 0): number {
    for (let row = this.#buckets[this.#bucket(key, 0, tag)]; row !== NONE; row = this.#chain[row]) {
      if (this.tags[row] === tag && equalKeys(this.keys, row * KEY_CELLS, key, 0)) return row;
    }
    return NONE;
  }

  /** A row for a key that has none. */
  insert(key: Int32Array, tag = 0): number {
    let row = this.#free;
    if (row !== NONE) this.#free = this.#chain[row];
    else if (this.count < this.limit) row = this.count++;
    else row = this.#evict();
    this.keys.set(key, row * KEY_CELLS);
    this.tags[row] = tag;
    const bucket = this.#bucket(key, 0, tag);
    this.#chain[row] = this.#buckets[bucket];
    this.#buckets[bucket] = row;
    this.#push(row);
    this.size++;
    return row;
  }

  /** Takes a key out; its row will be another's. */
  remove(row: number): void {
    this.#forget(row);
    this.#chain[row] = this.#free;
    this.#free = row;
  }

  /** Its key was heard of just now. */
  touch(row: number): void {
    if (row === this.#newest) return;
    this.#unlink(row);
    this.#push(row);
  }

  /** The row whose key was not heard of for longest, or NONE. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Rows with keys, the most recent first. */
  *[Symbol.iterator](): Iterator<number> {
    for (let row = this.#newest; row !== NONE; row = this.#older[row]) yield row;
  }

  #bucket(key: Int32Array, at: number, tag: number): number {
    return (key[at + KeyCell.hash] ^ Math.imul(tag, 0x9e3779b1)) & (this.#buckets.length - 1);
  }

  #evict(): number {
    const row = this.#oldest;
    this.evicted++;
    this.#forget(row);
    return row;
  }

  #forget(row: number): void {
    this.size--;
    this.#unlink(row);
    const bucket = this.#bucket(this.keys, row * KEY_CELLS, this.tags[row]);
    if (this.#buckets[bucket] === row) {
      this.#buckets[bucket] = this.#chain[row];
    } else {
      let before = this.#buckets[bucket];
      while (this.#chain[before] !== row) before = this.#chain[before];
      this.#chain[before] = this.#chain[row];
    }
  }

  #push(row: number): void {
    this.#older[row] = this.#newest;
    this.#newer[row] = NONE;
    if (this.#newest !== NONE) this.#newer[this.#newest] = row;
    else this.#oldest = row;
    this.#newest = row;
  }

  #unlink(row: number): void {
    const older = this.#older[row];
    const newer = this.#newer[row];
    if (older !== NONE) this.#newer[older] = newer;
    else this.#oldest = newer;
    if (newer !== NONE) this.#older[newer] = older;
    else this.#newest = older;
  }
}
