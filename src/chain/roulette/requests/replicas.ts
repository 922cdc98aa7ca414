/** Replicas of functions, and what is suspected of them. */
import { z } from 'zod';
import { TunconnectorError } from '../../../errors.ts';
import { EGRESS, INGRESS, put, remove, unchanged } from '../model/model.ts';
import { ifRev, replicaFields, replicaId } from '../model/schema.ts';
import type { TenantView } from '../model/view.ts';
import {
  type Context,
  checkLimit,
  checkRev,
  concurrent,
  edit,
  misfit,
  notFound,
  nothingToDo,
  type Plan,
  removing,
  writing,
} from './request.ts';

const condition = { ifRev: ifRev.optional() };

/** Registers or changes one. Without an id it gets the next one that is free: an id is not given again soon. */
export const putReplica = edit(
  z.strictObject({ id: replicaId.optional(), ...replicaFields, ...condition }),
  ({ id: wanted, ifRev, ...replica }, context, tenant) => {
    const { view, limits } = context;
    if (wanted !== undefined) checkRev(context, 'replica', wanted, ifRev);
    const known = replica.function === INGRESS || replica.function === EGRESS;
    if (!known && !view.get('function', replica.function)) {
      notFound(`there is no function ${replica.function}`, 'declare it first');
    }
    const lease = view.get('lease', replica.lease);
    if (!lease) notFound(`there is no lease ${replica.lease}: it has ended`, 'ask for a new one');
    const id = wanted ?? freeId(view, tenant.replica);
    const before = view.get('replica', id);
    if (!before) checkLimit(view.all('replica').size, limits.replicas, 'replicas');
    else {
      if (before.value.function !== replica.function) {
        misfit('function', replica.function, `${before.value.function}, whose replica ${id} is`);
      }
      if (before.value.lease !== replica.lease && ifRev === undefined) throw taken(id, before.rev);
    }
    const op = put(context.tenant, 'replica', id, replica);
    if (before?.text === op.value) return nothingToDo({ rev: before!.rev, id });
    const { compare, ops } = writing(context, 'replica', id, op);
    return {
      compare: [...compare, unchanged(context.tenant, 'lease', replica.lease, lease.rev)],
      ops,
      ...(wanted === undefined && { tenant: { replica: id } }),
      answer: (rev) => ({ rev, id }),
    };
  },
);

/** Drains one, or takes it back into service. */
export const setReplicaState = edit(
  z.strictObject({ id: replicaId, state: replicaFields.state.unwrap(), ...condition }),
  ({ id, state, ifRev }, context) => {
    const { tenant, view } = context;
    checkRev(context, 'replica', id, ifRev);
    const before = view.get('replica', id) ?? notFound(`there is no replica ${id}`);
    if (before.value.state === state) return nothingToDo({ rev: before.rev });
    const op = put(tenant, 'replica', id, { ...before.value, state });
    return { ...writing(context, 'replica', id, op), answer: (rev) => ({ rev }) };
  },
);

export const removeReplica = edit(
  z.strictObject({ id: replicaId, ...condition }),
  ({ id, ifRev }, context) => {
    checkRev(context, 'replica', id, ifRev);
    return removing(context, 'replica', id);
  },
);

/** What stays of a replica whose lease has ended: gone, if it still is so. Undefined when it is not. */
export function dropStale({ tenant, view }: Context, id: number): Plan | undefined {
  const stale = view.get('replica', id);
  if (!stale || !view.isStale(id)) return undefined;
  return {
    compare: [unchanged(tenant, 'replica', id, stale.rev), unchanged(tenant, 'lease', stale.value.lease, 0)],
    ops: [remove(tenant, 'replica', id)],
    answer: () => undefined,
  };
}

function freeId(view: TenantView, last: number): number {
  for (let step = 1; step <= 0xffff; step++) {
    const id = ((last + step - 1) % 0xffff) + 1;
    if (!view.replica(id)) return id;
  }
  throw new TunconnectorError('ERR_LIMIT', 'all 65535 replica ids are taken', { remedy: 'remove replicas' });
}

const taken = (id: number, rev: number) =>
  new TunconnectorError('ERR_REVISION', `the replica ${id} hangs on another lease`, {
    remedy: 'take another id, or name its revision as ifRev to take its place',
    place: { path: 'ifRev', expected: String(rev) },
  });

// ── Suspects: somebody cannot reach a replica. It is asked before anything is done about it.

const suspectSchema = z.strictObject({
  replica: replicaId,
  /** `refused`: the system there says that nobody listens; `silent`: no answer to probes. */
  evidence: z.enum(['refused', 'silent'], { error: 'expected refused or silent' }),
  /** The replica's revision that the reporter knows. */
  rev: ifRev.optional(),
});

export const reportSuspect = concurrent(suspectSchema, ({ replica, evidence, rev }, context) => {
  const { tenant, view, limits } = context;
  const there = view.get('replica', replica);
  if (!there) return nothingToDo({ state: 'gone' });
  if (rev !== undefined && rev !== there.rev) return nothingToDo({ state: 'renewed', rev: there.rev });
  if (context.isCleared(replica)) return nothingToDo({ state: 'alive', rev: there.rev });
  if (view.get('suspect', replica)) return nothingToDo({ state: 'asked', rev: there.rev });
  checkLimit(view.all('suspect').size, limits.suspects, 'suspects');
  const op = put(tenant, 'suspect', replica, { evidence, rev: there.rev });
  const { compare, ops } = writing(context, 'suspect', replica, op);
  return {
    compare: [...compare, unchanged(tenant, 'replica', replica, there.rev)],
    ops,
    answer: () => ({ state: 'asked', rev: there.rev }),
  };
});

/** What comes of a suspicion: dead, the replica goes with it; alive, it alone. Undefined when it is settled already. */
export function settleSuspect({ tenant, view }: Context, replica: string, alive: boolean): Plan | undefined {
  const suspect = view.get('suspect', replica);
  if (!suspect) return undefined;
  const { rev } = suspect.value;
  const dead = !alive && view.rev('replica', replica) === rev;
  return {
    compare: [
      unchanged(tenant, 'suspect', replica, suspect.rev),
      ...(dead ? [unchanged(tenant, 'replica', replica, rev)] : []),
    ],
    ops: [remove(tenant, 'suspect', replica), ...(dead ? [remove(tenant, 'replica', replica)] : [])],
    answer: () => undefined,
  };
}
