/**
 * Path MTUs that were learnt from ICMP (RFC 1191, RFC 8201): by destination, bounded, and forgotten after ten minutes, so
 * that a path which got wider is found out. Only errors that a transport believed get here (RFC 5927).
 */
import { SECOND } from '../../engine/units.ts';
import { getInt32 } from '../../packet/word.ts';
import { hashAddress } from '../numbers.ts';

/** RFC 1191, 6.3. */
const LIFETIME = 600 * SECOND;
/** Destinations with the same hash. */
const WAYS = 4;
const SETS = 256;
/** As Linux does: below this an IPv4 path is not believed, and its packets may be fragmented (net.ipv4.route.min_pmtu). */
export const LEAST_V4 = 552;
/** RFC 8200, 5. */
export const LEAST_V6 = 1280;

export class PathMtus {
  readonly #words = new Int32Array(SETS * WAYS * 4);
  /** Bytes; 0 for a free place. */
  readonly #mtu = new Int32Array(SETS * WAYS);
  readonly #expires = new Float64Array(SETS * WAYS);
  readonly #secret: number;
  /** When the first of them is forgotten: ns, or Infinity. */
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  size = 0;

  /** @param secret of the hash: nobody who sends errors can know where a destination is kept */
  constructor(secret: number) {
    this.#secret = secret;
  }

  /** Bytes of an IP packet that pass to the address at `bytes[at]`, or `most` when nothing less is known. */
  lookup(bytes: Uint8Array, at: number, family: 4 | 6, most: number): number {
    if (this.size === 0) return most;
    const place = this.#find(bytes, at, family);
    return place < 0 ? most : Math.min(most, this.#mtu[place]);
  }

  /** Learns of a path; a destination known for longest may be forgotten for it. Returns whether it is news. */
  learn(bytes: Uint8Array, at: number, family: 4 | 6, mtu: number, most: number, now: number): boolean {
    const value = Math.max(mtu, family === 4 ? LEAST_V4 : LEAST_V6);
    if (value >= this.lookup(bytes, at, family, most)) return false;
    let place = this.#find(bytes, at, family);
    if (place < 0) place = this.#oldest(bytes, at, family);
    if (this.#mtu[place] === 0) this.size++;
    this.#mtu[place] = value;
    for (let i = 0; i < 4; i++) this.#words[place * 4 + i] = word(bytes, at, family, i);
    this.#expires[place] = now + LIFETIME;
    this.due[0] = Math.min(this.due[0], now + LIFETIME);
    return true;
  }

  /** Forgets what is old. */
  expire(now: number): void {
    this.due[0] = Number.POSITIVE_INFINITY;
    for (let place = 0; place < this.#mtu.length; place++) {
      if (this.#mtu[place] === 0) continue;
      if (this.#expires[place] <= now) {
        this.#mtu[place] = 0;
        this.size--;
      } else {
        this.due[0] = Math.min(this.due[0], this.#expires[place]);
      }
    }
  }

  #set(bytes: Uint8Array, at: number, family: 4 | 6): number {
    return (hashAddress(bytes, at, family === 4 ? 4 : 16, this.#secret) & (SETS - 1)) * WAYS;
  }

  #find(bytes: Uint8Array, at: number, family: 4 | 6): number {
    const first = this.#set(bytes, at, family);
    for (let place = first; place < first + WAYS; place++) {
      if (this.#mtu[place] === 0) continue;
      let i = 0;
      while (i < 4 && this.#words[place * 4 + i] === word(bytes, at, family, i)) i++;
      if (i === 4) return place;
    }
    return -1;
  }

  #oldest(bytes: Uint8Array, at: number, family: 4 | 6): number {
    const first = this.#set(bytes, at, family);
    let best = first;
    for (let place = first; place < first + WAYS; place++) {
      if (this.#mtu[place] === 0) return place;
      if (this.#expires[place] < this.#expires[best]) best = place;
    }
    return best;
  }
}

/** An IPv4 address is kept as one that is mapped into IPv6 (RFC 4291, 2.5.5.2). */
function word(bytes: Uint8Array, at: number, family: 4 | 6, i: number): number {
  if (family === 6) return getInt32(bytes, at + 4 * i);
  return i === 3 ? getInt32(bytes, at) : i === 2 ? 0xffff : 0;
}
