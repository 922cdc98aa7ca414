/**
 * The flows that an end of a chain has placed, in columns by row: id, chain, path, and the prefix in front of their packets.
 * A flow takes 190 bytes, 104 of them for a prefix of 32 functions.
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

  /** The row of a flow that has a packet now, or NONE. Times must not go back. */
  find(key: Int32Array, tenant: number, now: number): number {
    const row = this.#table.find(key, tenant);
    if (row === NONE) return NONE;
    this.last[row] = now;
    this.#table.touch(row);
    return row;
  }

  /**
   * A row for a flow that `find` does not know: an id, no chain and no prefix. When the table is full it is that of the
   * flow silent longest.
   */
  add(key: Int32Array, tenant: number, now: number): number {
    const row = this.#table.insert(key, tenant);
    this.#ids.of(key, 0, tenant);
    this.idHigh[row] = this.#ids.high;
    this.idLow[row] = this.#ids.low;
    this.last[row] = now;
    this.servicePath[row] = 0;
    this.prefixLength[row] = 0;
    return row;
  }

  /**
   * Ends a flow that has been silent for the idle time and returns its row, whose columns stay until the next `add`; or
   * NONE. The caller asks until there is none.
   */
  expire(now: number): number {
    if (this.nextDeadline() > now) return NONE;
    const row = this.#table.oldest;
    this.#table.remove(row);
    return row;
  }

  /** When `expire` has something to end: ns, or Infinity. */
  nextDeadline(): number {
    const row = this.#table.oldest;
    return row === NONE ? Infinity : this.last[row] + this.#idle;
  }

  /** Ends a flow. */
  remove(row: number): void {
    this.#table.remove(row);
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
