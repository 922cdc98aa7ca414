/** The flows that a member has to do with. Those that had no packet for long are forgotten, the longest silent first. */
import type { Flow } from '../roulette/model/model.ts';
import type { PlacedFlow } from './control.ts';

/**
 * `due`: to be asked about. `asked`: the answer is out. `held`: Roulette has it. `away`: it is somebody else's to register, or Roulette has
 * it no more; it is looked at again with its next packet. `refused`: another flow has its id, or it cannot be.
 */
export type FlowState = 'due' | 'asked' | 'held' | 'away' | 'refused';

export interface KnownFlow {
  /** As it would be registered; undefined where only its id is known. */
  wish: PlacedFlow | undefined;
  state: FlowState;
  /** The packet half has something newer than what is asked about. */
  isStale: boolean;
  /** It is asked about a second after something. */
  isLater: boolean;
  /** Refusals in a row that may pass. */
  tries: number;
  /** It was in a request that was refused as a whole: asked about alone from now on. */
  alone: boolean;
  /** ns of its last news. */
  seen: number;
  /** ns when Roulette was told last that it lives. */
  touched: number;
  /** What the packet half was told last: revision and generation. */
  revision: number;
  generation: number;
}

export class KnownFlows {
  readonly #limit: number;
  /** From the one silent longest to the one seen last. */
  readonly #flows = new Map<string, KnownFlow>();
  evicted = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#flows.size;
  }

  has(id: string): boolean {
    return this.#flows.has(id);
  }

  get(id: string): KnownFlow | undefined {
    return this.#flows.get(id);
  }

  ids(): Iterable<string> {
    return this.#flows.keys();
  }

  [Symbol.iterator](): Iterator<[string, KnownFlow]> {
    return this.#flows[Symbol.iterator]();
  }

  /** A flow that had news now; it is made if need be. */
  see(id: string, now: number): KnownFlow {
    let flow = this.#flows.get(id);
    if (flow) this.#flows.delete(id);
    else {
      if (this.#flows.size >= this.#limit) this.#evict();
      flow = {
        wish: undefined,
        state: 'away',
        isStale: false,
        isLater: false,
        tries: 0,
        alone: false,
        seen: now,
        touched: -Infinity,
        revision: 0,
        generation: 0,
      };
    }
    flow.seen = now;
    this.#flows.set(id, flow);
    return flow;
  }

  /** Forgets those not seen since then. */
  forget(since: number): void {
    for (const [id, flow] of this.#flows) {
      if (flow.seen >= since) return;
      this.#flows.delete(id);
    }
  }

  #evict(): void {
    for (const id of this.#flows.keys()) {
      this.#flows.delete(id);
      this.evicted++;
      return;
    }
  }
}

/** @returns whether Roulette's flow is another one than the packet half was told of; it is taken down */
export function adopt(known: KnownFlow, flow: Pick<Flow, 'revision' | 'generation'>): boolean {
  if (known.revision === flow.revision && known.generation === flow.generation) return false;
  known.revision = flow.revision;
  known.generation = flow.generation;
  return true;
}
