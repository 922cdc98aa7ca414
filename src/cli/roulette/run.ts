/** Runs Roulette from its options to its end. */
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { writtenMatchSchema } from '../../chain/classifier/match.ts';
import { chooser } from '../../chain/placement.ts';
import { Prober } from '../../chain/roulette/prober.ts';
import { DEFAULT_PORT } from '../../chain/roulette/remote/api.ts';
import { Roulette } from '../../chain/roulette/roulette.ts';
import type { LogRecord } from '../../chain/roulette/upkeep.ts';
import { isLoopback, type ListenAddress, parseListenAddress } from '../../control/http/address.ts';
import type { Tokens } from '../../control/http/token.ts';
import { type ServedRoulette, serveRoulette } from '../../control/roulette/serve.ts';
import { LiveRuntime } from '../../engine/live-runtime.ts';
import { TunconnectorError } from '../../errors.ts';
import { Exit, usageError } from '../exit.ts';
import { untilEnd } from '../until-end.ts';
import { packageVersion } from '../version.ts';
import { applyDeclared, type Declared, readDeclared, seedOf } from './declared.ts';
import type { Options } from './roulette.ts';
import { openStore, type StorePlace, storeOf } from './store.ts';
import { readTokens } from './tokens.ts';

/** @param declared `tenants` of the file, with its place @returns the exit code */
export async function runRoulette(
  options: Options,
  declared: { value: unknown; place: string } | undefined,
): Promise<number> {
  const seeds = (options.tenant ?? []).map(seedOf);
  const tenants = [...seeds, ...(declared ? readDeclared(declared.value, declared.place) : [])];
  const address = parseListenAddress(options.listen, DEFAULT_PORT);
  const tokens = options.tokens === undefined ? undefined : readTokens(options.tokens);
  const tls = tlsOf(options);
  if (!tokens && !isLoopback(address.host))
    throw usageError(
      `--listen: others can ask at ${address.host}, and there are no tokens`,
      'give --tokens FILE',
    );
  const { etcdCa, etcdCert, etcdKey } = options;
  const place = storeOf(options.store, {
    ...(etcdCa !== undefined && { ca: readOf('--etcd-ca', etcdCa) }),
    ...(etcdCert !== undefined && { cert: readOf('--etcd-cert', etcdCert) }),
    ...(etcdKey !== undefined && { key: readOf('--etcd-key', etcdKey) }),
  });
  return new RouletteRun(options, address, tokens, tls, place).run(tenants);
}

/** @throws ERR_USAGE */
function readOf(option: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`${option}: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`);
  }
}

/** @throws ERR_USAGE, ERR_CONFIG */
function tlsOf({ tlsCert, tlsKey }: Options): { cert: string; key: string } | undefined {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined)
    throw usageError('--tls-cert and --tls-key belong together', 'give both');
  const pair = { cert: readOf('--tls-cert', tlsCert), key: readOf('--tls-key', tlsKey) };
  try {
    createSecureContext(pair);
  } catch (error) {
    throw new TunconnectorError('ERR_CONFIG', `${tlsCert} and ${tlsKey} are no certificate and its key`, {
      cause: error,
      remedy: 'give them as PEM, the key of this certificate and without a password',
    });
  }
  return pair;
}

class RouletteRun {
  readonly #options: Options;
  readonly #address: ListenAddress;
  readonly #tokens: Tokens | undefined;
  readonly #tls: { cert: string; key: string } | undefined;
  readonly #place: StorePlace;

  constructor(
    options: Options,
    address: ListenAddress,
    tokens: Tokens | undefined,
    tls: { cert: string; key: string } | undefined,
    place: StorePlace,
  ) {
    this.#options = options;
    this.#address = address;
    this.#tokens = tokens;
    this.#tls = tls;
    this.#place = place;
  }

  async run(declared: readonly Declared[]): Promise<number> {
    const end = untilEnd(['SIGINT', 'SIGTERM', 'SIGHUP']);
    const runtime = new LiveRuntime('folder' in this.#place ? { storage: this.#place.folder } : {});
    const prober = new Prober(runtime);
    let roulette: Roulette | undefined;
    let served: ServedRoulette | undefined;
    const opened = await openStore(runtime, this.#place).catch((error: unknown) => {
      end.forget();
      throw error;
    });
    try {
      roulette = new Roulette(runtime, opened.store, {
        choose: chooser(),
        probe: prober.probe,
        match: writtenMatchSchema,
        log: (record) => this.#log(record),
      });
      await Promise.race([ready(roulette), end.promise]);
      if (roulette.isReady) {
        await applyDeclared(roulette, declared, (text) => this.#note(text));
        served = await this.#serve(roulette, runtime, end.fail);
        this.#up(roulette, served);
        await end.promise;
      }
      return Exit.ok;
    } finally {
      end.forget();
      await served?.close();
      roulette?.close();
      prober.close();
      await opened.close();
    }
  }

  #serve(
    roulette: Roulette,
    runtime: LiveRuntime,
    unexpected: (error: unknown) => void,
  ): Promise<ServedRoulette> {
    return serveRoulette(roulette, runtime, {
      address: this.#address,
      version: packageVersion(),
      unexpected,
      ...(this.#tokens && { tokens: this.#tokens }),
      ...(this.#tls && { tls: this.#tls }),
    });
  }

  #up(roulette: Roulette, { url, address }: ServedRoulette): void {
    const place = this.#place;
    const store =
      'folder' in place ? place.folder : `etcd${place.secure ? 's' : ''}://${place.endpoints.join(',')}`;
    const tenants = roulette.tenants();
    this.#write({ event: 'up', url, store, revision: roulette.rev, tenants }, () => {
      const what = tenants.length === 1 ? `tenant ${tenants[0]}` : `${tenants.length} tenants`;
      return `roulette: ${url}, ${what}, registry in ${store}`;
    });
    if (!this.#tls && !isLoopback(address.host))
      this.#note(
        'what is asked and the tokens cross the network in the clear; --tls-cert and --tls-key encrypt',
      );
  }

  #log(record: LogRecord): void {
    const { event, tenant, ...rest } = record;
    if (event === 'flows-expired' && !this.#options.verbose && !this.#options.json) return;
    this.#write(record, () => {
      const details = Object.entries(rest).map(([key, value]) =>
        key === 'late' ? `${key} ${Math.round(Number(value) / 1e6)} ms` : `${key} ${value}`,
      );
      const whose = tenant === undefined ? '' : `tenant ${tenant}: `;
      return `roulette: ${whose}${[event.replaceAll('-', ' '), ...details].join(', ')}`;
    });
  }

  #write(record: object, text: () => string): void {
    process.stdout.write(`${this.#options.json ? JSON.stringify(record) : text()}\n`);
  }

  #note(text: string): void {
    process.stderr.write(`tunconnector: ${text}\n`);
  }
}

async function ready(roulette: Roulette): Promise<void> {
  while (!roulette.isReady) await new Promise((resolve) => setTimeout(resolve, 5));
}
