/**
 * The arithmetic of a network's memory. Every source of packets gets a quota: what may be on its way, and all that
 * the apps downstream of it may hold. The quotas together must fit into the pool; then no allocation within a quota
 * can fail, and nobody's queue can take another's memory.
 */
import { TunconnectorError } from '../errors.ts';
import { COMMON_ACCOUNT, LARGE_SLOT, SMALL_SLOT } from '../native/binding.ts';
import type { App } from './app.ts';
import type { LinkConfig } from './config.ts';
import { successors } from './order.ts';
import type { Pool } from './pool.ts';
import { MAX_ACCOUNTS, type PoolSize } from './pool-memory.ts';

export interface Quota {
  small: number;
  large: number;
}

/** What a network has beside the queues of its apps. */
export interface Allowance {
  /** Packets that one source may have on links and in bursts. */
  onTheWay: Quota;
  /** Control messages and copies of shared packets. */
  common: Quota;
}

/** Twice a link's ring, so that a full link is not yet the end. */
export const USUAL: Allowance = {
  onTheWay: { small: 2048, large: 32 },
  common: { small: 1024, large: 16 },
};
/** For thousands of networks in one process: what a burst wants, and no more. */
export const MODEST: Allowance = {
  onTheWay: { small: 256, large: 2 },
  common: { small: 64, large: 1 },
};

/** A pool for `bytes` of memory: two thirds in small slots, a third in large ones. */
export function poolFor(bytes: number): PoolSize {
  return {
    smallSlots: Math.floor((bytes * 2) / 3 / SMALL_SLOT),
    largeSlots: Math.floor(bytes / 3 / LARGE_SLOT),
  };
}

/** What each source (an app that pulls) needs, by app name. */
export function quotas(
  apps: ReadonlyMap<string, App>,
  links: readonly LinkConfig[],
  { onTheWay } = USUAL,
): Map<string, Quota> {
  const next = successors(apps, links);
  const result = new Map<string, Quota>();
  for (const [name, app] of apps) {
    if (!app.pull) continue;
    const quota = { ...onTheWay };
    for (const holder of downstream(name, links, next)) {
      const limits = apps.get(holder)?.limits;
      quota.small += limits?.packets ?? 0;
      quota.large += limits?.superframes ?? 0;
    }
    result.set(name, quota);
  }
  return result;
}

/** Every app that packets of this source can reach. */
function downstream(source: string, links: readonly LinkConfig[], next: readonly number[][]): Set<string> {
  const apps = new Set<string>();
  const seen = new Set<number>();
  const todo: number[] = [];
  for (let i = 0; i < links.length; i++) if (links[i].producer === source) todo.push(i);
  for (let i = todo.pop(); i !== undefined; i = todo.pop()) {
    if (seen.has(i)) continue;
    seen.add(i);
    apps.add(links[i].consumer);
    todo.push(...next[i]);
  }
  return apps;
}

/** Bytes of packet memory with which a network of these apps fits: no less than this, and no more is ever used. */
export function memoryFor(
  apps: ReadonlyMap<string, App>,
  links: readonly LinkConfig[],
  allowance = USUAL,
): number {
  const sum = { ...allowance.common };
  for (const { small, large } of quotas(apps, links, allowance).values()) {
    sum.small += small;
    sum.large += large;
  }
  // As `poolFor` divides it; the part of a slot that is left over at the end of either is one more.
  return Math.ceil(Math.max(((sum.small + 1) * SMALL_SLOT * 3) / 2, (sum.large + 1) * LARGE_SLOT * 3));
}

/** Throws ERR_LIMIT with the sum when the quotas do not fit into the pool. */
export function checkFits(size: PoolSize, needed: ReadonlyMap<string, Quota>, { common } = USUAL): void {
  if (needed.size + 1 > MAX_ACCOUNTS) {
    throw new TunconnectorError(
      'ERR_LIMIT',
      `${needed.size} sources of packets, and at most ${MAX_ACCOUNTS - 1} fit`,
    );
  }
  for (const kind of ['small', 'large'] as const) {
    const have = kind === 'small' ? size.smallSlots : size.largeSlots;
    const parts = [`${common[kind]} in common`];
    let sum = common[kind];
    for (const [name, quota] of needed) {
      parts.push(`${quota[kind]} for ${name}`);
      sum += quota[kind];
    }
    if (sum > have) {
      const bytes = Math.ceil((sum * (kind === 'small' ? (SMALL_SLOT * 3) / 2 : LARGE_SLOT * 3)) / (1 << 20));
      throw new TunconnectorError(
        'ERR_LIMIT',
        `the network needs ${sum} ${kind} packet slots (${parts.join(' + ')}) and has ${have}`,
        { remedy: `lower a limit, or give the network at least ${bytes} MiB of memory` },
      );
    }
  }
}

/** Writes the quotas into the pool's accounts. */
export function applyQuotas(pool: Pool, byAccount: ReadonlyMap<number, Quota>, { common } = USUAL): void {
  pool.quotaSmall.fill(0);
  pool.quotaLarge.fill(0);
  pool.quotaSmall[COMMON_ACCOUNT] = common.small;
  pool.quotaLarge[COMMON_ACCOUNT] = common.large;
  for (const [account, quota] of byAccount) {
    pool.quotaSmall[account] = quota.small;
    pool.quotaLarge[account] = quota.large;
  }
}
