/**
 * `loss 1%` and its models: wire packets that never leave or, with `ecn`, leave with a mark that says they met congestion
 * (CE, RFC 3168). As with netem's `ecn`, a packet whose sender does not speak ECN is lost all the same.
 */
import type { AppReport } from '../../engine/app.ts';
import { ecnOf } from '../../packet/ecn.ts';
import * as ip from '../../packet/ip.ts';
import { Problem } from '../../packet/problem.ts';
import { Ecn } from '../../packet/protocol.ts';
import { Chance } from '../chance.ts';
import { ImpairDrop } from '../reasons.ts';
import { Scoped } from '../scope.ts';
import { PASS, SegmentStage } from '../segment-stage.ts';
import type { StageContext } from '../stage.ts';
import type { Train } from '../train.ts';
import { ListLoss, PatternLoss } from './exact.ts';
import { FourStateLoss } from './four-state.ts';
import { GilbertElliottLoss } from './gilbert-elliott.ts';
import type { LossModel } from './model.ts';
import { NetemLoss } from './netem.ts';
import type { LossOptions } from './options.ts';
import { RandomLoss } from './random.ts';

const LOST = 1;
/** The cell of a scope's state that counts losses in a row; the first is the model's. */
const RUN = 1;

export class Loss extends SegmentStage {
  #model!: LossModel;
  #scoped!: Scoped;
  #ecn = false;
  #maxRun = 0;
  readonly #marked = new Float64Array(1);

  constructor(name: string, context: StageContext, options: LossOptions) {
    super(name, context);
    this.reconfigure(options);
  }

  /** A chain goes on from where it is if it is of the same model. */
  reconfigure(options: LossOptions): void {
    if (this.#scoped?.scope !== options.scope) this.#scoped = new Scoped(options.scope, this.context);
    this.#ecn = options.ecn;
    this.#maxRun = options.maxRun ?? 0;
    this.#model = this.#make(options);
  }

  override details(): AppReport {
    return this.#ecn ? { marked: this.#marked[0] } : {};
  }

  protected decide(mark: number, segment: number): number {
    const lost = this.#model.lost(mark, segment);
    if (this.#maxRun === 0) return lost ? LOST : PASS;
    const { state } = this.#scoped;
    const run = this.#scoped.place(mark) + RUN;
    if (!lost || state[run] >= this.#maxRun) {
      state[run] = 0;
      return PASS;
    }
    state[run]++;
    return LOST;
  }

  protected act(packet: number, _decision: number, to: Train): void {
    if (this.#ecn && this.#marks(packet)) to.add(packet);
    else this.drop(packet, ImpairDrop.Loss);
  }

  /** Whether it says CE now. */
  #marks(packet: number): boolean {
    const { pool } = this;
    const at = pool.offset[packet] + pool.l3Offset[packet];
    if (ip.check(pool.slab, at, pool.offset[packet] + pool.length[packet]) !== Problem.None) return false;
    if (ecnOf(pool.slab, at) === Ecn.NotEct || !this.mark(packet)) return false;
    this.#marked[0]++;
    return true;
  }

  #make(options: LossOptions): LossModel {
    const scoped = this.#scoped;
    const draws = this.draws('loss');
    const starts = this.draws('start');
    switch (options.model) {
      case 'random':
        return options.compat === 'netem' && options.correlation > 0
          ? new NetemLoss(scoped, draws, options.probability, options.correlation)
          : new RandomLoss(scoped, draws, new Chance(options.probability, options.correlation));
      case 'gemodel':
        return new GilbertElliottLoss(scoped, draws, starts, {
          p: options.p,
          r: options.r ?? 1 - options.p,
          lossBad: options['1-h'],
          lossGood: options['1-k'],
        });
      case 'burst': {
        // A share P in bursts of mean length L: they end with 1/L and begin as often as keeps the share.
        const { probability, length } = options;
        const p = Math.min(1, probability / (length * (1 - probability)));
        return new GilbertElliottLoss(scoped, draws, starts, { p, r: 1 / length, lossBad: 1, lossGood: 0 });
      }
      case 'state': {
        const { p13, p31 = 1 - p13, p32, p23, p14 } = options;
        return new FourStateLoss(scoped, draws, starts, { p13, p31, p32, p23, p14 });
      }
      case 'list':
        return new ListLoss(scoped, options.packets);
      case 'pattern':
        return new PatternLoss(scoped, options.pattern);
    }
  }
}
