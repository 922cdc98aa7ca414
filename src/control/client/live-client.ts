/**
 * A client of a served impaired link (`tunconnector impair ... --serve`), for Node and browsers:
 *
 *     const link = new ImpairClient({ url: 'http://127.0.0.1:7580' });
 *     await link.patchRule('default', { up: 'delay 80ms' });
 *     for await (const message of link.stream()) if (message.type === 'stats') console.log(message.up.packetsOut);
 */
import type {
  Changed,
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
import { type ReadOptions, Server, type ServerOptions } from './live-server.ts';
import { DEFAULT_PORT, paths } from './paths.ts';

/** The default port is 7580. A page that was opened with its token needs none: it has a cookie. */
export interface ClientOptions extends ServerOptions {}

export interface ChangeOptions {
  /** The revision that the change is meant to follow: 412 (`ERR_REVISION`) when there has been another one. */
  revision?: number;
}

/** Each time that it connects the first message is a `hello`. */
export interface StreamOptions extends StreamQuery, ReadOptions {}

export class ImpairClient {
  readonly #server: Server;

  constructor(options: ClientOptions = {}) {
    this.#server = new Server(options, DEFAULT_PORT);
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
    return (await this.#server.request('GET', paths.metrics)).text();
  }

  /**
   * Stats, flows and drops as they come, until it is left (`break`), aborted, or refused. Who does not keep up misses messages.
   * @throws ControlError when the server refuses; without `reconnect`, an error when it cannot be reached
   */
  stream(options: StreamOptions = {}): AsyncGenerator<StreamMessage> {
    const { signal, reconnect, onConnection, ...query } = options;
    return this.#server.read(withQuery(paths.stream, query), { signal, reconnect, onConnection });
  }

  async #ask<Answer>(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    const { type, body, revision } = options;
    const headers = {
      ...(type === undefined ? {} : { 'content-type': type }),
      ...(revision === undefined ? {} : { 'if-match': `"${revision}"` }),
    };
    return (await this.#server.request(method, path, { body, headers })).json() as Promise<Answer>;
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
