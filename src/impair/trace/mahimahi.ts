/**
 * A link that delivers when a recorded one did (Netravali et al.: "Mahimahi: Accurate Record-and-Replay for HTTP", ATC 2015).
 * At each opportunity of the trace `mtu` bytes leave: the rest of a packet that was begun, then packets that wait. A packet
 * leaves at the opportunity that carries its last byte; what nobody uses is lost. An opportunity at the very time a
 * packet comes is before it. Departures are those of mm-link to the millisecond (its LinkQueue::rationalize), with
 * the trace beginning at the link's time 0.
 */

import { Server } from '../server.ts';
import type { StageContext } from '../stage.ts';
import { parseOpportunities } from './opportunities.ts';
import type { MahimahiOptions } from './trace.ts';

export class Mahimahi extends Server {
  #options: MahimahiOptions;
  #times: Float64Array;
  /** Place of the next opportunity in the trace. */
  #place = 0;
  /** When the trace began this time, and when the next opportunity is that somebody may use: ns. */
  readonly #clock = Float64Array.of(0, Number.POSITIVE_INFINITY);
  /** Bytes of the packet being served that have not been sent. */
  #rest = 0;

  constructor(name: string, context: StageContext, options: MahimahiOptions) {
    const times = parseOpportunities(options.text);
    super(name, context, options.queue, averageRate(times, options.mtu));
    this.#options = options;
    this.#times = times;
  }

  /** A packet of which a part was sent stays begun. */
  reconfigure(options: MahimahiOptions, now: number): void {
    this.#options = options;
    this.#times = parseOpportunities(options.text);
    this.changeQueue(options.queue, averageRate(this.#times, options.mtu));
    if (this.idle) return;
    this.#seek(now);
    this.due[0] = this.next();
  }

  protected get idle(): boolean {
    return this.serving < 0 && this.queue.packets === 0;
  }

  protected begin(): void {
    this.#seek(this.queue.clock[0]);
  }

  protected advance(): void {
    const clock = this.#clock;
    while (clock[1] <= this.until[0]) {
      this.queue.clock[0] = clock[1];
      this.#deliver();
      if (this.idle) clock[1] = Number.POSITIVE_INFINITY;
      else this.#step();
    }
    if (this.part >= 0 && !this.continues(this.serving, this.segment, clock[1])) this.sendPart();
  }

  protected next(): number {
    return this.#clock[1];
  }

  #deliver(): void {
    let bytes = this.#options.mtu;
    while (bytes > 0) {
      if (this.serving < 0) {
        if (!this.takeNext()) return;
        this.#rest = this.bytes;
      }
      const sent = Math.min(bytes, this.#rest);
      this.#rest -= sent;
      bytes -= sent;
      if (this.#rest === 0) this.depart();
    }
  }

  #step(): void {
    const clock = this.#clock;
    this.#place++;
    if (this.#place === this.#times.length) {
      this.#place = 0;
      clock[0] += this.#times[this.#times.length - 1];
      if (!this.#options.repeat) {
        clock[1] = Number.POSITIVE_INFINITY;
        return;
      }
    }
    clock[1] = clock[0] + this.#times[this.#place];
  }

  /** The first opportunity after a time. */
  #seek(after: number): void {
    const clock = this.#clock;
    const times = this.#times;
    const period = times[times.length - 1];
    const round = Math.floor(after / period);
    if (round > 0 && !this.#options.repeat) {
      clock[1] = Number.POSITIVE_INFINITY;
      return;
    }
    clock[0] = round * period;
    let low = 0;
    let high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] <= after - clock[0]) low = middle + 1;
      else high = middle;
    }
    this.#place = low;
    // The last opportunity is at the period's end, so that there is one behind every time before it.
    clock[1] = clock[0] + times[low];
  }
}

/** bit/s */
const averageRate = (times: Float64Array, mtu: number): number =>
  (times.length * mtu * 8 * 1e9) / times[times.length - 1];
