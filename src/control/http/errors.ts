/** Errors as answers: a status, and one document for all. */
import type { FastifyError, FastifyInstance } from 'fastify';
import { type ErrorCode, TunconnectorError } from '../../errors.ts';

/** What is said of an error. */
export interface ErrorBody {
  error: {
    code: string;
    message: string;
    path?: string;
    found?: string;
    expected?: string;
    remedy?: string;
  };
}

const STATUS: Partial<Record<ErrorCode, number>> = {
  ERR_CONFIG: 400,
  ERR_USAGE: 400,
  ERR_ADDRESS: 400,
  ERR_LIMIT: 400,
  ERR_TOKEN: 401,
  ERR_ORIGIN: 403,
  ERR_FORBIDDEN: 403,
  ERR_NOT_FOUND: 404,
  ERR_REFUSED: 409,
  ERR_REVISION: 412,
  ERR_HOST: 421,
  ERR_BUSY: 503,
  ERR_CLOSED: 503,
  ERR_UNREACHABLE: 503,
  ERR_STORAGE: 507,
};
/** What Fastify refuses by itself, by status. */
const CODES: Record<number, string> = { 404: 'ERR_NOT_FOUND', 413: 'ERR_TOO_LARGE', 415: 'ERR_MEDIA_TYPE' };

export const statusOf = (error: Error & { statusCode?: number }): number =>
  error instanceof TunconnectorError ? (STATUS[error.code] ?? 500) : (error.statusCode ?? 500);

export function errorBody(error: Error & { statusCode?: number }): ErrorBody {
  if (error instanceof TunconnectorError) {
    const { code, message, remedy, place } = error;
    return { error: { code, message, ...place, ...(remedy === undefined ? {} : { remedy }) } };
  }
  const status = statusOf(error);
  // What went wrong inside is nobody's business outside.
  if (status >= 500) return { error: { code: 'ERR_INTERNAL', message: 'something failed inside' } };
  return { error: { code: CODES[status] ?? 'ERR_USAGE', message: error.message.split('\n')[0] } };
}

/** @param unexpected hears of what is a fault of ours */
export function answerErrors(server: FastifyInstance, unexpected: (error: Error) => void): void {
  server.setErrorHandler<FastifyError>(async (error, _request, reply) => {
    const status = statusOf(error);
    if (status === 500) unexpected(error);
    await reply.code(status).send(errorBody(error));
  });
  server.setNotFoundHandler(async ({ method, url }, reply) => {
    const message = `there is no ${method} ${url.split('?', 1)[0]}`;
    await reply.code(404).send({ error: { code: 'ERR_NOT_FOUND', message } } satisfies ErrorBody);
  });
}
