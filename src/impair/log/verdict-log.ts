/**
 * What became of each wire packet, as lines of JSON (docs/impair/log.md says which):
 *
 *   1. a packet comes: its flow is named when it has no name yet, then each of its wire packets has a line `in`;
 *   2. stages tell what they do to it: `drop`, `mark`, `corrupt`, `rebind`, `copy`;
 *   3. what leaves its pipeline has a line `out` for each wire packet.
 *
 * All times are the link's own, so that two runs over the same arrivals have the same lines, if not in the same order. Lines
 * are collected and handed on by the chunk; a chunk that nobody takes is lost, and counted in the log itself.
 */

import type { Pool } from '../../engine/pool.ts';
import { reasonName } from '../../engine/reasons.ts';
import { planOf } from '../../engine/segment-plan.ts';
import { PLAN_CELLS, segmentLength } from '../../packet/segment.ts';
import type { Flows } from '../flows.ts';
import { type Marks, row } from '../marks.ts';
import type { Direction } from '../match.ts';
import { runLength } from '../queue/backlog.ts';
import { flowName } from './flow-name.ts';

/** Takes whole lines. False when it cannot take any now: they are lost then. */
export type VerdictSink = (text: string) => boolean;

/** Characters of a chunk. */
const CHUNK = 16384;

const plan = new Int32Array(PLAN_CELLS);

export class VerdictLog {
  readonly #pool: Pool;
  readonly #marks: Marks;
  readonly #flows: Flows;
  readonly #direction: Direction;
  readonly #sink: VerdictSink;
  /** By a flow's place: its number in the log, and 0 while it has none. */
  readonly #names: Int32Array;
  /** By row of the marks: the same of a packet's flow. 0 for what came before the log began. */
  readonly #named: Int32Array;
  #flowsNamed = 0;
  #text = '';
  #lines = 0;
  #lost = 0;

  constructor(pool: Pool, marks: Marks, flows: Flows, direction: Direction, seed: number, sink: VerdictSink) {
    this.#pool = pool;
    this.#marks = marks;
    this.#flows = flows;
    this.#direction = direction;
    this.#sink = sink;
    this.#names = new Int32Array(flows.limit);
    this.#named = new Int32Array(marks.at.length);
    this.#line(`{"event":"log","version":1,"direction":"${direction}","seed":${seed}}`);
  }

  /** A packet has come and has its marks. */
  enter(packet: number): void {
    const { segments, length, segmentSize } = this.#pool;
    const mark = row(packet);
    const flow = this.#marks.flow[mark];
    let name = this.#names[flow];
    // Number 0 is the first of a flow that may have taken the place of a forgotten one.
    if (name === 0 || this.#marks.number[mark] === 0) name = this.#name(flow);
    this.#named[mark] = name;
    const count = segments[packet];
    if (count === 1) {
      this.#tell(mark, 0, 'in', `,"bytes":${length[packet]}`);
      return;
    }
    const size = segmentSize[packet];
    const planned = planOf(this.#pool, packet, plan) === count;
    for (let s = 0; s < count; s++) {
      // One that makes no sense has no headers to repeat.
      const bytes = planned ? segmentLength(plan, s) : runLength(length[packet], 0, size, s, s + 1);
      this.#tell(mark, s, 'in', `,"bytes":${bytes}`);
    }
  }

  /** A part or a copy of a packet, whose marks were copied. */
  copied(from: number, to: number): void {
    this.#named[to] = this.#named[from];
  }

  /** A packet has left its pipeline, at the time in its marks. */
  out(packet: number): void {
    const count = this.#pool.segments[packet];
    for (let s = 0; s < count; s++) this.#tell(row(packet), s, 'out', '');
  }

  drop(packet: number, first: number, count: number, stage: string, reason: number): void {
    const why = `${by(stage)},"why":${JSON.stringify(reasonName(reason))}`;
    for (let s = first; s < first + count; s++) this.#tell(row(packet), s, 'drop', why);
  }

  /** It says now that it met congestion. */
  mark(packet: number, stage: string): void {
    this.#tell(row(packet), 0, 'mark', by(stage));
  }

  /** The first `count` of `bits` were flipped, counted from the bit `offset` of the IP packet. */
  corrupt(packet: number, stage: string, bits: Int32Array, count: number, offset: number): void {
    const flipped = Array.from(bits.subarray(0, count), (bit) => bit + offset).sort((a, b) => a - b);
    this.#tell(row(packet), 0, 'corrupt', `${by(stage)},"bits":[${flipped.join()}]`);
  }

  /** Its flow has another address and port outside, from it on. */
  rebind(packet: number, stage: string, name: string): void {
    this.#tell(row(packet), 0, 'rebind', `${by(stage)},"to":${JSON.stringify(name)}`);
  }

  duplicate(packet: number, copy: number, stage: string): void {
    this.#tell(row(packet), 0, 'copy', `${by(stage)},"as":"${twinName(this.#marks.twin[row(copy)])}"`);
  }

  /** Hands on what there is. */
  flush(): void {
    if (this.#lines === 0) return;
    const lost = `{"event":"lost","direction":"${this.#direction}","lines":${this.#lost}}\n`;
    const before = this.#lost === 0 ? '' : lost;
    if (this.#sink(before + this.#text)) {
      this.#lost = 0;
    } else {
      this.#lost += this.#lines;
      // Names of flows may be among what is lost.
      this.#names.fill(0);
    }
    this.#text = '';
    this.#lines = 0;
  }

  #name(flow: number): number {
    const name = ++this.#flowsNamed;
    this.#names[flow] = name;
    const is = JSON.stringify(flowName(this.#flows, flow));
    this.#line(`{"event":"flow","flow":"${this.#direction}:${name}","is":${is}}`);
    return name;
  }

  #tell(mark: number, segment: number, event: string, more: string): void {
    const flow = this.#named[mark];
    if (flow === 0) return;
    const { at, number, twin } = this.#marks;
    const copy = twin[mark] === 0 ? '' : `,"copy":"${twinName(twin[mark])}"`;
    const n = ((number[mark] + segment) >>> 0) + 1;
    const which = `"flow":"${this.#direction}:${flow}","n":${n}${copy}`;
    this.#line(`{"event":"${event}","at":${at[mark]},${which}${more}}`);
  }

  #line(text: string): void {
    this.#text += `${text}\n`;
    this.#lines++;
    if (this.#text.length >= CHUNK) this.flush();
  }
}

const by = (stage: string): string => `,"stage":${JSON.stringify(stage)}`;

/** The copies that one stage makes have one name, which depends on the seed and the stage alone. */
const twinName = (twin: number): string => (twin >>> 0).toString(16);
