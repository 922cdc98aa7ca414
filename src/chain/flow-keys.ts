/**
 * The flow of each packet that enters a chain. A key is the same in both directions; ICMP errors have that of the packet
 * they quote, echoes are told apart by identifier, and fragments go with their datagram. Tenants may use the same addresses:
 * a flow is a key and a tenant.
 */
import { datagramKey, KEY_CELLS, LATER_FRAGMENT } from '../packet/flow-key.ts';
import * as ip from '../packet/ip.ts';
import { isFragment } from '../packet/upper.ts';
import type { Fragments } from './fragments.ts';

/** A later fragment whose first has not come: it may be held. */
export const UNKNOWN_DATAGRAM = LATER_FRAGMENT;

export class FlowKeys {
  /** Of the last packet that had one. */
  readonly key = new Int32Array(KEY_CELLS);
  readonly #fragments: Fragments;
  readonly #seed: number;

  /** @param seed of the keys' hash: nobody who sends can know it */
  constructor(fragments: Fragments, seed: number) {
    this.#fragments = fragments;
    this.#seed = seed;
  }

  /**
   * Fills `key` for the IP packet at `bytes[at..end)`, whose header `ip.check` found whole.
   *
   * @param tenant virtual network, 24 bits
   * @param now ns
   * @returns 0 when it goes from the lower endpoint to the higher, 1 the other way, -1 when it has no key, or
   *   UNKNOWN_DATAGRAM
   */
  of(bytes: Uint8Array, at: number, end: number, tenant: number, now: number): -2 | -1 | 0 | 1 {
    const direction = datagramKey(bytes, at, end, this.key, this.#seed);
    if (direction === LATER_FRAGMENT) {
      const followed = this.#fragments.follow(bytes, at, tenant, this.key, now);
      return followed < 0 ? UNKNOWN_DATAGRAM : followed;
    }
    if (direction >= 0 && isFragment(ip.upper(bytes, at)))
      this.#fragments.learn(bytes, at, tenant, this.key, direction as 0 | 1, now);
    return direction;
  }
}
