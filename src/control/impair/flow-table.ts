/**
 * All flows of a link at one time: what the two directions know of each, joined to connections, with rates since the look
 * before. Made of columns, so that ten thousand flows cost a few milliseconds, and text only of those that are shown.
 */
import { SECOND } from '../../engine/units.ts';
import { BACKWARD, DSCP_SHIFT } from '../../impair/flows.ts';
import type { Direction } from '../../impair/match.ts';
import { viewOf } from '../../impair/rules.ts';
import { equalKeys, hasPorts, KEY_CELLS, KeyCell } from '../../packet/flow-key.ts';
import { protocolName } from '../../packet/protocol.ts';
import type { FlowSlice } from './attached.ts';
import type { FLOW_SORTS, Flow, FlowList } from './contract.ts';

type Sort = (typeof FLOW_SORTS)[number];
type Side = NonNullable<Flow['up']>;

/** Most flows that a search looks at, the first of its order. */
const SEARCHED = 65_536;
const NONE = -1;

/** A flow of one direction: its slice, and where it is there. */
interface Place {
  slice: FlowSlice;
  at: number;
}

interface Row {
  key: Int32Array;
  keyAt: number;
  remoteLower: boolean;
  up: Place | undefined;
  down: Place | undefined;
}

export interface FlowSelection {
  top: number;
  offset: number;
  sort: Sort;
  rule?: string;
  search?: string;
}

export class FlowTable {
  /** On the link's clock, ns. */
  readonly at: number;
  readonly #rows: Row[] = [];
  /** By hash: the first row; and by row: the next one of its bucket. */
  readonly #buckets: Int32Array;
  readonly #next: number[] = [];
  /** By row, up and down: bit/s. */
  readonly #rates: Float64Array;
  readonly #orders = new Map<Sort, Int32Array>();

  /** @param before the look before, which rates are told by */
  constructor(up: readonly FlowSlice[], down: readonly FlowSlice[], before?: FlowTable) {
    const flows = [...up, ...down].reduce((sum, { hashes }) => sum + hashes.length, 0);
    this.at = up[0]?.at ?? 0;
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(flows + 2))).fill(NONE);
    this.#add('up', up);
    this.#add('down', down);
    this.#rates = new Float64Array(2 * this.#rows.length);
    if (before) this.#rate(before, (this.at - before.at) / SECOND);
  }

  select({ top, offset, sort, rule, search }: FlowSelection): FlowList {
    const order = this.#order(sort);
    if (rule === undefined && search === undefined) {
      const flows = Array.from(order.subarray(offset, offset + top), (row) => this.#flow(row));
      return { at: this.at, total: order.length, flows };
    }
    const found: Flow[] = [];
    for (const row of order.subarray(0, SEARCHED)) {
      const { up, down } = this.#rows[row];
      if (rule !== undefined && ruleOf(up) !== rule && ruleOf(down) !== rule) continue;
      const flow = this.#flow(row);
      if (search === undefined || textOf(flow).includes(search)) found.push(flow);
    }
    return { at: this.at, total: found.length, flows: found.slice(offset, offset + top) };
  }

  #add(direction: Direction, slices: readonly FlowSlice[]): void {
    for (const [n, slice] of slices.entries()) {
      // The first of all is that of everything that is no IP packet.
      for (let at = n === 0 ? 1 : 0; at < slice.hashes.length; at++) {
        // One that is divided has no packets of its own.
        if (slice.packets[at] === 0) continue;
        const backward = slice.backward[at] === 1;
        const remoteLower = direction === 'up' ? backward : !backward;
        const hash = slice.hashes[at] ^ (backward ? BACKWARD : 0);
        const keyAt = at * KEY_CELLS;
        let row = this.#find(slice.keys, keyAt, hash, remoteLower);
        if (row === NONE) {
          const bucket = hash & (this.#buckets.length - 1);
          row = this.#rows.push({ key: slice.keys, keyAt, remoteLower, up: undefined, down: undefined }) - 1;
          this.#next.push(this.#buckets[bucket]);
          this.#buckets[bucket] = row;
        }
        this.#rows[row][direction] = { slice, at };
      }
    }
  }

  #find(key: Int32Array, keyAt: number, hash: number, remoteLower: boolean): number {
    let row = this.#buckets[hash & (this.#buckets.length - 1)];
    for (; row !== NONE; row = this.#next[row]) {
      const other = this.#rows[row];
      if (other.remoteLower === remoteLower && equalKeys(other.key, other.keyAt, key, keyAt)) break;
    }
    return row;
  }

  #rate(before: FlowTable, seconds: number): void {
    if (!(seconds > 0)) return;
    for (const [row, { key, keyAt, remoteLower, up, down }] of this.#rows.entries()) {
      const side = up ?? down!;
      const hash = side.slice.hashes[side.at] ^ (side.slice.backward[side.at] === 1 ? BACKWARD : 0);
      const known = before.#find(key, keyAt, hash, remoteLower);
      const then = known === NONE ? undefined : before.#rows[known];
      this.#rates[2 * row] = (8 * (bytesOf(up) - since(up, then?.up))) / seconds;
      this.#rates[2 * row + 1] = (8 * (bytesOf(down) - since(down, then?.down))) / seconds;
    }
  }

  #order(sort: Sort): Int32Array {
    const known = this.#orders.get(sort);
    if (known) return known;
    const by = Float64Array.from(this.#rows, ({ up, down }, row) => {
      if (sort === 'rate') return this.#rates[2 * row] + this.#rates[2 * row + 1];
      const [a, b] = [up, down].map((side) => (side ? side.slice[sort][side.at] : 0));
      return sort === 'last' ? Math.max(a, b) : a + b;
    });
    const order = Int32Array.from(this.#rows, (_, row) => row).sort((a, b) => by[b] - by[a] || a - b);
    this.#orders.set(sort, order);
    return order;
  }

  #flow(row: number): Flow {
    const { key, keyAt, remoteLower, up, down } = this.#rows[row];
    const { version, protocol, remote, remotePort, local, localPort } = viewOf(key, keyAt, remoteLower, 'up');
    const dscp = (key[keyAt + KeyCell.protocol] >> DSCP_SHIFT) - 1;
    const ports = hasPorts(protocol) && (remotePort !== 0 || localPort !== 0);
    return {
      ...{ version, protocol, protocolName: protocolName(protocol) },
      ...{ remote, remotePort, local, localPort, dscp },
      up: sideOf(up, this.#rates[2 * row]),
      down: sideOf(down, this.#rates[2 * row + 1]),
      match: {
        ...{ remote, local, protocol },
        ...(ports ? { port: remotePort, localPort } : {}),
        ...(dscp < 0 ? {} : { dscp }),
      },
    };
  }
}

const bytesOf = (side: Place | undefined) => (side ? side.slice.bytes[side.at] : 0);

/** Bytes of the look before. A flow that was forgotten and has come back begins at nothing. */
function since(now: Place | undefined, before: Place | undefined): number {
  const bytes = bytesOf(before);
  return bytes > bytesOf(now) ? 0 : bytes;
}

function ruleOf(side: Place | undefined): string | undefined {
  return side && (side.slice.labels[side.slice.pipeline[side.at]] || 'default');
}

function sideOf(side: Place | undefined, rate: number): Side | null {
  if (!side) return null;
  const { packets, bytes, last } = side.slice;
  return { rule: ruleOf(side)!, packets: packets[side.at], bytes: bytes[side.at], rate, last: last[side.at] };
}

const endpoint = (address: string, port: number) =>
  port === 0 ? address : address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

const textOf = (flow: Flow) =>
  `${flow.protocolName} ${endpoint(flow.local, flow.localPort)} > ${endpoint(flow.remote, flow.remotePort)}`;
