/** One tenant's part of the store, read: by kind and name, with what is looked for often at hand. */
import {
  type Chain,
  type ChainRevision,
  type Classifier,
  type Flow,
  KINDS,
  type Kind,
  type Kinds,
  ONLY,
  type Replica,
  type Tenant,
} from './model.ts';

export interface Versioned<T> {
  readonly name: string;
  /** The revision that wrote it. */
  readonly rev: number;
  readonly value: T;
  /** The value as the store has it. */
  readonly text: string;
}

/** A replica with its id, as placement wants them. */
export interface Candidate extends Replica {
  readonly id: number;
}

type Tables = { [K in Kind]: Map<string, Versioned<Kinds[K]>> };

export class TenantView {
  readonly #tables = Object.fromEntries(KINDS.map((kind) => [kind, new Map()])) as unknown as Tables;
  readonly #byFunction = new Map<string, Map<number, Candidate>>();
  /** `readyReplicas`, of functions that somebody asked for. */
  readonly #ready = new Map<string, readonly Candidate[]>();
  /** Flows that visit a replica, by its id. */
  readonly #byReplica = new Map<number, Set<string>>();

  all<K extends Kind>(kind: K): ReadonlyMap<string, Versioned<Kinds[K]>> {
    return this.#tables[kind] as Map<string, Versioned<Kinds[K]>>;
  }

  get<K extends Kind>(kind: K, name: string | number = ONLY): Versioned<Kinds[K]> | undefined {
    return this.all(kind).get(String(name));
  }

  /** Revision of what has this name, or 0. */
  rev(kind: Kind, name: string | number = ONLY): number {
    return this.get(kind, name)?.rev ?? 0;
  }

  get tenant(): Tenant | undefined {
    return this.get('tenant')?.value;
  }

  get classifier(): Classifier | undefined {
    return this.get('classifier')?.value;
  }

  chain(spi: number): Chain | undefined {
    return this.get('chain', spi)?.value;
  }

  /** What packets that carry this revision visit; without one: what new flows do. */
  chainRevision(spi: number, revision?: number): ChainRevision | undefined {
    const chain = this.chain(spi);
    if (revision !== undefined) return chain?.revisions.find((each) => each.revision === revision);
    return chain && !chain.ended ? chain.revisions.at(-1) : undefined;
  }

  replica(id: number): Replica | undefined {
    return this.get('replica', id)?.value;
  }

  replicasOf(name: string): Candidate[] {
    return [...(this.#byFunction.get(name)?.values() ?? [])];
  }

  /**
   * Whether its lease has ended: it may be dead, or only out of Roulette's reach. Packets find out which; until somebody does it is
   * there. Known to those alone who know of leases: to others all are equally stale, which changes nothing.
   */
  isStale(id: number): boolean {
    const replica = this.replica(id);
    return replica !== undefined && this.get('lease', replica.lease) === undefined;
  }

  /**
   * Those that take new flows, by id: every holder of the same state sees them in the same order. Stale ones are among them only when all
   * are. The same array as long as none of the function's replicas changes, and no lease, so that whoever makes something of it can keep that
   * beside it.
   */
  readyReplicas(name: string): readonly Candidate[] {
    let ready = this.#ready.get(name);
    if (!ready) {
      const all = this.replicasOf(name).filter(({ state }) => state === 'ready');
      const fresh = all.filter(({ id }) => !this.isStale(id));
      ready = (fresh.length > 0 ? fresh : all).sort((a, b) => a.id - b.id);
      this.#ready.set(name, ready);
    }
    return ready;
  }

  /** Whether a new flow may be sent there. */
  isReady(name: string, id: number): boolean {
    if (this.#byFunction.get(name)?.get(id)?.state !== 'ready') return false;
    return !this.isStale(id) || !this.hasFresh(name);
  }

  /** Whether a replica takes new flows that is not stale. */
  hasFresh(name: string): boolean {
    const [first] = this.readyReplicas(name);
    return first !== undefined && !this.isStale(first.id);
  }

  /** Whether a flow that is there may stay: draining does not end it, nor does a lease that has ended. */
  isThere(name: string, id: number): boolean {
    return this.#byFunction.get(name)?.has(id) ?? false;
  }

  /** Ids of the flows that visit a replica. */
  flowsThrough(replica: number): ReadonlySet<string> {
    return this.#byReplica.get(replica) ?? NONE;
  }

  /** All replica ids that flows visit, there or not. */
  visited(): Iterable<number> {
    return this.#byReplica.keys();
  }

  /** @returns false when it says what it said before: then only its revision is new */
  put(kind: Kind, name: string, rev: number, text: string): boolean {
    const table = this.#tables[kind] as Map<string, Versioned<unknown>>;
    const before = table.get(name);
    if (before?.text === text) {
      table.set(name, { ...before, rev });
      return false;
    }
    this.#forget(kind, name);
    const value = JSON.parse(text);
    table.set(name, { name, rev, value, text });
    if (kind === 'replica') {
      const { function: of } = value as Replica;
      const id = Number(name);
      let replicas = this.#byFunction.get(of);
      if (!replicas) this.#byFunction.set(of, (replicas = new Map()));
      replicas.set(id, { id, ...(value as Replica) });
      this.#ready.delete(of);
    }
    if (kind === 'flow') {
      for (const id of visitedBy(value as Flow)) {
        let flows = this.#byReplica.get(id);
        if (!flows) this.#byReplica.set(id, (flows = new Set()));
        flows.add(name);
      }
    }
    return true;
  }

  /** @returns false when it was not there */
  remove(kind: Kind, name: string): boolean {
    this.#forget(kind, name);
    return this.#tables[kind].delete(name);
  }

  /** Takes it out of what is at hand. */
  #forget(kind: Kind, name: string): void {
    if (kind === 'lease') this.#ready.clear();
    if (kind === 'replica') {
      const of = this.replica(Number(name))?.function;
      if (of === undefined) return;
      take(this.#byFunction, of, Number(name));
      this.#ready.delete(of);
    }
    if (kind === 'flow') {
      const flow = this.get('flow', name)?.value;
      for (const id of flow ? visitedBy(flow) : []) take(this.#byReplica, id, name);
    }
  }
}

const NONE: ReadonlySet<string> = new Set();

/** The replicas that a flow visits, egress and all. */
export const visitedBy = ({ path, egress }: Flow): Set<number> =>
  new Set(egress === 0 ? path : [...path, egress]);

function take<K, V>(groups: Map<K, { delete(member: V): boolean; size: number }>, group: K, member: V): void {
  const members = groups.get(group);
  members?.delete(member);
  if (members?.size === 0) groups.delete(group);
}
