/**
 * `loss gemodel p r 1-h 1-k`: a link is good or bad, and loses a share of what it carries in either (Gilbert 1960, Elliott
 * 1963). It goes bad with p and good with r at each packet. With p alone it is a Bernoulli loss of p; with r
 * besides, Gilbert's simple model, whose bursts are geometric with mean 1/r.
 *
 * As in netem, a packet's loss follows from the state that it finds, and the state changes behind it. Unlike there, the first
 * state is drawn as it is in the long run, and not always good: the first packets of a flow are lost like all others.
 */
import { type Draws, threshold } from '../draw.ts';
import type { Scoped } from '../scope.ts';
import { type LossModel, Remembered } from './model.ts';

export interface GilbertElliottChances {
  /** Good to bad, bad to good, and losses while bad and while good: 0 .. 1. */
  p: number;
  r: number;
  lossBad: number;
  lossGood: number;
}

export class GilbertElliottLoss implements LossModel {
  readonly #scoped: Scoped;
  readonly #draws: Draws;
  readonly #starts: Draws;
  readonly #toBad: number;
  readonly #toGood: number;
  readonly #lossBad: number;
  readonly #lossGood: number;
  readonly #startBad: number;

  constructor(scoped: Scoped, draws: Draws, starts: Draws, chances: GilbertElliottChances) {
    const { p, r, lossBad, lossGood } = chances;
    this.#scoped = scoped;
    this.#draws = draws;
    this.#starts = starts;
    this.#toBad = threshold(p);
    this.#toGood = threshold(r);
    this.#lossBad = threshold(lossBad);
    this.#lossGood = threshold(lossGood);
    this.#startBad = p === 0 ? 0 : threshold(p / (p + r));
  }

  lost(mark: number, segment: number): boolean {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark);
    let bad: boolean;
    if (state[place] === Remembered.Bad) bad = true;
    else if (state[place] === Remembered.Good) bad = false;
    else bad = this.#scoped.draw(this.#starts, mark, segment) < this.#startBad;
    const draw = this.#scoped.draw(this.#draws, mark, segment);
    const changes = this.#draws.second < (bad ? this.#toGood : this.#toBad);
    state[place] = bad === changes ? Remembered.Good : Remembered.Bad;
    return draw < (bad ? this.#lossBad : this.#lossGood);
  }
}
