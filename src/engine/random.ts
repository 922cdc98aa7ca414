/**
 * Repeatable random numbers. Every user of randomness has a stream of its own, found by name: adding one changes no
 * other. The generator is xoshiro128** (Blackman and Vigna, 2018), seeded through splitmix32.
 */

export interface RandomStream {
  /** 32 uniform bits, 0 .. 2^32 - 1. */
  u32(): number;
  /** Uniform in [0, 1) with 32 bits. */
  unit(): number;
  /** Uniform integer in [0, bound), without bias. */
  below(bound: number): number;
  fill(bytes: Uint8Array): void;
}

/** 32-bit FNV-1a over UTF-16 units: enough to tell names apart, equal on every machine. */
export function hashName(name: string, seed: number): number {
  let h = (0x811c9dc5 ^ seed) >>> 0;
  for (let i = 0; i < name.length; i++) {
    h = Math.imul(h ^ (name.charCodeAt(i) & 0xff), 0x01000193);
    h = Math.imul(h ^ (name.charCodeAt(i) >>> 8), 0x01000193);
  }
  return h >>> 0;
}

export function randomStream(seed: number, name: string): RandomStream {
  return new Xoshiro(hashName(name, seed >>> 0) ^ Math.imul(seed | 0, 0x9e3779b1));
}

class Xoshiro implements RandomStream {
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 0;

  constructor(seed: number) {
    let state = seed | 0;
    const next = () => {
      state = (state + 0x9e3779b9) | 0;
      let z = state;
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      return z ^ (z >>> 16);
    };
    this.#a = next();
    this.#b = next();
    this.#c = next();
    this.#d = next() | 1; // an all-zero state would stay zero
  }

  u32(): number {
    const result = Math.imul(rotate(Math.imul(this.#b, 5), 7), 9);
    const t = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= t;
    this.#d = rotate(this.#d, 11);
    return result >>> 0;
  }

  unit(): number {
    return this.u32() / 4294967296;
  }

  below(bound: number): number {
    // Reject the last, incomplete run of `bound` numbers.
    const limit = 4294967296 - (4294967296 % bound);
    let n = this.u32();
    while (n >= limit) n = this.u32();
    return n % bound;
  }

  fill(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.u32() >>> 24;
  }
}

function rotate(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}
