/**
 * Random draws without a state: each is a pure function of a key and a counter, so that no draw depends on which others
 * were made. The key is a seed and a name (of a stage, and of what it draws for), the counter a flow and the number of a
 * packet in it.
 *
 * The generator is Threefry-2x32 with 13 rounds, the fewest that pass BigCrush (Salmon, Moraes, Dror, Shaw: "Parallel
 * Random Numbers: As Easy as 1, 2, 3", SC 2011). It needs additions, rotations and exclusive ors of 32 bits alone, which
 * are the same on every machine.
 */
import { hashName } from '../engine/random.ts';

/** Skein's key schedule parity, cut to 32 bits. */
const PARITY = 0x1bd11bda;

export class Draws {
  readonly #k0: number;
  readonly #k1: number;
  readonly #k2: number;
  /** The second word of the last draw, for whoever needs more than 32 bits: 0 .. 2^32 - 1. */
  second = 0;

  constructor(k0: number, k1: number) {
    this.#k0 = k0 | 0;
    this.#k1 = k1 | 0;
    this.#k2 = k0 ^ k1 ^ PARITY;
  }

  /** @param seed 0 .. 2^53 - 1 */
  static named(seed: number, name: string): Draws {
    const low = seed >>> 0;
    const high = Math.floor(seed / 4294967296) >>> 0;
    return new Draws(hashName(name, low), hashName(name, high ^ 0x9e3779b9) ^ low);
  }

  /** 32 uniform bits, 0 .. 2^32 - 1, for a packet of a flow; 32 more are in `second`. */
  at(flow: number, packet: number): number {
    const k0 = this.#k0;
    const k1 = this.#k1;
    const k2 = this.#k2;
    let a = (packet + k0) | 0;
    let b = (flow + k1) | 0;
    a = (a + b) | 0;
    b = ((b << 13) | (b >>> 19)) ^ a;
    a = (a + b) | 0;
    b = ((b << 15) | (b >>> 17)) ^ a;
    a = (a + b) | 0;
    b = ((b << 26) | (b >>> 6)) ^ a;
    a = (a + b) | 0;
    b = ((b << 6) | (b >>> 26)) ^ a;
    a = (a + k1) | 0;
    b = (b + k2 + 1) | 0;
    a = (a + b) | 0;
    b = ((b << 17) | (b >>> 15)) ^ a;
    a = (a + b) | 0;
    b = ((b << 29) | (b >>> 3)) ^ a;
    a = (a + b) | 0;
    b = ((b << 16) | (b >>> 16)) ^ a;
    a = (a + b) | 0;
    b = ((b << 24) | (b >>> 8)) ^ a;
    a = (a + k2) | 0;
    b = (b + k0 + 2) | 0;
    a = (a + b) | 0;
    b = ((b << 13) | (b >>> 19)) ^ a;
    a = (a + b) | 0;
    b = ((b << 15) | (b >>> 17)) ^ a;
    a = (a + b) | 0;
    b = ((b << 26) | (b >>> 6)) ^ a;
    a = (a + b) | 0;
    b = ((b << 6) | (b >>> 26)) ^ a;
    a = (a + k0) | 0;
    b = (b + k1 + 3) | 0;
    a = (a + b) | 0;
    b = ((b << 17) | (b >>> 15)) ^ a;
    this.second = b >>> 0;
    return a >>> 0;
  }
}

/** What a draw must be below for something of this probability (0 .. 1) to happen: 0 .. 2^32. */
export function threshold(probability: number): number {
  return Math.round(probability * 4294967296);
}
