/** The revisions of chains that packets may carry, found by integers. */
import type { ReplicaSet } from '../placement.ts';
import { MAX_FUNCTIONS } from '../wire/tlv.ts';
import { Ahead } from './ahead.ts';
import type { ChainUpdate } from './update.ts';

/** Revisions of all chains together; what is beyond is not known. Roulette keeps 16 of 1024 chains. */
export const MAX_REVISIONS = 16_384;

/** One revision of a chain. The same object until the chain changes. */
export interface ChainRevision {
  readonly spi: number;
  /** 32 bits, unsigned. */
  readonly revision: number;
  readonly symmetric: boolean;
  /** Names of its functions, in the order of the packets on the way there. */
  readonly names: readonly string[];
  /** Their replicas. The array stays, its members are exchanged as replicas come and go. */
  readonly functions: readonly ReplicaSet[];
  /** The same from the last function to the first, for the way back. */
  readonly backward: readonly ReplicaSet[];
}

interface Known extends ChainRevision {
  functions: ReplicaSet[];
  backward: ReplicaSet[];
}

export class Chains {
  readonly #bySpi = new Map<number, { ended: boolean; revisions: Known[] }>();
  /** Open addressing by hash of service path and revision: place in `#all` plus 1. */
  #places = new Int32Array(2);
  #newest = new Int32Array(2);
  #all: Known[] = [];
  readonly ahead = new Ahead();
  /** Revisions that were refused because there are too many, or because they are too long. */
  refused = 0;

  /** The revision that a packet carries, signed or not, or null. @param spi without the bit of the way back */
  find(spi: number, revision: number): ChainRevision | null {
    const places = this.#places;
    const mask = places.length - 1;
    for (let i = hash(spi, revision) & mask; places[i] !== 0; i = (i + 1) & mask) {
      const known = this.#all[places[i] - 1];
      if (known.spi === spi && (known.revision | 0) === (revision | 0)) return known;
    }
    return null;
  }

  /** The revision that new flows get, or null when there is no such chain or it has ended. */
  newest(spi: number): ChainRevision | null {
    const places = this.#newest;
    const mask = places.length - 1;
    for (let i = hash(spi, 0) & mask; places[i] !== 0; i = (i + 1) & mask) {
      const known = this.#all[places[i] - 1];
      if (known.spi === spi) return known;
    }
    return null;
  }

  /** Revisions of all chains. */
  get count(): number {
    return this.#all.length;
  }

  /**
   * Whether packets may carry this revision: one that is known, or for a while one that is somewhat newer than all that are
   * known, for whoever sends it may have heard of it first.
   */
  carries(spi: number, revision: number): boolean {
    return this.find(spi, revision) !== null || (this.#bySpi.has(spi) && this.ahead.take(revision));
  }

  /** @param setOf replicas of a function, by name */
  apply(updates: readonly ChainUpdate[], whole: boolean, setOf: (name: string) => ReplicaSet): void {
    if (whole) this.#bySpi.clear();
    for (const { spi, symmetric, ended, revisions } of updates) {
      if (revisions.length === 0) {
        this.#bySpi.delete(spi);
        continue;
      }
      const kept = revisions.filter(({ functions }) => functions.length <= MAX_FUNCTIONS);
      this.refused += revisions.length - kept.length;
      const known = kept.map(({ revision, functions: names }): Known => {
        const functions = names.map(setOf);
        return {
          spi,
          revision: revision >>> 0,
          symmetric,
          names: [...names],
          functions,
          backward: functions.toReversed(),
        };
      });
      if (known.length > 0) this.#bySpi.set(spi, { ended, revisions: known });
      else this.#bySpi.delete(spi);
    }
    this.#index();
  }

  /** The replicas of a function are others now. */
  exchange(name: string, set: ReplicaSet): void {
    for (const { names, functions, backward } of this.#all) {
      for (let i = 0; i < names.length; i++) {
        if (names[i] !== name) continue;
        functions[i] = set;
        backward[names.length - 1 - i] = set;
      }
    }
  }

  #index(): void {
    const every = [...this.#bySpi.values()].flatMap(({ revisions }) => revisions);
    this.#all = every.slice(0, MAX_REVISIONS);
    this.refused += every.length - this.#all.length;
    this.ahead.newest = this.#all.reduce((newest, { revision }) => Math.max(newest, revision), 0);
    const size = 2 << Math.ceil(Math.log2(this.#all.length + 1));
    this.#places = new Int32Array(size);
    this.#newest = new Int32Array(size);
    for (const [place, { spi, revision }] of this.#all.entries()) {
      insert(this.#places, hash(spi, revision), place);
      const chain = this.#bySpi.get(spi)!;
      if (!chain.ended && chain.revisions.at(-1) === this.#all[place])
        insert(this.#newest, hash(spi, 0), place);
    }
  }
}

function insert(places: Int32Array, at: number, place: number): void {
  const mask = places.length - 1;
  let i = at & mask;
  while (places[i] !== 0) i = (i + 1) & mask;
  places[i] = place + 1;
}

function hash(spi: number, revision: number): number {
  const mixed = Math.imul(spi, 0x9e3779b1) ^ Math.imul(revision | 0, 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}
