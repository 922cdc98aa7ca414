/** Losses that are no matter of chance: `loss list` names wire packets, `loss pattern` repeats. The first packet is 1. */
import type { Scoped } from '../scope.ts';
import type { LossModel } from './model.ts';

const RANGE = /^(\d+)(?:-(\d*))?$/;
const LAST = 0xffffffff;

/** First and last of `7`, `7-9`, `7-` (and everything after), or undefined. */
export function parseRange(text: string | number): readonly [first: number, last: number] | undefined {
  const match = RANGE.exec(String(text));
  if (!match) return undefined;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : match[2] === '' ? LAST : Number(match[2]);
  return first >= 1 && last >= first && last <= LAST ? [first, last] : undefined;
}

export class ListLoss implements LossModel {
  readonly #scoped: Scoped;
  /** Rising, apart from one another. */
  readonly #first: Float64Array;
  readonly #last: Float64Array;

  constructor(scoped: Scoped, ranges: readonly (readonly [number, number])[]) {
    this.#scoped = scoped;
    const merged: [number, number][] = [];
    for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
      const before = merged.at(-1);
      if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
      else merged.push([first, last]);
    }
    this.#first = Float64Array.from(merged, ([first]) => first);
    this.#last = Float64Array.from(merged, ([, last]) => last);
  }

  lost(mark: number, segment: number): boolean {
    const number = (this.#scoped.number(mark, segment) >>> 0) + 1;
    let low = 0;
    let high = this.#first.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#last[middle] < number) low = middle + 1;
      else high = middle;
    }
    return low < this.#first.length && this.#first[low] <= number;
  }
}

export class PatternLoss implements LossModel {
  readonly #scoped: Scoped;
  readonly #lost: Uint8Array;

  /** @param pattern of `.` for a packet that passes and `x` for one that is lost */
  constructor(scoped: Scoped, pattern: string) {
    this.#scoped = scoped;
    this.#lost = Uint8Array.from(pattern, (each) => (each === 'x' ? 1 : 0));
  }

  lost(mark: number, segment: number): boolean {
    return this.#lost[(this.#scoped.number(mark, segment) >>> 0) % this.#lost.length] === 1;
  }
}
