/**
 * Roulette: requests in; answers, a feed of changes and log records out. All that is kept is in the store; what is here is read from it.
 *
 *     request -> checked -> planned on the registry -> transaction in the store
 *     store's watch -> registry -> upkeep (what has to be done now) -> feed (watchers) -> answers
 *
 * Several of them may run on one store. Each one that dies leaves nothing behind that another one does not find.
 */
import type { z } from 'zod';
import { checkOptions } from '../../engine/options.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { Commits, type Done } from './commits.ts';
import { Figures, type ReplicaRates } from './figures.ts';
import { DEFAULT_LIMITS, type Limits } from './model/limits.ts';
import type { TenantId } from './model/model.ts';
import { anyMatch, tenantId } from './model/schema.ts';
import type { TenantView } from './model/view.ts';
import { Registry } from './registry.ts';
import { REQUESTS } from './requests/index.ts';
import { isLeaseRequest, LeaseDesk } from './requests/leases.ts';
import type { Choose, Context } from './requests/request.ts';
import { traceFlow } from './requests/traces.ts';
import type { Change, RegistryStore, StoreWatch } from './store.ts';
import { TraceDesk } from './traces.ts';
import { LOOK, type LogRecord, type Probe, Upkeep } from './upkeep.ts';
import { Feed, type Sink, type Stream } from './watch/feed.ts';
import { BEAT, watchRequest } from './watch/messages.ts';

export interface RouletteOptions {
  /** Among the replicas that take new flows. The same as the ingresses use. */
  choose: Choose;
  /** Asks a suspected replica whether it is there. */
  probe: Probe;
  /** Of a classifier rule's match; any object of a bounded size when left out. */
  match?: z.ZodType;
  limits?: Partial<Limits>;
  /** ns for which old revisions of a chain are kept: as long as a packet can be on its way. Default 30 s. */
  packetLifetime?: number;
  /** ns without a packet after which a flow is forgotten. Default 300 s. */
  flowIdle?: number;
  /** Changes that a watcher may be behind and still be told each. Default 8192. */
  history?: number;
  log?(record: LogRecord): void;
}

/** ns between attempts to read a store that is out of reach. */
const RETRY = SECOND;

export class Roulette {
  readonly #runtime: Pick<Runtime, 'now' | 'timer' | 'secret'>;
  readonly #store: RegistryStore;
  readonly #options: RouletteOptions;
  readonly #limits: Limits;
  readonly #match: z.ZodType;
  readonly #registry = new Registry();
  readonly #commits: Commits;
  readonly #upkeep: Upkeep;
  readonly #leases: LeaseDesk;
  readonly #figures = new Figures();
  readonly #traces: TraceDesk;
  readonly #feed: Feed;
  readonly #log: (record: LogRecord) => void;
  #watch: StoreWatch | undefined;
  #ready = false;
  #closed = false;
  readonly #cancel: Record<'beat' | 'look' | 'retry', () => void> = {
    beat: () => {},
    look: () => {},
    retry: () => {},
  };

  /** Starts to read the store; requests get ERR_BUSY until it has. */
  constructor(
    runtime: Pick<Runtime, 'now' | 'timer' | 'secret'>,
    store: RegistryStore,
    options: RouletteOptions,
  ) {
    this.#runtime = runtime;
    this.#store = store;
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#match = options.match ?? anyMatch;
    this.#log = (record) => options.log?.(record);
    this.#commits = new Commits(runtime, store, this.#registry, (tenant) => this.#contextOf(tenant));
    this.#upkeep = new Upkeep(runtime, this.#registry, this.#commits, {
      probe: options.probe,
      packetLifetime: options.packetLifetime ?? 30 * SECOND,
      flowIdle: options.flowIdle ?? 300 * SECOND,
      log: this.#log,
    });
    this.#leases = new LeaseDesk(
      store,
      this.#commits,
      this.#registry,
      this.#limits,
      (tenant, lease, told) => {
        this.#upkeep.heard();
        if (told) this.#figures.note(tenant, this.view(tenant), lease, told, this.#runtime.now());
      },
    );
    this.#traces = new TraceDesk(runtime, this.#commits, this.#registry);
    this.#feed = new Feed(this.#registry, store.id, options.history ?? 8192);
    this.#load();
    this.#every(BEAT, 'beat', () => this.#ready && this.#feed.beat());
    this.#every(LOOK, 'look', () => this.#ready && this.#upkeep.look());
  }

  /** Whether it has read the store. */
  get isReady(): boolean {
    return this.#ready;
  }

  /** The revision of what it knows. */
  get rev(): number {
    return this.#registry.rev;
  }

  get counters() {
    const { streams, cut } = this.#feed;
    return { ...this.#upkeep.counters, overtaken: this.#commits.overtaken, streams, cut };
  }

  /** Those that have been made, by number. */
  tenants(): TenantId[] {
    return [...this.#registry.ids()].filter((id) => this.view(id).tenant).sort((a, b) => a - b);
  }

  /** To read from; of no tenant but this one. */
  view(tenant: TenantId): TenantView {
    return this.#registry.view(tenant);
  }

  /** Of the replicas whose members keep their leases here: those that ask another Roulette are not known. */
  rates(tenant: TenantId): ReplicaRates[] {
    return this.#figures.rates(tenant, this.view(tenant), this.#runtime.now());
  }

  /**
   * One request of a tenant. `done` gets the answer as plain data, or an error: ERR_CONFIG (names path, found, expected),
   * ERR_NOT_FOUND, ERR_REVISION (`ifRev` or who came first), ERR_LIMIT, ERR_BUSY, ERR_STORAGE. Never from within the call.
   */
  request(tenant: TenantId, name: string, body: unknown, done: Done) {
    try {
      if (this.#closed) throw new TunconnectorError('ERR_CLOSED', 'this Roulette is closed');
      if (!this.#ready) {
        const remedy = 'ask again in a moment';
        throw new TunconnectorError('ERR_BUSY', 'the store has not been read yet', { remedy });
      }
      checkOptions(tenantId, tenant);
      if (isLeaseRequest(name)) return this.#leases.request(tenant, name, body, done);
      if (name === 'flow.trace')
        return this.#traces.request(tenant, checkOptions(traceFlow.schema, body), done);
      const kind = Object.hasOwn(REQUESTS, name) ? REQUESTS[name] : undefined;
      if (!kind) throw new TunconnectorError('ERR_NOT_FOUND', `there is no request ${JSON.stringify(name)}`);
      const checked = checkOptions(kind.schema, body);
      const plan = (context: Context) => kind.plan(checked, context);
      if (kind.exclusive) this.#commits.commitInLine(tenant, plan, done);
      else this.#commits.commit(tenant, plan, done);
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      this.#commits.soon(() => done(error));
    }
  }

  /**
   * A watch of one tenant, begun by the watcher's first message. What there is to say comes at once, also from within.
   * @throws ERR_CONFIG for a message that is none, ERR_BUSY before the store has been read
   */
  watch(tenant: TenantId, request: unknown, sink: Sink): Stream {
    const checked = checkOptions(watchRequest, request);
    if (!this.#ready) throw new TunconnectorError('ERR_BUSY', 'the store has not been read yet');
    return this.#feed.open(tenant, checked, sink);
  }

  endWatch(stream: Stream): void {
    this.#feed.close(stream);
  }

  /** Leaves the store open. */
  close(): void {
    this.#closed = true;
    this.#ready = false;
    this.#watch?.close();
    this.#traces.close();
    this.#feed.reset();
    for (const cancel of Object.values(this.#cancel)) cancel();
  }

  #contextOf(tenant: TenantId): Context {
    return {
      tenant,
      view: this.#registry.view(tenant),
      limits: this.#limits,
      choose: this.#options.choose,
      match: this.#match,
      secret: (length) => this.#runtime.secret(length),
      tenants: () => this.#registry.tenants,
      isTouchDue: (flow) => this.#upkeep.isTouchDue(tenant, flow),
      isCleared: (replica) => this.#upkeep.isCleared(tenant, replica),
    };
  }

  #load(): void {
    this.#store.load((error, state) => {
      if (this.#closed) return;
      if (error || !state) {
        this.#lost(error);
        return;
      }
      this.#registry.replace(state);
      this.#ready = true;
      this.#upkeep.restart();
      this.#feed.reset();
      this.#commits.caughtUp();
      this.#watch = this.#store.watch(state.rev + 1, {
        onChange: (change) => this.#onChange(change),
        onLost: (error) => this.#lost(error),
      });
    });
  }

  #onChange(change: Change): void {
    const news = this.#registry.apply(change);
    this.#upkeep.observe(news);
    this.#feed.publish(change.rev, news);
    this.#commits.caughtUp();
    this.#traces.observe(news);
  }

  /** What is known stays known, and is read anew as soon as that can be done. */
  #lost(error: TunconnectorError | undefined): void {
    if (this.#closed) return;
    this.#log({ event: 'store-lost', ...(error && { error: error.message }) });
    const at = this.#runtime.now() + (error ? RETRY : 0);
    this.#cancel.retry = this.#runtime.timer(at, () => this.#load());
  }

  #every(period: number, name: 'beat' | 'look', run: () => void): void {
    this.#cancel[name] = this.#runtime.timer(this.#runtime.now() + period, () => {
      run();
      if (!this.#closed) this.#every(period, name, run);
    });
  }
}
