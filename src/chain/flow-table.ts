/**
 * The flows that an end of a chain has placed, in columns by row: id, chain, path, and the prefix in front of their packets.
 * A flow takes 206 bytes, 108 of them for a prefix of 32 functions.
 *
 * A flow that has been silent for the idle time ends; when the table is full, the one that has been silent longest ends
 * early, and comes back with a packet of its own.
 */
import { KEY_CELLS } from '../packet/flow-key.ts';
import { KeyTable, NONE } from '../packet/key-table.ts';
import { FlowIds, type FlowSecret } from './flow-id.ts';
import { prefixLength } from './wire/prefix.ts';
import { MAX_FUNCTIONS } from './wire/tlv.ts';

export { NONE };

export interface FlowTableOptions {
  /** Most flows at a time. Default 100 000. */
  flows?: number;
  /** ns without a packet after which a flow ends. */
  idle: number;
  /** Of the flows' ids. */
  secret: FlowSecret;
  /** The most functions of a chain that flows are placed on. Default MAX_FUNCTIONS. */
  functions?: number;
}

export class FlowTable {
  /** ns; set at the start of a breath. It must not go back. A field, for a double that is passed becomes an object. */
  now = 0;
  readonly limit: number;
  /** Bytes in `prefixes` for each flow. */
  readonly stride: number;
  /** Flow ids: upper and lower 32 bits, signed. */
  readonly idHigh: Int32Array;
  readonly idLow: Int32Array;
  /** When the last packet came: ns. */
  readonly last: Float64Array;
  /** Service path of the chain. 0 in a new row. */
  readonly servicePath: Int32Array;
  /** What stands in front of its packets; row r's starts at r * stride. */
  readonly prefixes: Uint8Array;
  /** How many bytes of it. 0 in a new row. */
  readonly prefixLength: Uint8Array;

  /** Rows by flow id: the first of each bucket, and the next of each row. */
  readonly #buckets: Int32Array;
  readonly #next: Int32Array;
  /** 1 for rows that are in there. */
  readonly #linked: Uint8Array;
  readonly #table: KeyTable;
  readonly #ids: FlowIds;
  readonly #idle: number;

  constructor(options: FlowTableOptions) {
    const { flows = 100_000, functions = MAX_FUNCTIONS } = options;
    this.limit = flows;
    this.stride = prefixLength(functions);
    this.idHigh = new Int32Array(flows);
    this.idLow = new Int32Array(flows);
    this.last = new Float64Array(flows);
    this.servicePath = new Int32Array(flows);
    this.prefixes = new Uint8Array(flows * this.stride);
    this.prefixLength = new Uint8Array(flows);
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(flows))).fill(NONE);
    this.#next = new Int32Array(flows);
    this.#linked = new Uint8Array(flows);
    this.#table = new KeyTable(flows);
    this.#ids = new FlowIds(options.secret);
    this.#idle = options.idle;
  }

  /** Flows in it. */
  get size(): number {
    return this.#table.size;
  }

  /** Flows that ended because the table was full. */
  get evicted(): number {
    return this.#table.evicted;
  }

  /** KEY_CELLS for each. */
  get keys(): Int32Array {
    return this.#table.keys;
  }

  /** The virtual network of each. */
  get tenants(): Int32Array {
    return this.#table.tags;
  }

  /** Rows from the flow that had a packet last to that silent longest. */
  [Symbol.iterator](): Iterator<number> {
    return this.#table[Symbol.iterator]();
  }

  /** The row of a flow that has a packet now, or NONE. */
  find(key: Int32Array, tenant: number): number {
    const row = this.#table.find(key, tenant);
    if (row === NONE) return NONE;
    this.last[row] = this.now;
    this.#table.touch(row);
    return row;
  }

  /**
   * A row of a flow with this id, without a packet: the first behind `after`, or NONE. Where addresses are translated on the
   * way, one flow may have had several keys at its far end.
   */
  findId(high: number, low: number, after = NONE): number {
    let row = after === NONE ? this.#buckets[this.#bucket(low)] : this.#next[after];
    while (row !== NONE && (this.idLow[row] !== low || this.idHigh[row] !== high)) row = this.#next[row];
    return row;
  }

  /**
   * A row for a flow that `find` does not know: an id, no chain and no prefix. When the table is full it is that of the
   * flow silent longest.
   */
  add(key: Int32Array, tenant: number): number {
    this.#ids.of(key, 0, tenant);
    return this.addKnown(key, tenant, this.#ids.high, this.#ids.low);
  }

  /** The same for a flow whose id its packets have brought. */
  addKnown(key: Int32Array, tenant: number, high: number, low: number): number {
    const row = this.#table.insert(key, tenant);
    this.#unlink(row);
    this.idHigh[row] = high;
    this.idLow[row] = low;
    const bucket = this.#bucket(low);
    this.#next[row] = this.#buckets[bucket];
    this.#buckets[bucket] = row;
    this.#linked[row] = 1;
    this.last[row] = this.now;
    this.servicePath[row] = 0;
    this.prefixLength[row] = 0;
    return row;
  }

  /**
   * Ends a flow that has been silent for the idle time and returns its row, whose columns stay until the next `add`; or
   * NONE. The caller asks until there is none.
   */
  expire(): number {
    const row = this.#table.oldest;
    if (row === NONE || this.last[row] + this.#idle > this.now) return NONE;
    this.remove(row);
    return row;
  }

  /** When `expire` has something to end: ns, or Infinity. */
  nextDeadline(): number {
    const row = this.#table.oldest;
    return row === NONE ? Infinity : this.last[row] + this.#idle;
  }

  /** Ends a flow. */
  remove(row: number): void {
    this.#unlink(row);
    this.#table.remove(row);
  }

  #bucket(low: number): number {
    return low & (this.#buckets.length - 1);
  }

  /** Takes a row out of the index by id. */
  #unlink(row: number): void {
    if (this.#linked[row] === 0) return;
    this.#linked[row] = 0;
    const bucket = this.#bucket(this.idLow[row]);
    if (this.#buckets[bucket] === row) {
      this.#buckets[bucket] = this.#next[row];
      return;
    }
    let before = this.#buckets[bucket];
    while (this.#next[before] !== row) before = this.#next[before];
    this.#next[before] = this.#next[row];
  }

  /** Where its key starts in `keys`. */
  keyAt(row: number): number {
    return row * KEY_CELLS;
  }

  /** Where its prefix starts in `prefixes`. */
  prefixAt(row: number): number {
    return row * this.stride;
  }
}
