/**
 * A link whose rate, delay and loss change as a table says (conditions.ts). A packet is lost or not by the row in force
 * when it comes; its bits leave at the rate of each moment, so that a packet that is being sent when the rate changes goes
 * on at the new one; then it is delayed by the row in force when its last bit leaves, and never passes another.
 *
 * With `repeat` the table starts again at its last row's time, which then only says when; without, the last row stays.
 */
import { SECOND } from '../../engine/units.ts';
import type { Draws } from '../draw.ts';
import { Hold } from '../hold.ts';
import { row } from '../marks.ts';
import { ImpairDrop } from '../reasons.ts';
import { Server } from '../server.ts';
import type { StageContext } from '../stage.ts';
import { type Conditions, parseConditions } from './conditions.ts';
import type { CsvOptions } from './trace.ts';

/** Delayed parts at a time: as many as there can be packets. */
const DELAYED = 1 << 20;
/** Places of the times. */
const Cell = { whole: 0, fraction: 1, finish: 2, lastDelayed: 3 } as const;

export class CsvTrace extends Server {
  #table: Conditions;
  /** Whether it starts again, after which time (ns), and bits that can leave in that. */
  #repeat = false;
  #period = 0;
  #bits = 0;
  readonly #draws: Draws;
  readonly #delayed = new Hold(DELAYED);
  /** When the last bit leaves, whole ns and fraction; rounded up. */
  readonly #times = Float64Array.of(0, 0, Number.POSITIVE_INFINITY, 0);
  readonly #taken = new Float64Array(1);

  constructor(name: string, context: StageContext, options: CsvOptions) {
    const table = parseConditions(options.text);
    super(name, context, options.queue, fastest(table));
    this.#table = table;
    this.#draws = this.draws('loss');
    this.#tell(table, options.repeat);
  }

  /** The packet that is being sent leaves when it was going to; one that was going to never is sent from now on. */
  reconfigure(options: CsvOptions, now: number): void {
    const table = parseConditions(options.text);
    this.#tell(table, options.repeat);
    this.changeQueue(options.queue, fastest(table));
    if (this.serving < 0 || this.#times[Cell.finish] < Number.POSITIVE_INFINITY) return;
    this.#startAt(now);
    this.#sendServed();
    this.due[0] = this.next();
  }

  override held(): number {
    return super.held() + this.#delayed.count;
  }

  override close(): void {
    super.close();
    for (const packet of this.#delayed) this.pool.free(packet);
    this.#delayed.count = 0;
  }

  protected get idle(): boolean {
    return this.serving < 0;
  }

  protected begin(): void {
    this.#startAt(this.queue.clock[0]);
    this.#serve();
  }

  protected advance(): void {
    const times = this.#times;
    while (times[Cell.finish] <= this.until[0]) {
      this.queue.clock[0] = times[Cell.finish];
      this.depart();
      this.#serve();
    }
    if (this.part >= 0 && !this.continues(this.serving, this.segment, times[Cell.finish])) this.sendPart();
    while (this.#delayed.ready(this.now[0])) {
      const packet = this.#delayed.take(this.#taken);
      this.release(packet, this.#taken[0], this.out, this.now[0]);
    }
    this.#delayed.earliest(this.#taken);
  }

  protected next(): number {
    return Math.min(this.#times[Cell.finish], this.#taken[0]);
  }

  /** Wire packets are lost as they come; the others go to the queue. */
  protected override arrive(packet: number, count: number, header: number, size: number): void {
    const at = this.queue.clock[0];
    const below = this.#table.loss[this.#row(at)] * 4294967296;
    const mark = row(packet);
    const hash = this.marks.hash[mark] ^ this.marks.twin[mark];
    const number = this.marks.number[mark];
    for (let first = 0; first < count; ) {
      const lost = below > 0 && this.#draws.at(hash, number + first) < below;
      let end = first + 1;
      if (below === 0) end = count;
      else while (end < count && this.#draws.at(hash, number + end) < below === lost) end++;
      if (lost) this.discard(packet, first, end - first, ImpairDrop.Loss);
      else this.offer(packet, first, end, header, size);
      first = end;
    }
  }

  protected override leave(packet: number, left: Float64Array): void {
    const times = this.#times;
    const at = left[0];
    const time = at + this.#table.delay[this.#row(at)];
    if (time > times[Cell.lastDelayed]) times[Cell.lastDelayed] = time;
    this.#delayed.add(packet, times[Cell.lastDelayed]);
  }

  #tell(table: Conditions, repeat: boolean): void {
    const last = table.time.length - 1;
    this.#table = table;
    this.#repeat = repeat && last > 0;
    this.#period = table.time[last];
    this.#bits = 0;
    for (let i = 0; i < last; i++)
      this.#bits += (table.rate[i] * (table.time[i + 1] - table.time[i])) / SECOND;
  }

  /** Which row is in force at a time; when that began (in the table's own time) is its `time`. */
  #row(at: number): number {
    const { time } = this.#table;
    const inside = this.#inside(at);
    let low = 0;
    let high = this.#repeat ? time.length - 1 : time.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (time[middle] <= inside) low = middle;
      else high = middle;
    }
    return low;
  }

  #inside(at: number): number {
    return this.#repeat ? at - Math.floor(at / this.#period) * this.#period : at;
  }

  #startAt(time: number): void {
    this.#times[Cell.whole] = time;
    this.#times[Cell.fraction] = 0;
  }

  /** The next packet's first bit follows the last one's last. */
  #serve(): void {
    if (this.takeNext()) this.#sendServed();
    else this.#times[Cell.finish] = Number.POSITIVE_INFINITY;
  }

  #sendServed(): void {
    const times = this.#times;
    this.#send(this.bytes * 8);
    times[Cell.finish] = times[Cell.whole] + (times[Cell.fraction] > 0 ? 1 : 0);
  }

  /** Lets so many bits leave, row by row. */
  #send(all: number): void {
    const times = this.#times;
    const { time, rate } = this.#table;
    let bits = all;
    if (this.#repeat && bits >= this.#bits) {
      const rounds = Math.floor(bits / this.#bits);
      times[Cell.whole] += rounds * this.#period;
      bits -= rounds * this.#bits;
      // Beyond 2^53 ns a row is over before it began, and all of them are: it never leaves.
      if (times[Cell.whole] > Number.MAX_SAFE_INTEGER) {
        times[Cell.whole] = Number.POSITIVE_INFINITY;
        return;
      }
    }
    let place = this.#row(times[Cell.whole]);
    for (;;) {
      const last = !this.#repeat && place === time.length - 1;
      const begun = times[Cell.whole] - this.#inside(times[Cell.whole]);
      const end = last ? Number.POSITIVE_INFINITY : begun + time[place + 1];
      const lasts = rate[place] === 0 ? Number.POSITIVE_INFINITY : (bits * SECOND) / rate[place];
      const until = times[Cell.fraction] + lasts;
      if (last || times[Cell.whole] + until <= end) {
        const whole = Math.floor(until);
        times[Cell.whole] += whole;
        times[Cell.fraction] = whole === until ? 0 : until - whole;
        return;
      }
      bits -= (rate[place] * (end - times[Cell.whole] - times[Cell.fraction])) / SECOND;
      times[Cell.whole] = end;
      times[Cell.fraction] = 0;
      place = this.#row(end);
    }
  }
}

/** bit/s of the fastest row, for the queue's default limit. */
function fastest({ rate }: Conditions): number {
  let most = 0;
  for (const value of rate) if (value > most) most = value;
  return Math.min(most, 100e9);
}
