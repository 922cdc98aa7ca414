/**
 * An HTTP server for control: Fastify with limits, the guard, errors as documents, schemas, WebSockets and headers that keep
 * browsers honest. What it serves is registered by those who make one.
 */
import type { AddressInfo } from 'node:net';
import fastifyWebsocket from '@fastify/websocket';
import { type FastifyInstance, fastify } from 'fastify';
import { TunconnectorError } from '../../errors.ts';
import { isLoopback, type ListenAddress, urlOf } from './address.ts';
import { answerErrors } from './errors.ts';
import { chooseProtocol, guard } from './guard.ts';
import { type ApiDescription, useSchemas } from './schema.ts';
import { Tokens } from './token.ts';

/** Of a body: a spec of thousands of rules, or with the text of a trace. */
const BODY = 8 << 20;
/** A request takes no longer than this, nor does a connection stay idle that long: ms. */
const REQUEST = 20_000;
const IDLE = 10_000;
const CONNECTIONS = 256;

/** Scripts and styles are files of ours, and nobody frames us. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
} as const;

export interface ServerOptions extends ApiDescription {
  /** What who asks has to show; nothing when left out, which is for loopback alone. */
  token?: string | Tokens;
  /** What is asked for without a token all the same: paths, and folders with a slash at their end. */
  open?: readonly string[];
  /** Speaks TLS: PEM. */
  tls?: { cert: string; key: string };
  /** Bytes of a body, default 8 MiB, and connections at a time, default 256. */
  most?: { body?: number; connections?: number };
  /** Hears of what is a fault of ours. */
  unexpected: (error: Error) => void;
}

export async function makeServer(options: ServerOptions): Promise<FastifyInstance> {
  const { token, tls, most } = options;
  const server = fastify({
    ...(tls && { https: tls }),
    bodyLimit: most?.body ?? BODY,
    requestTimeout: REQUEST,
    keepAliveTimeout: IDLE,
    connectionTimeout: REQUEST,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 64 },
  }) as FastifyInstance;
  // What any page may send to any site without asking.
  server.removeContentTypeParser('text/plain');
  server.server.maxConnections = most?.connections ?? CONNECTIONS;
  answerErrors(server, options.unexpected);
  await server.register(fastifyWebsocket, {
    options: { maxPayload: 1024, perMessageDeflate: false, handleProtocols: chooseProtocol },
    // Who does not say goodbye must not hold up the end.
    preClose: (done) => {
      const { websocketServer } = server;
      for (const client of websocketServer.clients) client.terminate();
      websocketServer.close(() => done());
    },
  });
  guard(server, typeof token === 'string' ? new Tokens([[token, 'all']]) : token, options.open);
  server.addHook('onSend', async (_request, reply) => {
    reply.headers(HEADERS);
    if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store');
  });
  await useSchemas(server, options);
  return server;
}

/**
 * @returns where it listens, the port that was chosen for 0 too
 * @throws ERR_PORT_IN_USE, ERR_SOCKET for an address that is not this machine's, ERR_RESOLVE, ERR_PERMISSION for a port below 1024;
 *   ERR_CONFIG without a token where others than this machine could ask
 */
export async function listen(
  server: FastifyInstance,
  { host, port }: ListenAddress,
  token: string | Tokens | undefined,
): Promise<ListenAddress> {
  if (token === undefined && !isLoopback(host))
    throw new TunconnectorError('ERR_CONFIG', `${host} can be reached from elsewhere, and there is no token`);
  try {
    await server.listen({ host, port });
  } catch (error) {
    throw listenError(error as NodeJS.ErrnoException, { host, port });
  }
  return { host, port: (server.server.address() as AddressInfo).port };
}

function listenError(cause: NodeJS.ErrnoException, address: ListenAddress): Error {
  const where = urlOf(address).slice('http://'.length);
  const details = { cause, syscall: cause.syscall, errno: cause.code };
  switch (cause.code) {
    case 'EADDRINUSE':
      return new TunconnectorError('ERR_PORT_IN_USE', `another program listens on ${where}`, {
        ...details,
        remedy: 'choose another port; 0 takes one that is free',
      });
    case 'EADDRNOTAVAIL':
      return new TunconnectorError('ERR_SOCKET', `${address.host} is no address of this machine`, {
        ...details,
        remedy: 'choose one that "ip address" shows',
      });
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new TunconnectorError('ERR_RESOLVE', `the name ${address.host} does not resolve`, details);
    case 'EACCES':
      return new TunconnectorError('ERR_PERMISSION', `no permission to listen on ${where}`, {
        ...details,
        remedy: 'choose a port above 1023',
      });
    default:
      return new TunconnectorError('ERR_SOCKET', `listening on ${where} failed: ${cause.code}`, details);
  }
}
