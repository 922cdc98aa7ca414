/**
 * The flows of an end: the table, and per flow what has to be said of it and counted. What has to be said waits in rings of
 * rows, each row at most once in each, so that they cannot overflow.
 */
import { flowFromKey, flowText } from '../../packet/flow-key.ts';
import { formatFlowId } from '../flow-id.ts';
import { FlowTable, type FlowTableOptions, NONE } from '../flow-table.ts';
import type { MemberNews, PlacedFlow } from '../member/control.ts';
import { AT_PATH, RETURN } from '../wire/prefix.ts';
import { functions, generation, replica, revision } from '../wire/tlv.ts';

/** Flows in one batch of news. */
const BATCH = 1024;

/** Bits of `EndFlows.waits`. */
const PLACED = 1;
const TOUCHED = 2;

export class EndFlows {
  readonly table: FlowTable;
  /** The version of the tables that a flow's path was checked with. */
  readonly checked: Int32Array;
  /** When Roulette was last told of a flow: ns. */
  readonly #told: Float64Array;
  readonly #tellEvery: number;
  /** In which rings a row waits. */
  readonly #waits: Uint8Array;
  readonly #placed: Ring;
  readonly #touched: Ring;
  /** There is news, and none was before. */
  onNews: (() => void) | undefined;

  /** @param registers whether it tells where flows were placed */
  constructor(options: FlowTableOptions, registers: boolean) {
    this.table = new FlowTable(options);
    const { limit } = this.table;
    this.checked = new Int32Array(limit);
    this.#told = new Float64Array(limit);
    this.#tellEvery = options.idle / 4;
    this.#waits = new Uint8Array(limit);
    this.#placed = new Ring(registers ? limit : 0);
    this.#touched = new Ring(limit);
  }

  /** A flow was placed, moved or mended here, or elsewhere on its way: to be registered. */
  placed(row: number): void {
    this.#told[row] = this.table.now;
    if (this.#placed.capacity > 0) this.#wait(row, PLACED, this.#placed);
  }

  /** A flow came with a packet from elsewhere: its changes are of interest. */
  met(row: number): void {
    this.#told[row] = this.table.now;
    this.#wait(row, TOUCHED, this.#touched);
  }

  /** A packet of a flow: that it is alive is told now and then. */
  seen(row: number): void {
    if (this.table.now - this.#told[row] >= this.#tellEvery) this.met(row);
  }

  #wait(row: number, bit: number, ring: Ring): void {
    if ((this.#waits[row] & bit) !== 0) return;
    const first = this.#placed.count + this.#touched.count === 0;
    this.#waits[row] |= bit;
    ring.put(row);
    if (first) this.onNews?.();
  }

  /** What has to be said, oldest first; undefined: nothing. With more than one batch `onNews` is called again. */
  take(): MemberNews | undefined {
    const flows: PlacedFlow[] = [];
    const touched: string[] = [];
    for (let row = this.#next(this.#placed, PLACED); row !== NONE; row = this.#next(this.#placed, PLACED)) {
      if (this.table.prefixLength[row] > 0) flows.push(this.#describe(row));
      if (flows.length === BATCH) break;
    }
    for (
      let row = this.#next(this.#touched, TOUCHED);
      row !== NONE;
      row = this.#next(this.#touched, TOUCHED)
    ) {
      const { idHigh, idLow, prefixLength } = this.table;
      if (prefixLength[row] > 0) touched.push(formatFlowId(idHigh[row], idLow[row]));
      if (touched.length === BATCH) break;
    }
    if (this.#placed.count + this.#touched.count > 0) this.onNews?.();
    if (flows.length + touched.length === 0) return undefined;
    return { ...(flows.length > 0 && { flows }), ...(touched.length > 0 && { touched }) };
  }

  #next(ring: Ring, bit: number): number {
    if (ring.count === 0) return NONE;
    const row = ring.take();
    this.#waits[row] &= ~bit;
    return row;
  }

  #describe(row: number): PlacedFlow {
    const { table } = this;
    const at = table.prefixAt(row) + AT_PATH;
    const count = functions(table.prefixes, at);
    return {
      id: formatFlowId(table.idHigh[row], table.idLow[row]),
      key: flowText(flowFromKey(table.keys, table.keyAt(row))),
      spi: table.servicePath[row] & ~RETURN,
      revision: revision(table.prefixes, at),
      generation: generation(table.prefixes, at),
      path: Array.from({ length: count }, (_, k) => replica(table.prefixes, at, k)),
      egress: replica(table.prefixes, at, count),
    };
  }

  /** Ends a flow. */
  remove(row: number): void {
    this.table.remove(row);
    this.table.prefixLength[row] = 0;
  }

  /** Ends up to `most` flows that were silent for too long; returns how many. */
  expire(most: number): number {
    let n = 0;
    for (; n < most; n++) {
      const row = this.table.expire();
      if (row === NONE) break;
      this.table.prefixLength[row] = 0;
    }
    return n;
  }
}

/** Rows that wait, in the order in which they came. Who puts takes care that there is room. */
class Ring {
  readonly #rows: Int32Array;
  #first = 0;
  count = 0;

  constructor(capacity: number) {
    this.#rows = new Int32Array(capacity);
  }

  get capacity(): number {
    return this.#rows.length;
  }

  put(row: number): void {
    const at = this.#first + this.count++;
    this.#rows[at < this.#rows.length ? at : at - this.#rows.length] = row;
  }

  take(): number {
    const row = this.#rows[this.#first];
    this.#first = this.#first + 1 === this.#rows.length ? 0 : this.#first + 1;
    this.count--;
    return row;
  }
}
