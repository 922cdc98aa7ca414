/**
 * An impaired link in one direction, as an app: `in` to `out`.
 *
 *   1. each packet is told its time, its flow, and its number in that flow and in its pipeline (`#enter`);
 *   2. its flow belongs to a rule, the first that matches when the flow is new, and so to a pipeline;
 *   3. pipelines that got something or hold something that is due run their stages (pipeline.ts);
 *   4. what leaves them goes out, as far as there is room; the rest waits for room.
 */
import { z } from 'zod';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Limits,
  type Ports,
} from '../engine/app.ts';
import { checkOptions } from '../engine/options.ts';
import type { Pool } from '../engine/pool.ts';
import { MICROSECOND } from '../engine/units.ts';
import { Flows } from './flows.ts';
import { Marks, row } from './marks.ts';
import { Pipeline } from './pipeline.ts';
import { time } from './quantities.ts';
import { STAGE_CELLS } from './scope.ts';
import type { StageContext } from './stage.ts';
import { makeStage, type StageOptions, stageSchema } from './stages.ts';
import { Train } from './train.ts';

/** Most stages in one pipeline. Each may remember something of every flow. */
const STAGES = 16;

export const impairSchema = z.strictObject({
  /** Of all draws; drawn when left out, and reported. */
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
  /** What its draws are named after besides: two directions of one link have the same seed and different draws. */
  direction: z.string().default('up'),
  /** Flows that are told apart at a time. */
  flows: z
    .number()
    .int()
    .min(2)
    .max(1 << 20)
    .default(16384),
  stages: z.array(stageSchema).max(STAGES).default([]),
  quantum: time.default(50 * MICROSECOND),
  /** Packets and superframes that all stages together may hold. */
  packets: z.number().int().min(1).default(8192),
  superframes: z.number().int().min(0).default(256),
});
export type ImpairOptions = z.infer<typeof impairSchema>;

export class Impair implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly required = ['out'];
  readonly superframes = true;
  readonly limits: Limits;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  readonly #options: ImpairOptions;
  #seed = 0;
  #pool!: Pool;
  #marks!: Marks;
  #flows!: Flows;
  readonly #pipelines: Pipeline[] = [];
  readonly #leaving = new Train();

  constructor(options: ImpairOptions) {
    this.#options = options;
    this.limits = { packets: options.packets, superframes: options.superframes };
  }

  open(context: AppContext): void {
    const { pool, runtime } = context;
    const [secret, drawn] = new Uint32Array(runtime.secret(8).buffer);
    this.#seed = this.#options.seed ?? drawn;
    this.#pool = pool;
    this.#marks = new Marks(pool);
    this.#flows = new Flows(this.#options.flows, STAGES * STAGE_CELLS, secret);
    this.#pipelines.push(this.#pipeline('default', this.#options.stages));
  }

  push({ input, output, now }: Ports): void {
    const link = input.in;
    for (let n = link.waiting; n > 0; n--) this.#enter(link.take(), now);
    let due = Number.POSITIVE_INFINITY;
    for (const pipeline of this.#pipelines) {
      if (pipeline.inbox.count > 0 || pipeline.due[0] <= now) pipeline.run(this.#leaving, now);
      if (pipeline.due[0] < due) due = pipeline.due[0];
    }
    this.due[0] = due;
    if (this.#leaving.count > 0) {
      const n = Math.min(this.#leaving.count, output.out.room);
      output.out.putBurst(this.#leaving.packets, n);
      this.#leaving.shift(n);
    }
  }

  held(): number {
    let held = this.#leaving.count;
    for (const pipeline of this.#pipelines) held += pipeline.held();
    return held;
  }

  report(): AppReport {
    return {
      seed: this.#seed,
      flows: this.#flows.count - 1,
      evicted: this.#flows.evicted,
      held: this.held(),
    };
  }

  close(): void {
    for (let i = 0; i < this.#leaving.count; i++) this.#pool.free(this.#leaving.packets[i]);
    this.#leaving.count = 0;
    for (const pipeline of this.#pipelines) for (const stage of pipeline.stages) stage.close();
  }

  #enter(packet: number, now: number): void {
    const pool = this.#pool;
    const flows = this.#flows;
    const mark = row(packet);
    const at = pool.offset[packet] + pool.l3Offset[packet];
    const flow = flows.find(pool.slab, at, pool.offset[packet] + pool.length[packet]);
    const pipeline = this.#pipelines[0];
    const segments = pool.segments[packet];
    this.#marks.at[mark] = now;
    this.#marks.flow[mark] = flow;
    this.#marks.hash[mark] = flows.hashes[flow];
    this.#marks.number[mark] = flows.numbers[flow];
    this.#marks.order[mark] = pipeline.order[0];
    flows.numbers[flow] += segments;
    flows.packets[flow] += segments;
    flows.bytes[flow] += pool.length[packet];
    flows.last[flow] = now;
    pipeline.order[0] += segments;
    pipeline.inbox.add(packet);
  }

  #pipeline(label: string, stages: readonly StageOptions[]): Pipeline {
    const pipeline = new Pipeline(label, this.#pool);
    const shared: Omit<StageContext, 'cell'> = {
      pool: this.#pool,
      marks: this.#marks,
      flows: this.#flows,
      seed: this.#seed,
      quantum: this.#options.quantum,
    };
    pipeline.stages = stages.map((options, i) => {
      const name = `${this.#options.direction}/${label}/${options.name ?? options.kind}`;
      return makeStage(name, { ...shared, cell: i * STAGE_CELLS }, options);
    });
    pipeline.counts = new Float64Array(2 * (stages.length + 1));
    return pipeline;
  }
}

export const impair = defineApp({
  module: import.meta.url,
  export: 'impair',
  check: (options: z.input<typeof impairSchema>) => checkOptions(impairSchema, options),
  create: (options) => new Impair(options),
});
