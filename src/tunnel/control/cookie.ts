/**
 * Stateless proof that a client receives at the address it sends from: only who got the COOKIE can return it.
 *
 *     epoch (4) | HMAC-SHA-256(secret, epoch | outer address (24) | nonce (8)), first 16 bytes
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { COOKIE_LENGTH } from './wire.ts';

/** The key changes this often; the one before is still accepted, so a cookie lives 60 to 120 s. */
const EPOCH = 60e9;

export class CookieJar {
  readonly #secret: Uint8Array;
  readonly #input = new Uint8Array(36);
  readonly #view = new DataView(this.#input.buffer);
  readonly #candidate = new Uint8Array(COOKIE_LENGTH);

  /** @param secret at least 16 bytes that nobody else knows */
  constructor(secret: Uint8Array) {
    this.#secret = secret.slice();
  }

  /** The cookie for a client at `outer` (a row of the address table) in this epoch. */
  make(now: number, outer: Uint8Array, nonceHigh: number, nonceLow: number): Uint8Array {
    return this.#make(Math.floor(now / EPOCH) >>> 0, outer, nonceHigh, nonceLow);
  }

  accepts(
    now: number,
    cookie: Uint8Array,
    length: number,
    outer: Uint8Array,
    nonceHigh: number,
    nonceLow: number,
  ): boolean {
    if (length !== COOKIE_LENGTH) return false;
    const epoch = ((cookie[0] << 24) | (cookie[1] << 16) | (cookie[2] << 8) | cookie[3]) >>> 0;
    const age = ((Math.floor(now / EPOCH) >>> 0) - epoch) >>> 0;
    if (age > 1) return false;
    for (let i = 0; i < COOKIE_LENGTH; i++) this.#candidate[i] = cookie[i];
    return timingSafeEqual(this.#candidate, this.#make(epoch, outer, nonceHigh, nonceLow));
  }

  #make(epoch: number, outer: Uint8Array, nonceHigh: number, nonceLow: number): Uint8Array {
    this.#view.setUint32(0, epoch);
    this.#input.set(outer.subarray(0, 24), 4);
    this.#view.setUint32(28, nonceHigh);
    this.#view.setUint32(32, nonceLow);
    const cookie = new Uint8Array(COOKIE_LENGTH);
    new DataView(cookie.buffer).setUint32(0, epoch);
    cookie.set(createHmac('sha256', this.#secret).update(this.#input).digest().subarray(0, 16), 4);
    return cookie;
  }
}
