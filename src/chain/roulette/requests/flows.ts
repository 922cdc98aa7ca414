/** Flows: registered, kept alive, pinned, and moved when their replica is gone. */
import { z } from 'zod';
import type { ErrorCode } from '../../../errors.ts';
import { FIRST_GENERATION, isNewer } from '../../wire/tlv.ts';
import { FLOWS_PER_REQUEST } from '../model/limits.ts';
import { type ChainRevision, EGRESS, type Flow, put, remove, unchanged } from '../model/model.ts';
import { flowId, flowIds, flowKey, type proposal, proposals, replicaId, spi } from '../model/schema.ts';
import { visitedBy } from '../model/view.ts';
import type { Compare, Op } from '../store.ts';
import { moved, type Placement, place } from './placement.ts';
import { type Context, checkLimit, concurrent, misfit, notFound, nothingToDo, type Plan } from './request.ts';

/** What is answered about one flow. */
export type FlowAnswer = ({ id: string } & Omit<Flow, 'key'>) | FlowRefusal;

export interface FlowRefusal {
  id: string;
  error: { code: ErrorCode; message: string };
}

type Proposal = z.infer<typeof proposal>;

const refused = (id: string, code: ErrorCode, message: string): FlowRefusal => ({
  id,
  error: { code, message },
});

const answer = (id: string, { key: _, ...flow }: Flow): FlowAnswer => ({ id, ...flow });

/** Collects the changes of a batch, each flow compared with what it was. */
class Batch {
  readonly compare: Compare[] = [];
  readonly ops: Op[] = [];
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  #unchanged(id: string) {
    const { tenant, view } = this.#context;
    this.compare.push(unchanged(tenant, 'flow', id, view.rev('flow', id)));
  }

  put(id: string, flow: Flow) {
    this.#unchanged(id);
    this.ops.push(put(this.#context.tenant, 'flow', id, flow));
  }

  remove(id: string) {
    this.#unchanged(id);
    this.ops.push(remove(this.#context.tenant, 'flow', id));
  }

  plan(answer: Plan['answer']): Plan {
    return { compare: this.compare, ops: this.ops, answer };
  }
}

/**
 * Get or create, up to 64 at a time. Of two ingresses that place one flow differently the first to come wins, and both are told. A flow
 * of an older revision of its chain moves to the one in force. One that a member has moved, because it could not reach a replica, stays
 * there; the answer is never of an older generation than the question.
 */
export const registerFlows = concurrent(z.strictObject({ flows: proposals }), ({ flows }, context) => {
  const { view, limits } = context;
  const batch = new Batch(context);
  const answers = new Map<string, FlowAnswer>();
  let made = 0;
  for (const proposal of flows) {
    if (answers.has(proposal.id)) continue;
    const stored = view.get('flow', proposal.id)?.value;
    const outcome = register(context, proposal, stored);
    if ('error' in outcome) {
      answers.set(proposal.id, outcome);
      continue;
    }
    if (!stored && view.all('flow').size + made++ >= limits.flows) {
      answers.set(
        proposal.id,
        refused(proposal.id, 'ERR_LIMIT', `there are ${limits.flows} flows, the limit`),
      );
      continue;
    }
    if (outcome !== stored || context.isTouchDue(proposal.id)) batch.put(proposal.id, outcome);
    answers.set(proposal.id, answer(proposal.id, outcome));
  }
  return batch.plan(() => ({ flows: flows.map(({ id }) => answers.get(id)) }));
});

function register(context: Context, wish: Proposal, stored: Flow | undefined): Flow | FlowRefusal {
  const { id, key, spi } = wish;
  if (stored && stored.key !== key) return refused(id, 'ERR_REFUSED', 'another flow has this id');
  const inForce = context.view.chainRevision(spi);
  if (!inForce) return refused(id, 'ERR_NOT_FOUND', `there is no chain ${spi} for new flows`);
  const settled = stored?.spi === spi && stored.revision === inForce.revision;
  const fits = wish.revision === undefined || wish.revision === inForce.revision;
  const isMoved = settled && fits && isNewer(wish.generation ?? FIRST_GENERATION, stored.generation);
  // A flow that found no egress gets one as soon as there is one.
  if (settled && !isMoved && (stored.egress !== 0 || context.view.readyReplicas(EGRESS).length === 0))
    return stored;
  // A path for another revision has other slots.
  const path = fits ? wish.path : undefined;
  const { egress } = wish;
  const before = isMoved && !stored.pinned ? followed(context, inForce, stored, wish) : stored;
  const placement = place(context.view, context.choose, id, inForce, before, { path, egress });
  if (typeof placement === 'string') {
    return refused(id, 'ERR_NOT_FOUND', `the function ${placement} has no replica that takes new flows`);
  }
  const fresh = { key, spi, revision: inForce.revision, generation: 1, ...placement, pinned: false };
  const flow = stored ? moved(stored, spi, inForce.revision, placement) : fresh;
  const { generation = FIRST_GENERATION } = wish;
  return fits && isNewer(generation, flow.generation) ? { ...flow, generation } : flow;
}

/** Where a flow is that a member has moved: its other replicas are the ones held, as long as they are ready. */
function followed({ view }: Context, { functions }: ChainRevision, held: Flow, wish: Proposal): Placement {
  const { path = [], egress } = wish;
  return {
    path: held.path.map((id, slot) => (view.isReady(functions[slot], path[slot]) ? path[slot] : id)),
    egress: egress !== undefined && view.isReady(EGRESS, egress) ? egress : held.egress,
  };
}

/** Packets of these flows were seen. Says which of them are not registered (any more). */
export const touchFlows = concurrent(z.strictObject({ ids: flowIds }), ({ ids }, context) => {
  const batch = new Batch(context);
  const missing: string[] = [];
  for (const id of new Set(ids)) {
    const flow = context.view.get('flow', id)?.value;
    if (!flow) missing.push(id);
    else if (context.isTouchDue(id)) batch.put(id, flow);
  }
  return batch.plan(() => ({ missing }));
});

/** Flows that have ended. */
export const removeFlows = concurrent(z.strictObject({ ids: flowIds }), ({ ids }, context) => {
  const batch = new Batch(context);
  for (const id of new Set(ids)) if (context.view.get('flow', id)) batch.remove(id);
  return batch.plan((rev) => ({ rev }));
});

const pinSchema = z.strictObject({
  id: flowId,
  /** Of a flow that is not registered yet. */
  key: flowKey.optional(),
  spi: spi.optional(),
  path: z.array(replicaId).optional(),
  egress: replicaId.optional(),
  pinned: z.boolean().default(true),
});

/** Puts a flow on replicas by hand, whether it is there yet or not. It stays until it is unpinned or a replica is gone. */
export const pinFlow = concurrent(pinSchema, (wish, context) => {
  const { view, limits, choose } = context;
  const { id, pinned } = wish;
  const stored = view.get('flow', id)?.value;
  const key =
    stored?.key ??
    wish.key ??
    notFound(`there is no flow ${id}`, 'name its key and chain to pin it in advance');
  if (wish.key !== undefined && wish.key !== key) misfit('key', wish.key, `${key}, which has this id`);
  const spi = wish.spi ?? stored?.spi ?? misfit('spi', undefined, 'a chain');
  const inForce = view.chainRevision(spi) ?? notFound(`there is no chain ${spi}`);
  const { functions, revision } = inForce;
  const { path, egress } = wish;
  if (path && path.length !== functions.length) misfit('path', path, `${functions.length} replicas`);
  for (const [slot, replica] of (path ?? []).entries()) {
    if (!view.isThere(functions[slot], replica)) {
      misfit(`path.${slot}`, replica, `a replica of ${functions[slot]}`);
    }
  }
  if (egress !== undefined && !view.isThere(EGRESS, egress))
    misfit('egress', egress, `a replica of ${EGRESS}`);
  if (!stored) checkLimit(view.all('flow').size, limits.flows, 'flows');
  const before = stored && { path: path ?? stored.path, egress: egress ?? stored.egress };
  const wished = before ?? { path: path ?? [], egress: egress ?? 0 };
  const placement = place(view, choose, id, inForce, wished, {});
  if (typeof placement === 'string')
    notFound(`the function ${placement} has no replica that takes new flows`);
  const fresh: Flow = { key, spi, revision, generation: 1, ...placement, pinned };
  const flow = stored ? { ...moved(stored, spi, revision, placement), pinned } : fresh;
  if (stored && JSON.stringify(stored) === JSON.stringify(flow)) return nothingToDo(answer(id, flow));
  const batch = new Batch(context);
  batch.put(id, flow);
  return batch.plan(() => answer(id, flow));
});

/** Chooses anew for flows whose replicas are not there: exactly for those slots. Undefined when there is none, or nothing to choose. */
export function reselect(context: Context, gone: Iterable<number>): Plan | undefined {
  const { view, choose } = context;
  const batch = new Batch(context);
  const seen = new Set<string>();
  for (const replica of gone) {
    for (const id of view.flowsThrough(replica)) {
      if (batch.ops.length === FLOWS_PER_REQUEST) break;
      if (seen.has(id)) continue;
      seen.add(id);
      const flow = view.get('flow', id)!.value;
      // A revision that is not kept any more says no longer which function the slot was for: then the flow moves on.
      const revision = view.chainRevision(flow.spi, flow.revision) ?? view.chainRevision(flow.spi);
      if (!revision) {
        batch.remove(id);
        continue;
      }
      const placement = place(view, choose, id, revision, flow, {});
      if (typeof placement === 'string') continue;
      const next = moved(flow, flow.spi, revision.revision, placement);
      if (next !== flow) batch.put(id, next);
    }
  }
  return batch.ops.length > 0 ? batch.plan(() => undefined) : undefined;
}

/** Takes back flows of which nothing was seen. */
export function expire(context: Context, ids: readonly string[]): Plan | undefined {
  const batch = new Batch(context);
  for (const id of ids) {
    const flow = context.view.get('flow', id)?.value;
    if (flow && !flow.pinned) batch.remove(id);
  }
  return batch.ops.length > 0 ? batch.plan(() => undefined) : undefined;
}

/** Whether all replicas of a flow are there. */
export const isWhole = ({ view }: Pick<Context, 'view'>, flow: Flow): boolean =>
  [...visitedBy(flow)].every((id) => view.replica(id) !== undefined);
