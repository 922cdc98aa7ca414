/** What is said of the rounds of one measurement. A round that failed is NaN and counts nowhere. */

export interface Summary {
  median: number;
  min: number;
  max: number;
  /** Rounds that gave a figure. */
  rounds: number;
}

const figures = (values: readonly number[]) => values.filter((value) => Number.isFinite(value));

/** NaN without values. */
export function median(values: readonly number[]): number {
  const sorted = figures(values).sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function summarize(values: readonly number[]): Summary {
  const all = figures(values);
  return {
    median: median(all),
    min: all.length > 0 ? Math.min(...all) : Number.NaN,
    max: all.length > 0 ? Math.max(...all) : Number.NaN,
    rounds: all.length,
  };
}

/** `values[i] / reference[i]` for the rounds in which both have a figure: what drifts for both cancels out. */
export function pairedRatios(values: readonly number[], reference: readonly number[]): number[] {
  const ratios: number[] = [];
  for (const [round, value] of values.entries()) {
    const ratio = value / (reference[round] ?? Number.NaN);
    if (Number.isFinite(ratio)) ratios.push(ratio);
  }
  return ratios;
}

/** The smallest value that at least `share` (0..1) of all are not above: the nearest-rank method. NaN without values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = figures(values).sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
}

export interface Line {
  /** Of y, per x. */
  slope: number;
  /** R²: the part of what y varies by that the line explains, 0..1. */
  determination: number;
}

/** The line through points by least squares. NaN for fewer than two different x. */
export function fitLine(x: readonly number[], y: readonly number[]): Line {
  const mean = (values: readonly number[]) => values.reduce((sum, each) => sum + each, 0) / values.length;
  const [middleX, middleY] = [mean(x), mean(y)];
  let [xx, xy, yy] = [0, 0, 0];
  for (const [i, each] of x.entries()) {
    const [dx, dy] = [each - middleX, y[i]! - middleY];
    xx += dx * dx;
    xy += dx * dy;
    yy += dy * dy;
  }
  return { slope: xy / xx, determination: (xy * xy) / (xx * yy) };
}
