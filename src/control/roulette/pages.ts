/** The page of Roulette. It has nothing to hide: what it shows, it asks for with the token of who looks at it. */
import type { FastifyInstance } from 'fastify';
import { addPages, built } from '../http/pages.ts';

/** Asked for without a token; what ends with a slash, all below it. */
export const OPEN_PAGES: readonly string[] = ['/', '/page/', '/client/', '/chain/'];

export const addRoulettePage = (server: FastifyInstance): Promise<void> =>
  // The client has the addresses of requests from there.
  addPages(server, 'chain', { '/chain/roulette/remote/': built('../chain/roulette/remote') });
