/** Errors as they come over HTTP, and errors of not getting there. */
import { type ErrorCode, type Place, TunconnectorError } from '../../../errors.ts';

interface ErrorDocument {
  error: { code: ErrorCode; message: string; remedy?: string } & Partial<Place>;
}

const isDocument = (value: unknown): value is ErrorDocument => {
  const error = (value as Partial<ErrorDocument> | null)?.error;
  return typeof error?.code === 'string' && typeof error.message === 'string';
};

/** The error that an answer says, as it was where it was made. */
export function errorOfAnswer(status: number, text: string, from: string): TunconnectorError {
  const document = jsonOf(text);
  if (!isDocument(document)) {
    const message = `${from} answered with status ${status}, and not as Roulette does`;
    return new TunconnectorError('ERR_UNREACHABLE', message, { remedy: 'check that this is its address' });
  }
  const { code, message, remedy, path, found, expected } = document.error;
  const tail = `; ${remedy}`;
  const plain = remedy !== undefined && message.endsWith(tail) ? message.slice(0, -tail.length) : message;
  const place = path !== undefined && {
    path,
    ...(found !== undefined && { found }),
    ...(expected !== undefined && { expected }),
  };
  return new TunconnectorError(code, plain, {
    ...(remedy !== undefined && { remedy }),
    ...(place && { place }),
  });
}

/** Undefined for what is none. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const UNTRUSTED = 'its certificate is not trusted';

const WHY: Record<string, string> = {
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'it broke the connection',
  EPIPE: 'it broke the connection',
  ETIMEDOUT: 'no answer in time',
  ENETUNREACH: 'no route',
  EHOSTUNREACH: 'no way there',
  ENOTFOUND: 'the name does not resolve',
  EAI_AGAIN: 'the name does not resolve',
  EPROTO: 'it does not speak TLS',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  CERT_HAS_EXPIRED: 'its certificate has expired',
};

/** What is wrong with the way to one address, in words. */
export function whyNot(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  const known = code === undefined ? undefined : WHY[code];
  return known ?? code ?? message;
}

export function unreachable(what: string, tried: ReadonlyMap<string, string>): TunconnectorError {
  const list = [...tried].map(([address, why]) => `${address} (${why})`).join(', ');
  const reasons = [...tried.values()];
  const remedy = reasons.some((why) => why === UNTRUSTED)
    ? 'name the authority that signed it'
    : reasons.some((why) => why.includes('certificate'))
      ? 'give it one that is good'
      : 'check the address, and that it runs';
  return new TunconnectorError('ERR_UNREACHABLE', `no ${what} answers at ${list}`, { remedy });
}
