/**
 * `replay`: a link that does to each wire packet what a recorded one did (log/verdict-log.ts): a packet of the same flow with
 * the same number in it leaves after the same time, as often, or never. When it comes makes no difference to that.
 *
 * What the log does not know passes at once: other flows, packets beyond its end, those that were still held when it ended.
 * Bits that were flipped and marks that were set are not repeated; a `corrupt` of the same seed and name flips the same.
 */
import { z } from 'zod';
import type { AppReport } from '../engine/app.ts';
import { Reason } from '../engine/reasons.ts';
import { fileText } from './file-text.ts';
import { Hold } from './hold.ts';
import { flowName } from './log/flow-name.ts';
import { parseVerdicts, placeOf, type RecordedFlow } from './log/parse.ts';
import { row } from './marks.ts';
import { ImpairDrop } from './reasons.ts';
import { Scoped } from './scope.ts';
import { Stage, type StageContext } from './stage.ts';
import type { Train } from './train.ts';

export const replaySchema = z.strictObject({
  kind: z.literal('replay'),
  name: z.string().optional(),
  /** The log's text; of both directions, if you like. */
  text: fileText(parseVerdicts),
  /** Most packets (handles) that wait; more are dropped. */
  limit: z.number().int().min(1).default(65536),
});
export type ReplayOptions = z.infer<typeof replaySchema>;

/** Flows of one name, and which of them is there now. */
interface Namesakes {
  flows: RecordedFlow[];
  now: number;
}

/** What a flow remembers: which recorded flow is its, plus 1, and of which log that is. */
const LOG = 1;

const UNKNOWN = -1;

export class Replay extends Stage {
  readonly #hold: Hold;
  readonly #scoped: Scoped;
  /** What tells its copies from originals. */
  readonly #twin: number;
  #flows: RecordedFlow[] = [];
  #byName = new Map<string, Namesakes>();
  #places = new Map<RecordedFlow, number>();
  /** Logs so far. */
  #logs = 0;
  /** Wire packets whose verdict was repeated, and those of which there is none. */
  readonly #counts = new Float64Array(2);
  readonly #time = new Float64Array(1);

  constructor(name: string, context: StageContext, options: ReplayOptions) {
    super(name, context);
    this.#hold = new Hold(options.limit);
    this.#scoped = new Scoped('flow', context);
    this.#twin = this.draws('twin').at(0, 0) | 1;
    this.reconfigure(options);
  }

  /** Packets that wait keep their times. */
  reconfigure(options: ReplayOptions): void {
    this.#hold.limit = options.limit;
    const direction = `${this.name.slice(0, this.name.indexOf('/'))} `;
    const flows = [...parseVerdicts(options.text)].filter(([name]) => name.startsWith(direction));
    this.#flows = flows.flatMap(([, each]) => each);
    this.#places = new Map(this.#flows.map((flow, place) => [flow, place]));
    this.#byName = new Map(
      flows.map(([name, each]) => [name.slice(direction.length), { flows: each, now: -1 }]),
    );
    this.#logs++;
  }

  run(from: Train, to: Train, now: number): void {
    const { segments } = this.pool;
    for (let i = 0; i < from.count; i++) {
      const packet = from.packets[i];
      // What left before it came makes room, also where the machine comes to both at once.
      if (this.#hold.count + segments[packet] > this.#hold.limit)
        this.#leave(this.marks.at[row(packet)] - 1, to, now);
      const flow = this.#flow(row(packet));
      if (flow === undefined) {
        this.#counts[1] += segments[packet];
        this.#wait(packet, 0);
      } else if (segments[packet] === 1) {
        this.#follow(packet, flow, this.#place(flow, row(packet), 0));
      } else {
        this.#superframe(packet, segments[packet], flow);
      }
    }
    this.#leave(now, to, now);
    this.#hold.earliest(this.due);
  }

  override held(): number {
    return this.#hold.count;
  }

  override details(): AppReport {
    return { waiting: this.#hold.count, replayed: this.#counts[0], unknown: this.#counts[1] };
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

  #flow(mark: number): RecordedFlow | undefined {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark);
    if (state[place + LOG] !== this.#logs) {
      state[place + LOG] = this.#logs;
      state[place] = this.#look(mark) + 1;
    }
    return state[place] === 0 ? undefined : this.#flows[state[place] - 1];
  }

  /** Which recorded flow a new flow is, or -1. */
  #look(mark: number): number {
    const { flows } = this.context;
    const place = this.marks.flow[mark];
    // Another flow has the place of one that was forgotten while its packet was held, and the name is gone.
    if (flows.hashes[place] !== this.marks.hash[mark]) return UNKNOWN;
    const found = this.#byName.get(flowName(flows, place));
    if (!found) return UNKNOWN;
    // One that begins again had been forgotten; so it was when the log was made.
    if (found.now < 0) found.now = 0;
    else if (this.#scoped.number(mark, 0) === 0) found.now++;
    const flow = found.flows[found.now];
    return flow ? this.#places.get(flow)! : UNKNOWN;
  }

  /** Where a wire packet stands in its recorded flow; -1 when nothing is known of it. */
  #place(flow: RecordedFlow, mark: number, segment: number): number {
    const place = placeOf(flow.numbers, (this.#scoped.number(mark, segment) >>> 0) + 1);
    return place >= 0 && flow.known[place] === 1 ? place : UNKNOWN;
  }

  #follow(packet: number, flow: RecordedFlow, place: number): void {
    if (place < 0) {
      this.#counts[1]++;
      this.#wait(packet, 0);
      return;
    }
    this.#counts[0]++;
    const first = flow.first[place];
    const end = flow.first[place + 1];
    if (first === end) {
      this.drop(packet, ImpairDrop.Replayed);
      return;
    }
    for (let i = first + 1; i < end; i++) this.#copy(packet, flow.delays[i]);
    this.#wait(packet, flow.delays[first]);
  }

  #copy(packet: number, delay: number): void {
    const copy = this.pool.clone(packet);
    if (copy < 0) {
      this.pool.countDrops(Reason.NoMemory, 1);
      return;
    }
    this.marks.copy(packet, copy, 0);
    this.marks.twin[row(copy)] ^= this.#twin;
    this.marks.log?.duplicate(packet, copy, this.name);
    this.#wait(copy, delay);
  }

  /** Wire packets that all leave once, after the same time, and those that are dropped, stay together. */
  #superframe(packet: number, count: number, flow: RecordedFlow): void {
    const mark = row(packet);
    for (let first = 0; first < count; ) {
      const place = this.#place(flow, mark, first);
      let next = first + 1;
      while (next < count && this.#alike(flow, place, this.#place(flow, mark, next))) next++;
      const whole = next - first === count;
      const part = whole ? packet : this.cut(packet, first, next - first);
      if (part >= 0) this.#followAll(part, flow, place);
      if (whole) return;
      first = next;
    }
    this.pool.free(packet);
  }

  #alike(flow: RecordedFlow, a: number, b: number): boolean {
    if (a < 0 || b < 0) return a === b;
    const leaves = flow.first[a + 1] - flow.first[a];
    if (leaves !== flow.first[b + 1] - flow.first[b] || leaves > 1) return false;
    return leaves === 0 || flow.delays[flow.first[a]] === flow.delays[flow.first[b]];
  }

  /** What befell the wire packet at `place` befalls all of a superframe's. */
  #followAll(packet: number, flow: RecordedFlow, place: number): void {
    this.#counts[place < 0 ? 1 : 0] += this.pool.segments[packet] - 1;
    this.#follow(packet, flow, place);
  }

  #wait(packet: number, delay: number): void {
    if (this.#hold.full) this.drop(packet, ImpairDrop.Limit);
    else this.#hold.add(packet, this.marks.at[row(packet)] + delay);
  }
}
