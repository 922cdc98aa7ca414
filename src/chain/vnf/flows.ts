/**
 * What a function knows of each flow: a table with a bound, by the flow's id of 64 bits, which both directions share. A flow
 * that was silent for the idle time ends; in a full table the one silent longest ends early.
 */
import { KEY_CELLS, KeyCell } from '../../packet/flow-key.ts';
import { KeyTable, NONE } from '../../packet/key-table.ts';
import { formatFlowId } from '../flow-id.ts';

export type FlowDirection = 'there' | 'back';

/** A flow as data, for another runtime of the same function. */
export interface ExportedFlow {
  /** 16 hexadecimal digits. */
  id: string;
  midstream: boolean;
  /** How long ago its last packet came: ns. */
  age: number;
  /** JSON. */
  state: unknown;
}

/** The flow of the packet in hand: one object, moved with the packet. */
export class VnfFlow<State = unknown> {
  /** On its way from the ingress, or to it. */
  direction: FlowDirection = 'there';
  /**
   * The function may not have seen all of it: it stands in for another replica, or in a chain that was edited since the flow began,
   * and that may have been without it for a while.
   */
  midstream = false;
  /** The packet is the first of the flow here. */
  isNew = false;
  /** @internal */
  row = NONE;
  /** Upper and lower 32 bits of the id, signed. */
  high = 0;
  low = 0;
  readonly #states: unknown[];

  /** @internal */
  constructor(states: unknown[]) {
    this.#states = states;
  }

  /** 16 hexadecimal digits, the same in both directions; allocates. */
  get id(): string {
    return formatFlowId(this.high, this.low);
  }

  /** What the function keeps of the flow: what `state` of its definition made, until it is set. JSON, to survive a reload. */
  get state(): State {
    return this.#states[this.row] as State;
  }

  set state(value: State) {
    this.#states[this.row] = value;
  }
}

export class VnfFlows {
  /** When the last packet came: ns. */
  readonly last: Float64Array;
  readonly midstream: Uint8Array;
  /** The newest revision of its chain that a packet carried; 0 is none. */
  readonly revision: Uint32Array;
  /** A direction of its own, for packets without a prefix. */
  readonly turned: Uint8Array;
  readonly states: unknown[] = [];
  /** Flows that ended, by silence or for another one. */
  ended = 0;
  readonly #table: KeyTable;
  readonly #key = new Int32Array(KEY_CELLS);
  readonly #idle: number;
  readonly #onEnd: ((row: number) => void) | undefined;

  /** @param idle ns @param onEnd hears of a flow while its row is still there */
  constructor(limit: number, idle: number, onEnd?: (row: number) => void) {
    this.#table = new KeyTable(limit);
    this.last = new Float64Array(limit);
    this.midstream = new Uint8Array(limit);
    this.revision = new Uint32Array(limit);
    this.turned = new Uint8Array(limit);
    this.#idle = idle;
    this.#onEnd = onEnd;
  }

  get size(): number {
    return this.#table.size;
  }

  get evicted(): number {
    return this.#table.evicted;
  }

  /** The row of a flow that has a packet now, or NONE. */
  find(high: number, low: number, now: number): number {
    this.#fill(high, low);
    const row = this.#table.find(this.#key);
    if (row === NONE) return NONE;
    this.last[row] = now;
    this.#table.touch(row);
    return row;
  }

  /** A row for a flow that has none. */
  add(high: number, low: number, now: number): number {
    if (this.#table.size === this.#table.limit) this.#end(this.#table.oldest);
    this.#fill(high, low);
    const row = this.#table.insert(this.#key);
    this.last[row] = now;
    this.midstream[row] = 0;
    this.revision[row] = 0;
    this.turned[row] = 0;
    this.states[row] = undefined;
    return row;
  }

  /** The id's lower half is the hash: it came from a hash under a secret. */
  #fill(high: number, low: number): void {
    const key = this.#key;
    key[KeyCell.lower] = high;
    key[KeyCell.lower + 1] = low;
    key[KeyCell.hash] = high ^ Math.imul(low, 0x9e3779b1);
  }

  /** Ends what has been silent for too long; at most so many at a time. */
  expire(now: number, most = 256): void {
    for (; most > 0 && this.nextDeadline() <= now; most--) this.#end(this.#table.oldest);
  }

  #end(row: number): void {
    this.ended++;
    this.#onEnd?.(row);
    this.states[row] = undefined;
    this.#table.remove(row);
  }

  /** When `expire` has something to do: ns, or Infinity. */
  nextDeadline(): number {
    const row = this.#table.oldest;
    return row === NONE ? Number.POSITIVE_INFINITY : this.last[row] + this.#idle;
  }

  high(row: number): number {
    return this.#table.keys[row * KEY_CELLS + KeyCell.lower];
  }

  low(row: number): number {
    return this.#table.keys[row * KEY_CELLS + KeyCell.lower + 1];
  }

  /** Rows from the flow that had a packet last to that silent longest. */
  [Symbol.iterator](): Iterator<number> {
    return this.#table[Symbol.iterator]();
  }

  clear(): void {
    for (let row = this.#table.oldest; row !== NONE; row = this.#table.oldest) this.#end(row);
  }
}
