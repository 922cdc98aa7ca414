/** How commands get to Roulette: addresses, tenant, token, TLS. */
import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';
import { DEFAULT_PORT } from '../../chain/roulette/remote/api.ts';
import { unreachable, whyNot } from '../../chain/roulette/remote/errors.ts';
import { checkAddress } from '../../chain/roulette/remote/live-connection.ts';
import { LiveHttp } from '../../chain/roulette/remote/live-http.ts';
import { ControlError } from '../../control/client/error.ts';
import type { SocketClass } from '../../control/client/live-socket.ts';
import { RouletteClient } from '../../control/client/roulette.ts';
import { checkToken } from '../../control/http/token.ts';
import { SECOND } from '../../engine/units.ts';
import { type ErrorCode, TunconnectorError } from '../../errors.ts';
import { usageError } from '../exit.ts';

export interface ConnectFlags {
  roulette?: string;
  tenant?: string;
  tokenFile?: string;
  ca?: string;
}

export interface Connected {
  /** Of the tenant that is meant. @throws ERR_USAGE when that is not known */
  client(): Promise<RouletteClient>;
  /** For what is not of a tenant. */
  anybody: RouletteClient;
  close(): void;
}

/** ns for an answer. */
const PATIENCE = 5 * SECOND;

/** @throws ERR_USAGE, ERR_ADDRESS, ERR_CONFIG */
export function connect(flags: ConnectFlags): Connected {
  const text = flags.roulette ?? (process.env.TUNCONNECTOR_ROULETTE || `http://127.0.0.1:${DEFAULT_PORT}`);
  const urls = text.split(',').map((each) => checkAddress(each.trim()));
  const ca = flags.ca === undefined ? undefined : read('--ca', flags.ca);
  const token = givenToken(flags.tokenFile);
  const tenant = flags.tenant === undefined ? undefined : tenantOf(flags.tenant);
  const servers = urls.map((url) => new LiveHttp(url, ca === undefined ? {} : { ca }));
  const make = (tenant: number) =>
    new RouletteClient({
      url: urls[0]!,
      tenant,
      ...(token !== undefined && { token }),
      fetch: fetchOf(servers),
      WebSocket: socketOf(urls, servers, ca),
    });
  return {
    anybody: make(0),
    async client() {
      if (tenant !== undefined) return make(tenant);
      const { tenants } = await make(0).tenants();
      const [only, another] = tenants;
      if (only && !another) return make(only.tenant);
      const found = tenants.map((each) => each.tenant).join(', ');
      throw usageError(only ? `there are the tenants ${found}` : 'there is no tenant yet', 'give --tenant N');
    },
    close: () => {
      for (const server of servers) server.close();
    },
  };
}

/** `fetch` over the first server that answers, with its authority. */
const fetchOf = (servers: LiveHttp[]) =>
  (async (url: string, { method = 'GET', headers = {}, body }: RequestInit = {}) => {
    const { pathname, search } = new URL(url);
    const tried = new Map<string, string>();
    for (const server of [...servers]) {
      const answer = await new Promise<{ status: number; text: string } | undefined>((resolve) =>
        server.ask(
          {
            method,
            path: pathname + search,
            timeout: PATIENCE,
            headers: headers as Record<string, string>,
            ...(body !== undefined && { body: String(body) }),
          },
          (error, answer) => {
            if (error) tried.set(server.url.origin, whyNot(error));
            resolve(answer);
          },
        ),
      );
      if (answer) {
        // The one that answered is asked first from now on.
        servers.splice(servers.indexOf(server), 1);
        servers.unshift(server);
        return new Response(answer.text, { status: answer.status });
      }
    }
    throw unreachable('Roulette', tried);
  }) as typeof fetch;

/** WebSockets to the server that answered last. */
function socketOf(
  urls: readonly string[],
  servers: readonly LiveHttp[],
  ca: string | undefined,
): SocketClass {
  return class extends WebSocket {
    constructor(url: string, protocols: string[]) {
      const to = url.replace(urls[0]!.replace(/^http/, 'ws'), servers[0]!.url.origin.replace(/^http/, 'ws'));
      super(to, protocols, ca === undefined ? {} : { ca });
    }
  } as unknown as SocketClass;
}

/** What Roulette answered, as an error of the command. */
export function asError(error: unknown): unknown {
  if (!(error instanceof ControlError)) return error;
  const { code, message, remedy } = error;
  const tail = `; ${remedy}`;
  const plain = remedy !== undefined && message.endsWith(tail) ? message.slice(0, -tail.length) : message;
  return new TunconnectorError(code as ErrorCode, plain, remedy === undefined ? {} : { remedy });
}

function tenantOf(text: string): number {
  if (/^\d{1,8}$/.test(text) && Number(text) <= 0xffffff) return Number(text);
  throw usageError(`--tenant: found "${text}", expected a number from 0 to 16777215`);
}

function givenToken(file: string | undefined): string | undefined {
  if (file !== undefined) return checkToken(read('--token-file', file), file);
  const text = process.env.TUNCONNECTOR_TOKEN;
  return text === undefined || text === '' ? undefined : checkToken(text, 'TUNCONNECTOR_TOKEN');
}

function read(option: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`${option}: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`);
  }
}
