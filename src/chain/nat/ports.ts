/**
 * The outer addresses of a NAT and which of their ports are taken. Who has no port yet gets one that nobody can guess who
 * does not know the secret (RFC 6056): a keyed hash over a counter, and where the port is taken already, a few more of
 * those; then the first free one behind the last. All flows of one inner address get the same outer one, as long
 * as that has ports (RFC 4787, REQ-2).
 */
import type { IpAddress } from '../../packet/address.ts';
import { HalfSipHash } from '../../packet/half-siphash.ts';
import { Protocol } from '../../packet/protocol.ts';
import { getInt32 } from '../../packet/word.ts';

/** No outer address of that family. */
export const NO_ADDRESS = -1;
/** All ports are taken. */
export const NO_PORT = -2;

const PORTS = 65536;
/** Bits of a word. */
const WORD = 32;
/** TCP, UDP, and queries of ICMP: each has its own ports. */
const KINDS = 3;
const DRAWS = 4;

export class OuterPorts {
  /** Four cells for each address, 4 bytes a cell, as flow keys have them. */
  readonly words: Int32Array;
  /** Those of IPv4 first, then those of IPv6. */
  readonly #four: number;
  readonly #count: number;
  readonly #min: number;
  readonly #span: number;
  /** A bit for each port that is taken. */
  readonly #taken: Int32Array;
  readonly #free: Int32Array;
  readonly #hash = new HalfSipHash();
  readonly #key0: number;
  readonly #key1: number;
  readonly #input = new Int32Array(4);
  #drawn = 0;
  /** The port that `take` has found. */
  port = 0;

  /** @param secret 8 bytes */
  constructor(addresses: readonly IpAddress[], min: number, max: number, secret: Uint8Array) {
    const four = addresses.filter(({ family }) => family === 4);
    const all = [...four, ...addresses.filter(({ family }) => family === 6)];
    this.#four = four.length;
    this.#count = all.length;
    this.#min = min;
    this.#span = max - min + 1;
    this.words = new Int32Array(4 * all.length);
    all.forEach(({ bytes }, row) => {
      for (let i = 0; i < bytes.length / 4; i++) this.words[4 * row + i] = getInt32(bytes, 4 * i);
    });
    this.#taken = new Int32Array((all.length * KINDS * PORTS) / WORD);
    this.#free = new Int32Array(all.length * KINDS).fill(this.#span);
    this.#key0 = getInt32(secret, 0);
    this.#key1 = getInt32(secret, 4);
  }

  /**
   * A port for the inner address at `words[at]`; it stands in `port` then.
   *
   * @returns the row of its outer address, NO_ADDRESS or NO_PORT
   */
  take(version: number, protocol: number, words: Int32Array, at: number): number {
    const first = version === 4 ? 0 : this.#four;
    const count = version === 4 ? this.#four : this.#count - this.#four;
    if (count === 0) return NO_ADDRESS;
    this.#hash.hash(this.#key0, this.#key1, words, at, version === 4 ? 1 : 4);
    const paired = (this.#hash.high >>> 0) % count;
    for (let i = 0; i < count; i++) {
      const row = first + ((paired + i) % count);
      if (this.#free[row * KINDS + kindOf(protocol)] === 0) continue;
      this.port = this.#find(row, protocol);
      this.#mark(row, protocol, this.port);
      return row;
    }
    return NO_PORT;
  }

  /** A certain port, for what comes from another NAT. False when it is not free, or none of these. */
  claim(row: number, protocol: number, port: number): boolean {
    if (port < this.#min || port >= this.#min + this.#span || this.#isTaken(row, protocol, port))
      return false;
    this.#mark(row, protocol, port);
    return true;
  }

  give(row: number, protocol: number, port: number): void {
    const bit = bitOf(row, protocol, port);
    this.#taken[bit >>> 5] &= ~(1 << (bit & 31));
    this.#free[row * KINDS + kindOf(protocol)]++;
  }

  /** The row of an outer address, or NO_ADDRESS. */
  rowOf(version: number, words: ArrayLike<number>): number {
    const first = version === 4 ? 0 : this.#four;
    const end = version === 4 ? this.#four : this.#count;
    const cells = version === 4 ? 1 : 4;
    for (let row = first; row < end; row++) {
      let i = 0;
      while (i < cells && this.words[4 * row + i] === words[i]) i++;
      if (i === cells) return row;
    }
    return NO_ADDRESS;
  }

  #mark(row: number, protocol: number, port: number): void {
    const bit = bitOf(row, protocol, port);
    this.#taken[bit >>> 5] |= 1 << (bit & 31);
    this.#free[row * KINDS + kindOf(protocol)]--;
  }

  #isTaken(row: number, protocol: number, port: number): boolean {
    const bit = bitOf(row, protocol, port);
    return (this.#taken[bit >>> 5] & (1 << (bit & 31))) !== 0;
  }

  /** A free port where there is one. */
  #find(row: number, protocol: number): number {
    let port = 0;
    for (let i = 0; i < DRAWS; i++) {
      this.#input[0] = this.#drawn = (this.#drawn + 1) | 0;
      this.#hash.hash(this.#key1, this.#key0, this.#input, 0, 1);
      port = this.#min + ((this.#hash.low >>> 0) % this.#span);
      if (!this.#isTaken(row, protocol, port)) return port;
    }
    const end = this.#min + this.#span;
    for (let tried = 0; tried < this.#span; ) {
      const bit = bitOf(row, protocol, port);
      // A word at a time where all of it is taken.
      if ((bit & 31) === 0 && this.#taken[bit >>> 5] === -1) {
        tried += WORD;
        port += WORD;
      } else {
        if (!this.#isTaken(row, protocol, port)) return port;
        tried++;
        port++;
      }
      if (port >= end) port = this.#min;
    }
    // A step over a whole word at the end of the range may have counted ports that are not in it.
    for (port = this.#min; this.#isTaken(row, protocol, port); ) port++;
    return port;
  }
}

const kindOf = (protocol: number): number =>
  protocol === Protocol.Tcp ? 0 : protocol === Protocol.Udp ? 1 : 2;

const bitOf = (row: number, protocol: number, port: number): number =>
  (row * KINDS + kindOf(protocol)) * PORTS + port;
