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

/** 192 bits, as 32 characters. */
export const drawToken = (runtime: Runtime): string => Buffer.from(runtime.secret(24)).toString('base64url');

const digest = (text: string) => createHash('sha256').update(text).digest();

/** In a time that tells nothing of how much of it is right. */
export const sameToken = (given: string, token: string): boolean =>
  timingSafeEqual(digest(given), digest(token));
