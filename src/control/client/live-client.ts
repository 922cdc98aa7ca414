/**
 * A client of a served impaired link (`tunconnector impair ... --serve`), for Node and browsers:
 *
 *     const link = new ImpairClient({ url: 'http://127.0.0.1:7580' });
 *     await link.patchRule('default', { up: 'delay 80ms' });
 *     for await (const message of link.stream()) if (message.type === 'stats') console.log(message.up.packetsOut);
 */
import type {
  Changed,
  ErrorDocument,
  FlowList,
  FlowQuery,
  KindList,
  PresetList,
  RuleDocument,
  RuleList,
  RulePatch,
  Spec,
  SpecDocument,
  Stats,
  StatsQuery,
  StreamMessage,
  StreamQuery,
} from '../impair/contract.ts';
import { ControlError } from './error.ts';
import { messagesOf, pause, type SocketClass, socketClass } from './live-socket.ts';
import { DEFAULT_PORT, PROTOCOL, paths, TOKEN_PROTOCOL } from './paths.ts';

/** From one attempt to connect to the next, ms: at first, and at most. */
const WAIT = 250;
const LONGEST_WAIT = 5000;

export interface ClientOptions {
  /** Where it is served. A page's own origin, and `http://127.0.0.1:7580` elsewhere, when left out. */
  url?: string | URL;
  /** A page that was opened with its token needs none: it has a cookie. */
  token?: string;
  /** In place of those of this environment. */
  fetch?: typeof fetch;
  WebSocket?: SocketClass;
}

export interface ChangeOptions {
  /** The revision that the change is meant to follow: 412 (`ERR_REVISION`) when there has been another one. */
  revision?: number;
}

export interface StreamOptions extends StreamQuery {
  /** Ends it. */
  signal?: AbortSignal;
  /** Connects again when the connection is lost; each time the first message is a `hello`. Default true. */
  reconnect?: boolean;
  /** Hears when the connection is there, and when it is lost. */
  onConnection?: (connected: boolean) => void;
}

export class ImpairClient {
  readonly #url: string;
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch;
  readonly #socketClass: SocketClass | undefined;

  constructor(options: ClientOptions = {}) {
    const { location } = globalThis as { location?: { origin: string } };
    const url = String(options.url ?? location?.origin ?? `http://127.0.0.1:${DEFAULT_PORT}`);
    this.#url = url.replace(/\/+$/, '');
    this.#token = options.token;
    this.#fetch = options.fetch ?? ((...request) => fetch(...request));
    this.#socketClass = options.WebSocket;
  }

  spec(): Promise<SpecDocument> {
    return this.#ask('GET', paths.spec);
  }

  /**
   * Puts another spec in place of all that there is.
   * @param spec text is YAML, or the stages of both directions
   * @throws ControlError with the path, what was found and what was expected; then nothing has changed
   */
  putSpec(spec: Spec | string, options: ChangeOptions = {}): Promise<SpecDocument> {
    const [type, body] =
      typeof spec === 'string' ? ['application/yaml', spec] : ['application/json', JSON.stringify(spec)];
    return this.#ask('PUT', paths.spec, { ...options, type, body });
  }

  /** The rules with text and presets taken apart into stages. */
  rules(): Promise<RuleList> {
    return this.#ask('GET', paths.rules);
  }

  /** Changes or makes one rule. `default` is what all packets pass that no rule is for. @throws as `putSpec` */
  patchRule(label: string, patch: RulePatch, options: ChangeOptions = {}): Promise<RuleDocument> {
    return this.#ask('PATCH', paths.rule(label), {
      ...options,
      type: 'application/json',
      body: JSON.stringify(patch),
    });
  }

  /** @throws ControlError, 404 when there is no such rule */
  deleteRule(label: string, options: ChangeOptions = {}): Promise<Changed> {
    return this.#ask('DELETE', paths.rule(label), options);
  }

  flows(query: FlowQuery = {}): Promise<FlowList> {
    return this.#ask('GET', withQuery(paths.flows, query));
  }

  stats(query: StatsQuery = {}): Promise<Stats> {
    return this.#ask('GET', withQuery(paths.stats, query));
  }

  presets(): Promise<PresetList> {
    return this.#ask('GET', paths.presets);
  }

  /** Kinds of stages, with the JSON schema of their keys. */
  kinds(): Promise<KindList> {
    return this.#ask('GET', paths.kinds);
  }

  openapi(): Promise<Record<string, unknown>> {
    return this.#ask('GET', paths.openapi);
  }

  /** As Prometheus reads them. */
  async metrics(): Promise<string> {
    return (await this.#request('GET', paths.metrics)).text();
  }

  /**
   * Stats, flows and drops as they come, until it is left (`break`), aborted, or refused. Who does not keep up misses messages.
   * @throws ControlError when the server refuses; without `reconnect`, an error when it cannot be reached
   */
  async *stream(options: StreamOptions = {}): AsyncGenerator<StreamMessage> {
    const { signal, reconnect = true, onConnection, ...query } = options;
    const Socket = this.#socketClass ?? (await socketClass());
    const url = this.#url.replace(/^http/, 'ws') + withQuery(paths.stream, query);
    const protocols = [PROTOCOL, ...(this.#token === undefined ? [] : [TOKEN_PROTOCOL + this.#token])];
    let wait = WAIT;
    while (!signal?.aborted) {
      let connected = false;
      const opened = () => {
        connected = true;
        wait = WAIT;
        onConnection?.(true);
      };
      for await (const text of messagesOf(new Socket(url, protocols), opened, signal)) {
        yield JSON.parse(text) as StreamMessage;
      }
      if (signal?.aborted) return;
      if (connected) onConnection?.(false);
      // A WebSocket does not tell why it was refused.
      else await this.#whyNot(withQuery(paths.stream, query), reconnect);
      if (!reconnect) return;
      await pause(wait, signal);
      wait = Math.min(2 * wait, LONGEST_WAIT);
    }
  }

  /** Throws what the server has against it. That there is no server, or too many read already, may pass. */
  async #whyNot(path: string, mayPass: boolean): Promise<void> {
    try {
      await this.#request('GET', path);
    } catch (error) {
      const passes = !(error instanceof ControlError) || error.status === 503;
      // Asked by plain HTTP, it says that it would have liked a WebSocket.
      if (error instanceof ControlError && error.status === 426) return;
      if (!mayPass || !passes) throw error;
    }
  }

  async #ask<Answer>(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    return (await this.#request(method, path, options)).json() as Promise<Answer>;
  }

  async #request(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const { type, body, revision } = options;
    const headers = {
      ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
      ...(type === undefined ? {} : { 'content-type': type }),
      ...(revision === undefined ? {} : { 'if-match': `"${revision}"` }),
    };
    const response = await this.#fetch(this.#url + path, {
      method,
      headers,
      ...(body !== undefined && { body }),
    });
    if (response.ok) return response;
    const answer = (await response.json().catch(() => undefined)) as ErrorDocument | undefined;
    const unknown = { code: 'ERR_INTERNAL', message: `${method} ${path}: ${response.status}` };
    throw new ControlError(response.status, answer?.error ?? unknown);
  }
}

interface RequestOptions {
  type?: string;
  body?: string;
  revision?: number;
}

function withQuery(path: string, query: object): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
  return search.size === 0 ? path : `${path}?${search}`;
}
