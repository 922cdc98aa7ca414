/** The page of an impaired link, with what draws its charts and what reads specs as text. */
import { createRequire } from 'node:module';
import path from 'node:path';
import type { FastifyInstance } from 'fastify';
import { addPages } from '../http/pages.ts';

const { resolve } = createRequire(import.meta.url);

export const addLinkPage = (server: FastifyInstance): Promise<void> =>
  addPages(server, 'impair', {
    '/uplot/': path.dirname(resolve('uplot')),
    // As it comes for browsers, module by module.
    '/yaml/': path.join(path.dirname(resolve('yaml/package.json')), 'browser'),
  });
