/** Serves Roulette: requests, reading, the watch, metrics and the API's description, at one address. */
import type { Roulette } from '../../chain/roulette/roulette.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { type ListenAddress, urlOf } from '../http/address.ts';
import { listen, makeServer } from '../http/server.ts';
import type { Tokens } from '../http/token.ts';
import { Metrics } from './metrics.ts';
import { addRoulettePage, OPEN_PAGES } from './pages.ts';
import { addRoutes } from './routes.ts';
import { type WatcherLimits, Watchers } from './watchers.ts';

const DESCRIPTION = `The registry of service chains. Each value knows the revision that wrote it; with \`ifRev\` a write is done only if the
value still has it, 0 for one that is to be new. Times are ns, or text such as 2s.`;

/** A classifier has at most 512 KiB. */
const BODY = 1 << 20;
/** One for the watch of each member, some for what they ask. */
const CONNECTIONS = 16_384;

export interface ServeRouletteOptions {
  address: ListenAddress;
  /** None: for loopback alone. */
  tokens?: Tokens;
  /** PEM. */
  tls?: { cert: string; key: string };
  /** Of this software. */
  version: string;
  watchers?: Partial<WatcherLimits>;
  /** Hears of faults of ours. */
  unexpected?: (error: Error) => void;
}

export interface ServedRoulette {
  /** Where it listens: the port that was chosen for 0, too. */
  readonly address: ListenAddress;
  readonly url: string;
  /** Ends watches and requests. The Roulette goes on. */
  close(): Promise<void>;
}

/** Everything but listening, which tests have no need of. */
export async function makeRouletteServer(
  roulette: Roulette,
  runtime: Pick<Runtime, 'now' | 'timer'>,
  options: Omit<ServeRouletteOptions, 'address'>,
) {
  const { tokens, tls, version, unexpected = () => {} } = options;
  const server = await makeServer({
    title: 'Roulette',
    description: DESCRIPTION,
    version,
    unexpected,
    open: OPEN_PAGES,
    most: { body: BODY, connections: CONNECTIONS },
    ...(tokens && { token: tokens }),
    ...(tls && { tls }),
  });
  const watchers = new Watchers(roulette, runtime, options.watchers);
  addRoutes(server, { roulette, watchers, metrics: new Metrics(roulette, watchers) });
  await addRoulettePage(server);
  await server.ready();
  return { server, watchers };
}

/**
 * @throws ERR_PORT_IN_USE, ERR_SOCKET, ERR_RESOLVE, ERR_PERMISSION; ERR_CONFIG for others than loopback without a token, and for
 *   a certificate or key that is none
 */
export async function serveRoulette(
  roulette: Roulette,
  runtime: Pick<Runtime, 'now' | 'timer'>,
  options: ServeRouletteOptions,
): Promise<ServedRoulette> {
  const { server, watchers } = await makeRouletteServer(roulette, runtime, options);
  const close = async () => {
    watchers.close();
    await server.close();
  };
  try {
    const address = await listen(server, options.address, options.tokens);
    return { address, url: urlOf(address, options.tls ? 'https' : 'http'), close };
  } catch (error) {
    await close();
    throw error;
  }
}
