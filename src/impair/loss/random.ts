/** `loss random 1% 25%`: each packet is lost with the same probability, in runs where a correlation is asked for. */
import { Before, type Chance } from '../chance.ts';
import type { Draws } from '../draw.ts';
import type { Scoped } from '../scope.ts';
import type { LossModel } from './model.ts';

export class RandomLoss implements LossModel {
  readonly #scoped: Scoped;
  readonly #draws: Draws;
  readonly #chance: Chance;

  constructor(scoped: Scoped, draws: Draws, chance: Chance) {
    this.#scoped = scoped;
    this.#draws = draws;
    this.#chance = chance;
  }

  lost(mark: number, segment: number): boolean {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark);
    const next = this.#chance.next(this.#scoped.draw(this.#draws, mark, segment), state[place]);
    state[place] = next;
    return next === Before.Happened;
  }
}
