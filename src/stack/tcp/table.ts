/** Connections by addresses and ports: a hash table with a secret, so that nobody can choose keys that collide. */
import { HalfSipHash } from '../../packet/half-siphash.ts';
import { KEY_WORDS, type Row } from './row.ts';

export class Table {
  #buckets: (Row | null)[] = new Array(256).fill(null);
  readonly #hash = new HalfSipHash();
  readonly #key0: number;
  readonly #key1: number;
  size = 0;

  constructor(key0: number, key1: number) {
    this.#key0 = key0;
    this.#key1 = key1;
  }

  find(key: Int32Array): Row | null {
    const hash = this.hash(key);
    let row = this.#buckets[hash & (this.#buckets.length - 1)];
    while (row !== null && !(row.hash === hash && equal(row.key, key))) row = row.chain;
    return row;
  }

  /** The key is in the row, and in no other. */
  insert(row: Row): void {
    if (this.size === this.#buckets.length) this.#grow();
    row.hash = this.hash(row.key);
    const bucket = row.hash & (this.#buckets.length - 1);
    row.chain = this.#buckets[bucket];
    this.#buckets[bucket] = row;
    this.size++;
  }

  remove(row: Row): void {
    const bucket = row.hash & (this.#buckets.length - 1);
    let at = this.#buckets[bucket];
    if (at === row) this.#buckets[bucket] = row.chain;
    else {
      while (at !== null && at.chain !== row) at = at.chain;
      if (at === null) return;
      at.chain = row.chain;
    }
    row.chain = null;
    this.size--;
  }

  *[Symbol.iterator](): Iterator<Row> {
    for (const first of this.#buckets) {
      for (let row = first, next: Row | null = null; row !== null; row = next) {
        next = row.chain;
        yield row;
      }
    }
  }

  hash(key: Int32Array): number {
    this.#hash.hash(this.#key0, this.#key1, key, 0, KEY_WORDS);
    return this.#hash.low;
  }

  #grow(): void {
    const rows = [...this];
    this.#buckets = new Array(this.#buckets.length * 2).fill(null);
    for (const row of rows) {
      const bucket = row.hash & (this.#buckets.length - 1);
      row.chain = this.#buckets[bucket];
      this.#buckets[bucket] = row;
    }
  }
}

function equal(a: Int32Array, b: Int32Array): boolean {
  for (let i = KEY_WORDS - 1; i >= 0; i--) if (a[i] !== b[i]) return false;
  return true;
}
