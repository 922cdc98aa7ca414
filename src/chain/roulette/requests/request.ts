/**
 * A request is checked, then planned: what has to be as it was, what is written, what is answered. Planning looks at what Roulette
 * knows and changes nothing; the store decides. When it refuses, since something had changed, the request is planned anew.
 */
import type { z } from 'zod';
import { TunconnectorError } from '../../../errors.ts';
import type { Limits } from '../model/limits.ts';
import { type Kind, ONLY, put, remove, type Tenant, type TenantId, unchanged } from '../model/model.ts';
import type { Candidate, TenantView } from '../model/view.ts';
import type { Compare, Op } from '../store.ts';

/**
 * The replica for a flow among those that may be chosen, or undefined when there is none. Every ingress and Roulette have to
 * choose the same: rendezvous hashing over the flow's id. The array is the same as long as the candidates are.
 */
export type Choose = (flow: string, candidates: readonly Candidate[]) => number | undefined;

export interface Context {
  readonly tenant: TenantId;
  readonly view: TenantView;
  readonly limits: Limits;
  readonly choose: Choose;
  /** Of rules. */
  readonly match: z.ZodType;
  /** Bytes that nobody can guess. */
  secret(length: number): Uint8Array;
  /** How many tenants there are. */
  tenants(): number;
  /** Whether it is time to write down that a flow is alive. */
  isTouchDue(flow: string): boolean;
  /** Whether a replica was suspected a moment ago, and answered. */
  isCleared(replica: number): boolean;
}

export interface Plan {
  compare: Compare[];
  /** None: nothing is to be changed. */
  ops: Op[];
  /** @param rev the revision of what was written */
  answer(rev: number): unknown;
}

export interface RequestKind<T = unknown> {
  schema: z.ZodType<T>;
  /** One at a time for each tenant: it writes what others of its kind compare. */
  exclusive: boolean;
  /** @throws TunconnectorError that is the answer */
  plan(body: T, context: Context): Plan;
}

/** Something that many do at once: flows, suspects. */
export const concurrent = <T>(schema: z.ZodType<T>, plan: RequestKind<T>['plan']): RequestKind<T> => ({
  schema,
  exclusive: false,
  plan,
});

/**
 * A change of a tenant's configuration. It compares and rewrites the tenant itself, so that of two which do not know of each
 * other (a function goes, a chain comes to use it) one is planned anew.
 */
export const edit = <T>(
  schema: z.ZodType<T>,
  plan: (body: T, context: Context, tenant: Tenant) => Plan & { tenant?: Partial<Tenant> },
): RequestKind<T> => ({
  schema,
  exclusive: true,
  plan: (body, context) => {
    const { tenant: id, view } = context;
    const tenant = tenantOf(context);
    const { tenant: change, compare, ops, answer } = plan(body, context, tenant);
    if (ops.length === 0) return { compare, ops, answer };
    return {
      compare: [...compare, unchanged(id, 'tenant', ONLY, view.rev('tenant'))],
      ops: [...ops, put(id, 'tenant', ONLY, { ...tenant, ...change })],
      answer,
    };
  },
});

/** @throws ERR_NOT_FOUND */
export function tenantOf({ tenant, view }: Pick<Context, 'tenant' | 'view'>): Tenant {
  return view.tenant ?? notFound(`there is no tenant ${tenant}`, 'make it first');
}

/** @throws ERR_REVISION unless it has the revision that the request names, if it names one */
export function checkRev({ view }: Context, kind: Kind, name: string | number, ifRev: number | undefined) {
  const rev = view.rev(kind, name);
  if (ifRev === undefined || ifRev === rev) return;
  const found = rev === 0 ? 'does not exist' : `has revision ${rev}`;
  throw new TunconnectorError('ERR_REVISION', `the ${kind} ${name} ${found}, ifRev is ${ifRev}`, {
    remedy: 'read it again, and decide anew',
    place: { path: 'ifRev', found: String(ifRev), expected: String(rev) },
  });
}

/** @throws ERR_LIMIT when one more does not fit */
export function checkLimit(found: number, limit: number, what: string) {
  if (found < limit) return;
  throw new TunconnectorError('ERR_LIMIT', `there are ${found} ${what}, the limit is ${limit}`, {
    remedy: 'remove some, or raise the limit',
  });
}

/** Puts one thing, if nobody has changed it meanwhile. */
export const writing = (
  { tenant, view }: Context,
  kind: Kind,
  name: string | number,
  op: Op,
): Pick<Plan, 'compare' | 'ops'> => ({
  compare: [unchanged(tenant, kind, name, view.rev(kind, name))],
  ops: [op],
});

/** Removes one thing. @throws ERR_NOT_FOUND */
export function removing(context: Context, kind: Kind, name: string | number): Plan {
  const { tenant, view } = context;
  if (view.rev(kind, name) === 0) notFound(`there is no ${kind} ${name}`);
  return { ...writing(context, kind, name, remove(tenant, kind, name)), answer: (rev) => ({ rev }) };
}

/** What is as it was asked to be already. */
export const nothingToDo = (answer: unknown): Plan => ({ compare: [], ops: [], answer: () => answer });

export function notFound(what: string, remedy?: string): never {
  throw new TunconnectorError('ERR_NOT_FOUND', what, remedy ? { remedy } : {});
}

/** @throws ERR_CONFIG that names the place in the request */
export function misfit(path: string, found: unknown, expected: string): never {
  const shown = JSON.stringify(found);
  throw new TunconnectorError('ERR_CONFIG', `${path}: found ${shown}, expected ${expected}`, {
    place: { path, found: shown, expected },
  });
}
