/**
 * `delay 50ms 5ms 25% distribution normal order preserve`: each packet leaves a time after it came.
 *
 * Jitter is drawn for each wire packet, and with it a superframe may leave in several parts. With `order preserve` no
 * packet leaves before one that came earlier: a draw that would have it so is put off to that one's time.
 *
 * With `reorder 25% 50% gap 5` some packets do not wait at all and so overtake those that do. As in netem, of every `gap`
 * packets at most one goes ahead, and only the one that is `gap - 1` or more behind the last that did is drawn for: `reorder
 * 100% gap 5` is exactly every fifth. One that goes ahead takes no part in the order that is preserved among the others.
 *
 * Correlation is the chance that a packet gets the draw of the one before: what is drawn keeps its distribution, and two
 * neighbours correlate by exactly that number. (netem mixes both draws, which makes a narrower distribution that hardly
 * correlates at all.)
 */
import { z } from 'zod';
import type { AppReport } from '../engine/app.ts';
import { Before, Chance } from './chance.ts';
import { DISTRIBUTIONS, Distribution, parseTable } from './distribution.ts';
import { type Draws, threshold } from './draw.ts';
import { Hold } from './hold.ts';
import { row } from './marks.ts';
import { probability, time } from './quantities.ts';
import { ImpairDrop } from './reasons.ts';
import { SCOPES, Scoped } from './scope.ts';
import type { ReadWords } from './spec/words.ts';
import { Stage, type StageContext } from './stage.ts';
import type { Train } from './train.ts';

/** Of a table's values, which may be of any width: their squares are to be numbers too. */
const WIDEST = 1e100;

/** Quantiles as numbers in any order, or as the text of a table file of netem. */
const table = z
  .union([z.array(z.number().min(-WIDEST).max(WIDEST)).min(2).max(65536), z.string()])
  .transform((value, context) => {
    if (typeof value !== 'string') return value;
    try {
      return parseTable(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
      return z.NEVER;
    }
  });

/** Most packets of which one is reordered. */
const GAP = 1 << 24;

export const delaySchema = z
  .strictObject({
    kind: z.literal('delay'),
    name: z.string().optional(),
    /** What every packet waits. */
    time,
    /** Standard deviation of what is added to it; of `uniform`, the most. No packet waits less than nothing. */
    jitter: time.default(0),
    /** Lag-1 correlation of the jitter, 0 to 1. */
    correlation: probability.default(0),
    distribution: z.enum(DISTRIBUTIONS).default('uniform'),
    /** A distribution of your own in its place: what is drawn is one of these, or between two neighbours. */
    table: table.optional(),
    order: z.enum(['preserve', 'allow']).default('preserve'),
    /** Share of packets that go ahead without waiting. */
    reorder: probability.default(0),
    /** Of neighbours that are drawn for, 0 to 1. */
    reorderCorrelation: probability.default(0),
    /** At most one of so many in a row goes ahead. */
    gap: z.number().int().min(1).max(GAP).default(1),
    scope: z.enum(SCOPES).default('flow'),
    /** Share of the packets that are delayed; the others pass at once, with `order preserve` behind those before them. */
    share: probability.default(1),
    /** Most packets (handles) that wait; more are dropped. */
    limit: z.number().int().min(1).default(65536),
  })
  .refine(({ table, distribution }) => table === undefined || distribution === 'uniform', {
    path: ['table'],
    error: 'expected either a table or a distribution',
  })
  .refine(({ reorder, time, jitter }) => reorder === 0 || time + jitter > 0, {
    path: ['reorder'],
    error: 'expected a delay of more than 0: there is nobody to overtake',
  })
  .refine(({ reorder, gap, reorderCorrelation }) => reorder > 0 || (gap === 1 && reorderCorrelation === 0), {
    path: ['reorder'],
    error: 'expected a share of more than 0 with gap or reorderCorrelation',
  });
export type DelayOptions = z.infer<typeof delaySchema>;

const KEYS = {
  distribution: DISTRIBUTIONS,
  order: ['preserve', 'allow'],
  gap: 'count',
  scope: SCOPES,
  share: 'share',
  limit: 'count',
} as const;

/**
 * `TIME [JITTER [CORRELATION]] [distribution NAME] [order preserve|allow] [reorder SHARE [CORRELATION]]
 * [gap COUNT] [scope flow|link] [share SHARE] [limit PACKETS]`
 */
export const delayWords: ReadWords = (words) => ({
  time: words.take('time'),
  jitter: words.maybe('time'),
  correlation: words.maybe('share'),
  ...words.keys(KEYS),
  ...(words.accept('reorder') && {
    reorder: words.take('share'),
    reorderCorrelation: words.maybe('share'),
    ...words.keys(KEYS),
  }),
});

/**
 * What a scope remembers: the last draw of the jitter, and in a second cell whether there was one, whether the packet
 * drawn for last went ahead (Before), and how many have waited since, up to `gap - 1`.
 */
const MEMORY = 1;
const DRAWN = 1;
const AHEAD_SHIFT = 1;
const WAITED_SHIFT = 3;

export class Delay extends Stage {
  #options: DelayOptions;
  readonly #hold: Hold;
  #distribution!: Distribution;
  /** Standard deviation of the jitter, ns. */
  #width = 0;
  #same = 0;
  readonly #values: Draws;
  readonly #repeats: Draws;
  readonly #reorders: Draws;
  readonly #shares: Draws;
  /** What a draw must be below for the packet to be delayed. */
  #share = 0;
  #ahead!: Chance;
  /** Wire packets that went ahead. */
  readonly #reordered = new Float64Array(1);
  #scoped!: Scoped;
  /** The latest time that was given to a packet: none may leave before it while order is kept. */
  readonly #last = new Float64Array(1);
  readonly #time = new Float64Array(1);

  constructor(name: string, context: StageContext, options: DelayOptions) {
    super(name, context);
    this.#values = this.draws('jitter');
    this.#repeats = this.draws('correlation');
    this.#reorders = this.draws('reorder');
    this.#shares = this.draws('share');
    this.#hold = new Hold(options.limit);
    this.#options = options;
    this.reconfigure(options);
  }

  /** Packets that wait keep their times. */
  reconfigure(options: DelayOptions): void {
    this.#options = options;
    this.#hold.limit = options.limit;
    const { table, distribution, jitter } = options;
    this.#distribution = table
      ? new Distribution(Float64Array.from(table).sort())
      : Distribution.named(distribution);
    this.#width = !table && distribution === 'uniform' ? jitter / Math.sqrt(3) : jitter;
    this.#same = threshold(options.correlation);
    this.#share = threshold(options.share);
    this.#ahead = new Chance(options.reorder, options.reorderCorrelation);
    if (this.#scoped?.scope !== options.scope) this.#scoped = new Scoped(options.scope, this.context);
  }

  run(from: Train, to: Train, now: number): void {
    const { segments } = this.pool;
    const { reorder, share } = this.#options;
    const alike = this.#width === 0 && reorder === 0 && share === 1;
    for (let i = 0; i < from.count; i++) {
      const packet = from.packets[i];
      // What left before it came makes room, also where the machine comes to both at once.
      if (this.#hold.count + segments[packet] > this.#hold.limit)
        this.#leave(this.marks.at[row(packet)] - 1, to, now);
      if (alike) this.#wait(packet, this.#constant(row(packet)));
      else if (segments[packet] === 1) this.#wait(packet, this.#leaves(row(packet), 0));
      else this.#superframe(packet, segments[packet]);
    }
    this.#leave(now, to, now);
    this.#hold.earliest(this.due);
  }

  override held(): number {
    return this.#hold.count;
  }

  override details(): AppReport {
    return { waiting: this.#hold.count, reordered: this.#reordered[0] };
  }

  override close(): void {
    for (const packet of this.#hold) this.pool.free(packet);
    this.#hold.count = 0;
  }

  /** Everything that is due by `until` leaves. */
  #leave(until: number, to: Train, now: number): void {
    while (this.#hold.ready(until)) {
      const packet = this.#hold.take(this.#time);
      this.release(packet, this.#time[0], to, now);
    }
  }

  #constant(mark: number): number {
    return this.#inOrder(this.marks.at[mark] + this.#options.time);
  }

  /** When a wire packet leaves. */
  #leaves(mark: number, segment: number): number {
    if (this.#options.reorder > 0 && this.#goesAhead(mark, segment)) return this.marks.at[mark];
    if (this.#options.share < 1 && this.#scoped.draw(this.#shares, mark, segment) >= this.#share)
      return this.#inOrder(this.marks.at[mark]);
    return this.#width === 0 ? this.#constant(mark) : this.#jittered(mark, segment);
  }

  #goesAhead(mark: number, segment: number): boolean {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark) + MEMORY;
    const waited = state[place] >>> WAITED_SHIFT;
    if (waited < this.#options.gap - 1) {
      state[place] += 1 << WAITED_SHIFT;
      return false;
    }
    const draw = this.#scoped.draw(this.#reorders, mark, segment);
    const next = this.#ahead.next(draw, (state[place] >> AHEAD_SHIFT) & 3);
    const ahead = next === Before.Happened;
    state[place] = (state[place] & DRAWN) | (next << AHEAD_SHIFT) | ((ahead ? 0 : waited) << WAITED_SHIFT);
    if (ahead) this.#reordered[0]++;
    return ahead;
  }

  #jittered(mark: number, segment: number): number {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark);
    let draw = this.#scoped.draw(this.#values, mark, segment);
    const known = (state[place + MEMORY] & DRAWN) !== 0;
    if (known && this.#same > 0 && this.#scoped.draw(this.#repeats, mark, segment) < this.#same)
      draw = state[place] >>> 0;
    state[place] = draw;
    state[place + MEMORY] |= DRAWN;
    const time = this.#options.time + this.#width * this.#distribution.at(draw);
    return this.#inOrder(this.marks.at[mark] + Math.max(0, Math.round(time)));
  }

  #inOrder(time: number): number {
    if (this.#options.order === 'allow') return time;
    if (time > this.#last[0]) this.#last[0] = time;
    return this.#last[0];
  }

  /** Wire packets whose times lie within the quantum and keep their order wait as one, until the last one's time. */
  #superframe(packet: number, count: number): void {
    const mark = row(packet);
    const { quantum } = this.context;
    let first = 0;
    let earliest = this.#leaves(mark, 0);
    let latest = earliest;
    for (let s = 1; s <= count; s++) {
      const time = s < count ? this.#leaves(mark, s) : Number.POSITIVE_INFINITY;
      if (time >= latest && time - earliest <= quantum) {
        latest = time;
        continue;
      }
      if (first === 0 && s === count) {
        this.#wait(packet, latest);
        return;
      }
      const part = this.cut(packet, first, s - first);
      if (part >= 0) this.#wait(part, latest);
      first = s;
      earliest = latest = time;
    }
    this.pool.free(packet);
  }

  #wait(packet: number, time: number): void {
    if (this.#hold.full) this.drop(packet, ImpairDrop.Limit);
    else this.#hold.add(packet, time);
  }
}
