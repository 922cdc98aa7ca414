/**
 * What Roulette does of itself, seeing what is written:
 *
 * - a replica is gone: flows through it get another one, and a new generation;
 * - a suspect: the replica is asked, and removed if it does not answer;
 * - a replica is stale, for its lease has ended: it goes when nobody needs it any more;
 * - a chain is edited: the revisions before go when no packet can carry them any more;
 * - a flow was not seen for long: it goes;
 * - a trace that nobody has taken back, since whoever asked is gone: it goes.
 *
 * Every step is a plan like any request. So several Roulettes on one store do the same without harm: the first one has done it, the
 * others find nothing to do.
 */
import type { Runtime } from '../../engine/runtime.ts';
import { SECOND } from '../../engine/units.ts';
import { Ages } from './ages.ts';
import type { Commits } from './commits.ts';
import { FLOWS_PER_REQUEST } from './model/limits.ts';
import type { Chain, Flow, Suspect, TenantId } from './model/model.ts';
import type { Candidate } from './model/view.ts';
import type { News, Registry } from './registry.ts';
import { retireRevision } from './requests/configuration.ts';
import { expire, isWhole, reselect } from './requests/flows.ts';
import { dropStale, settleSuspect } from './requests/replicas.ts';
import { endTrace } from './requests/traces.ts';
import { Stale } from './stale.ts';

/** Asks a replica whether it is there. Calls back once, in any case, and not from within. */
export type Probe = (tenant: TenantId, replica: Candidate, done: (alive: boolean) => void) => void;

export interface UpkeepOptions {
  probe: Probe;
  /** ns that a packet can be on its way, with all the queues it may wait in. */
  packetLifetime: number;
  /** ns without a packet after which a flow is forgotten. */
  flowIdle: number;
  log: (record: LogRecord) => void;
}

/** Something that whoever runs this may want to know. */
export interface LogRecord {
  event:
    | 'replica-gone'
    | 'replica-stale'
    | 'flows-moved'
    | 'suspect-settled'
    | 'flows-expired'
    | 'stall'
    | 'store-lost'
    | 'failed';
  tenant?: TenantId;
  [detail: string]: unknown;
}

/** ns between looks at what has become old. */
export const LOOK = SECOND;
/** A look that is so late says that this program stood still. */
const STALL = SECOND;
/** ns for which a replica that answered is not suspected again. */
const CLEARED = SECOND;
/** ns for which a trace is kept. */
const TRACE = 5 * SECOND;
/** Flows that one look takes back at most. */
const EXPIRED_AT_ONCE = 16_384;

interface Named {
  tenant: TenantId;
  name: string;
}

export class Upkeep {
  readonly #clock: Pick<Runtime, 'now'>;
  readonly #registry: Registry;
  readonly #commits: Commits;
  readonly #options: UpkeepOptions;
  readonly #flows = new Ages<Named>();
  readonly #superseded = new Ages<Named & { revision: number }>();
  readonly #cleared = new Ages<Named>();
  readonly #traces = new Ages<Named & { asked: string }>();
  readonly #stale: Stale;
  readonly #asked = new Set<string>();
  /** Tenants whose flows are being looked through, and those that wait for the next look. */
  readonly #moving = new Set<TenantId>();
  readonly #unsettled = new Set<TenantId>();
  #nextLook: number;
  readonly counters = { moved: 0, expired: 0, probes: 0, stalls: 0 };

  constructor(clock: Pick<Runtime, 'now'>, registry: Registry, commits: Commits, options: UpkeepOptions) {
    this.#clock = clock;
    this.#registry = registry;
    this.#commits = commits;
    this.#options = options;
    this.#stale = new Stale(registry, options.flowIdle);
    this.#nextLook = clock.now() + LOOK;
  }

  /** A member has kept its lease. */
  heard(): void {
    this.#stale.heard(this.#clock.now());
  }

  /**
   * A quarter of the idle time is how exactly it is known when a flow was seen: each live flow is written that often, and goes
   * so much later than it might.
   */
  isTouchDue(tenant: TenantId, flow: string): boolean {
    return this.#flows.age(`${tenant}/${flow}`, this.#clock.now()) >= this.#options.flowIdle / 4;
  }

  isCleared(tenant: TenantId, replica: number): boolean {
    return this.#cleared.age(`${tenant}/${replica}`, this.#clock.now()) < CLEARED;
  }

  /** The registry was read anew. */
  restart(): void {
    for (const tenant of this.#registry.ids()) {
      const view = this.#registry.view(tenant);
      for (const name of view.all('flow').keys()) {
        this.#flows.writeFirst(`${tenant}/${name}`, { tenant, name }, this.#clock.now());
      }
      for (const [name, { value }] of view.all('chain')) this.#onChain(tenant, name, value);
      for (const name of view.all('suspect').keys()) this.#ask(tenant, name);
      for (const name of view.all('trace').keys()) this.#onTrace(tenant, name);
      this.#stale.read(tenant, this.#clock.now());
      this.#move(tenant);
    }
  }

  observe(news: readonly News[]): void {
    for (const each of news) this.#observe(each);
  }

  #observe({ tenant, kind, name, text }: News): void {
    const view = this.#registry.view(tenant);
    if (kind === 'flow') {
      const key = `${tenant}/${name}`;
      const flow: Flow | undefined = view.get('flow', name)?.value;
      if (text === undefined) this.#flows.forget(key);
      else this.#flows.write(key, { tenant, name }, this.#clock.now());
      // Placed on what went at the same time.
      if (flow && !isWhole({ view }, flow)) this.#move(tenant);
    }
    if (kind === 'chain') this.#onChain(tenant, name, view.chain(Number(name)));
    if (kind === 'suspect') {
      if (text !== undefined) this.#ask(tenant, name);
      else if (view.replica(Number(name))) {
        this.#cleared.write(`${tenant}/${name}`, { tenant, name }, this.#clock.now());
      }
    }
    if (kind === 'trace') this.#onTrace(tenant, name);
    if (kind === 'lease' && text === undefined) {
      for (const replica of this.#stale.read(tenant, this.#clock.now()))
        this.#options.log({ event: 'replica-stale', tenant, replica });
    }
    if (kind === 'replica') {
      if (text === undefined) {
        const flows = view.flowsThrough(Number(name)).size;
        this.#options.log({ event: 'replica-gone', tenant, replica: Number(name), flows });
      }
      this.#move(tenant);
    }
  }

  /** To be called every `LOOK`. */
  look(): void {
    const now = this.#clock.now();
    const late = now - this.#nextLook;
    this.#nextLook = now + LOOK;
    if (late > STALL) {
      this.counters.stalls++;
      this.#flows.excuse(late);
      this.#options.log({ event: 'stall', late });
    }
    for (const { tenant, replica } of this.#stale.look(now)) this.#drop(tenant, replica);
    this.#cleared.take(CLEARED, now, Number.POSITIVE_INFINITY);
    for (const old of this.#superseded.take(this.#options.packetLifetime, now, Number.POSITIVE_INFINITY)) {
      this.#retire(old);
    }
    for (const old of this.#traces.take(TRACE, now, Number.POSITIVE_INFINITY)) this.#endTrace(old);
    this.#expire(now);
    for (const tenant of this.#unsettled) this.#move(tenant);
    for (const tenant of this.#registry.ids()) {
      for (const name of this.#registry.view(tenant).all('suspect').keys()) this.#ask(tenant, name);
    }
  }

  /** When it cannot be written, the next look tries again. */
  #drop(tenant: TenantId, replica: number): void {
    this.#commits.commit(
      tenant,
      (context) => dropStale(context, replica),
      () => {},
    );
  }

  // ── Chains

  #onChain(tenant: TenantId, name: string, chain: Chain | undefined): void {
    const old = chain?.ended ? chain.revisions : (chain?.revisions.slice(0, -1) ?? []);
    for (const { revision } of old) {
      const what = { tenant, name, revision };
      this.#superseded.writeFirst(`${tenant}/${name}/${revision}`, what, this.#clock.now());
    }
  }

  #retire(old: Named & { revision: number }): void {
    const { tenant, name, revision } = old;
    this.#commits.commit(
      tenant,
      (context) => retireRevision(context, name, revision),
      (error) => {
        // The disk is full, perhaps: again after as long as before.
        if (error) this.#superseded.writeFirst(`${tenant}/${name}/${revision}`, old, this.#clock.now());
      },
    );
  }

  // ── Traces

  #onTrace(tenant: TenantId, name: string): void {
    const trace = this.#registry.view(tenant).get('trace', name)?.value;
    if (!trace) return;
    const what = { tenant, name, asked: trace.asked };
    this.#traces.writeFirst(`${tenant}/${name}/${trace.asked}`, what, this.#clock.now());
  }

  #endTrace(old: Named & { asked: string }): void {
    const { tenant, name, asked } = old;
    this.#commits.commit(
      tenant,
      (context) => endTrace(context, name, asked),
      (error) => {
        if (error) this.#traces.writeFirst(`${tenant}/${name}/${asked}`, old, this.#clock.now());
      },
    );
  }

  // ── Suspects

  #ask(tenant: TenantId, name: string): void {
    const view = this.#registry.view(tenant);
    const suspect: Suspect | undefined = view.get('suspect', name)?.value;
    const replica = view.replica(Number(name));
    const key = `${tenant}/${name}`;
    if (!suspect || this.#asked.has(key)) return;
    this.#asked.add(key);
    const settle = (alive: boolean) => {
      this.#commits.commit(
        tenant,
        (context) => settleSuspect(context, name, alive),
        (error) => {
          // When it cannot be written, the next look asks again.
          this.#asked.delete(key);
          if (!error) this.#options.log({ event: 'suspect-settled', tenant, replica: Number(name), alive });
        },
      );
    };
    if (!replica || view.rev('replica', name) !== suspect.rev) {
      settle(true);
      return;
    }
    this.counters.probes++;
    this.#options.probe(tenant, { id: Number(name), ...replica }, settle);
  }

  // ── Flows

  /** Batch by batch, until all flows of the tenant are where they can be. */
  #move(tenant: TenantId): void {
    if (this.#moving.has(tenant)) {
      this.#unsettled.add(tenant);
      return;
    }
    this.#moving.add(tenant);
    this.#unsettled.delete(tenant);
    let moved = 0;
    const view = () => this.#registry.view(tenant);
    const step = () =>
      this.#commits.commit(
        tenant,
        (context) => {
          const gone = [...view().visited()].filter((id) => !view().replica(id));
          const plan = reselect(context, gone);
          return plan && { ...plan, answer: () => plan.ops.length };
        },
        (error, flows) => {
          if (!error && flows !== undefined) {
            moved += flows as number;
            this.counters.moved += flows as number;
            step();
            return;
          }
          this.#moving.delete(tenant);
          if (moved > 0) this.#options.log({ event: 'flows-moved', tenant, flows: moved });
          if (error) {
            this.#options.log({ event: 'failed', tenant, error: error.message });
            this.#unsettled.add(tenant);
          } else if (this.#unsettled.has(tenant)) this.#move(tenant);
        },
      );
    step();
  }

  #expire(now: number): void {
    const { flowIdle } = this.#options;
    const byTenant = new Map<TenantId, string[]>();
    for (const { tenant, name } of this.#flows.take(flowIdle * 1.25, now, EXPIRED_AT_ONCE)) {
      const names = byTenant.get(tenant) ?? [];
      if (names.length === 0) byTenant.set(tenant, names);
      names.push(name);
    }
    for (const [tenant, names] of byTenant) {
      for (let at = 0; at < names.length; at += FLOWS_PER_REQUEST) {
        this.#expireSome(tenant, names.slice(at, at + FLOWS_PER_REQUEST));
      }
    }
  }

  #expireSome(tenant: TenantId, names: readonly string[]): void {
    this.#commits.commit(
      tenant,
      // Those that were touched while this was under way are to stay.
      (context) => {
        const idle = names.filter((name) => !this.#flows.has(`${tenant}/${name}`));
        const plan = expire(context, idle);
        return plan && { ...plan, answer: () => plan.ops.length };
      },
      (error, flows = 0) => {
        const now = this.#clock.now();
        // Pinned ones, and all when it failed, are looked at again later.
        for (const name of names) {
          if (!this.#registry.view(tenant).get('flow', name)) continue;
          this.#flows.writeFirst(`${tenant}/${name}`, { tenant, name }, now);
        }
        if (error || flows === 0) return;
        this.counters.expired += flows as number;
        this.#options.log({ event: 'flows-expired', tenant, flows });
      },
    );
  }
}
