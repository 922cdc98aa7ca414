/** Chains as they are drawn: steps in the order of the packets, and under each the replicas with their states and rates. */
import type { ChainDocument, RateList, ReplicaDocument } from '../../client/roulette.ts';

export type ReplicaState = 'ready' | 'draining' | 'stale' | 'suspect' | 'gone';

/** A replica that is there, or was a moment ago. */
export interface SeenReplica extends Omit<ReplicaDocument, 'state'> {
  state: ReplicaState;
  /** As it takes new flows or not, whatever is suspected of it. */
  service: ReplicaDocument['state'];
}

export interface Step {
  name: string;
  /** An end of every chain, and no function of this one. */
  isEnd: boolean;
  replicas: readonly SeenReplica[];
}

export interface DrawnChain {
  chain: ChainDocument;
  steps: Step[];
  rates: RateList['chains'][number] | undefined;
}

/** Replicas that went are shown for this long, ms. */
export const GONE_SHOWN = 30_000;

/** Remembers which replicas were there: one that goes is told of for a while. */
export class Seen {
  #replicas = new Map<number, SeenReplica>();
  /** When those that are gone were missed first, ms. */
  readonly #gone = new Map<number, number>();

  /** By id. */
  get all(): SeenReplica[] {
    return [...this.#replicas.values()].sort((a, b) => a.id - b.id);
  }

  get(id: number): SeenReplica | undefined {
    return this.#replicas.get(id);
  }

  /** @param now ms */
  update(replicas: readonly ReplicaDocument[], now: number): void {
    const next = new Map(replicas.map((each) => [each.id, seen(each)]));
    for (const id of next.keys()) this.#gone.delete(id);
    for (const [id, before] of this.#replicas) {
      if (next.has(id)) continue;
      const since = this.#gone.get(id) ?? now;
      this.#gone.set(id, since);
      if (now - since < GONE_SHOWN) next.set(id, { ...before, state: 'gone', flows: 0 });
      else this.#gone.delete(id);
    }
    this.#replicas = next;
  }
}

const seen = (replica: ReplicaDocument): SeenReplica => ({
  ...replica,
  service: replica.state,
  state: replica.suspected ? 'suspect' : replica.stale ? 'stale' : replica.state,
});

/** What new flows pass. */
export const inForce = (chain: ChainDocument): ChainDocument['revisions'][number] => chain.revisions.at(-1)!;

export function drawn(
  chains: readonly ChainDocument[],
  replicas: readonly SeenReplica[],
  rates: RateList | undefined,
): DrawnChain[] {
  const of = (name: string) => replicas.filter((each) => each.function === name);
  const end = (name: string): Step => ({ name, isEnd: true, replicas: of(name) });
  return chains.map((chain) => ({
    chain,
    steps: [
      end('ingress'),
      ...inForce(chain).functions.map((name) => ({ name, isEnd: false, replicas: of(name) })),
      end('egress'),
    ],
    rates: rates?.chains.find(({ spi }) => spi === chain.spi),
  }));
}

/** Nothing to send new flows to. */
export const isEmpty = ({ replicas }: Step): boolean =>
  !replicas.some(({ service, state }) => service === 'ready' && state !== 'gone');

/** `10.0.0.1:4790`, `[fd00::1]:4790`. */
export const placeOf = ({ address, port }: Pick<ReplicaDocument, 'address' | 'port'>): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
