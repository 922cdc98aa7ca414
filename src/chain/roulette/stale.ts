/**
 * Replicas whose leases have ended. That Roulette has not heard a member proves little: either may be cut off while packets pass. So they stay, take new
 * flows only if no other can, and go
 *
 * - when another replica of the function is ready, and this one has not come back for `GRACE`. An ingress goes not for that: another one does not
 *   have its clients;
 * - when no flow goes through it, and that for as long as flows are kept.
 *
 * While no member is heard at all it is Roulette that is away, and none of this time counts. Those that members cannot reach go as all suspects do.
 */
import { SECOND } from '../../engine/units.ts';
import { INGRESS, type TenantId } from './model/model.ts';
import type { Registry } from './registry.ts';

/** ns that a member has to come back, once others are heard. */
export const GRACE = 10 * SECOND;
/** ns without a word of any member after which Roulette takes itself for away: leases of 5 s are kept every 1.7 s. */
const QUIET = 3 * SECOND;

interface StaleReplica {
  tenant: TenantId;
  replica: number;
  /** Since when, less the time that does not count: ns. */
  since: number;
}

export class Stale {
  readonly #registry: Registry;
  readonly #unused: number;
  readonly #replicas = new Map<string, StaleReplica>();
  #heard = Number.NEGATIVE_INFINITY;

  /** @param unused ns after which one that has no flows goes */
  constructor(registry: Registry, unused: number) {
    this.#registry = registry;
    this.#unused = unused;
  }

  /** Some member has kept its lease. */
  heard(now: number): void {
    this.#heard = now;
  }

  /** Looks which replicas of a tenant are stale: after a lease of it has ended. @returns those that were not before */
  read(tenant: TenantId, now: number): number[] {
    const view = this.#registry.view(tenant);
    const found: number[] = [];
    for (const name of view.all('replica').keys()) {
      const replica = Number(name);
      const key = `${tenant}/${name}`;
      if (!view.isStale(replica) || this.#replicas.has(key)) continue;
      this.#replicas.set(key, { tenant, replica, since: now });
      found.push(replica);
    }
    return found;
  }

  /** @returns those that are to go */
  look(now: number): StaleReplica[] {
    const isAway = now - this.#heard > QUIET;
    const gone: StaleReplica[] = [];
    for (const [key, stale] of this.#replicas) {
      if (!this.#registry.view(stale.tenant).isStale(stale.replica)) this.#replicas.delete(key);
      else if (isAway) stale.since = now;
      else if (this.#isToGo(stale, now - stale.since)) gone.push(stale);
    }
    return gone;
  }

  #isToGo({ tenant, replica }: StaleReplica, age: number): boolean {
    const view = this.#registry.view(tenant);
    const { function: of } = view.replica(replica)!;
    if (age >= GRACE && of !== INGRESS && view.hasFresh(of)) return true;
    return age >= this.#unused && view.flowsThrough(replica).size === 0;
  }
}
