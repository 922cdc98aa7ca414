/** Which session owns which inner address: exact for claims, longest prefix for packets. */
import { formatPrefix, type IpPrefix } from '../../packet/prefix.ts';

/** Longest-prefix match over addresses of one family. */
export interface PrefixTable {
  /** Replaces the value when the prefix is present. `bytes[offset..]` holds the whole address. */
  insert(bytes: Uint8Array, offset: number, prefixLength: number, value: number): void;
  remove(bytes: Uint8Array, offset: number, prefixLength: number): void;
  /** Value of the longest prefix that covers the address, or -1. */
  lookup(bytes: Uint8Array, offset: number): number;
}

export class InnerOwners {
  readonly v4: PrefixTable;
  readonly v6: PrefixTable;
  readonly #exact = new Map<string, number>();

  constructor(v4: PrefixTable, v6: PrefixTable) {
    this.v4 = v4;
    this.v6 = v6;
  }

  /** The session that holds exactly this prefix, or -1. */
  holder(prefix: IpPrefix): number {
    return this.#exact.get(formatPrefix(prefix)) ?? -1;
  }

  add(prefix: IpPrefix, session: number): void {
    this.#exact.set(formatPrefix(prefix), session);
    const { address, length } = prefix;
    (address.family === 4 ? this.v4 : this.v6).insert(address.bytes, 0, length, session);
  }

  remove(prefix: IpPrefix): void {
    if (!this.#exact.delete(formatPrefix(prefix))) return; // a HELLO may name one prefix in two ways
    const { address, length } = prefix;
    (address.family === 4 ? this.v4 : this.v6).remove(address.bytes, 0, length);
  }
}
