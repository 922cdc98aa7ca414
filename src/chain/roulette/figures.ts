/**
 * What members say of the packets that pass through their replicas, along with the renewal of their leases, and rates made of it. It is
 * kept in memory alone, the last two of each replica: another Roulette on the same store does not know it, and a restart forgets it.
 */
import { z } from 'zod';
import { SECOND } from '../../engine/units.ts';
import type { TenantId } from './model/model.ts';
import { replicaId, spi } from './model/schema.ts';
import type { TenantView } from './model/view.ts';

const ERROR = 'expected a count that is not negative';
const count = z
  .number({ error: ERROR })
  .min(0, { error: ERROR })
  .max(Number.MAX_SAFE_INTEGER, { error: ERROR });

/** Counted since the start of the packet half: wire packets, and bytes of IP packets without the headers of the chain. */
const passing = { packetsIn: count, bytesIn: count, packetsOut: count, bytesOut: count };

/** Of one end: chains that are told of at most. */
export const CHAINS_TOLD = 256;
/** Replicas of one lease that are told of at most. */
const REPLICAS_TOLD = 16;

export const replicaFigures = z.strictObject({
  replica: replicaId,
  /** ns on a clock of its own: rates are of the time between two. */
  time: count,
  /** Into the function and out of it, both ways together; of an end, into the chains there and out of them. */
  ...passing,
  /** Packets that it dropped, whatever the reason. */
  drops: count,
  /** Of an end: into each chain here, and out of it. */
  chains: z
    .array(z.strictObject({ spi, ...passing }))
    .max(CHAINS_TOLD)
    .optional(),
});
export const figuresList = z.array(replicaFigures).max(REPLICAS_TOLD);

export type ReplicaFigures = z.output<typeof replicaFigures>;

/** A second. */
export interface Passing {
  packetsIn: number;
  bitsIn: number;
  packetsOut: number;
  bitsOut: number;
}

export interface ReplicaRates extends Passing {
  replica: number;
  /** ns since they were told, and between the two reports that they are made of. */
  age: number;
  span: number;
  /** Packets a second. */
  drops: number;
  chains: (Passing & { spi: number })[];
}

interface Kept {
  last: ReplicaFigures;
  /** When it came, ns. */
  at: number;
  before?: ReplicaFigures;
  beforeAt?: number;
}

/** A rate holds for this long at least, ns, and for so many times as long as it took to tell. */
const HOLDS = 5 * SECOND;
const HOLDS_SPANS = 3;

export class Figures {
  readonly #tenants = new Map<TenantId, Map<number, Kept>>();

  /** What a member that holds this lease says. Of replicas that are not its own nothing is kept. @param now ns */
  note(
    tenant: TenantId,
    view: TenantView,
    lease: string,
    told: readonly ReplicaFigures[],
    now: number,
  ): void {
    for (const last of told) {
      if (view.replica(last.replica)?.lease !== lease) continue;
      let kept = this.#tenants.get(tenant);
      if (!kept) this.#tenants.set(tenant, (kept = new Map()));
      const before = kept.get(last.replica);
      // Once more what was told already, as after an answer that was lost.
      if (before?.last.time === last.time) continue;
      const isSame = before !== undefined && continues(before.last, last);
      kept.set(last.replica, {
        last,
        at: now,
        ...(isSame && { before: before.last, beforeAt: before.at }),
      });
      this.#sweep(tenant, view, kept);
    }
  }

  /** Rates of the replicas that have told of themselves lately, by id. @param now ns */
  rates(tenant: TenantId, view: TenantView, now: number): ReplicaRates[] {
    const kept = this.#tenants.get(tenant);
    if (!kept) return [];
    const rates: ReplicaRates[] = [];
    for (const [replica, { last, at, before, beforeAt }] of kept) {
      if (!before || beforeAt === undefined || !view.replica(replica)) continue;
      const age = now - at;
      if (age > Math.max(HOLDS, HOLDS_SPANS * (at - beforeAt))) continue;
      rates.push({ replica, age, ...ratesOf(before, last) });
    }
    return rates.sort((a, b) => a.replica - b.replica);
  }

  /** As many as there are replicas, and not many more. */
  #sweep(tenant: TenantId, view: TenantView, kept: Map<number, Kept>): void {
    if (kept.size <= view.all('replica').size) return;
    for (const id of kept.keys()) if (!view.replica(id)) kept.delete(id);
    if (kept.size === 0) this.#tenants.delete(tenant);
  }
}

/** Not another process under the same id, nor another thread of one, which counts from 0 again. */
const continues = (before: ReplicaFigures, now: ReplicaFigures): boolean =>
  now.time > before.time && now.packetsIn >= before.packetsIn && now.packetsOut >= before.packetsOut;

function ratesOf(before: ReplicaFigures, now: ReplicaFigures): Omit<ReplicaRates, 'replica' | 'age'> {
  const span = now.time - before.time;
  const chains = new Map(before.chains?.map((each) => [each.spi, each]));
  return {
    span,
    ...passed(before, now, span),
    drops: perSecond(before.drops, now.drops, span),
    chains: (now.chains ?? []).map((each) => ({
      spi: each.spi,
      ...passed(chains.get(each.spi) ?? NOTHING, each, span),
    })),
  };
}

type Counts = Pick<ReplicaFigures, keyof typeof passing>;
const NOTHING: Counts = { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0 };

const passed = (before: Counts, now: Counts, span: number): Passing => ({
  packetsIn: perSecond(before.packetsIn, now.packetsIn, span),
  bitsIn: 8 * perSecond(before.bytesIn, now.bytesIn, span),
  packetsOut: perSecond(before.packetsOut, now.packetsOut, span),
  bitsOut: 8 * perSecond(before.bytesOut, now.bytesOut, span),
});

const perSecond = (before: number, now: number, span: number): number =>
  (Math.max(0, now - before) * SECOND) / span;
