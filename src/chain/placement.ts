/**
 * Which replica of each function a flow goes to: weighted rendezvous hashing. Every replica draws a number from the flow's id
 * and its own, and the best draw wins, so that all who know the same replicas choose the same without asking one another;
 * one that comes takes only what it wins, and one that goes gives up only what it had (Thaler and Ravishankar: "Using
 * name-based mappings to increase hit rates", 1998).
 *
 * With weights the draw is exponential, -log(u) / weight, and the smallest wins: the chance of each is its share of the
 * weights. Logarithms of floating point are not the same on every machine; these are made of integers.
 *
 * The position in the chain is no part of the draw: whoever places the replies, on the chain turned round, gets the same.
 */
import { HalfSipHash } from '../packet/half-siphash.ts';
import { CHOOSE } from './wire/tlv.ts';

export interface Replica {
  /** 1 to 65535, unique in a chain's functions. */
  id: number;
  /** Share of new flows beside those of the others: an integer, 1 to 65535. */
  weight: number;
  /** A draining replica keeps its flows and gets no new ones. */
  state: 'ready' | 'draining';
}

export const MAX_WEIGHT = 0xffff;

/** Bits of a logarithm behind the point. */
const FRACTION = 20;
/** Bits of a mantissa behind the point: its square is exact in a double. */
const MANTISSA = 25;
const ONE = 2 ** MANTISSA;
/** Logarithms of mantissas are in a table by so many of their bits, with a straight line between two of them. */
const TABLE = 12;
const REST = MANTISSA - TABLE;

/** log2(mantissa / 2^25) for 1 <= mantissa / 2^25 < 2, bit by bit: squaring a number doubles its logarithm. */
function log2(mantissa: number): number {
  let fraction = 0;
  for (let i = 0; i < FRACTION; i++) {
    mantissa = Math.floor((mantissa * mantissa) / ONE);
    fraction *= 2;
    if (mantissa >= 2 * ONE) {
      fraction++;
      mantissa = Math.floor(mantissa / 2);
    }
  }
  return fraction;
}

const logarithms = new Int32Array(2 ** TABLE + 1).map((_, i) =>
  i === 2 ** TABLE ? 2 ** FRACTION : log2(ONE + i * 2 ** REST),
);

/** -log2((draw + 1) / 2^32) in steps of 2^-20, for a draw of 0 to 2^32 - 1: 2^25 to 0. */
export function negativeLog2(draw: number): number {
  if (draw === 0xffffffff) return 0;
  const x = draw + 1;
  const exponent = 31 - Math.clz32(x);
  const mantissa = exponent <= MANTISSA ? x << (MANTISSA - exponent) : x >>> (exponent - MANTISSA);
  const place = (mantissa >>> REST) & (2 ** TABLE - 1);
  const rest = mantissa & (2 ** REST - 1);
  const fraction = logarithms[place] + (((logarithms[place + 1] - logarithms[place]) * rest) >> REST);
  return ((32 - exponent) << FRACTION) - fraction;
}

/** The replicas of one function. Made anew whenever they change. */
export class ReplicaSet {
  readonly #known: Set<number>;
  readonly #ids: Int32Array;
  readonly #weights: Int32Array;
  readonly #hash = new HalfSipHash();

  constructor(replicas: readonly Replica[]) {
    this.#known = new Set(replicas.map(({ id }) => id));
    // In one order everywhere, for draws that are equal.
    const ready = replicas.filter(({ state }) => state === 'ready').sort((a, b) => a.id - b.id);
    this.#ids = Int32Array.from(ready, ({ id }) => id);
    this.#weights = Int32Array.from(ready, ({ weight }) => weight);
    for (const { id, weight } of replicas) {
      if (!Number.isInteger(weight) || weight < 1 || weight > MAX_WEIGHT)
        throw new RangeError(
          `replica ${id} has the weight ${weight}, expected an integer from 1 to ${MAX_WEIGHT}`,
        );
    }
  }

  /** Replicas that get new flows. */
  get ready(): number {
    return this.#ids.length;
  }

  /** Whether there is such a replica, ready or draining. */
  has(id: number): boolean {
    return this.#known.has(id);
  }

  /** The replica of a new flow, or CHOOSE when none is ready. @param high, low of the flow's id */
  pick(high: number, low: number): number {
    const ids = this.#ids;
    const hash = this.#hash;
    let best = CHOOSE;
    let bestDraw = 0;
    let bestTie = 0;
    let bestWeight = 1;
    for (let i = 0; i < ids.length; i++) {
      hash.hash(high, low, ids, i, 1);
      const draw = negativeLog2(hash.high >>> 0);
      const weight = this.#weights[i];
      // draw / weight against bestDraw / bestWeight: both products are below 2^41.
      const order = best === CHOOSE ? -1 : draw * bestWeight - bestDraw * weight;
      if (order > 0 || (order === 0 && hash.low >= bestTie)) continue;
      best = ids[i];
      bestDraw = draw;
      bestTie = hash.low;
      bestWeight = weight;
    }
    return best;
  }
}

/**
 * A function that picks by the flow's id in 16 hexadecimal digits, undefined when there is nothing to pick: what a registry
 * wants. A list of replicas must not change; another list is made for others.
 */
export function chooser(): (flow: string, replicas: readonly Replica[]) => number | undefined {
  const sets = new WeakMap<readonly Replica[], ReplicaSet>();
  return (flow, replicas) => {
    let set = sets.get(replicas);
    if (!set) sets.set(replicas, (set = new ReplicaSet(replicas)));
    const id = set.pick(Number.parseInt(flow.slice(0, 8), 16) | 0, Number.parseInt(flow.slice(8), 16) | 0);
    return id === CHOOSE ? undefined : id;
  };
}

/**
 * Places a new flow: fills `path` with a replica of each function.
 *
 * @param functions the chain's, in its order
 * @returns false when one of them has no replica that is ready; its id is CHOOSE then
 */
export function place(
  functions: readonly ReplicaSet[],
  high: number,
  low: number,
  path: Uint16Array,
): boolean {
  let whole = true;
  for (let i = 0; i < functions.length; i++) {
    path[i] = functions[i].pick(high, low);
    if (path[i] === CHOOSE) whole = false;
  }
  return whole;
}

/**
 * Chooses anew where a flow's replica is gone, and only there; a draining replica keeps it. What changes needs a new
 * generation.
 *
 * @returns how many replicas are others now
 */
export function mend(functions: readonly ReplicaSet[], high: number, low: number, path: Uint16Array): number {
  let changed = 0;
  for (let i = 0; i < functions.length; i++) {
    if (functions[i].has(path[i])) continue;
    const other = functions[i].pick(high, low);
    if (other !== path[i]) changed++;
    path[i] = other;
  }
  return changed;
}
