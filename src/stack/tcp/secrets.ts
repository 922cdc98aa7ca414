/** Numbers that depend on a connection and that nobody else can guess: ISNs, time stamps, ports, SYN cookies. */
import { HalfSipHash } from '../../packet/half-siphash.ts';
import { getInt32 } from '../../packet/word.ts';
import { KEY_WORDS } from './row.ts';
import { SECOND } from './settings.ts';

/** The sizes that a SYN cookie can tell apart: the largest that is not above the peer's. */
const COOKIE_MSS = [64, 512, 536, 1220, 1340, 1440, 1460, 8960];
const COOKIE_PERIOD = 64 * SECOND;

const Use = { Isn: 1, Stamp: 2, Port: 3, Cookie: 4 } as const;

export class Secrets {
  readonly #key0: number;
  readonly #key1: number;
  readonly #hash = new HalfSipHash();
  readonly #words = new Int32Array(KEY_WORDS + 3);

  constructor(secret: Uint8Array) {
    this.#key0 = getInt32(secret, 0);
    this.#key1 = getInt32(secret, 4);
  }

  #of(key: Int32Array, use: number, a = 0, b = 0): number {
    const words = this.#words;
    for (let i = 0; i < KEY_WORDS; i++) words[i] = key[i];
    words[KEY_WORDS] = use;
    words[KEY_WORDS + 1] = a;
    words[KEY_WORDS + 2] = b;
    this.#hash.hash(this.#key0, this.#key1, words, 0, KEY_WORDS + 3);
    return this.#hash.low;
  }

  /** RFC 6528: a clock of 4 us and a secret function of both ends. */
  isn(key: Int32Array, now: number): number {
    return (Math.trunc(now / 4000) + this.#of(key, Use.Isn)) | 0;
  }

  /** RFC 7323, 5.4: where a connection's time stamps begin. */
  stamp(key: Int32Array): number {
    return this.#of(key, Use.Stamp);
  }

  /** RFC 6056, 3.3.3: where to begin to look for a port to this destination. The key's local port is 0. */
  port(key: Int32Array): number {
    return this.#of(key, Use.Port) >>> 0;
  }

  /** An ISN that says all that must be known of a SYN: 5 bits of time, 3 of the MSS, 24 that nobody else can make. */
  cookie(key: Int32Array, irs: number, mss: number, now: number): number {
    const period = Math.trunc(now / COOKIE_PERIOD) & 31;
    let size = COOKIE_MSS.length - 1;
    while (size > 0 && COOKIE_MSS[size] > mss) size--;
    const top = (period << 3) | size;
    return (top << 24) | (this.#of(key, Use.Cookie, irs, top) & 0xffffff);
  }

  /** The MSS of a cookie that came back in time, or 0. */
  checkCookie(key: Int32Array, irs: number, iss: number, now: number): number {
    const top = iss >>> 24;
    const age = (Math.trunc(now / COOKIE_PERIOD) - (top >> 3)) & 31;
    if (age > 1 || (iss & 0xffffff) !== (this.#of(key, Use.Cookie, irs, top) & 0xffffff)) return 0;
    return COOKIE_MSS[top & 7];
  }
}
