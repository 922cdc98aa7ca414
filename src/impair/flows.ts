/**
 * The flows that pass in one direction: how many wire packets each has had, and what stages remember of each. At most so
 * many at a time; then the one that has been silent longest is forgotten and counted, and starts anew if it comes back.
 */
import { flowKey, hashKey, KEY_CELLS, KeyCell } from '../packet/flow-key.ts';
import { KeyTable, NONE } from '../packet/key-table.ts';

/** The flow of everything that is no IP packet, and of what is too broken to tell. It is never forgotten. */
export const OTHER = 0;

/** Where a key of packets with one DSCP has it, plus 1: above version and protocol. */
export const DSCP_SHIFT = 16;
/** Tells the two directions of a flow apart. */
export const BACKWARD = 0x5bd1e995;

/** Flows in columns: keys of KEY_CELLS each, and what `Flows` has by the same names. */
export interface FlowColumns {
  keys: Int32Array;
  hashes: Int32Array;
  /** 1 where packets go from the key's higher endpoint to the lower. */
  backward: Int32Array;
  pipeline: Int32Array;
  packets: Float64Array;
  bytes: Float64Array;
  last: Float64Array;
}

/** Flows that have another name on the wire than the one they go by here. */
export interface Aliases {
  /** Puts the key of the flow in the place of the key of its alias. Returns the direction, which without an alias stays. */
  resolve(key: Int32Array, direction: 0 | 1): 0 | 1;
}

export class Flows {
  /** Most flows at a time, the one of everything else included. */
  readonly limit: number;
  /** Cells of state for each flow. */
  readonly cells: number;
  /** By flow: wire packets so far (wraps at 2^32) and, for reports, wire packets and bytes that do not wrap. */
  readonly numbers: Int32Array;
  readonly packets: Float64Array;
  readonly bytes: Float64Array;
  /** When its last packet came: ns. */
  readonly last: Float64Array;
  /** Which name draws know it by. */
  readonly hashes: Int32Array;
  /** The place of its pipeline; NONE for a new one, DIVIDED where its packets' DSCP decides. */
  readonly pipeline: Int32Array;
  /** Whether that is what the rules say now: 0 while nobody has looked since they changed. */
  readonly looked: Uint8Array;
  /** What stages remember, `cells` for each flow, zeros for a new one; and behind them as many for `nobody`. */
  readonly state: Int32Array;
  readonly #table: KeyTable;
  readonly #key = new Int32Array(KEY_CELLS);
  #direction = 0;
  readonly #secret: number;
  readonly #aliases: Aliases | undefined;

  /**
   * @param limit flows, at least 2
   * @param cells of state for each
   * @param secret which nobody who sends can know: that of the buckets' hash
   * @param aliases hashed with the same secret
   */
  constructor(limit: number, cells: number, secret: number, aliases?: Aliases) {
    this.limit = limit;
    this.#secret = secret;
    this.#aliases = aliases;
    this.#table = new KeyTable(limit, OTHER + 1);
    this.cells = cells;
    this.numbers = new Int32Array(limit);
    this.packets = new Float64Array(limit);
    this.bytes = new Float64Array(limit);
    this.last = new Float64Array(limit);
    this.hashes = new Int32Array(limit);
    this.pipeline = new Int32Array(limit).fill(NONE);
    this.looked = new Uint8Array(limit);
    this.state = new Int32Array((limit + 1) * cells);
  }

  /** Flows that there are, OTHER among them. */
  get count(): number {
    return this.#table.count;
  }

  /** Flows that were forgotten for others. */
  get evicted(): number {
    return this.#table.evicted;
  }

  /** KEY_CELLS for each. */
  get keys(): Int32Array {
    return this.#table.keys;
  }

  /** The flow of the IP packet at `bytes[at..end)`: a known one, a new one, or OTHER. */
  find(bytes: Uint8Array, at: number, end: number): number {
    const key = this.#key;
    const direction = flowKey(bytes, at, end, key, this.#secret);
    if (direction === -1) return OTHER;
    this.#direction = this.#aliases === undefined ? direction : this.#aliases.resolve(key, direction);
    return this.#known();
  }

  /** Of the packet that `find` was asked for last: its flow together with this DSCP, where that divides a flow. */
  divided(dscp: number): number {
    const key = this.#key;
    key[KeyCell.protocol] |= (dscp + 1) << DSCP_SHIFT;
    key[KeyCell.hash] = hashKey(key, this.#secret);
    return this.#known();
  }

  /** Where its key begins in `keys`. */
  keyAt(flow: number): number {
    return flow * KEY_CELLS;
  }

  /** The DSCP of a divided flow's packets, -1 of all others. */
  dscp(flow: number): number {
    return (this.keys[flow * KEY_CELLS + KeyCell.protocol] >> DSCP_SHIFT) - 1;
  }

  #known(): number {
    const flow = this.#table.find(this.#key, this.#direction);
    if (flow === NONE) return this.#insert();
    this.#table.touch(flow);
    return flow;
  }

  /** Whether its packets go from the key's higher endpoint to the lower. */
  backward(flow: number): boolean {
    return this.#table.tags[flow] === 1;
  }

  /** The flows there are, the most recent first, without OTHER. For reports. */
  [Symbol.iterator](): Iterator<number> {
    return this.#table[Symbol.iterator]();
  }

  /** Copies of what is known of the flows from the place `from` up to `to`, to be looked at elsewhere. */
  columns(from: number, to: number): FlowColumns {
    return {
      keys: this.keys.slice(from * KEY_CELLS, to * KEY_CELLS),
      hashes: this.hashes.slice(from, to),
      backward: this.#table.tags.slice(from, to),
      pipeline: this.pipeline.slice(from, to),
      packets: this.packets.slice(from, to),
      bytes: this.bytes.slice(from, to),
      last: this.last.slice(from, to),
    };
  }

  /** Nobody has looked which pipeline is whose: rules have changed. */
  forgetPipelines(): void {
    this.looked.fill(0);
  }

  /** From now on its packets belong there. What stages of another pipeline remember of it is forgotten. */
  assign(flow: number, pipeline: number): void {
    this.looked[flow] = 1;
    if (this.pipeline[flow] === pipeline) return;
    this.pipeline[flow] = pipeline;
    this.state.fill(0, flow * this.cells, (flow + 1) * this.cells);
  }

  /**
   * Where in `state` a stage of a pipeline has its first cell for a packet. A packet that was held so long that its flow has
   * been forgotten, or belongs to another pipeline by now, finds nothing remembered there: the cells are others' now.
   *
   * @param hash the packet's name for draws @param cell the stage's first of a flow
   */
  place(flow: number, hash: number, pipeline: number, cell: number): number {
    if (this.hashes[flow] === hash && this.pipeline[flow] === pipeline) return flow * this.cells + cell;
    const nobody = this.limit * this.cells;
    this.state.fill(0, nobody, nobody + this.cells);
    return nobody + cell;
  }

  /** There is no such pipeline any more. */
  release(pipeline: number): void {
    for (let flow = 0; flow < this.count; flow++) {
      if (this.pipeline[flow] !== pipeline) continue;
      this.pipeline[flow] = NONE;
      this.looked[flow] = 0;
    }
  }

  /** `count` cells from `cell` on are forgotten in all flows of a pipeline: another stage has them now. */
  clear(pipeline: number, cell: number, count: number): void {
    for (let flow = 0; flow < this.count; flow++) {
      if (this.pipeline[flow] !== pipeline) continue;
      const at = flow * this.cells + cell;
      this.state.fill(0, at, at + count);
    }
  }

  #insert(): number {
    const flow = this.#table.insert(this.#key, this.#direction);
    this.hashes[flow] = hashKey(this.#key) ^ (this.#direction === 1 ? BACKWARD : 0);
    this.numbers[flow] = 0;
    this.packets[flow] = 0;
    this.bytes[flow] = 0;
    this.pipeline[flow] = NONE;
    this.looked[flow] = 0;
    this.state.fill(0, flow * this.cells, (flow + 1) * this.cells);
    return flow;
  }
}
