/**
 * Leases: what a member holds while it is heard. The store counts the time. A lease that is ended takes its replicas along; of one that runs out
 * they stay, and are stale.
 */
import { z } from 'zod';
import { checkOptions } from '../../../engine/options.ts';
import { TunconnectorError } from '../../../errors.ts';
import type { Commits, Done } from '../commits.ts';
import { figuresList, type ReplicaFigures } from '../figures.ts';
import type { Limits } from '../model/limits.ts';
import { ONLY, put, remove, type TenantId, unchanged } from '../model/model.ts';
import { leaseId, term } from '../model/schema.ts';
import type { Registry } from '../registry.ts';
import { MAX_OPS, type RegistryStore } from '../store.ts';
import { type Context, checkLimit, tenantOf } from './request.ts';

const grantSchema = z.strictObject({ term });
const leaseSchema = z.strictObject({ lease: leaseId });
/** Who keeps a lease may say what has passed through its replicas. */
const keepSchema = z.strictObject({ lease: leaseId, figures: figuresList.optional() });

/** Bodies, by name. */
export const LEASE_REQUESTS = {
  'lease.grant': grantSchema,
  'lease.keep': keepSchema,
  'lease.end': leaseSchema,
} as const;
export type LeaseRequest = keyof typeof LEASE_REQUESTS;

export const isLeaseRequest = (name: string): name is LeaseRequest => Object.hasOwn(LEASE_REQUESTS, name);

type Hear = (tenant: TenantId, lease: string, figures: readonly ReplicaFigures[] | undefined) => void;

export class LeaseDesk {
  readonly #store: RegistryStore;
  readonly #commits: Commits;
  readonly #registry: Registry;
  readonly #limits: Limits;
  readonly #hear: Hear;

  /** @param hear who keeps a lease, and what they say of their replicas */
  constructor(store: RegistryStore, commits: Commits, registry: Registry, limits: Limits, hear: Hear) {
    this.#store = store;
    this.#commits = commits;
    this.#registry = registry;
    this.#limits = limits;
    this.#hear = hear;
  }

  /** @throws ERR_CONFIG, ERR_NOT_FOUND, ERR_LIMIT; other errors come to `done` */
  request(tenant: TenantId, name: LeaseRequest, body: unknown, done: Done): void {
    if (name === 'lease.grant') this.#grant(tenant, checkOptions(grantSchema, body).term, done);
    else {
      const { lease, figures } = checkOptions(LEASE_REQUESTS[name], body) as z.output<typeof keepSchema>;
      // A lease of another tenant is as if there were none.
      if (!this.#registry.view(tenant).get('lease', lease)) throw ended(lease);
      if (name === 'lease.keep') {
        this.#hear(tenant, lease, figures);
        this.#keep(lease, done);
      } else this.#end(tenant, lease, done);
    }
  }

  /** The lease's own key hangs on it: whose it is, is known as long as it lives. */
  #grant(tenant: TenantId, term: number, done: Done): void {
    this.#check(tenant);
    this.#store.grant(term, (error, granted) => {
      if (error || !granted) {
        done(error);
        return;
      }
      const { lease, term } = granted;
      const plan = ({ view }: Context) => {
        this.#check(tenant);
        return {
          compare: [
            unchanged(tenant, 'lease', lease, 0),
            // A tenant that is removed meanwhile gets none.
            unchanged(tenant, 'tenant', ONLY, view.rev('tenant')),
          ],
          ops: [put(tenant, 'lease', lease, { term }, lease)],
          answer: () => ({ lease, term }),
        };
      };
      this.#commits.commitInLine(tenant, plan, done);
    });
  }

  /** Its replicas go first: they have said goodbye. */
  #end(tenant: TenantId, lease: string, done: Done): void {
    const plan = ({ view }: Context) => {
      const held = [...view.all('replica').values()].filter(({ value }) => value.lease === lease);
      const some = held.slice(0, MAX_OPS - 1);
      return {
        compare: some.map(({ name, rev }) => unchanged(tenant, 'replica', name, rev)),
        ops: [
          ...some.map(({ name }) => remove(tenant, 'replica', name)),
          // None can be added once it is gone.
          ...(some.length === held.length ? [remove(tenant, 'lease', lease)] : []),
        ],
        answer: () => some.length < held.length,
      };
    };
    this.#commits.commit(tenant, plan, (error, more) => {
      if (error) done(error);
      else if (more) this.#end(tenant, lease, done);
      else this.#store.revoke(lease, (error) => (error ? done(error) : done(undefined, { lease })));
    });
  }

  /** @throws ERR_NOT_FOUND, ERR_LIMIT */
  #check(tenant: TenantId): void {
    const view = this.#registry.view(tenant);
    tenantOf({ tenant, view });
    checkLimit(view.all('lease').size, this.#limits.leases, 'leases');
  }

  #keep(lease: string, done: Done): void {
    this.#store.keepAlive(lease, (error, alive) => {
      if (error) done(error);
      else if (alive) done(undefined, { lease });
      else done(ended(lease));
    });
  }
}

const ended = (lease: string) =>
  new TunconnectorError('ERR_NOT_FOUND', `there is no lease ${lease}: it has ended`, {
    remedy: 'ask for a new one, and register again',
  });
