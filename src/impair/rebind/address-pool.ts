/**
 * The addresses of a NAT. All flows of one host have the same one at a time (RFC 4787, 4.1: paired pooling), and another in
 * the next period, unless there is only one: a host goes round the pool in steps that are drawn for it.
 */
import { hostAt, hostCount, type IpPrefix } from '../../packet/prefix.ts';
import { getInt32 } from '../../packet/word.ts';
import type { Draws } from '../draw.ts';

/** Addresses of a prefix that are used: as many as times a step that doubles count exactly for 2^29 periods. */
const MOST = 2 ** 24;

export class AddressPool {
  readonly #prefixes: readonly IpPrefix[];
  readonly #draws: Draws;

  constructor(prefixes: readonly IpPrefix[], draws: Draws) {
    this.#prefixes = prefixes;
    this.#draws = draws;
  }

  /**
   * Puts the address that a host has outside in a period in the place of its own. One of a family without a prefix keeps
   * its own.
   *
   * @param words the address, 4 bytes a cell
   */
  find(family: number, words: Int32Array, period: number): void {
    const prefixes = this.#prefixes.filter(({ address }) => address.family === family);
    if (prefixes.length === 0) return;
    const host = words[0] ^ words[1] ^ words[2] ^ words[3];
    const prefix = prefixes[this.#draws.at(host, 0) % prefixes.length];
    const first = firstHost(prefix);
    const count = Math.min(hostCount(prefix) - (family === 6 ? first : 0), MOST);
    const begin = this.#draws.at(host, 1) % count;
    const step = count < 3 ? 1 : 1 + (this.#draws.second % (count - 1));
    const { bytes } = hostAt(prefix, first + ((begin + period * step) % count));
    for (let i = 0; i < bytes.length / 4; i++) words[i] = getInt32(bytes, 4 * i);
  }
}

/** The first address is the network's own, or that of all its routers (RFC 4291, 2.6.1). */
const firstHost = ({ address, length }: IpPrefix): number => {
  const alone = address.family === 4 ? length > 30 : length > 126;
  return alone ? 0 : 1;
};
