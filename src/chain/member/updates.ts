/** Collects what has changed in the mirror, and makes updates for the packet half of it: only what changed, or everything. */

import type { Chain, Kind } from '../roulette/model/model.ts';
import type { TenantView } from '../roulette/model/view.ts';
import type { TableUpdate, TraceQuestion } from '../tables/update.ts';

/** Flows in one update: it is read between two breaths of the packet path. */
const FLOWS_PER_UPDATE = 1024;

/** Questions that wait to be told: Roulette has no more at a time. */
const MOST_TRACES = 64;

type Chains = NonNullable<TableUpdate['chains']>;
type Replicas = NonNullable<TableUpdate['replicas']>;
type Placement = NonNullable<TableUpdate['flows']>[number];

export class Updates {
  readonly #view: () => TenantView;
  /** Whether the packet half classifies and places flows. */
  readonly #isEnd: boolean;
  #whole = false;
  #own: number | undefined;
  #watched = false;
  #isWatchedTold = false;
  #rules = false;
  readonly #chains = new Set<string>();
  readonly #replicas = new Set<string>();
  readonly #flows = new Map<string, Placement>();
  #traces: TraceQuestion[] = [];

  constructor(view: () => TenantView, isEnd: boolean) {
    this.#view = view;
    this.#isEnd = isEnd;
  }

  /** @returns whether it matters to the packet half */
  note(kind: Kind, name: string): boolean {
    if (kind === 'chain') this.#chains.add(name);
    else if (kind === 'replica') this.#replicas.add(name);
    else if (kind === 'lease') return this.#noteLease(name);
    else if (kind === 'classifier' && this.#isEnd) this.#rules = true;
    else return false;
    return true;
  }

  /** The replicas of a lease are stale, or no longer. */
  #noteLease(lease: string): boolean {
    let matters = false;
    for (const { name, value } of this.#view().all('replica').values()) {
      if (value.lease !== lease) continue;
      this.#replicas.add(name);
      matters = true;
    }
    return matters;
  }

  /** Whether changes come as they are made, from now on. */
  noteWatched(watched: boolean): void {
    this.#watched = watched;
    this.#isWatchedTold = false;
  }

  noteOwn(id: number): void {
    this.#own = id;
  }

  noteFlow(id: string, { spi, revision, generation, path, egress }: Omit<Placement, 'id'>): void {
    this.#flows.set(id, { id, spi, revision, generation, path, egress });
  }

  /** For an ingress. */
  noteTrace(question: TraceQuestion): void {
    if (this.#traces.length < MOST_TRACES) this.#traces.push(question);
  }

  /** Everything is to be told. Flows follow. */
  noteWhole(own: number, flows: Iterable<string>): void {
    this.#whole = true;
    this.#own = own === 0 ? undefined : own;
    for (const id of flows) {
      const flow = this.#view().get('flow', id)?.value;
      if (flow) this.noteFlow(id, flow);
    }
  }

  /** Undefined: there is nothing more to tell. */
  take(): TableUpdate | undefined {
    const view = this.#view();
    const update: TableUpdate = {};
    if (this.#whole) update.whole = true;
    if (this.#whole || !this.#isWatchedTold) update.watched = this.#watched;
    this.#isWatchedTold = true;
    if (this.#own !== undefined) update.own = { id: this.#own };
    const chains = this.#takeChains(view);
    if (this.#whole || chains.length > 0) update.chains = chains;
    const { replicas, gone } = this.#takeReplicas(view);
    if (this.#whole || replicas.length > 0) update.replicas = replicas;
    if (gone.length > 0) update.gone = gone;
    if (this.#isEnd && (this.#whole || this.#rules)) update.rules = view.classifier?.rules ?? [];
    if (this.#isEnd && !this.#whole) this.#takeFlows(update);
    if (this.#traces.length > 0) update.traces = this.#traces.splice(0);
    this.#whole = false;
    this.#own = undefined;
    this.#rules = false;
    return Object.keys(update).length > 0 ? update : undefined;
  }

  #takeChains(view: TenantView): Chains {
    const names = this.#whole ? view.all('chain').keys() : this.#chains;
    const chains = Array.from(names, (name) => chainOf(Number(name), view.get('chain', name)?.value));
    this.#chains.clear();
    return chains;
  }

  #takeReplicas(view: TenantView): { replicas: Replicas; gone: number[] } {
    const replicas: Replicas = [];
    const gone: number[] = [];
    for (const name of this.#whole ? view.all('replica').keys() : this.#replicas) {
      const replica = view.get('replica', name)?.value;
      const id = Number(name);
      if (!replica) gone.push(id);
      else {
        const { function: of, address, port, weight, state } = replica;
        const stale = view.isStale(id);
        replicas.push({ id, function: of, address, port, weight, state, ...(stale && { stale }) });
      }
    }
    this.#replicas.clear();
    return { replicas, gone };
  }

  #takeFlows(update: TableUpdate): void {
    const flows: Placement[] = [];
    for (const [id, flow] of this.#flows) {
      this.#flows.delete(id);
      flows.push(flow);
      if (flows.length === FLOWS_PER_UPDATE) break;
    }
    if (flows.length > 0) update.flows = flows;
  }
}

function chainOf(spi: number, chain: Chain | undefined): Chains[number] {
  const revisions = (chain?.revisions ?? []).map(({ revision, functions }) => ({ revision, functions }));
  return {
    spi,
    symmetric: chain?.revisions.at(-1)?.symmetric ?? true,
    ended: chain?.ended ?? true,
    revisions,
  };
}
