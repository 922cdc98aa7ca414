/**
 * `loss state` with p13, p31, p32, p23, p14: bursts with good packets inside them, and single losses outside (Salsano,
 * Ludovici, Ordine, Giannuzzi: "Definition of a general and intuitive loss model for packet networks and its implementation
 * in the Netem module", 2012). The states are netem's:
 *
 *   1 received in a gap --p13--> 3 lost in a burst --p32--> 2 received in a burst
 *                       --p14--> 4 lost alone      --p31--> 1;  2 --p23--> 3;  4 --1--> 1
 *
 * A packet is lost in states 3 and 4. Parameters are named: the usage texts of tc disagree on their order. The first state is
 * drawn as it is in the long run, and not always 1.
 */
import { type Draws, threshold } from '../draw.ts';
import type { Scoped } from '../scope.ts';
import { type LossModel, Remembered } from './model.ts';

export interface FourStateChances {
  p13: number;
  p31: number;
  p32: number;
  p23: number;
  p14: number;
}

/** The share of packets that find each of the four states, in the long run. */
export function stationary({ p13, p31, p32, p23, p14 }: FourStateChances): readonly number[] {
  // Without a way into burst, or from state 3 to state 2, the chain lives in what is left.
  if (p13 === 0) return [1 / (1 + p14), 0, 0, p14 / (1 + p14)];
  const back = p32 === 0 ? 1 : p23;
  const weights = [p31 * back, p13 * p32, p13 * back, p31 * back * p14];
  const sum = weights[0] + weights[1] + weights[2] + weights[3];
  return weights.map((weight) => weight / sum);
}

export class FourStateLoss implements LossModel {
  readonly #scoped: Scoped;
  readonly #draws: Draws;
  readonly #starts: Draws;
  readonly #to14: number;
  readonly #to13: number;
  readonly #to23: number;
  readonly #to32: number;
  readonly #to31: number;
  /** A first draw below which it is state 1, 2, 3. */
  readonly #start: readonly number[];

  constructor(scoped: Scoped, draws: Draws, starts: Draws, chances: FourStateChances) {
    const { p13, p31, p32, p23, p14 } = chances;
    this.#scoped = scoped;
    this.#draws = draws;
    this.#starts = starts;
    this.#to14 = threshold(p14);
    this.#to13 = threshold(p14 + p13);
    this.#to23 = threshold(p23);
    this.#to32 = threshold(p32);
    this.#to31 = threshold(p32 + p31);
    const [s1, s2, s3] = stationary(chances);
    this.#start = [threshold(s1), threshold(s1 + s2), threshold(s1 + s2 + s3)];
  }

  lost(mark: number, segment: number): boolean {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark);
    const before = state[place] - Remembered.Four + 1;
    const now =
      before < 1 || before > 4
        ? this.#first(this.#scoped.draw(this.#starts, mark, segment))
        : this.#next(before, this.#scoped.draw(this.#draws, mark, segment));
    state[place] = now - 1 + Remembered.Four;
    return now >= 3;
  }

  #first(draw: number): number {
    for (let s = 1; s < 4; s++) if (draw < this.#start[s - 1]) return s;
    return 4;
  }

  #next(before: number, draw: number): number {
    if (before === 1) return draw < this.#to14 ? 4 : draw < this.#to13 ? 3 : 1;
    if (before === 2) return draw < this.#to23 ? 3 : 2;
    if (before === 3) return draw < this.#to32 ? 2 : draw < this.#to31 ? 1 : 3;
    return 1;
  }
}
