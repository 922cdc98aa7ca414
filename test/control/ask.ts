/** Asks a server without a socket. */
import type { FastifyInstance } from 'fastify';

export const asker =
  (server: Pick<FastifyInstance, 'inject'>) =>
  async (method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE', url: string, body?: unknown, headers = {}) => {
    const payload = typeof body === 'string' ? { payload: body } : body ? { payload: body as object } : {};
    const answer = await server.inject({
      method,
      url,
      headers: { host: 'localhost', ...headers },
      ...payload,
    });
    const json = /json/.test(String(answer.headers['content-type']));
    return { status: answer.statusCode, headers: answer.headers, body: json ? answer.json() : answer.body };
  };
