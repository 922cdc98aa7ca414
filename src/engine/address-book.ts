/**
 * Outer addresses by integer: what a packet's `peer` column means, everywhere in one network. Who wants to keep an
 * address pins it; the others live in a ring and are overwritten in their turn.
 */
import { TunconnectorError } from '../errors.ts';
import type { AddressTable } from '../native/binding.ts';
import { formatEndpoint } from '../packet/prefix.ts';

export const ADDRESS_ROW = 32;
/** How many addresses can be kept at once: clients, peers, and claims under way. */
export const MAX_PINNED = 4096;

export interface OuterAddress {
  family: 4 | 6;
  /** 4 or 16 bytes. */
  bytes: Uint8Array;
  port: number;
  /** Interface index of a link-local IPv6 address, else 0. */
  scope: number;
}

/** What a UDP port does with addresses that are kept. */
export interface AddressListener {
  pinned(row: number): void;
  unpinned(row: number): void;
}

export class AddressBook implements AddressTable {
  readonly pinned = MAX_PINNED;
  readonly rows: Uint8Array;
  readonly cursor = new Int32Array(new SharedArrayBuffer(4));
  readonly tooLong = new Int32Array(new SharedArrayBuffer(4 * (1 + MAX_PINNED)));
  readonly refused = new Int32Array(new SharedArrayBuffer(4 * (1 + MAX_PINNED)));
  readonly #free: number[] = [];
  /** Rows from here on were never kept. */
  #next = 0;
  readonly #references = new Int32Array(MAX_PINNED);
  readonly #byKey = new Map<string, number>();
  readonly #listeners = new Set<AddressListener>();

  /** @param inFlight how many packets can be alive at once */
  constructor(inFlight: number) {
    this.rows = new Uint8Array(new SharedArrayBuffer((MAX_PINNED + inFlight) * ADDRESS_ROW));
  }

  /** How many more addresses can be kept. */
  get pinnedRoom(): number {
    return this.#free.length + MAX_PINNED - this.#next;
  }

  /** Keeps the address in any row, and returns the row where it stays. Each `pin` wants one `unpin`. */
  pin(row: number): number {
    return this.#pinBytes(this.copyRow(row));
  }

  /** What a port without native code does for each datagram: the kept row of its sender, or the ring's next one. */
  rowFor(address: OuterAddress): number {
    const bytes = encodeRow(address);
    const kept = this.#byKey.get(keyOf(bytes));
    if (kept !== undefined) return kept;
    const next = this.cursor[0];
    const row = MAX_PINNED + next;
    this.cursor[0] = (next + 1) % (this.rows.length / ADDRESS_ROW - MAX_PINNED);
    this.rows.set(bytes, row * ADDRESS_ROW);
    return row;
  }

  pinAddress(address: OuterAddress): number {
    return this.#pinBytes(encodeRow(address));
  }

  #pinBytes(bytes: Uint8Array): number {
    const key = keyOf(bytes);
    let row = this.#byKey.get(key);
    if (row === undefined) {
      row = this.#free.pop() ?? (this.#next < MAX_PINNED ? this.#next++ : undefined);
      if (row === undefined)
        throw new TunconnectorError('ERR_LIMIT', `${MAX_PINNED} outer addresses are in use`);
      this.rows.set(bytes, row * ADDRESS_ROW);
      this.tooLong[1 + row] = 0;
      this.refused[1 + row] = 0;
      this.#byKey.set(key, row);
      for (const listener of this.#listeners) listener.pinned(row);
    }
    this.#references[row]++;
    return row;
  }

  unpin(row: number): void {
    if (row < 0 || row >= MAX_PINNED || this.#references[row] === 0) return;
    if (--this.#references[row] > 0) return;
    for (const listener of this.#listeners) listener.unpinned(row);
    this.#byKey.delete(keyOf(this.copyRow(row)));
    this.#free.push(row);
  }

  /** Length of the shortest datagram to a kept address that its port refused as too long since the last call; 0: none. */
  takeTooLong(row: number): number {
    if (row < 0 || row >= MAX_PINNED) return 0;
    const length = this.tooLong[1 + row];
    this.tooLong[1 + row] = 0;
    return length;
  }

  /** What a port without native code does with a datagram that came back. Addresses that are not kept are not counted. */
  countRefused(address: OuterAddress): void {
    const row = this.#byKey.get(keyOf(encodeRow(address)));
    if (row === undefined) return;
    this.refused[1 + row]++;
    this.refused[0]++;
  }

  /** How many datagrams to a kept address were refused by its machine since the last call: nobody listens there. */
  takeRefused(row: number): number {
    if (row < 0 || row >= MAX_PINNED) return 0;
    const count = this.refused[1 + row];
    this.refused[1 + row] = 0;
    return count;
  }

  /** The row's bytes as a copy of their own. */
  copyRow(row: number): Uint8Array {
    const copy = new Uint8Array(ADDRESS_ROW);
    copy.set(this.rows.subarray(row * ADDRESS_ROW, (row + 1) * ADDRESS_ROW));
    return copy;
  }

  address(row: number): OuterAddress {
    return decodeRow(this.copyRow(row));
  }

  /** The address as people write it, `192.168.6.9:55555`. */
  describe(row: number): string {
    return describeRow(this.copyRow(row));
  }

  /** A port joins: it learns all kept addresses, and each change from now on. Returns how to leave. */
  listen(listener: AddressListener): () => void {
    this.#listeners.add(listener);
    for (const row of this.#byKey.values()) listener.pinned(row);
    return () => this.#listeners.delete(listener);
  }
}

/** The bytes of a row that name the address, as a key of a map. */
function keyOf(row: Uint8Array): string {
  return latin1Slice.call(row as Buffer, 0, 24);
}
const { latin1Slice } = Buffer.prototype;

export function encodeRow(address: OuterAddress): Uint8Array {
  const row = new Uint8Array(ADDRESS_ROW);
  row[0] = address.family;
  row[2] = address.port >>> 8;
  row[3] = address.port;
  row.set(address.bytes, 4);
  for (let i = 0; i < 4; i++) row[20 + i] = address.scope >>> (8 * i);
  return row;
}

export function describeRow(row: Uint8Array): string {
  const { family, bytes, port } = decodeRow(row);
  return formatEndpoint({ address: { family, bytes }, port });
}

export function decodeRow(row: Uint8Array): OuterAddress {
  const family = row[0] === 6 ? 6 : 4;
  return {
    family,
    port: (row[2] << 8) | row[3],
    bytes: row.slice(4, family === 6 ? 20 : 8),
    scope: row[20] | (row[21] << 8) | (row[22] << 16) | (row[23] << 24),
  };
}
