/** Where a flow goes: what it has is kept as long as it is there, what is missing is chosen. */
import { nextGeneration } from '../../wire/tlv.ts';
import { type ChainRevision, EGRESS, type Flow } from '../model/model.ts';
import type { TenantView } from '../model/view.ts';
import type { Choose } from './request.ts';

/** What somebody would like, slot by slot; taken where the replica is ready. */
export interface Wish {
  path?: readonly number[];
  egress?: number;
}

export interface Placement {
  path: number[];
  egress: number;
}

/**
 * A placement on a chain's revision. Functions that the flow visits already keep their replicas, draining or not, wherever in
 * the chain they stand now.
 * @returns the name of the function that has no replica to choose, when there is one
 */
export function place(
  view: TenantView,
  choose: Choose,
  flow: string,
  { functions }: ChainRevision,
  before: Placement | undefined,
  wish: Wish,
): Placement | string {
  // First what is in its place, then what has moved along the chain.
  const path = functions.map((name, slot) => {
    const id = before?.path[slot];
    return id !== undefined && view.isThere(name, id) ? id : 0;
  });
  const elsewhere = (before?.path ?? []).filter((id, slot) => path[slot] !== id);
  for (const [slot, name] of functions.entries()) {
    if (path[slot] !== 0) continue;
    const found = elsewhere.findIndex((id) => view.isThere(name, id));
    const id = found >= 0 ? elsewhere.splice(found, 1)[0] : pick(view, choose, flow, name, wish.path?.[slot]);
    if (id === undefined) return name;
    path[slot] = id;
  }
  const kept = before && view.isThere(EGRESS, before.egress) ? before.egress : undefined;
  return { path, egress: kept ?? pick(view, choose, flow, EGRESS, wish.egress) ?? 0 };
}

/** The replica wished for, if it is ready, or the one that everybody would choose. */
function pick(
  view: TenantView,
  choose: Choose,
  flow: string,
  name: string,
  wish: number | undefined,
): number | undefined {
  if (wish !== undefined && view.isReady(name, wish)) return wish;
  return choose(flow, view.readyReplicas(name));
}

/** The flow moved, or as it was when that is where it is. */
export function moved(flow: Flow, spi: number, revision: number, { path, egress }: Placement): Flow {
  const same =
    flow.spi === spi &&
    flow.revision === revision &&
    flow.egress === egress &&
    flow.path.length === path.length &&
    flow.path.every((id, slot) => id === path[slot]);
  return same ? flow : { ...flow, spi, revision, path, egress, generation: nextGeneration(flow.generation) };
}
