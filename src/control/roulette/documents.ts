/** A tenant's part of the registry as documents. */

import type { ReplicaRates } from '../../chain/roulette/figures.ts';
import { EGRESS, INGRESS, type TenantId } from '../../chain/roulette/model/model.ts';
import type { TenantView } from '../../chain/roulette/model/view.ts';
import { TunconnectorError } from '../../errors.ts';
import type {
  ChainDocument,
  ClassifierDocument,
  FlowDocument,
  FlowList,
  FunctionDocument,
  RateList,
  ReplicaDocument,
  TenantDocument,
} from './contract.ts';

export function tenantDocument(tenant: TenantId, view: TenantView): TenantDocument {
  const { value, rev } = view.get('tenant') ?? missing('tenant', tenant);
  const size = (kind: 'function' | 'chain' | 'replica' | 'flow' | 'lease' | 'suspect') => view.all(kind).size;
  return {
    tenant,
    rev,
    // Not the secret: who reads this needs no flow ids.
    description: value.description,
    functions: size('function'),
    chains: size('chain'),
    replicas: size('replica'),
    rules: view.classifier?.rules.length ?? 0,
    flows: size('flow'),
    leases: size('lease'),
    suspects: size('suspect'),
  };
}

export function functionDocuments(view: TenantView): FunctionDocument[] {
  const declared = [...view.all('function').values()].map(({ name, rev, value }) => ({
    name,
    rev,
    description: value.description,
  }));
  const given = [INGRESS, EGRESS].map((name) => ({ name, rev: 0, description: '' }));
  return [...given, ...declared.sort((a, b) => (a.name < b.name ? -1 : 1))].map((each) => {
    const replicas = view.replicasOf(each.name);
    const heard = replicas.filter(({ id }) => !view.isStale(id));
    const ready = heard.filter(({ state }) => state === 'ready').length;
    return { ...each, ready, draining: heard.length - ready, stale: replicas.length - heard.length };
  });
}

/** How many flows each chain has. */
function flowsByChain(view: TenantView): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { value } of view.all('flow').values()) counts.set(value.spi, (counts.get(value.spi) ?? 0) + 1);
  return counts;
}

export function chainDocuments(view: TenantView): ChainDocument[] {
  const flows = flowsByChain(view);
  return [...view.all('chain').values()]
    .map(({ name, rev, value }) => ({
      spi: Number(name),
      rev,
      ...value,
      flows: flows.get(Number(name)) ?? 0,
    }))
    .sort((a, b) => a.spi - b.spi);
}

export const chainDocument = (view: TenantView, spi: string): ChainDocument =>
  chainDocuments(view).find((each) => String(each.spi) === spi) ?? missing('chain', spi);

const byId = (a: { id: number }, b: { id: number }) => a.id - b.id;

export const replicaDocuments = (view: TenantView): ReplicaDocument[] =>
  [...view.all('replica').keys()].map((id) => replicaDocument(view, id)).sort(byId);

export function replicaDocument(view: TenantView, id: string): ReplicaDocument {
  const { rev, value } = view.get('replica', id) ?? missing('replica', id);
  const suspected = view.get('suspect', id)?.value.evidence;
  const flows = view.flowsThrough(Number(id)).size;
  const stale = view.isStale(Number(id));
  return {
    ...{ id: Number(id), rev, ...value, flows },
    ...(suspected && { suspected }),
    ...(stale && { stale }),
  };
}

export const classifierDocument = (view: TenantView): ClassifierDocument => ({
  rev: view.rev('classifier'),
  rules: (view.classifier?.rules ?? []).map(({ name, match, chain }) => ({ name, match, chain })),
});

export function flowDocument(view: TenantView, id: string): FlowDocument {
  const { rev, value } = view.get('flow', id) ?? missing('flow', id);
  return { id, rev, ...value };
}

export interface FlowSelection {
  limit: number;
  after?: string | undefined;
  spi?: number | undefined;
  replica?: number | undefined;
  search?: string | undefined;
}

/** A page of flows by id. One walk over all of them: nothing is kept between two pages. */
export function flowPage(view: TenantView, selection: FlowSelection): Omit<FlowList, 'rev'> {
  const { limit, after = '', spi, replica, search = '' } = selection;
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const flows = view.all('flow');
  const ids = replica === undefined ? flows.keys() : view.flowsThrough(replica);
  let total = 0;
  // The first ids behind `after`, in order, and one more that says whether there are others.
  const page: string[] = [];
  for (const id of ids) {
    const flow = flows.get(id)!.value;
    if (spi !== undefined && flow.spi !== spi) continue;
    if (words.length > 0 && !isFound(words, id, flow.key)) continue;
    total++;
    if (id <= after || (page.length > limit && id > page[limit])) continue;
    insert(page, id);
    if (page.length > limit + 1) page.pop();
  }
  const more = page.length > limit;
  const shown = page.slice(0, limit);
  return {
    total,
    flows: shown.map((id) => flowDocument(view, id)),
    ...(more && { next: shown.at(-1)! }),
  };
}

function isFound(words: readonly string[], id: string, key: string): boolean {
  const text = `${id} ${key.toLowerCase()}`;
  return words.every((word) => text.includes(word));
}

/** What passes, as the members of this Roulette have told. */
export function rateList(view: TenantView, rates: readonly ReplicaRates[]): RateList {
  const told = new Set(rates.map(({ replica }) => replica));
  const chains = new Map<number, RateList['chains'][number]>();
  for (const { replica, chains: own } of rates) {
    if (view.replica(replica)?.function !== INGRESS) continue;
    for (const each of own) {
      const sum = chains.get(each.spi);
      if (!sum) {
        chains.set(each.spi, { ends: 1, ...each });
        continue;
      }
      sum.ends++;
      for (const key of ['packetsIn', 'bitsIn', 'packetsOut', 'bitsOut'] as const) sum[key] += each[key];
    }
  }
  const all = [...view.all('replica').keys()].map(Number);
  return {
    replicas: rates.map(({ chains: _, ...rest }) => rest),
    silent: all.filter((id) => !told.has(id)).sort((a, b) => a - b),
    chains: [...chains.values()].sort((a, b) => a.spi - b.spi),
  };
}

function insert(sorted: string[], id: string): void {
  let low = 0;
  for (let high = sorted.length; low < high; ) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < id) low = middle + 1;
    else high = middle;
  }
  sorted.splice(low, 0, id);
}

function missing(kind: string, name: string | number): never {
  throw new TunconnectorError('ERR_NOT_FOUND', `there is no ${kind} ${name}`);
}
