/**
 * Distributions of jitter, as tables of quantiles: a uniform draw picks a place in the table. Mean 0 and standard
 * deviation 1 exactly, whatever the shape (those that come with netem are up to 18 % narrower). Computed with additions,
 * multiplications, divisions and square roots alone, which IEEE 754 makes equal on every machine, where Math.log and
 * Math.pow are not.
 */
import { configError } from '../engine/config.ts';

export const DISTRIBUTIONS = ['uniform', 'normal', 'pareto', 'paretonormal'] as const;
export type DistributionName = (typeof DISTRIBUTIONS)[number];

/** Places in a table: the draw's upper 12 bits pick one, the next 20 go between it and its neighbour. */
const BITS = 12;
const SIZE = 1 << BITS;
const BETWEEN = 2 ** (32 - BITS);

export class Distribution {
  /** SIZE + 1 quantiles. */
  readonly #table: Float64Array;

  /** @param table values at even steps of probability, at least two, rising; any mean, any width */
  constructor(table: ArrayLike<number>) {
    this.#table = standardise(resample(table));
  }

  static named(name: DistributionName): Distribution {
    let known = cache.get(name);
    if (!known) {
      known = new Distribution(
        Array.from({ length: SIZE + 1 }, (_, i) => SHAPES[name]((i + 0.5) / (SIZE + 1))),
      );
      cache.set(name, known);
    }
    return known;
  }

  /** The deviation that belongs to 32 uniform bits, in standard deviations. */
  at(draw: number): number {
    const place = draw >>> (32 - BITS);
    const low = this.#table[place];
    return low + ((this.#table[place + 1] - low) * (draw & (BETWEEN - 1))) / BETWEEN;
  }
}

/** Most values of a table: netem's MAX_DIST is 16384. */
const VALUES = 65536;

/**
 * The values of a table file of netem (iproute2's `normal.dist` and the like, from its `maketable`): whole numbers, 8192 to a
 * standard deviation, with `#` before comments.
 *
 * @throws ERR_CONFIG with the line that makes no sense
 */
export function parseTable(text: string): number[] {
  const values: number[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.startsWith('#')) continue;
    for (const word of line.split(/\s+/)) {
      if (word === '') continue;
      if (!/^-?\d{1,9}$/.test(word))
        throw configError(`table, line ${i + 1}: found "${word.slice(0, 40)}", expected a whole number`);
      if (values.length === VALUES) throw configError(`table: more than ${VALUES} values`);
      values.push(Number(word) / 8192);
    }
  }
  if (values.length < 2) throw configError(`table: found ${values.length} values, expected at least 2`);
  return values;
}

const cache = new Map<DistributionName, Distribution>();

const SHAPES: Record<DistributionName, (p: number) => number> = {
  uniform: (p) => p,
  normal,
  // With index 3, as in netem: the variance is finite, the third moment is not.
  pareto: (p) => 1 / cubeRoot(1 - p),
  paretonormal: (p) => 0.25 * normal(p) + (0.75 * (1 / cubeRoot(1 - p) - 1.5)) / Math.sqrt(0.75),
};

/** Wichura's PPND16 (Algorithm AS 241, Applied Statistics 37, 1988): the normal distribution's quantile to 1e-16. */
function normal(p: number): number {
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q;
    return (q * polynomial(CENTRE_ABOVE, r)) / polynomial(CENTRE_BELOW, r);
  }
  // The tables' ends are at 1e-4: the approximation for beyond e^-25 is not needed.
  const r = Math.sqrt(-naturalLog(q < 0 ? p : 1 - p)) - 1.6;
  const tail = polynomial(TAIL_ABOVE, r) / polynomial(TAIL_BELOW, r);
  return q < 0 ? -tail : tail;
}

const CENTRE_ABOVE = [
  3.3871328727963665, 133.14166789178438, 1971.5909503065513, 13731.69376550946, 45921.95393154987,
  67265.7709270087, 33430.57558358813, 2509.0809287301227,
];
const CENTRE_BELOW = [
  1, 42.31333070160091, 687.1870074920579, 5394.196021424751, 21213.794301586597, 39307.89580009271,
  28729.085735721943, 5226.495278852854,
];
const TAIL_ABOVE = [
  1.4234371107496835, 4.630337846156546, 5.769497221460691, 3.6478483247632045, 1.2704582524523684,
  0.2417807251774506, 0.022723844989269184, 0.0007745450142783414,
];
const TAIL_BELOW = [
  1, 2.053191626637759, 1.6763848301838038, 0.6897673349851, 0.14810397642748008, 0.015198666563616457,
  0.0005475938084995345, 1.0507500716444169e-9,
];

function polynomial(coefficients: readonly number[], x: number): number {
  let sum = 0;
  for (let i = coefficients.length - 1; i >= 0; i--) sum = sum * x + coefficients[i];
  return sum;
}

/** By halving into [0.7, 1.4] and the series of the inverse hyperbolic tangent. */
export function naturalLog(x: number): number {
  const LN2 = Math.LN2;
  let halvings = 0;
  let m = x;
  for (; m < 0.7; m *= 2) halvings--;
  for (; m > 1.4; m /= 2) halvings++;
  const t = (m - 1) / (m + 1);
  let sum = 0;
  for (let n = 41; n >= 1; n -= 2) sum = sum * t * t + 1 / n;
  return 2 * t * sum + halvings * LN2;
}

/** By Newton's method, from above, for 0 < x <= 1. */
function cubeRoot(x: number): number {
  let root = 1;
  for (let i = 0; i < 100; i++) root = (2 * root + x / (root * root)) / 3;
  return root;
}

/** SIZE + 1 values at even steps of probability. */
function resample(table: ArrayLike<number>): Float64Array {
  const last = table.length - 1;
  return Float64Array.from({ length: SIZE + 1 }, (_, i) => {
    const at = (i * last) / SIZE;
    const low = Math.min(Math.floor(at), last - 1);
    return table[low] + (table[low + 1] - table[low]) * (at - low);
  });
}

/** Mean 0 and standard deviation 1 of what is drawn: straight lines between the table's values. */
function standardise(table: Float64Array): Float64Array {
  let mean = 0;
  for (let i = 0; i < SIZE; i++) mean += (table[i] + table[i + 1]) / 2 / SIZE;
  let variance = 0;
  for (let i = 0; i < SIZE; i++) {
    const a = table[i] - mean;
    const b = table[i + 1] - mean;
    variance += (a * a + a * b + b * b) / 3 / SIZE;
  }
  const deviation = Math.sqrt(variance);
  return table.map((value) => (deviation === 0 ? 0 : (value - mean) / deviation));
}
