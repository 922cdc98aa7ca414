/** Serves an impaired link: API, stream, metrics and page, at one address. */
import type { Runtime } from '../../engine/runtime.ts';
import { type ListenAddress, urlOf } from '../http/address.ts';
import { listen, makeServer } from '../http/server.ts';
import type { ImpairedLink } from './link.ts';
import { Metrics } from './metrics.ts';
import { addLinkPage } from './pages.ts';
import { addRoutes } from './routes.ts';
import { Streams } from './stream.ts';

const DESCRIPTION = `What an impaired link does, and what it shall do. Times are ns on the link's clock, rates bit/s, lengths bytes,
packets wire packets; \`up\` is from the first interface to the second.`;

export interface ServeOptions {
  address: ListenAddress;
  token?: string;
  /** Of this software. */
  version: string;
  /** Hears of faults of ours. */
  unexpected?: (error: Error) => void;
}

export interface ServedLink {
  /** Where it listens: the port that was chosen for 0, too. */
  readonly address: ListenAddress;
  readonly url: string;
  /** Ends streams and requests, at once. */
  close(): Promise<void>;
}

/** Everything but listening, which tests have no need of. */
export async function makeLinkServer(
  link: ImpairedLink,
  runtime: Runtime,
  { token, version, unexpected = () => {} }: Omit<ServeOptions, 'address'>,
) {
  const server = await makeServer({
    title: 'An impaired link',
    description: DESCRIPTION,
    version,
    unexpected,
    ...(token === undefined ? {} : { token }),
  });
  const streams = new Streams(link, runtime);
  addRoutes(server, { link, streams, metrics: new Metrics(link, streams) });
  await addLinkPage(server);
  await server.ready();
  return { server, streams };
}

/** @throws ERR_PORT_IN_USE, ERR_SOCKET, ERR_RESOLVE, ERR_PERMISSION; ERR_CONFIG for others than loopback without a token */
export async function serveLink(
  link: ImpairedLink,
  runtime: Runtime,
  options: ServeOptions,
): Promise<ServedLink> {
  const { server, streams } = await makeLinkServer(link, runtime, options);
  const close = async () => {
    streams.close();
    await server.close();
  };
  try {
    const address = await listen(server, options.address, options.token);
    return { address, url: urlOf(address), close };
  } catch (error) {
    await close();
    throw error;
  }
}
