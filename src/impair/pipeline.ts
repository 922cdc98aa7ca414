/**
 * What happens to the packets of one rule in one direction:
 *
 *   1. they come with their marks: when, of which flow, which of its packets (impair.ts);
 *   2. each stage in turn gets what the one before let go by now, and what it holds that is due;
 *   3. what leaves the last stage leaves the pipeline.
 *
 * Stages come and go while packets flow (`arrange`). One that is taken out gets no packets any more and keeps its place until
 * what it holds has left, in its own time: newcomers pass it by, and so may overtake. Behind it both go on as one, in the
 * order of their times. Stages that change places keep what they hold as well; it goes on to whatever stands behind now.
 */

import { sameJson } from '../engine/config.ts';
import type { Pool } from '../engine/pool.ts';
import { type Marks, row } from './marks.ts';
import type { NamedStage } from './options.ts';
import type { Stage } from './stage.ts';
import { type Tellable, tellable } from './stages.ts';
import { Train } from './train.ts';

/** A stage in its place. */
export interface Step {
  readonly name: string;
  options: NamedStage;
  readonly stage: Stage;
  /** Which cells of a flow's state are its own; -1 when another stage has them now. */
  slot: number;
  /** Taken out, but packets are left. */
  leaving: boolean;
  /** Wire packets and bytes that came, wire packets and bytes that left. */
  readonly counts: Float64Array;
}

/** Makes a stage whose cells of state are those of `slot`; they may have been another's. */
export type MakeStage = (options: NamedStage, slot: number, used: boolean) => Stage;

// Packets on their way through one pipeline at a time.
const here = new Train();
const there = new Train();
const beside = new Train();
const nobody = new Train();

export class Pipeline {
  readonly label: string;
  steps: readonly Step[] = [];
  /** What has come since the last run. */
  readonly inbox = new Train();
  /** When it must run again though nothing comes: ns, or Infinity. */
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  /** Wire packets that have come so far; wraps at 2^32. */
  readonly order = new Int32Array(1);
  /** Wire packets and bytes that came, wire packets and bytes that left, and how long those took in all: ns. */
  readonly counts = new Float64Array(5);
  /** Its rule has ended, but packets are left. */
  leaving = false;
  readonly #pool: Pool;
  readonly #marks: Marks;
  readonly #slots: number;
  /** Wire packets and bytes of the train that was counted last. */
  readonly #tally = new Float64Array(2);
  /** Slots, by bits: those that a stage has, and those that some stage ever had. */
  #taken = 0;
  #used = 0;
  #anyLeaving = false;
  /** Wire packets that stages which are gone have dropped. */
  #droppedBefore = 0;

  /** @param slots for the state of stages */
  constructor(label: string, pool: Pool, marks: Marks, slots: number) {
    this.label = label;
    this.#pool = pool;
    this.#marks = marks;
    this.#slots = slots;
  }

  run(to: Train, now: number): void {
    const { steps } = this;
    let from = this.inbox;
    let due = Number.POSITIVE_INFINITY;
    this.#count(from);
    this.#add(this.counts, 0);
    for (let i = 0; i < steps.length; i++) {
      const { stage, leaving, counts } = steps[i];
      if (!leaving) this.#add(counts, 0);
      if ((from.count > 0 && !leaving) || stage.due[0] <= now) {
        const next = from === here ? there : here;
        next.count = 0;
        if (leaving) {
          this.#aside(stage, from, next, now, counts);
        } else {
          stage.run(from, next, now);
          from.count = 0;
          this.#count(next);
          this.#add(counts, 2);
        }
        from = next;
      }
      if (stage.due[0] < due) due = stage.due[0];
    }
    this.#add(this.counts, 2);
    const { log } = this.#marks;
    if (log !== null) for (let i = 0; i < from.count; i++) log.out(from.packets[i]);
    const { at, entered } = this.#marks;
    const { segments } = this.#pool;
    let delay = 0;
    for (let i = 0; i < from.count; i++) {
      const packet = from.packets[i];
      const mark = row(packet);
      delay += segments[packet] * (at[mark] - entered[mark]);
      to.add(packet);
    }
    this.counts[4] += delay;
    from.count = 0;
    this.due[0] = due;
    if (this.#anyLeaving) this.#endDrained();
  }

  /**
   * From now on packets pass these stages. One of the same name and kind stays: it is told what is new and keeps what it
   * holds, and hears nothing when nothing is.
   *
   * @param now ns
   */
  arrange(wanted: readonly NamedStage[], make: MakeStage, now: number): void {
    const found = wanted.map((options) =>
      this.steps.find(
        (step) => step.name === options.name && tellable(step.options, options) && step.slot >= 0,
      ),
    );
    for (const step of this.steps) step.leaving = !found.includes(step);
    this.#endDrained();
    const steps = wanted.map((options, i) => told(found[i], options, now) ?? this.#create(options, make));
    this.steps = withLeaving(this.steps, steps);
    this.#anyLeaving = this.steps.length > steps.length;
  }

  held(): number {
    let held = 0;
    for (const { stage } of this.steps) held += stage.held();
    return held;
  }

  /** Wire packets that its stages have dropped. */
  dropped(): number {
    let dropped = this.#droppedBefore;
    for (const { stage } of this.steps) dropped += stage.dropped();
    return dropped;
  }

  close(): void {
    for (const { stage } of this.steps) stage.close();
  }

  #create(options: NamedStage, make: MakeStage): Step {
    const slot = this.#slot();
    const used = (this.#used & (1 << slot)) !== 0;
    this.#used |= 1 << slot;
    this.#taken |= 1 << slot;
    const stage = make(options, slot, used);
    return { name: options.name, options, stage, slot, leaving: false, counts: new Float64Array(4) };
  }

  /** A slot that no stage has; failing that, one of a stage that is leaving, which needs no state any more. */
  #slot(): number {
    for (let slot = 0; slot < this.#slots; slot++) if ((this.#taken & (1 << slot)) === 0) return slot;
    const oldest = this.steps.find((step) => step.leaving && step.slot >= 0)!;
    const { slot } = oldest;
    oldest.slot = -1;
    return slot;
  }

  /** What a stage that is leaving lets go joins those that pass it by, in the order of their times. */
  #aside(stage: Stage, from: Train, next: Train, now: number, counts: Float64Array): void {
    const { at } = this.#marks;
    beside.count = 0;
    nobody.count = 0;
    stage.run(nobody, beside, now);
    this.#count(beside);
    this.#add(counts, 2);
    let i = 0;
    for (let k = 0; k < beside.count; k++) {
      const time = at[row(beside.packets[k])];
      while (i < from.count && at[row(from.packets[i])] < time) next.add(from.packets[i++]);
      next.add(beside.packets[k]);
    }
    while (i < from.count) next.add(from.packets[i++]);
    from.count = 0;
    beside.count = 0;
    this.#count(next);
  }

  #endDrained(): void {
    const left = this.steps.filter((step) => !step.leaving || step.stage.held() > 0);
    if (left.length === this.steps.length) return;
    for (const step of this.steps) {
      if (left.includes(step)) continue;
      if (step.slot >= 0) this.#taken &= ~(1 << step.slot);
      this.#droppedBefore += step.stage.dropped();
      step.stage.close();
    }
    this.steps = left;
    this.#anyLeaving = left.some((step) => step.leaving);
  }

  #count(train: Train): void {
    const { segments, length } = this.#pool;
    let packets = 0;
    let bytes = 0;
    for (let i = 0; i < train.count; i++) {
      packets += segments[train.packets[i]];
      bytes += length[train.packets[i]];
    }
    this.#tally[0] = packets;
    this.#tally[1] = bytes;
  }

  #add(counts: Float64Array, place: number): void {
    counts[place] += this.#tally[0];
    counts[place + 1] += this.#tally[1];
  }
}

/** A stage that stays, and hears what is new. */
function told(step: Step | undefined, options: NamedStage, now: number): Step | undefined {
  if (step && !sameJson(step.options, options)) (step.stage as Stage & Tellable).reconfigure(options, now);
  if (step) step.options = options;
  return step;
}

/** Each step that is leaving stands behind the one behind which it stood, or in front of all. */
function withLeaving(before: readonly Step[], steps: readonly Step[]): Step[] {
  const result = [...steps];
  let place = 0;
  for (const step of before) {
    if (step.leaving) result.splice(place++, 0, step);
    else place = result.indexOf(step) + 1;
  }
  return result;
}
