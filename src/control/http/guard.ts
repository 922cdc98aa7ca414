/**
 * Who may ask, before anything else is done with a request:
 *
 *   1. without a token, the host that is asked for must be an address or localhost: a name that an attacker made point
 *      here (DNS rebinding) makes their page one of ours to a browser, and names nothing else;
 *   2. what changes something, and what opens a stream, must not come from another site's page (Origin);
 *   3. with a token, who asks shows it: as a bearer, as a cookie, or as a subprotocol of a WebSocket. A browser gets the
 *      cookie by opening `/?token=...` once.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { TunconnectorError } from '../../errors.ts';
import { isIp } from '../../packet/address.ts';
import { PROTOCOL, paths, TOKEN_PROTOCOL } from '../client/paths.ts';
import { type Grant, NOTHING, type Tokens } from './token.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** What who asks may: everything where there are no tokens. */
    grant: Grant;
  }
}

/** Nothing to be learnt, and asked by what has no token. */
const OPEN: readonly string[] = [paths.health];

/** @param open what else is asked for without a token, by GET: `/` alone, and all below what ends with a slash */
export function guard(
  server: FastifyInstance,
  tokens: Tokens | undefined,
  open: readonly string[] = [],
): void {
  const isOpen = (request: FastifyRequest) => {
    const at = pathOf(request);
    if (OPEN.includes(at)) return true;
    return request.method === 'GET' && open.some((each) => (each === '/' ? at === '/' : at.startsWith(each)));
  };
  server.decorateRequest('grant', 'all');
  server.addHook('onRequest', async (request, reply) => {
    if (tokens === undefined) checkHost(request);
    checkOrigin(request);
    if (tokens === undefined) return;
    const given = tokenOf(request);
    const grant = given === undefined ? undefined : tokens.grantOf(given);
    if (grant !== undefined) {
      request.grant = grant;
      if (pathOf(request) === '/' && queryToken(request) !== undefined) await welcome(request, reply, given!);
      return;
    }
    if (isOpen(request)) {
      request.grant = NOTHING;
      return;
    }
    reply.header('www-authenticate', 'Bearer');
    throw new TunconnectorError(
      'ERR_TOKEN',
      given === undefined ? 'there is no token' : 'the token is wrong',
      {
        remedy: 'send "Authorization: Bearer TOKEN", or open the address with /?token=TOKEN in a browser',
      },
    );
  });
}

/** Of the subprotocols that a WebSocket offers: never the token, which would be sent back in the clear. */
export const chooseProtocol = (offered: ReadonlySet<string>): string | false =>
  offered.has(PROTOCOL) ? PROTOCOL : false;

const pathOf = ({ url }: FastifyRequest): string => url.split('?', 1)[0];

function checkHost({ headers, hostname }: FastifyRequest): void {
  const name = hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (headers.host !== undefined && (isIp(name) || name === 'localhost')) return;
  throw new TunconnectorError('ERR_HOST', `found the host ${JSON.stringify(headers.host ?? '')}`, {
    remedy: 'ask for an address or localhost, or use a token',
  });
}

function checkOrigin({ headers, method, ws }: FastifyRequest & { ws?: boolean }): void {
  const { origin, host } = headers;
  const harmless = (method === 'GET' || method === 'HEAD') && !ws;
  if (origin === undefined || harmless) return;
  if (URL.canParse(origin) && new URL(origin).host === host) return;
  throw new TunconnectorError('ERR_ORIGIN', `a page of ${JSON.stringify(origin)} has no business here`);
}

function tokenOf(request: FastifyRequest): string | undefined {
  const { authorization, cookie, 'sec-websocket-protocol': protocols } = request.headers;
  const bearer = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
  if (bearer !== undefined) return bearer;
  const offered = protocols?.split(',').map((each) => each.trim()) ?? [];
  const protocol = offered.find((each) => each.startsWith(TOKEN_PROTOCOL))?.slice(TOKEN_PROTOCOL.length);
  const name = `${cookieName(request)}=`;
  const kept = cookie?.split(/; */).find((each) => each.startsWith(name));
  return protocol ?? queryToken(request) ?? kept?.slice(name.length);
}

/** Only where a person may have opened it: elsewhere it would end in logs. */
function queryToken({ url }: FastifyRequest): string | undefined {
  if (!url.startsWith('/?')) return undefined;
  return new URLSearchParams(url.slice(2)).get('token') ?? undefined;
}

/** Cookies know no ports: two servers on one host have one each. */
const cookieName = ({ port }: FastifyRequest): string => `tunconnector-${port ?? 80}`;

/** The browser keeps the token, and the address bar and the history do not. */
async function welcome(request: FastifyRequest, reply: FastifyReply, token: string): Promise<void> {
  const secure = request.protocol === 'https' ? '; Secure' : '';
  const cookie = `${cookieName(request)}=${token}; Path=/; HttpOnly; SameSite=Strict${secure}`;
  await reply.header('set-cookie', cookie).redirect('/', 303);
}
