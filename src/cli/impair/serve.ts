/** `--serve [ADDRESS]`: an impaired link that is watched and changed over HTTP while it runs. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { type Command, Option } from 'commander';
import { DEFAULT_PORT } from '../../control/client/paths.ts';
import { isLoopback, type ListenAddress, parseListenAddress, urlOf } from '../../control/http/address.ts';
import { checkToken, drawToken } from '../../control/http/token.ts';
import type { ImpairedLink } from '../../control/impair/link.ts';
import type { ServedLink } from '../../control/impair/serve.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { isIp, isUnspecified, parseIp } from '../../packet/address.ts';
import { usageError } from '../exit.ts';

export interface ServeFlags {
  serve?: string | true;
  tokenFile?: string;
}

export interface Serving {
  address: ListenAddress;
  token: string | undefined;
  /** It was drawn, and nobody knows it yet. */
  drawn: boolean;
}

const TOKEN_VARIABLE = 'TUNCONNECTOR_TOKEN';

export function addServeFlags(command: Command): void {
  command
    .addOption(
      new Option(
        '--serve [address]',
        `a web page and an API to watch and change the link (127.0.0.1:${DEFAULT_PORT})`,
      ).helpGroup('Control:'),
    )
    .addOption(
      new Option(
        '--token-file <file>',
        `the secret that who asks has to show; ${TOKEN_VARIABLE} in the environment does as well`,
      ).helpGroup('Control:'),
    );
}

/** What the options ask for; undefined without `--serve`. @throws ERR_USAGE, ERR_ADDRESS, ERR_CONFIG */
export function servingOf({ serve, tokenFile }: ServeFlags): Serving | undefined {
  if (serve === undefined) {
    if (tokenFile !== undefined) throw usageError('--token-file has no effect without --serve');
    return undefined;
  }
  const address = parseListenAddress(serve === true ? '' : serve, DEFAULT_PORT);
  const given = givenToken(tokenFile);
  const drawn = given === undefined && !isLoopback(address.host);
  return { address, token: drawn ? drawToken(liveRuntime()) : given, drawn };
}

function givenToken(file: string | undefined): string | undefined {
  if (file !== undefined) return checkToken(readToken(file), file);
  const text = process.env[TOKEN_VARIABLE];
  return text === undefined || text === '' ? undefined : checkToken(text, TOKEN_VARIABLE);
}

function readToken(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`--token-file: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`);
  }
}

export async function serve(
  link: ImpairedLink,
  { address, token }: Serving,
  version: string,
  unexpected: (error: Error) => void,
): Promise<ServedLink> {
  // An HTTP server takes longer to load than all the rest, which most runs have no need of.
  const { serveLink } = await import('../../control/impair/serve.ts');
  return serveLink(link, liveRuntime(), {
    address,
    version,
    unexpected,
    ...(token === undefined ? {} : { token }),
  });
}

/** What a person opens: with the token, where it was drawn and is told this once. */
export function addressToOpen({ host, port }: ListenAddress, { token, drawn }: Serving): string {
  const anywhere = isIp(host) && isUnspecified(parseIp(host));
  const url = urlOf({ host: anywhere ? hostname() : host, port });
  return drawn ? `${url}/?token=${token}` : url;
}
