/**
 * `queue pie` (RFC 8033): every `tupdate` the probability of a drop is set anew from how far packets' waits are from
 * `target` and how they changed; packets are dropped with it as they come. With `ecn` those whose senders understand
 * marks are marked instead while the probability is below `markThreshold`.
 *
 * Of what the RFC leaves open: the wait is measured by time stamps (section 4.3), drops are spread evenly
 * (section 5.4), and steps are capped above a probability of 10 % (section 5.5). Updates are at whole multiples of `tupdate`
 * of the link's time.
 */
import type { AppReport } from '../../engine/app.ts';
import { SECOND } from '../../engine/units.ts';
import type { Draws } from '../draw.ts';
import { markable } from '../markable.ts';
import { row } from '../marks.ts';
import { ImpairDrop } from '../reasons.ts';
import { runLength } from './backlog.ts';
import { Discipline, type QueueLimits, type QueueOwner } from './discipline.ts';

export interface PieOptions extends QueueLimits {
  /** The RFC's QDELAY_REF: ns. */
  target: number;
  /** The RFC's T_UPDATE: ns. */
  tupdate: number;
  /** Per second. */
  alpha: number;
  beta: number;
  /** The RFC's MAX_BURST: ns. */
  burst: number;
  ecn: boolean;
  /** The RFC's MAX_ECNTH. */
  markThreshold: number;
}

/** The RFC's MEAN_PKTSIZE is the MTU in Linux, which the bound of two packets below is made for. */
const MEAN_PACKET = 1500;
/** Section 5.4: no drop below this sum of probabilities since the last one, one for certain above that. */
const PROBABILITY_LOW = 0.85;
const PROBABILITY_HIGH = 8.5;

/** Places of the state. */
const Cell = { probability: 0, delay: 1, oldDelay: 2, burst: 3, accumulated: 4, nextUpdate: 5 } as const;

export class Pie extends Discipline {
  #options: PieOptions;
  readonly #draws: Draws;
  readonly #state = new Float64Array(6);
  /** Wire packets dropped and marked early. */
  readonly #counts = new Float64Array(2);

  constructor(owner: QueueOwner, options: PieOptions) {
    super(owner, 1);
    this.limits(options);
    this.#options = options;
    this.#draws = owner.draws('pie');
    this.#state[Cell.burst] = options.burst;
  }

  reconfigure(options: PieOptions): boolean {
    this.limits(options);
    this.#options = options;
    return true;
  }

  override details(): AppReport {
    return {
      dropped: this.#counts[0],
      marked: this.#counts[1],
      probability: this.#state[Cell.probability],
    };
  }

  offer(packet: number, first: number, end: number, header: number, size: number): void {
    this.#update();
    const state = this.#state;
    const { owner } = this;
    const { length } = this.pool;
    for (let s = first; s < end; s++) {
      if (!this.fits(1, runLength(length[packet], header, size, s, s + 1))) {
        owner.discard(packet, s, 1, ImpairDrop.QueueFull);
        continue;
      }
      let marked = false;
      if (state[Cell.burst] === 0 && this.#dropEarly(packet, s)) {
        marked =
          this.#options.ecn &&
          state[Cell.probability] < this.#options.markThreshold &&
          markable(this.pool, packet);
        this.#counts[marked ? 1 : 0]++;
        if (!marked) {
          owner.discard(packet, s, 1, ImpairDrop.Aqm);
          continue;
        }
      }
      this.addTo(0, packet, s, s + 1, header, size, marked);
    }
  }

  take(): boolean {
    this.#update();
    if (!this.takeFrom(0)) return false;
    this.#state[Cell.delay] = this.packets === 0 ? 0 : this.clock[0] - this.backlog.came[0];
    return true;
  }

  #dropEarly(packet: number, segment: number): boolean {
    const state = this.#state;
    const probability = state[Cell.probability];
    if (probability === 0) state[Cell.accumulated] = 0;
    if (
      (state[Cell.oldDelay] < this.#options.target / 2 && probability < 0.2) ||
      this.bytes <= 2 * MEAN_PACKET
    )
      return false;
    state[Cell.accumulated] += probability;
    if (state[Cell.accumulated] < PROBABILITY_LOW) return false;
    if (state[Cell.accumulated] < PROBABILITY_HIGH) {
      const mark = row(packet);
      const hash = this.marks.hash[mark] ^ this.marks.twin[mark];
      const draw = this.#draws.at(hash, this.marks.number[mark] + segment);
      if (draw >= probability * 4294967296) return false;
    }
    state[Cell.accumulated] = 0;
    return true;
  }

  /** The updates up to the present. In a long silence they soon change nothing any more, and the rest is skipped. */
  #update(): void {
    const state = this.#state;
    const now = this.clock[0];
    const { tupdate } = this.#options;
    while (state[Cell.nextUpdate] <= now) {
      const burst = state[Cell.burst];
      this.#calculate();
      state[Cell.nextUpdate] += tupdate;
      if (
        state[Cell.probability] === 0 &&
        state[Cell.delay] === 0 &&
        state[Cell.oldDelay] === 0 &&
        state[Cell.burst] === burst &&
        state[Cell.nextUpdate] <= now
      )
        state[Cell.nextUpdate] += Math.floor((now - state[Cell.nextUpdate]) / tupdate + 1) * tupdate;
    }
  }

  #calculate(): void {
    const state = this.#state;
    const { target, tupdate, alpha, beta, burst } = this.#options;
    const delay = state[Cell.delay];
    const old = state[Cell.oldDelay];
    let probability = state[Cell.probability];
    let step = (alpha * (delay - target) + beta * (delay - old)) / SECOND;
    step /= damping(probability);
    if (probability >= 0.1 && step > 0.02) step = 0.02;
    probability += step;
    if (delay === 0 && old === 0) probability *= 0.98;
    if (probability < 0) probability = 0;
    if (probability > 1) probability = 1;
    state[Cell.probability] = probability;
    state[Cell.burst] = Math.max(0, state[Cell.burst] - tupdate);
    if (probability === 0 && delay < target / 2 && old < target / 2) state[Cell.burst] = burst;
    state[Cell.oldDelay] = delay;
  }
}

/** Section 4.2: the smaller the probability, the smaller its steps. */
function damping(probability: number): number {
  if (probability < 0.000001) return 2048;
  if (probability < 0.00001) return 512;
  if (probability < 0.0001) return 128;
  if (probability < 0.001) return 32;
  if (probability < 0.01) return 8;
  if (probability < 0.1) return 2;
  return 1;
}
