/**
 * Roulette over the network: requests over HTTP, the watch over a WebSocket. Of several addresses the one that answered last is asked;
 * when it does not answer, the next. What cannot be answered anywhere is tried again for a while, then it is an error.
 */
import { checkOptions } from '../../../engine/options.ts';
import type { RandomStream } from '../../../engine/random.ts';
import type { Runtime } from '../../../engine/runtime.ts';
import { SECOND } from '../../../engine/units.ts';
import { TunconnectorError } from '../../../errors.ts';
import { tenantId } from '../model/schema.ts';
import type { WatchRequest } from '../watch/messages.ts';
import { API, httpOf } from './api.ts';
import { backoff } from './backoff.ts';
import type { RegistryConnection, WatchHandlers } from './connection.ts';
import { errorOfAnswer, jsonOf, unreachable, whyNot } from './errors.ts';
import { type HttpAnswer, LiveHttp } from './live-http.ts';
import { LiveWatch } from './live-watch.ts';

export interface RemoteOptions {
  /** `http://HOST:PORT` or `https://HOST:PORT`, one or more. */
  addresses: readonly string[];
  tenant: number;
  token?: string;
  /** PEM of the authority that signed Roulette's certificate, in place of the system's. */
  ca?: string;
  /** ns after which a request that nobody answers is an error. Default 10 s. */
  patience?: number;
}

/** ns that one address has for an answer, and for a connection. */
const ATTEMPT = 3 * SECOND;
/** Requests that may wait for answers. */
const WAITING = 1024;
const CONNECTIONS = 16;
/** What has not reached anybody may be sent again, whatever it is. */
const NEVER_SENT = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH', 'EPROTO'];
/** Errors after which another Roulette, or the same one later, may know better. */
const ELSEWHERE: readonly string[] = ['ERR_BUSY', 'ERR_CLOSED', 'ERR_UNREACHABLE'];

type Done = (error: TunconnectorError | undefined, answer?: unknown) => void;

/** @throws ERR_ADDRESS, ERR_CONFIG */
export function connectRegistry(
  runtime: Pick<Runtime, 'now' | 'timer' | 'random'>,
  options: RemoteOptions,
): RemoteRegistry {
  return new RemoteRegistry(runtime, options);
}

export class RemoteRegistry implements RegistryConnection {
  readonly #runtime: Pick<Runtime, 'now' | 'timer'>;
  readonly #random: RandomStream;
  readonly #tenant: number;
  readonly #patience: number;
  readonly #options: RemoteOptions;
  readonly #servers: LiveHttp[];
  /** Of the addresses, the one to ask. */
  #current = 0;
  /** Watches that failed or ended, since one worked. */
  #failedWatches = 0;
  #closed = false;
  /** How to give up what is under way. */
  readonly #pending = new Set<() => void>();

  constructor(runtime: Pick<Runtime, 'now' | 'timer' | 'random'>, options: RemoteOptions) {
    this.#runtime = runtime;
    this.#random = runtime.random('roulette connection');
    this.#options = options;
    this.#tenant = checkOptions(tenantId, options.tenant);
    this.#patience = options.patience ?? 10 * SECOND;
    if (options.addresses.length === 0) throw new TunconnectorError('ERR_CONFIG', 'there is no address');
    const { token, ca } = options;
    this.#servers = options.addresses.map((address) => {
      const headers = token !== undefined && { headers: { authorization: `Bearer ${token}` } };
      return new LiveHttp(checkAddress(address), { ...headers, connections: CONNECTIONS, ...(ca && { ca }) });
    });
  }

  request(name: string, body: unknown, done: Done): void {
    const asked = httpOf(this.#tenant, name, (body ?? {}) as object);
    const refusal = this.#closed ? closed() : asked ? this.#tooMany() : unknown(name);
    if (!asked || refusal) {
      this.#runtime.timer(this.#runtime.now(), () => done(refusal));
      return;
    }
    // Twice, it would be two replicas.
    const repeatable = !(name === 'replica.put' && asked.method === 'POST');
    new Request(this.#context(), asked, repeatable, done).start();
  }

  #tooMany(): TunconnectorError | undefined {
    if (this.#pending.size < WAITING) return undefined;
    const message = `${WAITING} requests wait for Roulette's answer already`;
    return new TunconnectorError('ERR_BUSY', message, { remedy: 'ask again later' });
  }

  watch(hello: WatchRequest, handlers: WatchHandlers): () => void {
    let watch: LiveWatch | undefined;
    let over = false;
    const tried = new Map<string, string>();
    const end = () => {
      over = true;
      cancel();
      watch?.end();
      this.#pending.delete(end);
    };
    const finish = (error: TunconnectorError | undefined) => {
      if (over) return;
      end();
      this.#failedWatches++;
      handlers.onClose(error);
    };
    const attempt = () => {
      const server = this.#servers[this.#current];
      watch = new LiveWatch(server.url, this.#tenant, this.#options, hello, {
        onMessage: (message) => {
          if (over) return;
          this.#failedWatches = 0;
          handlers.onMessage(message);
        },
        onEnd: ({ error, why, opened }) => {
          if (over) return;
          this.#next(server);
          tried.set(server.url.origin, why);
          if (error || opened) finish(error);
          else if (tried.size === this.#servers.length) finish(unreachable('Roulette', tried));
          else attempt();
        },
      });
    };
    const wait = this.#closed ? 0 : backoff(this.#failedWatches, this.#random);
    const begin = () => (this.#closed ? finish(closed()) : attempt());
    const cancel = this.#runtime.timer(this.#runtime.now() + wait, begin);
    this.#pending.add(end);
    return () => {
      // Whoever ends it and comes again has a reason to try another one.
      if (!over) this.#next(this.#servers[this.#current]);
      end();
    };
  }

  /** Ends watches and requests; nothing is called back any more. */
  close(): void {
    this.#closed = true;
    for (const giveUp of [...this.#pending]) giveUp();
    for (const server of this.#servers) server.close();
  }

  /** Unless somebody has moved on from it already. */
  #next(from: LiveHttp): void {
    if (this.#servers[this.#current] === from) this.#current = (this.#current + 1) % this.#servers.length;
  }

  #context(): RequestContext {
    return {
      runtime: this.#runtime,
      random: this.#random,
      deadline: this.#runtime.now() + this.#patience,
      servers: this.#servers.length,
      server: () => this.#servers[this.#current],
      next: (from) => this.#next(from),
      pending: this.#pending,
    };
  }
}

interface RequestContext {
  runtime: Pick<Runtime, 'now' | 'timer'>;
  random: RandomStream;
  deadline: number;
  /** How many there are. */
  servers: number;
  server: () => LiveHttp;
  next: (from: LiveHttp) => void;
  pending: Set<() => void>;
}

class Request {
  readonly #context: RequestContext;
  readonly #asked: { method: string; path: string; body?: string };
  readonly #repeatable: boolean;
  readonly #done: Done;
  /** By address, why there was no answer. */
  readonly #tried = new Map<string, string>();
  #attempts = 0;
  /** What a Roulette said that cannot answer now. */
  #busy: TunconnectorError | undefined;
  #cancel = () => {};
  readonly #giveUp = () => {
    this.#cancel();
    this.#context.pending.delete(this.#giveUp);
  };

  constructor(
    context: RequestContext,
    asked: { method: string; path: string; body?: string },
    repeatable: boolean,
    done: Done,
  ) {
    this.#context = context;
    this.#asked = asked;
    this.#repeatable = repeatable;
    this.#done = done;
  }

  start(): void {
    this.#context.pending.add(this.#giveUp);
    this.#attempt();
  }

  #attempt(): void {
    const server = this.#context.server();
    const left = this.#context.deadline - this.#context.runtime.now();
    const timeout = Math.max(1, Math.min(ATTEMPT, left));
    this.#attempts++;
    this.#cancel = server.ask({ ...this.#asked, timeout }, (error, answer) => {
      if (error) this.#failed(server, error);
      else this.#answered(server, answer!);
    });
  }

  #answered(server: LiveHttp, { status, text }: HttpAnswer): void {
    const error = status >= 200 && status < 300 ? undefined : errorOfAnswer(status, text, server.url.origin);
    if (!error || !ELSEWHERE.includes(error.code)) {
      this.#finish(error, error ? undefined : jsonOf(text));
      return;
    }
    if (error.code !== 'ERR_UNREACHABLE') this.#busy = error;
    this.#tried.set(server.url.origin, error.message);
    this.#again(server);
  }

  #failed(server: LiveHttp, error: Error): void {
    this.#tried.set(server.url.origin, whyNot(error));
    const code = String((error as NodeJS.ErrnoException).code);
    if (this.#repeatable || NEVER_SENT.includes(code)) this.#again(server);
    else this.#finish(this.#verdict());
  }

  #again(server: LiveHttp): void {
    const { runtime, random, servers, deadline, next } = this.#context;
    next(server);
    const rounds = Math.floor(this.#attempts / servers);
    const wait = this.#attempts % servers === 0 ? backoff(rounds, random) : 0;
    if (runtime.now() + wait >= deadline) this.#finish(this.#verdict());
    else this.#cancel = runtime.timer(runtime.now() + wait, () => this.#attempt());
  }

  #verdict(): TunconnectorError {
    return this.#busy ?? unreachable('Roulette', this.#tried);
  }

  #finish(error: TunconnectorError | undefined, answer?: unknown): void {
    this.#context.pending.delete(this.#giveUp);
    this.#done(error, answer);
  }
}

const closed = () => new TunconnectorError('ERR_CLOSED', 'this connection to Roulette is closed');

const unknown = (name: string) =>
  new TunconnectorError('ERR_NOT_FOUND', `there is no request ${JSON.stringify(name)} with these fields`);

/** @throws ERR_ADDRESS */
export function checkAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const plain = url && ['', '/', API].includes(url.pathname) && url.search === '' && url.username === '';
  if (url && plain && /^https?:$/.test(url.protocol)) return url.origin;
  throw new TunconnectorError('ERR_ADDRESS', `found ${JSON.stringify(text)}, expected where Roulette is`, {
    remedy: 'give http://HOST:PORT or https://HOST:PORT',
  });
}
