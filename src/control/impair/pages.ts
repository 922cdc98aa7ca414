/** The web page: files of ours, each where its modules look for each other. */
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance } from 'fastify';

const here = (directory: string) => fileURLToPath(new URL(`../${directory}`, import.meta.url));
const { resolve } = createRequire(import.meta.url);
const uPlot = () => path.dirname(resolve('uplot'));
/** As it comes for browsers, module by module. */
const yaml = () => path.join(path.dirname(resolve('yaml/package.json')), 'browser');

export async function addPages(server: FastifyInstance): Promise<void> {
  // Asked again each time, and answered by 304 while they are the same.
  const common = { cacheControl: true, maxAge: 0, index: false, redirect: false, dotfiles: 'deny' } as const;
  const page = here('page');
  await server.register(fastifyStatic, { ...common, root: page, prefix: '/page/' });
  const others = { client: here('client'), uplot: uPlot(), yaml: yaml() };
  for (const [name, root] of Object.entries(others)) {
    await server.register(fastifyStatic, { ...common, root, prefix: `/${name}/`, decorateReply: false });
  }
  server.get('/', { schema: { hide: true } }, async (_request, reply) =>
    reply.sendFile('index.html', page, { maxAge: 0 }),
  );
}
