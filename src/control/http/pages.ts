/** Web pages: files of ours, each where its modules look for each other. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance } from 'fastify';

/** A folder of the build, relative to `control`. */
export const built = (folder: string): string => fileURLToPath(new URL(`../${folder}`, import.meta.url));

/**
 * Serves a page at `/`: its modules and those that pages share below `/page/`, the clients below `/client/`.
 * @param name the folder of the page
 * @param others what its modules need beside those: folders, by where they are served
 */
export async function addPages(
  server: FastifyInstance,
  name: string,
  others: Readonly<Record<string, string>>,
): Promise<void> {
  // Asked again each time, and answered by 304 while they are the same.
  const common = { cacheControl: true, maxAge: 0, index: false, redirect: false, dotfiles: 'deny' } as const;
  const pages = built('page');
  await server.register(fastifyStatic, { ...common, root: path.join(pages, name), prefix: `/page/${name}/` });
  const more = { '/page/shared/': path.join(pages, 'shared'), '/client/': built('client'), ...others };
  for (const [prefix, root] of Object.entries(more)) {
    await server.register(fastifyStatic, { ...common, root, prefix, decorateReply: false });
  }
  server.get('/', { schema: { hide: true } }, async (_request, reply) =>
    reply.sendFile('index.html', path.join(pages, name), { maxAge: 0 }),
  );
}
