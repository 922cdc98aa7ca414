/** The last minutes of each rule in each direction, as rates between one message of the stream and the next. */
import type { DirectionStats, RuleStats, Stats } from '../../client/index.ts';
import { DIRECTIONS, type Direction } from './stages.ts';

/** What is kept of each direction; null where nothing can be said. */
export const MEASURES = ['throughput', 'delay', 'held', 'loss'] as const;
export type Measure = (typeof MEASURES)[number];

/** Messages that are kept: five minutes of two a second. */
const POINTS = 600;
/** Rules whose past is kept. */
const RULES = 128;

type Column = (number | null)[];
type Columns = Record<Measure, Column>;

/** Of a rule: times in s since 1970, and a column for each measure and direction, all of one length. */
export interface Past {
  readonly times: number[];
  readonly up: Columns;
  readonly down: Columns;
}

type Counters = Pick<RuleStats, 'packets' | 'packetsOut' | 'bytesOut' | 'dropped' | 'delay' | 'held'>;

export class History {
  readonly #pasts = new Map<string, Past>();
  #before: Stats | undefined;

  /** Of a rule; undefined when none of the last messages spoke of it. */
  past(label: string): Past | undefined {
    return this.#pasts.get(label);
  }

  /** @param time of the message, s since 1970 */
  add(stats: Stats, time: number): void {
    const before = this.#before;
    this.#before = stats;
    const seconds = before ? (stats.at - before.at) / 1e9 : 0;
    if (!before || seconds <= 0) return;
    const [up, down] = DIRECTIONS.map((direction) => changes(stats[direction], before[direction], seconds));
    for (const label of new Set([...up!.keys(), ...down!.keys()])) {
      const past = this.#pasts.get(label) ?? { times: [], up: columns(), down: columns() };
      // The rules that were spoken of last stand last.
      this.#pasts.delete(label);
      this.#pasts.set(label, past);
      past.times.push(time);
      append(past.up, up!.get(label));
      append(past.down, down!.get(label));
      if (past.times.length >= 2 * POINTS) forget(past);
    }
    for (const label of this.#pasts.keys()) {
      if (this.#pasts.size <= RULES) break;
      this.#pasts.delete(label);
    }
  }

  /** The link was out of sight: what was in between nobody knows. */
  interrupt(): void {
    this.#before = undefined;
    for (const past of this.#pasts.values()) {
      const last = past.times.at(-1);
      if (last === undefined) continue;
      past.times.push(last + 0.001);
      append(past.up, undefined);
      append(past.down, undefined);
    }
  }
}

/** The newest points of a column. */
export const recent = <T>(column: readonly T[]): T[] => column.slice(-POINTS);

/** Messages that make one figure for people, who cannot read two a second. */
const CALM = 6;

/** What a measure was lately, on average; null when there is nothing. */
export function lately(past: Past | undefined, direction: Direction, measure: Measure): number | null {
  const values = past?.[direction][measure].slice(-CALM).filter((value) => value !== null) ?? [];
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The last value of a measure; null when there is none. */
export const latest = (past: Past | undefined, direction: Direction, measure: Measure): number | null =>
  past?.[direction][measure].at(-1) ?? null;

const columns = (): Columns => ({ throughput: [], delay: [], held: [], loss: [] });

function append(to: Columns, values: Record<Measure, number | null> | undefined): void {
  for (const measure of MEASURES) to[measure].push(values?.[measure] ?? null);
}

function forget(past: Past): void {
  for (const column of [past.times, ...DIRECTIONS.flatMap((way) => Object.values(past[way]))]) {
    column.splice(0, column.length - POINTS);
  }
}

function changes(now: DirectionStats, before: DirectionStats, seconds: number) {
  const earlier = new Map(before.rules.map((rule) => [rule.label, rule]));
  const found = new Map<string, Record<Measure, number | null>>();
  for (const rule of now.rules) {
    const from = earlier.get(rule.label);
    // A rule that went and came again counts from 0.
    if (from && from.packets <= rule.packets) found.set(rule.label, between(rule, from, seconds));
  }
  return found;
}

function between(now: Counters, before: Counters, seconds: number): Record<Measure, number | null> {
  const came = now.packets - before.packets;
  const left = now.packetsOut - before.packetsOut;
  const dropped = now.dropped - before.dropped;
  return {
    throughput: ((now.bytesOut - before.bytesOut) * 8) / seconds,
    delay: left > 0 ? (now.delay - before.delay) / left / 1e6 : null,
    held: now.held,
    loss: came > 0 || dropped > 0 ? (dropped / Math.max(came, dropped)) * 100 : null,
  };
}
