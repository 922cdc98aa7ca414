/**
 * A client of Roulette (`tunconnector roulette`), for Node and browsers: for people and programs that manage chains. Members
 * have `connectRegistry`.
 *
 *     const shop = new RouletteClient({ url: 'http://127.0.0.1:7590', tenant: 42 });
 *     const { rev } = await shop.chain(7);
 *     await shop.putChain(7, { functions: ['fw', 'dpi'], ifRev: rev });
 *     for await (const message of shop.watch()) console.log(message);
 */
import {
  DEFAULT_PORT,
  httpOf,
  type RequestName,
  TENANTS,
  tenantPath,
  WATCH,
} from '../../chain/roulette/remote/api.ts';
import type { TraceAnswer } from '../../chain/roulette/traces.ts';
import type { FeedMessage, WatchRequest } from '../../chain/roulette/watch/messages.ts';
import type {
  ChainDocument,
  ChainList,
  ClassifierDocument,
  FlowDocument,
  FlowList,
  FlowQuery,
  FunctionList,
  RateList,
  ReplicaDocument,
  ReplicaList,
  TenantDocument,
  TenantList,
} from '../roulette/contract.ts';
import { type ReadOptions, Server, type ServerOptions } from './live-server.ts';
import { paths } from './paths.ts';

export type {
  ChainDocument,
  ChainList,
  ClassifierDocument,
  FeedMessage,
  FlowDocument,
  FlowList,
  FlowQuery,
  FunctionList,
  RateList,
  ReplicaDocument,
  ReplicaList,
  TenantDocument,
  TenantList,
  TraceAnswer,
};

/** The default port is 7590. */
export interface RouletteClientOptions extends ServerOptions {
  /** 0 to 16777215. */
  tenant: number;
}

/** With `ifRev` it is done only if the value has that revision, 0: if it is new. Otherwise 412 (`ERR_REVISION`). */
export interface Conditional {
  ifRev?: number;
}

export interface Written {
  rev: number;
}

/** Connected again, it goes on where it was. */
export interface WatchOptions extends ReadOptions {
  /** What to hear of; everything when left out. */
  kinds?: NonNullable<WatchRequest['kinds']>;
}

/** Messages that wait for who iterates: a snapshot of 200 000 flows has 800. */
const WAITING = 4096;

export class RouletteClient {
  readonly #server: Server;
  readonly #tenant: number;

  constructor(options: RouletteClientOptions) {
    this.#server = new Server(options, DEFAULT_PORT);
    this.#tenant = options.tenant;
  }

  // ── Reading

  /** Those that the token is for. */
  tenants(): Promise<TenantList> {
    return this.#ask('GET', TENANTS);
  }

  tenant(): Promise<TenantDocument> {
    return this.#read('');
  }

  functions(): Promise<FunctionList> {
    return this.#read('/functions');
  }

  chains(): Promise<ChainList> {
    return this.#read('/chains');
  }

  /** @throws ControlError, 404 when there is none */
  chain(spi: number): Promise<ChainDocument> {
    return this.#read(`/chains/${spi}`);
  }

  replicas(): Promise<ReplicaList> {
    return this.#read('/replicas');
  }

  replica(id: number): Promise<ReplicaDocument> {
    return this.#read(`/replicas/${id}`);
  }

  /** What passes, as far as the Roulette that is asked knows: of the members that keep their leases there. */
  rates(): Promise<RateList> {
    return this.#read('/rates');
  }

  classifier(): Promise<ClassifierDocument> {
    return this.#read('/classifier');
  }

  /** A page of flows; `next` of the answer as `after` gets the next one. */
  flows(query: FlowQuery = {}): Promise<FlowList> {
    const search = new URLSearchParams();
    for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
    return this.#read(search.size > 0 ? `/flows?${search}` : '/flows');
  }

  flow(id: string): Promise<FlowDocument> {
    return this.#read(`/flows/${id}`);
  }

  /** As Prometheus reads them; with a token for all tenants. */
  async metrics(): Promise<string> {
    return (await this.#server.request('GET', paths.metrics)).text();
  }

  openapi(): Promise<Record<string, unknown>> {
    return this.#ask('GET', paths.openapi);
  }

  // ── Writing

  putTenant(body: { description?: string } & Conditional = {}): Promise<Written> {
    return this.request('tenant.put', body);
  }

  /** @throws ControlError while there is something in it */
  removeTenant(condition: Conditional = {}): Promise<Written> {
    return this.request('tenant.remove', condition);
  }

  putFunction(name: string, body: { description?: string } & Conditional = {}): Promise<Written> {
    return this.request('function.put', { ...body, name });
  }

  removeFunction(name: string, condition: Conditional = {}): Promise<Written> {
    return this.request('function.remove', { ...condition, name });
  }

  /** Makes a chain, or a new revision of it. @param body `functions` in the order of the packets; `symmetric` is true when left out */
  putChain(
    spi: number,
    body: { functions: readonly string[]; symmetric?: boolean } & Conditional,
  ): Promise<Written & { revision: number }> {
    return this.request('chain.put', { ...body, spi });
  }

  endChain(spi: number, condition: Conditional = {}): Promise<Written> {
    return this.request('chain.end', { ...condition, spi });
  }

  /** All rules, in their order. */
  putClassifier(body: Pick<ClassifierDocument, 'rules'> & Conditional): Promise<Written> {
    return this.request('classifier.put', body);
  }

  setReplicaState(
    id: number,
    state: ReplicaDocument['state'],
    condition: Conditional = {},
  ): Promise<Written> {
    return this.request('replica.state', { ...condition, id, state });
  }

  removeReplica(id: number, condition: Conditional = {}): Promise<Written> {
    return this.request('replica.remove', { ...condition, id });
  }

  /** Puts a flow on replicas by hand; `key` and `spi` for one that is not there yet. */
  pinFlow(
    id: string,
    body: { path?: readonly number[]; egress?: number; pinned?: boolean; key?: string; spi?: number },
  ): Promise<Omit<FlowDocument, 'rev' | 'key'>> {
    return this.request('flow.pin', { ...body, id });
  }

  /**
   * Sends a probe along the path of a flow, from the ingress that has it: how long it takes to each hop and back.
   * @throws ControlError, 404 when there is no such flow, or no ingress has it
   */
  traceFlow(id: string): Promise<TraceAnswer> {
    return this.request('flow.trace', { id });
  }

  /** Any request of the registry, by name. */
  request<Answer>(name: RequestName, body: object): Promise<Answer> {
    const asked = httpOf(this.#tenant, name, body);
    if (!asked) throw new TypeError(`${name} needs more fields`);
    return this.#ask(asked.method, asked.path, asked.body);
  }

  // ── Watching

  /**
   * Everything, and then every change as it happens, until it is left (`break`), aborted, or refused. After a lost connection, or when
   * who reads did not keep up, it goes on from the last message, with a snapshot where the registry does not reach back so far.
   * @throws ControlError when the server refuses; without `reconnect`, an error when it cannot be reached
   */
  watch(options: WatchOptions = {}): AsyncGenerator<FeedMessage> {
    const { kinds, ...reading } = options;
    let from: WatchRequest['from'];
    let parts = 0;
    return this.#server.read<FeedMessage>(tenantPath(this.#tenant) + WATCH, reading, {
      hello: (): WatchRequest => ({ t: 'watch', ...(from && { from }), ...(kinds && { kinds }) }),
      // Missed by who does not keep up: once more from there.
      follows(message) {
        if (message.t === 'snap' ? message.part !== (message.part && parts) : message.prev !== from?.rev)
          return false;
        parts = message.t === 'snap' ? message.part + 1 : 0;
        if (message.t !== 'snap') from = { store: from!.store, rev: message.rev };
        else if (message.last) from = { store: message.store, rev: message.rev };
        else from = undefined;
        return true;
      },
      most: WAITING,
    });
  }

  #read<Answer>(below: string): Promise<Answer> {
    return this.#ask('GET', tenantPath(this.#tenant) + below);
  }

  async #ask<Answer>(method: string, path: string, body?: string): Promise<Answer> {
    const headers: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' };
    return (await this.#server.request(method, path, { body, headers })).json() as Promise<Answer>;
  }
}
