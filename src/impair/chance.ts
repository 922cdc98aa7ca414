/**
 * Something that happens to packets with a probability, and, with a correlation, in runs: a chain of two states that keeps
 * the probability. After a packet to which it happened it happens with p + c (1 - p), otherwise with p (1 - c); neighbours
 * correlate by exactly c. (netem mixes each draw with the one before, which turns `1% 25%` into three in a million.)
 */
import { threshold } from './draw.ts';

/** What is remembered of the packet before. Nothing yet: the first is drawn with the probability itself. */
export const Before = { Nothing: 0, Not: 1, Happened: 2 } as const;

export class Chance {
  readonly #first: number;
  readonly #afterNot: number;
  readonly #afterHappened: number;

  /** @param probability 0 .. 1 @param correlation of neighbours, 0 .. 1 */
  constructor(probability: number, correlation: number) {
    this.#first = threshold(probability);
    this.#afterNot = threshold(probability * (1 - correlation));
    this.#afterHappened = threshold(probability + correlation * (1 - probability));
  }

  /** Before.Happened or Before.Not, from 32 uniform bits and what it was for the packet before. */
  next(draw: number, before: number): number {
    let below = this.#first;
    if (before === Before.Not) below = this.#afterNot;
    else if (before === Before.Happened) below = this.#afterHappened;
    return draw < below ? Before.Happened : Before.Not;
  }
}
