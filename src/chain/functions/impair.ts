/**
 * A bad network as a function: what `tunconnector impair` does to a link, done to the packets of a chain. It is an app of its own, and
 * packets keep their prefix through all stages. What an MTU would tell senders has no way in a chain and is dropped.
 */
import { z } from 'zod';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Limits,
  type Ports,
} from '../../engine/app.ts';
import { Link } from '../../engine/link.ts';
import { checkOptions } from '../../engine/options.ts';
import { Impair } from '../../impair/impair.ts';
import { impairSchema, stagesSchema } from '../../impair/options.ts';
import type { Vnf } from '../vnf/define.ts';
import { PrefixInHand } from '../vnf/prefix-in-hand.ts';

export const wanSchema = z
  .strictObject({
    /** In both directions: as `delay 50ms loss 1%`. */
    stages: stagesSchema.optional(),
    /** On the way there alone, and on the way back. */
    there: stagesSchema.optional(),
    back: stagesSchema.optional(),
    seed: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
    /** Packets that may be held in each direction. */
    packets: z.coerce.number().int().min(1).default(8192),
  })
  .refine(({ stages, there, back }) => (stages ?? there ?? back) !== undefined, {
    message: 'expected stages, there or back',
  })
  .refine(({ stages, there, back }) => stages === undefined || (there ?? back) === undefined, {
    message: 'expected stages for both directions, or there and back',
  });
type WanOptions = z.output<typeof wanSchema>;

/** One direction, with links of its own. */
class Direction {
  readonly impair: Impair;
  into!: Link;
  #ports!: { pool: Ports['pool']; input: Record<string, Link>; output: Record<string, Link>; now: number };

  constructor(direction: 'up' | 'down', stages: WanOptions['stages'], { seed, packets }: WanOptions) {
    const options = { direction, packets, ...(seed === undefined ? {} : { seed }) };
    this.impair = new Impair({ ...impairSchema.parse(options), stages: stages ?? [] });
  }

  open(context: AppContext): void {
    const { pool } = context;
    this.into = new Link('in', pool);
    const answers = new Link('answers', pool);
    this.impair.open(context);
    this.#ports = { pool, input: { in: this.into, answers }, output: { back: Link.discard(pool) }, now: 0 };
  }

  push(out: Link, now: number): void {
    const ports = this.#ports;
    ports.output.out = out;
    ports.now = now;
    this.into.downstream = [out];
    this.impair.push(ports);
  }

  close(): void {
    while (this.into?.count > 0) this.#ports.pool.free(this.into.take());
    this.impair.close();
  }
}

export class WanImpairment implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly required = ['in', 'out'];
  readonly layers: Readonly<Record<string, Layer>> = { in: 'L3', out: 'L3' };
  readonly superframes = true;
  readonly limits: Limits;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  readonly #there: Direction;
  readonly #back: Direction;
  readonly #prefix = new PrefixInHand();

  constructor(options: WanOptions) {
    this.#there = new Direction('up', options.stages ?? options.there, options);
    this.#back = new Direction('down', options.stages ?? options.back, options);
    const [one, other] = [this.#there.impair.limits, this.#back.impair.limits];
    this.limits = {
      packets: one.packets + other.packets,
      superframes: (one.superframes ?? 0) + (other.superframes ?? 0),
    };
  }

  open(context: AppContext): void {
    this.#there.open(context);
    this.#back.open(context);
  }

  push({ pool, input, output, now }: Ports): void {
    const [there, back] = [this.#there, this.#back];
    const { in: link } = input;
    for (let n = Math.min(link.waiting, there.into.room, back.into.room); n > 0; n--) {
      const packet = link.take();
      if (pool.prefixLength[packet] > 0) {
        const refused = this.#prefix.read(pool, packet);
        if (refused >= 0) pool.drop(packet, refused);
        else (this.#prefix.isBack ? back : there).into.put(packet);
      } else {
        there.into.put(packet);
      }
    }
    there.push(output.out, now);
    back.push(output.out, now);
    this.due[0] = Math.min(there.impair.due[0], back.impair.due[0]);
  }

  held(): number {
    return (
      this.#there.impair.held() + this.#back.impair.held() + this.#there.into.count + this.#back.into.count
    );
  }

  report(): AppReport {
    const report: AppReport = { function: 'impair' };
    for (const [way, { impair }] of Object.entries({ there: this.#there, back: this.#back })) {
      for (const [key, value] of Object.entries(impair.report())) report[`${way}.${key}`] = value;
    }
    return report;
  }

  close(): void {
    this.#there.close();
    this.#back.close();
  }
}

export const impairment: Vnf<z.input<typeof wanSchema>> = Object.assign(
  defineApp<z.input<typeof wanSchema>, WanOptions>({
    module: import.meta.url,
    export: 'impairment',
    check: (options) => checkOptions(wanSchema, options),
    create: (options) => new WanImpairment(options),
  }),
  { vnf: 'impair' },
);
