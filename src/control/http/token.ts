/** The secret that who may control shows: read, drawn, compared. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Runtime } from '../../engine/runtime.ts';
import { TunconnectorError } from '../../errors.ts';

/** What fits into a header, a cookie, an address and a subprotocol as it is. */
const TOKEN = /^[\w.~-]{16,512}$/;

/** @param from where it is from, for the error @throws ERR_CONFIG */
export function checkToken(text: string, from: string): string {
  const token = text.trim();
  if (TOKEN.test(token)) return token;
  throw new TunconnectorError('ERR_CONFIG', `${from}: this is no token`, {
    remedy: 'give 16 to 512 letters, digits and "-", ".", "_" or "~"',
  });
}

/** What a token is good for: all, or some tenants. */
export type Grant = 'all' | ReadonlySet<number>;

/** What who shows no token may, where one is wanted. */
export const NOTHING: Grant = new Set();

/** Those that are known, with what each is good for. */
export class Tokens {
  readonly #known: { digest: Buffer; grant: Grant }[];

  constructor(known: Iterable<readonly [token: string, grant: Grant]>) {
    this.#known = [...known].map(([token, grant]) => ({ digest: digest(token), grant }));
  }

  /** In a time that tells nothing of how much of it is right, nor which one it is. */
  grantOf(given: string): Grant | undefined {
    const found = digest(given);
    let grant: Grant | undefined;
    for (const each of this.#known) if (timingSafeEqual(found, each.digest)) grant = each.grant;
    return grant;
  }
}

/** 192 bits, as 32 characters. */
export const drawToken = (runtime: Runtime): string => Buffer.from(runtime.secret(24)).toString('base64url');

const digest = (text: string) => createHash('sha256').update(text).digest();
