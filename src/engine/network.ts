/**
 * Apps by name and links as text, run on a runtime. A network is changed by editing its configuration and
 * committing: one commit is one change, all or nothing, while packets flow.
 */
import { EventEmitter } from 'node:events';
import { TunconnectorError } from '../errors.ts';
import { COMMON_ACCOUNT } from '../native/binding.ts';
import {
  type App,
  type AppContext,
  type AppEvent,
  type AppSpec,
  factoryOf,
  isSpec,
  type Layer,
} from './app.ts';
import {
  checkLinks,
  configError,
  formatLink,
  inferLayers,
  type LinkConfig,
  type NetworkConfig,
  parseLink,
  pathsOf,
  sameJson,
} from './config.ts';
import { DEBUG } from './debug.ts';
import { Link } from './link.ts';
import { applyQuotas, checkFits, poolFor, type Quota, quotas } from './memory-plan.ts';
import { AppNode } from './node.ts';
import { schedule } from './order.ts';
import { MAX_ACCOUNTS, MAX_ACTORS, Pool } from './pool.ts';
import { MAX_REASONS, Reason, reasonName } from './reasons.ts';
import type { NetworkReport } from './report.ts';
import type { Driven, Driver, Runtime } from './runtime.ts';
import { Scheduler } from './scheduler.ts';
import { Segmenter } from './segmenter.ts';

export interface NetworkOptions {
  /** Bytes of packet memory (default 128 MiB; untouched pages cost nothing). Fixed for the network's life. */
  memory?: number;
}

interface NetworkEvents {
  /** Something an app wants known: a peer came or went. */
  event: [app: string, event: AppEvent];
  /** An app threw. The network has stopped. */
  error: [error: unknown];
}

export class Network extends EventEmitter<NetworkEvents> implements Driven {
  readonly runtime: Runtime;
  readonly pool: Pool;
  readonly #scheduler: Scheduler;
  #draft = new Map<string, App | AppSpec>();
  #draftLinks: LinkConfig[] = [];
  /** What runs: by name, and those that were removed and still hold packets. */
  #nodes = new Map<string, AppNode>();
  #lingering: AppNode[] = [];
  #links: LinkConfig[] = [];
  #layers = new Map<Link, Layer | undefined>();
  #driver: Driver | undefined;
  readonly #freeActors: number[] = [];
  readonly #freeAccounts: number[] = [];
  #committing: Promise<void> = Promise.resolve();
  #closed = false;
  #failure: unknown;
  /** Drops of apps that are gone, so that totals never shrink. */
  readonly #pastDrops = new Float64Array(MAX_REASONS);

  constructor(runtime: Runtime, options: NetworkOptions = {}) {
    super();
    this.runtime = runtime;
    this.pool = new Pool(poolFor(options.memory ?? 128 << 20));
    this.#scheduler = new Scheduler(this.pool, new Float64Array(1));
    // Actor 0 and account 0 belong to nobody in particular.
    for (let i = MAX_ACTORS - 1; i > 0; i--) this.#freeActors.push(i);
    for (let i = MAX_ACCOUNTS - 1; i > COMMON_ACCOUNT; i--) this.#freeAccounts.push(i);
  }

  // ── Editing. Nothing happens before `commit`.

  /** Adds an app, or replaces the one of this name. A spec with other options reconfigures it in place if it can. */
  app(name: string, app: App | AppSpec): this {
    if (!/^[A-Za-z_][\w-]*$/.test(name)) {
      throw configError(`apps: found the name "${name}", expected letters, digits, "_" and "-"`);
    }
    this.#draft.set(name, app);
    return this;
  }

  /** @param text `'tun0.out -> delay.in'` */
  link(text: string): this {
    this.#draftLinks.push(parseLink(text));
    return this;
  }

  unlink(text: string): this {
    const wanted = formatLink(parseLink(text));
    const at = this.#draftLinks.findIndex((l) => formatLink(l) === wanted);
    if (at < 0) throw configError(`links: "${wanted}" is not there to be removed`);
    this.#draftLinks.splice(at, 1);
    return this;
  }

  /** Removes an app and all links to and from it. */
  remove(name: string): this {
    if (!this.#draft.delete(name)) throw configError(`apps.${name} is not there to be removed`);
    this.#draftLinks = this.#draftLinks.filter((l) => l.producer !== name && l.consumer !== name);
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
    for (const [name, app] of Object.entries(config.apps)) this.app(name, app);
    await this.commit();
  }

  /**
   * Makes the configuration real. When anything is wrong with it, or an app does not open, nothing has changed,
   * the draft is again what runs, and the error says why. Commits take effect one after the other.
   */
  commit(): Promise<void> {
    const previous = this.#committing;
    const next = previous.catch(() => {}).then(() => this.#commit());
    this.#committing = next;
    return next;
  }

  async #commit(): Promise<void> {
    if (this.#closed) throw new TunconnectorError('ERR_CLOSED', 'the network is closed');
    try {
      await this.#apply(new Map(this.#draft), [...this.#draftLinks]);
    } catch (error) {
      this.#draft = new Map(
        [...this.#nodes].filter(([, n]) => !isCutter(n)).map(([k, n]) => [k, n.spec ?? n.app]),
      );
      this.#draftLinks = joinCut(this.#links);
      throw error;
    }
  }

  async #apply(draft: Map<string, App | AppSpec>, draftLinks: LinkConfig[]): Promise<void> {
    // 1. What stays, what is told new options, what is new.
    const apps = new Map<string, App>();
    const kept = new Map<string, AppNode>();
    const retold: { node: AppNode; spec: AppSpec; options: unknown }[] = [];
    for (const [name, wanted] of draft) {
      const node = this.#nodes.get(name);
      if (!isSpec(wanted)) {
        if (node?.app === wanted) kept.set(name, node);
        apps.set(name, wanted);
        continue;
      }
      const factory = await factoryOf(wanted);
      if (!factory) throw configError(`apps.${name}: ${wanted.module} has no app "${wanted.export}"`);
      const options = inContext(`apps.${name}`, () => factory.check(wanted.options));
      const same = node?.spec && node.spec.module === wanted.module && node.spec.export === wanted.export;
      if (same && sameJson(node.spec!.options, wanted.options)) {
        kept.set(name, node);
        apps.set(name, node.app);
      } else if (same && node.app.reconfigure && (node.app.canReconfigure?.(options) ?? true)) {
        kept.set(name, node);
        apps.set(name, node.app);
        retold.push({ node, spec: wanted, options });
      } else {
        apps.set(
          name,
          inContext(`apps.${name}`, () => factory.create(wanted.options)),
        );
      }
    }

    // 2. Whether it fits together.
    checkLinks(apps, draftLinks);
    const links = this.#insertCutters(apps, kept, draftLinks);
    const layers = inferLayers(apps, links);
    const needed = quotas(apps, links);
    checkFits(this.pool, needed);

    // 3. Open what is new. From here on a failure takes back what was opened.
    const accounts = new Map<number, Quota>();
    const nodes = new Map<string, AppNode>();
    const opened: AppNode[] = [];
    try {
      for (const [name, app] of apps) {
        let node = kept.get(name);
        if (!node) {
          const wanted = draft.get(name);
          node = this.#newNode(name, app, wanted && isSpec(wanted) ? wanted : undefined, needed.has(name));
          opened.push(node);
        }
        const quota = needed.get(name);
        if (quota) accounts.set(node.account, quota);
        nodes.set(name, node);
      }
      applyQuotas(this.pool, this.#withLeavers(accounts, kept));
      for (const node of opened) await node.app.open?.(this.#context(node));
    } catch (error) {
      for (const node of opened.reverse()) await this.#closeNode(node);
      throw error;
    }

    // 4. The change itself: nothing below can fail, and nothing below waits.
    for (const { node, spec, options } of retold) {
      node.app.reconfigure!(options);
      node.spec = spec;
    }
    for (const [name, node] of this.#nodes) {
      if (kept.get(name) !== node) {
        node.lingering = true;
        this.#lingering.push(node);
      }
    }
    this.#nodes = nodes;
    this.#links = links;
    this.#wire(links, layers);
    this.#driver?.wake();
    await this.#endEmpty();
  }

  /** Quotas of apps that are about to leave stay until they are gone. */
  #withLeavers(accounts: Map<number, Quota>, kept: ReadonlyMap<string, AppNode>): Map<number, Quota> {
    const all = new Map(accounts);
    for (const node of [...this.#nodes.values(), ...this.#lingering]) {
      if (node.account === COMMON_ACCOUNT || kept.get(node.name) === node || all.has(node.account)) continue;
      all.set(node.account, {
        small: this.pool.quotaSmall[node.account],
        large: this.pool.quotaLarge[node.account],
      });
    }
    return all;
  }

  /** In front of every app that wants wire packets, where superframes may come from, stands an app that cuts them. */
  #insertCutters(apps: Map<string, App>, kept: Map<string, AppNode>, links: LinkConfig[]): LinkConfig[] {
    const result: LinkConfig[] = [];
    for (const link of links) {
      const cut =
        apps.get(link.producer)!.superframes === true && apps.get(link.consumer)!.superframes !== true;
      if (!cut) {
        result.push(link);
        continue;
      }
      const name = cutterName(link);
      const node = this.#nodes.get(name);
      if (node) kept.set(name, node);
      apps.set(name, node?.app ?? new Segmenter());
      result.push({ producer: link.producer, output: link.output, consumer: name, input: 'in' });
      result.push({ producer: name, output: 'out', consumer: link.consumer, input: link.input });
    }
    return result;
  }

  #newNode(name: string, app: App, spec: AppSpec | undefined, isSource: boolean): AppNode {
    const actor = this.#freeActors.pop();
    const account = isSource ? this.#freeAccounts.pop() : COMMON_ACCOUNT;
    if (actor === undefined || account === undefined) {
      throw new TunconnectorError(
        'ERR_LIMIT',
        `a network has at most ${MAX_ACTORS - 1} apps, ${MAX_ACCOUNTS - 1} of them sources`,
      );
    }
    return new AppNode(name, app, spec, actor, account, this.pool, this.#scheduler.clock);
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
        const watch = this.#drive().watch(fd, () => this.#scheduler.wake(node));
        node.watches.add(watch);
        return watch;
      },
      emit: (event) => this.emit('event', node.name, event),
    };
  }

  /**
   * Gives every app its links. A link is the queue of its consumer's input: it stays with the consumer whoever
   * feeds it, so nothing that waits is lost when an app is put in between or taken out.
   */
  #wire(links: LinkConfig[], layers: (Layer | undefined)[]): void {
    const { order, feedback } = schedule(new Map([...this.#nodes].map(([k, n]) => [k, n.app])), links);
    const all = [...this.#nodes.values(), ...this.#lingering];
    const queue = new Map<AppNode, Record<string, Link>>();
    for (const node of all) {
      const still: Record<string, Link> = {};
      for (const [input, link] of Object.entries(node.ports.input)) {
        // An input that lost its producer is kept until it is empty.
        if (node.lingering || link.count > 0) still[input] = link;
      }
      queue.set(node, still);
    }
    const byName = new Map<string, Link>();
    for (const [i, config] of links.entries()) {
      const consumer = this.#nodes.get(config.consumer)!;
      const inputs = queue.get(consumer)!;
      const known = consumer.ports.input[config.input];
      const link = known && known.name !== 'unlinked' ? known : new Link('', this.pool);
      link.name = formatLink(config);
      link.feedback = feedback.has(i);
      inputs[config.input] = link;
      this.#layers.set(link, layers[i]);
      byName.set(`${config.consumer}.${config.input}`, link);
    }
    for (const node of this.#nodes.values()) {
      const outputs: Record<string, Link> = {};
      for (const config of links) {
        if (config.producer === node.name)
          outputs[config.output] = byName.get(`${config.consumer}.${config.input}`)!;
      }
      node.ports.output = outputs;
      node.ports.input = queue.get(node)!;
      this.#fillUnlinked(node);
    }
    // A lingering app still puts on the queues it knew, as long as their owners are there.
    const alive = new Set(all.flatMap((n) => Object.values(n.ports.input)));
    for (const node of this.#lingering) {
      for (const [output, link] of Object.entries(node.ports.output)) {
        if (!alive.has(link)) node.ports.output[output] = Link.discard(this.pool);
      }
    }
    for (const node of all) {
      node.inputs = Object.values(node.ports.input);
      node.outputs = [...new Set(Object.values(node.ports.output))].filter((l) => l.capacity > 0);
      for (const [input, link] of Object.entries(node.ports.input)) {
        const leads = pathsOf(node.app, input, Object.keys(node.ports.output));
        link.downstream = leads.map((o) => node.ports.output[o]).filter((l) => !l.feedback);
        link.expansion = node.app.expansion ?? 1;
      }
    }
    for (const link of this.#layers.keys()) if (!alive.has(link)) this.#layers.delete(link);
    this.#arrange(order);
  }

  /** An app may count on the inputs and outputs it names: one that is not linked is empty, or leads nowhere. */
  #fillUnlinked({ app, ports }: AppNode): void {
    for (const name of app.inputs ?? (Object.keys(ports.input).length === 0 ? ['in'] : [])) {
      ports.input[name] ??= new Link('unlinked', this.pool, 1);
    }
    for (const name of app.outputs ?? (Object.keys(ports.output).length === 0 ? ['out'] : [])) {
      ports.output[name] ??= Link.discard(this.pool);
    }
  }

  #arrange(order: readonly string[]): void {
    // Those that leave go first: what they hold is older than what follows it.
    this.#scheduler.arrange([...this.#lingering, ...order.map((name) => this.#nodes.get(name)!)]);
  }

  /** Ends lingering apps that have nothing left. */
  async #endEmpty(): Promise<void> {
    const done = this.#lingering.filter((n) => n.empty);
    if (done.length === 0) return;
    this.#lingering = this.#lingering.filter((n) => !n.empty);
    const order = schedule(new Map([...this.#nodes].map(([k, n]) => [k, n.app])), this.#links).order;
    this.#arrange(order);
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
    if (node.account !== COMMON_ACCOUNT) {
      this.pool.quotaSmall[node.account] = 0;
      this.pool.quotaLarge[node.account] = 0;
      // Packets that others still hold are charged to it: it comes back into use when they are gone.
      if (this.pool.usedSmall[node.account] + this.pool.usedLarge[node.account] === 0) {
        this.#freeAccounts.push(node.account);
      }
    }
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
   * Runs until the signal fires, then closes everything. Rejects when an app throws.
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
    const more = this.#scheduler.breathe(this.runtime.now());
    if (this.#lingering.length > 0 && this.#lingering.some((n) => n.empty)) {
      this.#committing = this.#committing.catch(() => {}).then(() => this.#endEmpty());
    }
    return more;
  }

  nextDeadline(): number {
    return this.#scheduler.nextDeadline();
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
    if (this.#failure === undefined && this.#driver) this.#finish();
    this.#driver?.stop();
    const all = [...this.#nodes.values(), ...this.#lingering];
    const names = new Map(all.map((n) => [n.actor, n.name]));
    for (const node of all) await this.#closeNode(node);
    this.#nodes = new Map();
    this.#lingering = [];
    if (DEBUG && this.#failure === undefined && this.pool.live > 0) {
      const leaks = this.pool.leaks();
      const by = [...new Set(leaks.map((l) => names.get(l.actor) ?? 'nobody'))].join(', ');
      throw new TunconnectorError(
        'ERR_HANDLE',
        `${leaks.length} packets were never freed; last touched by ${by}`,
      );
    }
  }

  /** Lets every app say its last words, and those leave. */
  #finish(): void {
    for (const node of this.#nodes.values()) {
      this.pool.actor = node.actor;
      node.app.finish?.(node.ports);
      this.#scheduler.wake(node);
    }
    this.#scheduler.flush(this.runtime.now());
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
      drops: this.#dropsOf(node.actor),
      lingering: node.lingering,
      report: node.app.report?.() ?? {},
    }));
    return {
      time: this.runtime.now(),
      breaths: this.#scheduler.breaths,
      links,
      apps,
      memory: {
        smallSlots: pool.smallSlots,
        smallUsed: pool.smallSlots - pool.freeSmall[0],
        largeSlots: pool.largeSlots,
        largeUsed: pool.largeSlots - pool.freeLarge[0],
        livePackets: pool.live,
      },
    };
  }

  #dropsOf(actor: number): Record<string, number> {
    const drops: Record<string, number> = {};
    for (let r = 0; r < MAX_REASONS; r++) {
      const n = this.pool.drops[actor * MAX_REASONS + r];
      if (n > 0) drops[reasonName(r)] = n;
    }
    return drops;
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

function cutterName(link: LinkConfig): string {
  return `cut:${link.producer}-${link.output}:${link.consumer}-${link.input}`;
}

function isCutter(node: AppNode): boolean {
  return node.app instanceof Segmenter && node.name.startsWith('cut:');
}

/** The configuration's own links, with the inserted cutting apps taken out again. */
function joinCut(links: readonly LinkConfig[]): LinkConfig[] {
  const result: LinkConfig[] = [];
  for (const link of links) {
    if (link.consumer.startsWith('cut:')) {
      const out = links.find((l) => l.producer === link.consumer)!;
      result.push({ ...link, consumer: out.consumer, input: out.input });
    } else if (!link.producer.startsWith('cut:')) {
      result.push(link);
    }
  }
  return result;
}

/** Says which app a configuration error belongs to. */
function inContext<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof TunconnectorError && error.code === 'ERR_CONFIG') {
      throw new TunconnectorError('ERR_CONFIG', `${path}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}
