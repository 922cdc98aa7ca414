/**
 * A verdict log (verdict-log.ts) read again: when each wire packet left, by flow and number. That is what a `replay` stage
 * does; who did it and why is for people.
 */
import { configError } from '../../engine/config.ts';

/** The wire packets of one flow in one direction, from the first to when the flow was forgotten. */
export interface RecordedFlow {
  /** Of the wire packets that came, from 1, rising. */
  numbers: Float64Array;
  /** By place in `numbers`: whether the log says what became of it. */
  known: Uint8Array;
  /** By place: where its delays begin in `delays`; they end where those of the next begin. */
  first: Int32Array;
  /** How long after it came it left, and copies of it did: ns. None for a packet that was dropped. */
  delays: Float64Array;
}

/** By direction and name of a flow, joined by a blank: what came in its place, one after the other. */
export type RecordedFlows = Map<string, RecordedFlow[]>;

const LINES = 50_000_000;
const ID = /^(up|down):\d{1,15}$/;

interface Line {
  event?: unknown;
  version?: unknown;
  flow?: unknown;
  is?: unknown;
  at?: unknown;
  n?: unknown;
}

/** A flow while it is read. */
class Reading {
  readonly numbers: number[] = [];
  readonly came: number[] = [];
  readonly dropped = new Set<number>();
  /** Places and delays of what left, in the order of the log. */
  readonly places: number[] = [];
  readonly delays: number[] = [];

  done(): RecordedFlow {
    const { numbers, places, delays, dropped } = this;
    const known = new Uint8Array(numbers.length);
    const first = new Int32Array(numbers.length + 1);
    for (const place of dropped) known[place] = 1;
    for (const place of places) {
      known[place] = 1;
      first[place + 1]++;
    }
    for (let i = 0; i < numbers.length; i++) first[i + 1] += first[i];
    const sorted = new Float64Array(delays.length);
    const filled = first.slice();
    for (const [i, place] of places.entries()) sorted[filled[place]++] = delays[i];
    return { numbers: Float64Array.from(numbers), known, first, delays: sorted };
  }
}

/** Where a number stands among numbers that rise, or -1. Mostly they have no gaps. */
export function placeOf(numbers: ArrayLike<number>, n: number): number {
  const guess = n - numbers[0];
  if (numbers[guess] === n) return guess;
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] < n) low = middle + 1;
    else high = middle;
  }
  return numbers[low] === n ? low : -1;
}

/** @throws ERR_CONFIG with the line that makes no sense */
export function parseVerdicts(text: string): RecordedFlows {
  const reader = new Reader();
  for (let from = 0; from < text.length; ) {
    const end = text.indexOf('\n', from);
    reader.line(text.slice(from, end < 0 ? text.length : end).trim(), end < 0);
    from = end < 0 ? text.length : end + 1;
  }
  return reader.done();
}

class Reader {
  readonly #byId = new Map<string, Reading>();
  readonly #names = new Map<string, string>();
  readonly #byName = new Map<string, Reading[]>();
  #begun = false;
  #number = 0;
  #text = '';

  /** @param last whether it has no end: what was being written when a program was killed */
  line(text: string, last: boolean): void {
    if (++this.#number > LINES) throw configError(`log: more than ${LINES} lines`);
    if (text === '') return;
    this.#text = text;
    let line: Line;
    try {
      line = JSON.parse(text) as Line;
    } catch {
      if (last && this.#begun) return;
      throw this.#wrong('JSON');
    }
    if (typeof line !== 'object' || line === null) throw this.#wrong('an object');
    if (!this.#begun && line.event !== 'log') throw this.#wrong('the first line of a verdict log');
    switch (line.event) {
      case 'log':
        if (line.version !== 1) throw this.#wrong('version 1');
        this.#begun = true;
        break;
      case 'flow':
        this.#flow(line);
        break;
      case 'in':
      case 'out':
      case 'drop':
        this.#packet(line);
        break;
      case 'mark':
      case 'corrupt':
      case 'rebind':
      case 'copy':
      case 'lost':
        break;
      default:
        throw this.#wrong('an event of a verdict log');
    }
  }

  done(): RecordedFlows {
    if (!this.#begun) throw configError('log: it is empty');
    return new Map(
      [...this.#byName].map(([name, readings]) => [name, readings.map((reading) => reading.done())]),
    );
  }

  #flow({ flow, is }: Line): void {
    if (typeof flow !== 'string' || !ID.test(flow) || typeof is !== 'string')
      throw this.#wrong('a flow such as "up:1", and what it is');
    // Logs may stand one behind the other: the name is another flow's then.
    this.#byId.delete(flow);
    this.#names.set(flow, `${flow.slice(0, flow.indexOf(':'))} ${is}`);
  }

  #packet({ event, flow, n, at }: Line): void {
    if (typeof flow !== 'string' || !isWhole(n, 1) || !isWhole(at, 0)) throw this.#wrong('flow, n and at');
    const name = this.#names.get(flow);
    // It is among lines that were lost.
    if (name === undefined) return;
    if (event === 'in') {
      this.#came(flow, name, n, at);
      return;
    }
    const reading = this.#byId.get(flow);
    const place = reading === undefined ? -1 : placeOf(reading.numbers, n);
    if (reading === undefined || place < 0) return;
    if (event === 'drop') {
      reading.dropped.add(place);
      return;
    }
    if (at < reading.came[place]) throw this.#wrong('a time that is not before it came');
    reading.places.push(place);
    reading.delays.push(at - reading.came[place]);
  }

  #came(flow: string, name: string, n: number, at: number): void {
    const reading = this.#byId.get(flow) ?? this.#begin(name, n);
    this.#byId.set(flow, reading);
    const { numbers } = reading;
    if (numbers.length > 0 && n <= numbers[numbers.length - 1]) throw this.#wrong('numbers that rise');
    numbers.push(n);
    reading.came.push(at);
  }

  /** A flow that is named again goes on, unless it begins with its first packet: then it had been forgotten. */
  #begin(name: string, n: number): Reading {
    const before = this.#byName.get(name);
    const last = before?.at(-1);
    if (last && n !== 1) return last;
    const reading = new Reading();
    if (before) before.push(reading);
    else this.#byName.set(name, [reading]);
    return reading;
  }

  #wrong(expected: string): Error {
    return configError(`log, line ${this.#number}: found ${this.#text.slice(0, 80)}, expected ${expected}`);
  }
}

const isWhole = (value: unknown, least: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= least;
