/**
 * `compat: 'netem'`: random losses with the arithmetic of netem's get_crandom (sch_netem.c), for whoever must compare with
 * it. Each draw is (1 - c) U + c times the one before, which is not uniform: `5% 25%` loses 0.19 %, `1% 25%` three in a million.
 */
import { type Draws, threshold } from '../draw.ts';
import type { Scoped } from '../scope.ts';
import type { LossModel } from './model.ts';

export class NetemLoss implements LossModel {
  readonly #scoped: Scoped;
  readonly #draws: Draws;
  readonly #below: number;
  readonly #correlation: number;

  constructor(scoped: Scoped, draws: Draws, probability: number, correlation: number) {
    this.#scoped = scoped;
    this.#draws = draws;
    this.#below = threshold(probability);
    this.#correlation = correlation;
  }

  lost(mark: number, segment: number): boolean {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark);
    const draw = this.#scoped.draw(this.#draws, mark, segment);
    // The first one's predecessor is a draw of its own, as there.
    const last = state[place] === 0 ? this.#draws.second : state[place] >>> 0;
    const mixed = Math.floor((1 - this.#correlation) * draw + this.#correlation * last);
    state[place] = mixed;
    return mixed < this.#below;
  }
}
