/**
 * An impaired link in one direction, as an app: `in` to `out`. What it tells senders (an MTU's "packet too big") leaves by
 * `back`, to come in at `answers` of the other direction, where it passes like all else.
 *
 *   1. what was to change by now changes, at its time (`#change`);
 *   2. each packet is told its time, its flow, and its number in that flow and in its pipeline (`#enter`);
 *   3. its flow belongs to a rule, the first that matches when the flow is new, and so to a pipeline (rules.ts);
 *   4. pipelines that got something or hold something that is due run their stages (pipeline.ts);
 *   5. what leaves them goes out, as far as there is room; the rest waits for room.
 *
 * New options are one change at one time: pipelines are told apart by the labels of their rules, stages by their names, and
 * what is as before hears nothing of it. The pipeline of a rule that has ended stays until what it holds has left.
 */
import type { z } from 'zod';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Limits,
  type Ports,
} from '../engine/app.ts';
import { sameJson } from '../engine/config.ts';
import { checkOptions } from '../engine/options.ts';
import type { Pool } from '../engine/pool.ts';
import { DropWatch, type WatchedDrops } from './drop-watch.ts';
import { type FlowColumns, Flows, OTHER } from './flows.ts';
import { type ImpairInspection, inspectPipeline, topFlows } from './inspect.ts';
import { VerdictLog, type VerdictSink } from './log/verdict-log.ts';
import { Marks, row } from './marks.ts';
import { type Arrangement, arrangementAt, type ImpairOptions, impairSchema, STAGES } from './options.ts';
import { type MakeStage, Pipeline } from './pipeline.ts';
import { type Mappings, mappingsOf } from './rebind/mappings.ts';
import { DIVIDED, Rules } from './rules.ts';
import { STAGE_CELLS } from './scope.ts';
import { makeStage } from './stages.ts';
import { Train } from './train.ts';

/** What all packets pass that no rule is for. */
const DEFAULT_PLACE = 0;
const NEVER = Number.POSITIVE_INFINITY;

export class Impair implements App {
  readonly inputs = ['in', 'answers'];
  readonly outputs = ['out', 'back'];
  readonly required = ['out'];
  /** What goes back has room or is dropped: a direction that stands still must not hold up the other. */
  readonly paths = { in: ['out'], answers: ['out'] };
  readonly superframes = true;
  readonly limits: Limits;
  readonly due = new Float64Array(1).fill(NEVER);
  #options: ImpairOptions;
  /** Options that were given since the last run. */
  #given: ImpairOptions | undefined;
  #seed = 0;
  #pool!: Pool;
  #wake!: () => void;
  #marks!: Marks;
  #flows!: Flows;
  #mappings!: Mappings;
  #arranged: Arrangement = { stages: [], rules: [] };
  #rules!: Rules;
  /** By place; one that has ended leaves a gap. */
  readonly #pipelines: (Pipeline | undefined)[] = [];
  /** By place: when it must run, and 0 when it has got something. */
  #dues = new Float64Array(16).fill(NEVER);
  /** Places of those that have got something; looking for them among a thousand takes 6 us. */
  #touched = new Int32Array(16);
  #touches = 0;
  /** Pipelines that something left in this run. */
  #sources = 0;
  /** No pipeline must run before, unless it gets something. */
  readonly #earliest = new Float64Array(1);
  /** By place of a rule: that of its pipeline. */
  #places: number[] = [];
  #anyLeaving = false;
  /** When the next change of the timeline is due. */
  readonly #nextChange = new Float64Array(1).fill(NEVER);
  /** Of pipelines that have ended, what they counted. */
  readonly #former = new Float64Array(5);
  #droppedBefore = 0;
  readonly #leaving = new Train();
  readonly #answers = new Train();

  constructor(options: ImpairOptions) {
    this.#options = options;
    this.limits = { packets: options.packets, superframes: options.superframes };
  }

  open(context: AppContext): void {
    const { pool, runtime } = context;
    const [secret, drawn] = new Uint32Array(runtime.secret(8).buffer);
    const { direction, flows, link } = this.#options;
    this.#mappings = mappingsOf(pool, link, flows, secret);
    this.#seed = this.#options.seed ?? drawn;
    this.#pool = pool;
    this.#wake = context.wake;
    this.#marks = new Marks(pool);
    // What comes from the remote side comes to the names that flows have there.
    const aliases = direction === 'down' ? this.#mappings : undefined;
    this.#flows = new Flows(flows, STAGES * STAGE_CELLS, this.#mappings.secret, aliases);
    this.#pipelines.push(this.#pipeline('default'));
    this.#rules = new Rules([], this.#options.direction);
    this.#arrange(runtime.now());
    this.due[0] = this.#nextChange[0];
  }

  /** What would need other memory, or other draws, cannot change in place. */
  canReconfigure(options: ImpairOptions): boolean {
    const { direction, link, flows, quantum, packets, superframes } = this.#options;
    const same = { direction, link, flows, quantum, packets, superframes };
    return (
      (options.seed === undefined || options.seed === this.#seed) &&
      sameJson({ ...options, ...same }, options)
    );
  }

  /** Takes effect for the next packet that comes, and for what leaves a stage from now on. */
  reconfigure(options: ImpairOptions): void {
    this.#given = options;
    this.#wake();
  }

  push({ input, output, now }: Ports): void {
    while (this.#nextChange[0] <= now) this.#change(this.#nextChange[0]);
    if (this.#given !== undefined) this.#take(this.#given, now);
    const link = input.in;
    for (let n = link.waiting; n > 0; n--) this.#enter(link.take(), now);
    const answers = input.answers;
    for (let n = answers.waiting; n > 0; n--) this.#enter(answers.take(), now);
    this.#run(now);
    if (this.#anyLeaving) this.#endDrained();
    if (this.#nextChange[0] < this.due[0]) this.due[0] = this.#nextChange[0];
    if (this.#leaving.count > 0) {
      const n = Math.min(this.#leaving.count, output.out.room);
      output.out.putBurst(this.#leaving.packets, n);
      this.#leaving.shift(n);
    }
    // A link that is full drops them, and counts.
    for (let i = 0; i < this.#answers.count; i++) output.back.put(this.#answers.packets[i]);
    this.#answers.count = 0;
  }

  held(): number {
    let held = this.#leaving.count;
    for (const pipeline of this.#pipelines) if (pipeline) held += pipeline.held();
    return held;
  }

  report(): AppReport {
    const [packets, bytes, packetsOut, bytesOut] = this.#totals();
    return {
      seed: this.#seed,
      rules: this.#arranged.rules.length,
      packets,
      bytes,
      packetsOut,
      bytesOut,
      flows: this.#flows.count - 1,
      evicted: this.#flows.evicted,
      ruleFailures: this.#rules.failures,
      held: this.held(),
    };
  }

  /**
   * What each rule and stage did, and the flows with the most bytes. Plain data.
   * @param top most flows to list @param choose which pipelines to tell of, that of the default first
   */
  inspect(
    top = 20,
    choose: (all: readonly Pipeline[]) => readonly Pipeline[] = (all) => all,
  ): ImpairInspection {
    const [packets, bytes, packetsOut, bytesOut, delay] = this.#totals();
    const pipelines = this.#pipelines.filter((pipeline) => pipeline !== undefined);
    const labels = this.pipelineLabels();
    return {
      seed: this.#seed,
      direction: this.#options.direction,
      packets,
      bytes,
      packetsOut,
      bytesOut,
      held: this.held(),
      delay,
      dropped: pipelines.reduce((sum, pipeline) => sum + pipeline.dropped(), this.#droppedBefore),
      pipelineCount: pipelines.length,
      pipelines: choose(pipelines).map(inspectPipeline),
      flows: {
        known: this.#flows.count - 1,
        limit: this.#flows.limit - 1,
        evicted: this.#flows.evicted,
        top: topFlows(this.#flows, this.#options.direction, labels, top),
      },
    };
  }

  /**
   * From now on what becomes of each wire packet that comes is told to `sink`, in lines (docs/impair/log.md); undefined ends it.
   * Not before the app runs.
   */
  record(sink: VerdictSink | undefined): void {
    const { direction } = this.#options;
    const marks = this.#marks;
    marks.log?.flush();
    marks.log = sink ? new VerdictLog(this.#pool, marks, this.#flows, direction, this.#seed, sink) : null;
  }

  /** Lines that are there go to the sink now. */
  flushRecord(): void {
    this.#marks.log?.flush();
  }

  /** Drops since the look before, at most `limit` of them; the first look begins to watch. Not before the app runs. */
  watchDrops(limit: number): WatchedDrops {
    this.#marks.watch ??= new DropWatch(this.#pool, this.#marks, this.#flows, limit);
    return this.#marks.watch.take();
  }

  /** Nobody watches any more. */
  unwatchDrops(): void {
    this.#marks.watch = null;
  }

  /** Labels of its pipelines, by their places in a flow's `pipeline`. */
  pipelineLabels(): string[] {
    return Array.from(this.#pipelines, (pipeline) => pipeline?.label ?? '');
  }

  /** At most `count` flows from the place `from` on, and how many places there are. */
  flowColumns(from: number, count: number): FlowColumns & { places: number } {
    const places = this.#flows.count;
    return { ...this.#flows.columns(from, Math.min(from + count, places)), places };
  }

  close(): void {
    this.#marks?.log?.flush();
    for (let i = 0; i < this.#leaving.count; i++) this.#pool.free(this.#leaving.packets[i]);
    this.#leaving.count = 0;
    for (const pipeline of this.#pipelines) pipeline?.close();
  }

  // ── Packets.

  #enter(packet: number, now: number): void {
    const pool = this.#pool;
    const flows = this.#flows;
    const mark = row(packet);
    const at = pool.offset[packet] + pool.l3Offset[packet];
    let flow = flows.find(pool.slab, at, pool.offset[packet] + pool.length[packet]);
    if (flows.looked[flow] === 0) this.#look(flow);
    let place = flows.pipeline[flow];
    if (place === DIVIDED) {
      flow = flows.divided(dscpAt(pool.slab, at));
      if (flows.looked[flow] === 0) this.#look(flow);
      place = flows.pipeline[flow];
    }
    const pipeline = this.#pipelines[place]!;
    const segments = pool.segments[packet];
    this.#marks.at[mark] = now;
    this.#marks.entered[mark] = now;
    this.#marks.flow[mark] = flow;
    this.#marks.hash[mark] = flows.hashes[flow];
    this.#marks.number[mark] = flows.numbers[flow];
    this.#marks.order[mark] = pipeline.order[0];
    this.#marks.twin[mark] = 0;
    flows.numbers[flow] += segments;
    flows.packets[flow] += segments;
    flows.bytes[flow] += pool.length[packet];
    flows.last[flow] = now;
    pipeline.order[0] += segments;
    pipeline.inbox.add(packet);
    if (this.#marks.log !== null) this.#marks.log.enter(packet);
    if (this.#dues[place] !== 0) {
      this.#dues[place] = 0;
      this.#touched[this.#touches++] = place;
    }
  }

  /** Which pipeline is this flow's? */
  #look(flow: number): void {
    const flows = this.#flows;
    if (flow === OTHER) {
      flows.assign(flow, DEFAULT_PLACE);
      return;
    }
    const rule = this.#rules.find(flows.keys, flows.keyAt(flow), flows.backward(flow), flows.dscp(flow));
    flows.assign(flow, rule === DIVIDED ? DIVIDED : rule < 0 ? DEFAULT_PLACE : this.#places[rule]);
  }

  /** Every pipeline that has something to do by `now`. What leaves them is in the order of its times. */
  #run(now: number): void {
    const first = this.#leaving.count;
    this.#sources = 0;
    const earliest = this.#earliest;
    if (earliest[0] > now) {
      for (let i = 0; i < this.#touches; i++) this.#runPlace(this.#touched[i], now);
    } else {
      earliest[0] = NEVER;
      for (let place = 0; place < this.#pipelines.length; place++) this.#runPlace(place, now);
    }
    this.#touches = 0;
    // A machine that was late comes to several at once: the link's order is that of its own time.
    if (this.#sources > 1) this.#leaving.order(first, this.#marks.at);
    this.due[0] = earliest[0];
  }

  #runPlace(place: number, now: number): void {
    const dues = this.#dues;
    if (dues[place] <= now) {
      const pipeline = this.#pipelines[place]!;
      const before = this.#leaving.count;
      pipeline.run(this.#leaving, now);
      if (this.#leaving.count > before) this.#sources++;
      dues[place] = pipeline.due[0];
    }
    if (dues[place] < this.#earliest[0]) this.#earliest[0] = dues[place];
  }

  // ── Changes.

  #take(options: ImpairOptions, now: number): void {
    this.#given = undefined;
    this.#options = options;
    this.#change(now);
  }

  /** What was due before `time` still happens as it was; from `time` on all is as it shall be. */
  #change(time: number): void {
    this.#run(time - 1);
    this.#arrange(time);
  }

  #arrange(time: number): void {
    const { stages, rules } = arrangementAt(this.#options, time);
    const before = this.#arranged;
    this.#arranged = { stages, rules };
    this.#nextChange[0] = this.#options.timeline.find(({ at }) => at > time)?.at ?? NEVER;
    this.#tell(DEFAULT_PLACE, stages, time);

    for (const [place, pipeline] of this.#pipelines.entries()) {
      if (pipeline && place !== DEFAULT_PLACE) pipeline.leaving = true;
    }
    const known = new Map(this.#pipelines.map((pipeline, place) => [pipeline?.label, place]));
    this.#places = rules.map(({ label }) => known.get(label) ?? this.#place(label));
    for (const [i, rule] of rules.entries()) {
      this.#pipelines[this.#places[i]]!.leaving = false;
      this.#tell(this.#places[i], rule.stages, time);
    }
    this.#anyLeaving = this.#pipelines.some((pipeline) => pipeline?.leaving);
    this.#endDrained();

    const matches = (all: Arrangement['rules']) => all.map(({ label, match }) => ({ label, match }));
    if (sameJson(matches(before.rules), matches(rules))) return;
    this.#rules = new Rules(
      rules.map(({ match }) => match),
      this.#options.direction,
    );
    this.#flows.forgetPipelines();
  }

  /** A place for the pipeline of a new rule. */
  #place(label: string): number {
    const gap = this.#pipelines.indexOf(undefined);
    const place = gap < 0 ? this.#pipelines.length : gap;
    if (place === this.#dues.length) {
      const dues = new Float64Array(2 * place).fill(NEVER);
      dues.set(this.#dues);
      this.#dues = dues;
      this.#touched = new Int32Array(2 * place);
    }
    this.#pipelines[place] = this.#pipeline(label);
    return place;
  }

  #pipeline(label: string): Pipeline {
    return new Pipeline(label, this.#pool, this.#marks, STAGES);
  }

  #tell(place: number, stages: Arrangement['stages'], time: number): void {
    const pipeline = this.#pipelines[place]!;
    const make: MakeStage = (options, slot, used) => {
      const { direction, quantum } = this.#options;
      const name = `${direction}/${pipeline.label}/${options.name}`;
      const cell = slot * STAGE_CELLS;
      if (used) this.#flows.clear(place, cell, STAGE_CELLS);
      const shared = { pool: this.#pool, marks: this.#marks, flows: this.#flows, mappings: this.#mappings };
      const own = { direction, quantum, seed: this.#seed, pipeline: place, cell, answers: this.#answers };
      return makeStage(name, { ...shared, ...own }, options);
    };
    pipeline.arrange(stages, make, time);
    // A stage that heard something may want to run at another time than it said.
    this.#dues[place] = 0;
    this.#earliest[0] = 0;
  }

  #endDrained(): void {
    this.#anyLeaving = false;
    for (const [place, pipeline] of this.#pipelines.entries()) {
      if (!pipeline?.leaving) continue;
      if (pipeline.held() > 0) {
        this.#anyLeaving = true;
        continue;
      }
      pipeline.close();
      for (let i = 0; i < this.#former.length; i++) this.#former[i] += pipeline.counts[i];
      this.#droppedBefore += pipeline.dropped();
      this.#pipelines[place] = undefined;
      this.#dues[place] = NEVER;
      this.#flows.release(place);
    }
  }

  #totals(): number[] {
    const totals = [...this.#former];
    for (const pipeline of this.#pipelines) {
      for (let i = 0; i < totals.length; i++) totals[i] += pipeline?.counts[i] ?? 0;
    }
    return totals;
  }
}

/** Of the IP packet at `bytes[at]`. */
function dscpAt(bytes: Uint8Array, at: number): number {
  if (bytes[at] >> 4 === 4) return bytes[at + 1] >> 2;
  return ((bytes[at] & 0xf) << 2) | (bytes[at + 1] >> 6);
}

export const impair = defineApp({
  module: import.meta.url,
  export: 'impair',
  check: (options: z.input<typeof impairSchema>) => checkOptions(impairSchema, options),
  create: (options) => new Impair(options),
});
