/**
 * `loss random 1% 25%`: each packet is lost with the same probability. With a correlation, losses come in runs, by a chain
 * of two states that keeps the probability: after a loss the next packet is lost with p + c (1 - p), otherwise with
 * p (1 - c), and neighbours correlate by exactly c. (In netem 25 % of correlation turns 1 % of losses into none.)
 */
import { type Draws, threshold } from '../draw.ts';
import type { Scoped } from '../scope.ts';
import type { LossModel } from './model.ts';

export class RandomLoss implements LossModel {
  readonly #scoped: Scoped;
  readonly #draws: Draws;
  readonly #first: number;
  readonly #afterLoss: number;
  readonly #afterNone: number;

  /** @param probability of a loss, 0 .. 1 @param correlation of a packet's loss with that of the one before, 0 .. 1 */
  constructor(scoped: Scoped, draws: Draws, probability: number, correlation: number) {
    this.#scoped = scoped;
    this.#draws = draws;
    this.#first = threshold(probability);
    this.#afterLoss = threshold(probability + correlation * (1 - probability));
    this.#afterNone = threshold(probability * (1 - correlation));
  }

  lost(mark: number, segment: number): boolean {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark);
    let below = this.#first;
    if (this.#scoped.number(mark, segment) !== 0)
      below = state[place] === 1 ? this.#afterLoss : this.#afterNone;
    const lost = this.#scoped.draw(this.#draws, mark, segment) < below;
    state[place] = lost ? 1 : 0;
    return lost;
  }
}
