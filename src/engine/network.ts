/**
 * Apps by name and links as text, run on a runtime. A network is changed by editing its configuration and
 * committing: one commit is one change, all or nothing, while packets flow.
 */
import { EventEmitter } from 'node:events';
import { TunconnectorError } from '../errors.ts';
import { COMMON_ACCOUNT } from '../native/binding.ts';
import { type App, type AppContext, type AppEvent, type AppSpec, isSpec, type Layer } from './app.ts';
import { configError, formatLink, type LinkConfig, type NetworkConfig, parseLink } from './config.ts';
import { DEBUG } from './debug.ts';
import type { Link } from './link.ts';
import { type Allowance, applyQuotas, poolFor, type Quota, USUAL } from './memory-plan.ts';
import { AppNode } from './node.ts';
import { configuredLinks, isCutter, type Plan, planChange } from './plan.ts';
import { MAX_ACTORS, Pool } from './pool.ts';
import { MAX_ACCOUNTS } from './pool-memory.ts';
import { MAX_REASONS, Reason, reasonName } from './reasons.ts';
import type { NetworkReport } from './report.ts';
import type { Driven, Driver, Runtime } from './runtime.ts';
import { Scheduler } from './scheduler.ts';
import { runOrder, wire } from './wiring.ts';

/** Bytes of packet memory. */
export const USUAL_MEMORY = 128 << 20;

export interface NetworkOptions {
  /** Bytes of packet memory (default 128 MiB; untouched pages cost nothing). Fixed for the network's life. */
  memory?: number;
  /** What it has beside the queues of its apps (default `USUAL`). */
  allowance?: Allowance;
}

interface NetworkEvents {
  /** Something an app wants known: a peer came or went. */
  event: [app: string, event: AppEvent];
  /** A commit is in force, and no packet has passed since. */
  changed: [];
  /** An app threw. The network has stopped. */
  error: [error: unknown];
}

export class Network extends EventEmitter<NetworkEvents> implements Driven {
  readonly runtime: Runtime;
  readonly pool: Pool;
  readonly #scheduler: Scheduler;
  readonly #allowance: Allowance;
  #draft = new Map<string, App | AppSpec>();
  #draftLinks: LinkConfig[] = [];
  /** How often the draft was edited. */
  #edits = 0;
  /** What runs: by name, and those that were removed and still hold packets. */
  #nodes = new Map<string, AppNode>();
  #lingering: AppNode[] = [];
  #links: LinkConfig[] = [];
  #layers = new Map<Link, Layer | undefined>();
  #driver: Driver | undefined;
  readonly #freeActors: number[] = [];
  /** Those from here on were never given. Actor 0 and account 0 belong to nobody in particular. */
  #nextActor = 1;
  readonly #freeAccounts: number[] = [];
  #committing: Promise<void> = Promise.resolve();
  #closed = false;
  /** Apps that are done will be closed as soon as no commit is under way. */
  #ending = false;
  #failure: unknown;
  /** Drops of apps that are gone, so that totals never shrink. */
  readonly #pastDrops = new Float64Array(MAX_REASONS);

  constructor(runtime: Runtime, options: NetworkOptions = {}) {
    super();
    this.runtime = runtime;
    this.#allowance = options.allowance ?? USUAL;
    this.pool = new Pool(poolFor(options.memory ?? USUAL_MEMORY));
    this.#scheduler = new Scheduler(this.pool, runtime.clock, () => this.#driver?.readClock?.());
    for (let i = MAX_ACCOUNTS - 1; i > COMMON_ACCOUNT; i--) this.#freeAccounts.push(i);
  }

  // ── Editing. Nothing happens before `commit`.

  /** Adds an app, or replaces the one of this name. A spec with other options reconfigures it in place if it can. */
  app(name: string, app: App | AppSpec): this {
    if (!/^[A-Za-z_][\w-]*$/.test(name)) {
      throw configError(`apps: found the name "${name}", expected letters, digits, "_" and "-"`);
    }
    this.#draft.set(name, app);
    this.#edits++;
    return this;
  }

  /** @param text `'tun0.out -> delay.in'` */
  link(text: string): this {
    this.#draftLinks.push(parseLink(text));
    this.#edits++;
    return this;
  }

  unlink(text: string): this {
    const wanted = formatLink(parseLink(text));
    const at = this.#draftLinks.findIndex((l) => formatLink(l) === wanted);
    if (at < 0) throw configError(`links: "${wanted}" is not there to be removed`);
    this.#draftLinks.splice(at, 1);
    this.#edits++;
    return this;
  }

  /** Removes an app and all links to and from it. */
  remove(name: string): this {
    if (!this.#draft.delete(name)) throw configError(`apps.${name} is not there to be removed`);
    this.#draftLinks = this.#draftLinks.filter((l) => l.producer !== name && l.consumer !== name);
    this.#edits++;
    return this;
  }

  /** The configuration as edited so far. */
  get config(): NetworkConfig {
    return { apps: Object.fromEntries(this.#draft), links: this.#draftLinks.map(formatLink) };
  }

  /** Replaces the whole configuration and commits it. Whatever is equal to before keeps its state and its queue. */
  async reconfigure(config: NetworkConfig): Promise<void> {
    const links = config.links.map(parseLink);
    this.#draft = new Map();
    this.#draftLinks = links;
    this.#edits++;
    for (const [name, app] of Object.entries(config.apps)) this.app(name, app);
    await this.commit();
  }

  /**
   * Makes the configuration, as edited so far, real. When anything is wrong with it, or an app does not open, nothing
   * has changed, the draft (if nobody has edited it since) is again what runs, and the error says why. Commits take
   * effect one after the other.
   */
  commit(): Promise<void> {
    const previous = this.#committing;
    const draft = new Map(this.#draft);
    const links = [...this.#draftLinks];
    const edits = this.#edits;
    const next = previous.catch(() => {}).then(() => this.#commit(draft, links, edits));
    this.#committing = next;
    return next;
  }

  async #commit(draft: Map<string, App | AppSpec>, links: LinkConfig[], edits: number): Promise<void> {
    if (this.#closed) throw new TunconnectorError('ERR_CLOSED', 'the network is closed');
    this.pool.accelerate();
    try {
      await this.#apply(draft, links);
    } catch (error) {
      // What was edited since belongs to a later commit.
      if (edits !== this.#edits) throw error;
      this.#draft = new Map(
        [...this.#nodes].filter(([name]) => !isCutter(name)).map(([name, n]) => [name, n.spec ?? n.app]),
      );
      this.#draftLinks = configuredLinks(this.#links);
      throw error;
    }
  }

  async #apply(draft: Map<string, App | AppSpec>, draftLinks: LinkConfig[]): Promise<void> {
    const plan = await planChange(
      this.#nodes,
      this.#lingering,
      draft,
      draftLinks,
      this.pool,
      this.#allowance,
    );
    const nodes = await this.#open(plan, draft);

    // The change itself: nothing from here on can fail, and nothing waits.
    for (const { node, spec, options } of plan.retold) {
      node.app.reconfigure!(options);
      node.spec = spec;
    }
    // One that is added again before it has left comes back with what it holds.
    this.#lingering = this.#lingering.filter((node) => plan.kept.get(node.name) !== node);
    for (const node of plan.kept.values()) node.lingering = false;
    const leaving = [...this.#nodes].filter(([name, node]) => plan.kept.get(name) !== node);
    for (const [, node] of leaving.sort(([, a], [, b]) => a.order - b.order)) {
      node.lingering = true;
      this.#lingering.push(node);
    }
    this.#nodes = nodes;
    this.#links = plan.links;
    const wiring = wire(nodes, this.#lingering, plan.links, plan.layers, this.#layers, this.pool);
    this.#layers = wiring.layers;
    this.#arrange(wiring.order);
    this.emit('changed');
    this.#driver?.wake();
    await this.#endDone();
  }

  /** Opens what is new. When something does not open, what did is closed again and nothing has changed. */
  async #open(plan: Plan, draft: ReadonlyMap<string, App | AppSpec>): Promise<Map<string, AppNode>> {
    const { quotaSmall, quotaLarge } = this.pool;
    const before = { small: quotaSmall.slice(), large: quotaLarge.slice() };
    const accounts = new Map<number, Quota>();
    const nodes = new Map<string, AppNode>();
    const opened: AppNode[] = [];
    try {
      for (const [name, app] of plan.apps) {
        let node = plan.kept.get(name);
        if (!node) {
          const wanted = draft.get(name);
          node = this.#newNode(
            name,
            app,
            wanted && isSpec(wanted) ? wanted : undefined,
            plan.quotas.has(name),
          );
          opened.push(node);
        }
        const quota = plan.quotas.get(name);
        if (quota) accounts.set(node.account, quota);
        nodes.set(name, node);
      }
      applyQuotas(this.pool, this.#withLeavers(accounts, plan.kept), this.#allowance);
      for (const node of opened) await node.app.open?.(this.#context(node));
      return nodes;
    } catch (error) {
      for (const node of opened.reverse()) await this.#closeNode(node);
      quotaSmall.set(before.small);
      quotaLarge.set(before.large);
      throw error;
    }
  }

  /**
   * Quotas of apps that are about to leave stay until they are gone, and those of apps that are gone until their last
   * packet is: a superframe that still waits somewhere is cut into packets of its account.
   */
  #withLeavers(accounts: Map<number, Quota>, kept: ReadonlyMap<string, AppNode>): Map<number, Quota> {
    const { quotaSmall, quotaLarge, usedSmall, usedLarge } = this.pool;
    const all = new Map(accounts);
    const stay = (account: number) => {
      if (account === COMMON_ACCOUNT || all.has(account)) return;
      all.set(account, { small: quotaSmall[account], large: quotaLarge[account] });
    };
    for (const node of [...this.#nodes.values(), ...this.#lingering]) {
      if (kept.get(node.name) !== node) stay(node.account);
    }
    for (const account of this.#freeAccounts) if (usedSmall[account] + usedLarge[account] > 0) stay(account);
    return all;
  }

  #newNode(name: string, app: App, spec: AppSpec | undefined, isSource: boolean): AppNode {
    const actor = this.#freeActors.pop() ?? (this.#nextActor < MAX_ACTORS ? this.#nextActor++ : undefined);
    const account = isSource ? this.#freeAccount() : COMMON_ACCOUNT;
    if (actor === undefined || account === undefined) {
      throw new TunconnectorError(
        'ERR_LIMIT',
        `a network has at most ${MAX_ACTORS - 1} apps, ${MAX_ACCOUNTS - 1} of them sources`,
      );
    }
    this.pool.admit(actor);
    return new AppNode(name, app, spec, actor, account, this.pool, this.runtime.clock);
  }

  /** An account nobody uses: also one of an app that has gone and whose last packets have gone since. */
  #freeAccount(): number | undefined {
    const { usedSmall, usedLarge } = this.pool;
    const at = this.#freeAccounts.findLastIndex((a) => usedSmall[a] + usedLarge[a] === 0);
    return at < 0 ? undefined : this.#freeAccounts.splice(at, 1)[0];
  }

  #context(node: AppNode): AppContext {
    const wake = () => {
      this.#scheduler.wake(node);
      this.#driver?.wake();
    };
    return {
      name: node.name,
      pool: this.pool,
      runtime: this.runtime,
      account: node.account,
      random: this.runtime.random(node.name),
      wake,
      watch: (fd) => {
        const watch = this.#drive().watch(
          fd,
          () => this.#scheduler.wake(node),
          () => node.watches.delete(watch),
        );
        node.watches.add(watch);
        return watch;
      },
      emit: (event) => this.emit('event', node.name, event),
    };
  }

  #arrange(order: readonly AppNode[]): void {
    // Those that leave go first: what they hold is older than what follows it.
    this.#scheduler.arrange([...this.#lingering, ...order]);
  }

  /** Lingering apps that are done: they hold nothing, and none that leaves before them will send them anything. */
  #done(): AppNode[] {
    const staying = this.#lingering.filter((n) => !n.empty);
    for (const node of staying) {
      for (const next of this.#lingering) {
        if (!staying.includes(next) && next.inputs.some((link) => node.outputs.includes(link)))
          staying.push(next);
      }
    }
    return this.#lingering.filter((n) => !staying.includes(n));
  }

  async #endDone(): Promise<void> {
    const done = this.#done();
    if (done.length === 0) return;
    if (done.some(({ app }) => app.finish)) this.#lastWords(done);
    this.#lingering = this.#lingering.filter((n) => !done.includes(n));
    this.#arrange(runOrder(this.#nodes, this.#links).order);
    // Deadlines are asked for anew: without a breath nobody would know of them.
    this.#driver?.wake();
    for (const node of done) await this.#closeNode(node);
  }

  async #closeNode(node: AppNode): Promise<void> {
    for (const watch of node.watches) watch.close();
    node.watches.clear();
    node.order = -1;
    this.pool.actor = node.actor;
    for (const link of Object.values(node.ports.input)) link.clear(Reason.Closed);
    try {
      await node.app.close?.();
    } catch (error) {
      // The app is gone either way; whoever listens learns of it.
      if (this.listenerCount('error') > 0) this.emit('error', error);
    }
    const row = node.actor * MAX_REASONS;
    for (let r = 0; r < MAX_REASONS; r++) {
      this.#pastDrops[r] += this.pool.drops[row + r];
      this.pool.drops[row + r] = 0;
    }
    this.#freeActors.push(node.actor);
    if (node.account !== COMMON_ACCOUNT) this.#freeAccounts.push(node.account);
  }

  // ── Running.

  #drive(): Driver {
    this.#driver ??= this.runtime.drive(this);
    return this.#driver;
  }

  /** Commits and starts. Live, packets flow from now on; in virtual time, when the clock is advanced. */
  async start(): Promise<void> {
    await this.commit();
    this.#drive().wake();
  }

  /**
   * Runs until the signal fires, then closes everything. Rejects when an app throws. Off the packet path.
   */
  async run(options: { until?: AbortSignal } = {}): Promise<void> {
    try {
      await this.start();
      await new Promise<void>((resolve, reject) => {
        if (this.#failure !== undefined) reject(this.#failure);
        this.once('error', reject);
        if (options.until?.aborted) resolve();
        options.until?.addEventListener('abort', () => resolve(), { once: true });
      });
    } finally {
      await this.close();
    }
  }

  breathe(): boolean {
    const more = this.#scheduler.breathe();
    if (this.#lingering.length > 0 && !this.#closed && !this.#ending && this.#done().length > 0)
      this.#endLingering();
    return more;
  }

  /** Off the packet path: apps that were taken out have passed on all that they had, and nobody waits for their end. */
  #endLingering(): void {
    this.#ending = true;
    this.#committing = this.#committing
      .catch(() => {})
      .then(() => {
        this.#ending = false;
        return this.#closed ? undefined : this.#endDone();
      });
  }

  get deadline(): Float64Array {
    return this.#scheduler.deadline;
  }

  fail(error: unknown): void {
    this.#failure = error;
    this.#driver?.stop();
    this.#driver = undefined;
    // Node's convention: without a listener an 'error' event is thrown.
    this.emit('error', error);
  }

  /** Stops, closes every app and gives all memory back. In debug builds, packets that are left are an error. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#committing.catch(() => {});
    if (this.#failure === undefined && this.#driver) {
      this.#lastWords([...this.#nodes.values()].sort((a, b) => a.order - b.order));
    }
    this.#driver?.stop();
    const all = [...this.#nodes.values(), ...this.#lingering];
    const names = new Map(all.map((n) => [n.actor, n.name]));
    for (const node of all) await this.#closeNode(node);
    this.pool.retire();
    this.#nodes = new Map();
    this.#lingering = [];
    if (DEBUG && this.#failure === undefined && this.pool.live > 0) {
      const leaks = this.pool.ledger!.leaks();
      const by = [...new Set(leaks.map((l) => names.get(l.actor) ?? 'nobody'))].join(', ');
      throw new TunconnectorError(
        'ERR_HANDLE',
        `${leaks.length} packets were never freed; last touched by ${by}`,
      );
    }
  }

  /** Lets apps that will be closed say their last words, and those leave. */
  #lastWords(nodes: readonly AppNode[]): void {
    this.runtime.clock[0] = this.runtime.now();
    for (const node of nodes) {
      this.pool.actor = node.actor;
      node.app.finish?.(node.ports);
    }
    this.#scheduler.flush();
  }

  // ── Looking.

  report(): NetworkReport {
    const pool = this.pool;
    const links = [...this.#layers].map(([link, layer]) => ({
      link: link.name,
      layer,
      packets: link.packets,
      bits: link.bytes * 8,
      dropped: link.dropped,
      waiting: link.count,
    }));
    const apps = [...this.#nodes.values(), ...this.#lingering].map((node) => ({
      app: node.name,
      packetsPerBreath: node.breaths === 0 ? 0 : node.moved / node.breaths,
      drops: namedDrops(this.pool.drops, node.actor * MAX_REASONS),
      lingering: node.lingering,
      report: node.app.report?.() ?? {},
    }));
    return {
      time: this.runtime.now(),
      breaths: this.#scheduler.breaths,
      links,
      apps,
      formerDrops: namedDrops(this.#pastDrops, 0),
      memory: {
        smallSlots: pool.smallSlots,
        smallUsed: pool.smallSlots - pool.freeSmall[0],
        largeSlots: pool.largeSlots,
        largeUsed: pool.largeSlots - pool.freeLarge[0],
        livePackets: pool.live,
      },
    };
  }

  /** The links that run now, cutting apps included: for captures and pictures. */
  links(): { link: Link; layer: Layer | undefined }[] {
    return [...this.#layers].map(([link, layer]) => ({ link, layer }));
  }

  /** The name of the app whose drops are counted under `actor`. */
  appName(actor: number): string {
    for (const node of [...this.#nodes.values(), ...this.#lingering])
      if (node.actor === actor) return node.name;
    return 'network';
  }

  /** The running app of this name, as an instance of whatever class it is. */
  get<T extends App>(name: string): T {
    const node = this.#nodes.get(name);
    if (!node) throw configError(`apps.${name} does not exist`);
    return node.app as T;
  }
}

/** Counters from `row` on, by the names of their reasons; those that are zero left out. */
function namedDrops(counters: Float64Array, row: number): Record<string, number> {
  const drops: Record<string, number> = {};
  for (let r = 0; r < MAX_REASONS; r++) if (counters[row + r] > 0) drops[reasonName(r)] = counters[row + r];
  return drops;
}
