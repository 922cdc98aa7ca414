/** Numbers that nobody can guess: ports, identifications, identifiers (RFC 6056, RFC 7739). */

const BLOCK = 256;

export class SecretNumbers {
  readonly #secret: (length: number) => Uint8Array;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;

  /** @param secret where bytes come from, a block at a time */
  constructor(secret: (length: number) => Uint8Array) {
    this.#secret = secret;
  }

  u16(): number {
    if (this.#at + 2 > this.#bytes.length) {
      this.#bytes = this.#secret(BLOCK);
      this.#at = 0;
    }
    const at = this.#at;
    this.#at += 2;
    return (this.#bytes[at] << 8) | this.#bytes[at + 1];
  }

  /** 32 bits, signed. */
  i32(): number {
    return (this.u16() << 16) | this.u16();
  }

  /** Uniform in [0, bound), for bounds up to 65536. */
  below(bound: number): number {
    // Reject the last, incomplete run of `bound` numbers.
    const limit = 65536 - (65536 % bound);
    let number = this.u16();
    while (number >= limit) number = this.u16();
    return number % bound;
  }
}

/** A hash of an address in a packet that depends on a secret: for tables that a sender must not be able to aim at. */
export function hashAddress(bytes: Uint8Array, at: number, length: number, secret: number): number {
  let hash = secret;
  for (let i = 0; i < length; i += 4) {
    hash ^= (bytes[at + i] << 24) | (bytes[at + i + 1] << 16) | (bytes[at + i + 2] << 8) | bytes[at + i + 3];
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  }
  return hash ^ (hash >>> 16);
}
