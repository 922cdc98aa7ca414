/**
 * A wire between two networks of one thread: what one puts in at its end comes out of the other's. Packets of a pool are copied into
 * the other pool, so that each network keeps its own memory, limits and reports.
 */
import type { App, AppContext, AppReport, Layer, Ports } from '../engine/app.ts';
import type { Pool } from '../engine/pool.ts';
import { Reason } from '../engine/reasons.ts';
import { copyBytes } from '../packet/word.ts';

export interface WireOptions {
  /** What its packets are (default `L3`). */
  layer?: Layer;
  /** Packets that wait at an end for its network to take them in (default 2048); further ones are counted drops. */
  limit?: number;
}

/** What a wire leads to. */
export interface WireFar {
  /**
   * Gets a packet of another pool, of which it keeps a copy. Returns TAKEN, or the reason why not.
   * @param words of the other pool's slab
   * @param now ns
   */
  take(from: Pool, words: Int32Array, packet: number, now: number): number;
}

export const TAKEN = -1;

const LAYER_NUMBER: Record<Layer, number> = { L2: 2, L3: 3, datagram: 0 };

/** Two ends, each an app with input `in` and output `out`. */
export function wire(options: WireOptions = {}): [WireEnd, WireEnd] {
  const a = new WireEnd(options);
  const b = new WireEnd(options);
  a.join(b);
  b.join(a);
  return [a, b];
}

export class WireEnd implements App, WireFar {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly paths = { in: [] };
  readonly layers: Record<string, Layer>;
  /** Packets that came over it, and that found no room here. */
  readonly #counts = new Float64Array(2);
  readonly #layer: number;
  /** Packets of the own pool that wait to be taken in, a ring. */
  readonly #waiting: Int32Array;
  #first = 0;
  #count = 0;
  #context: AppContext | undefined;
  /** The own pool's slab, in words. */
  #words: Int32Array = new Int32Array(0);
  #far: WireFar | undefined;
  /** Unplugged: nothing passes, either way. */
  #cut = false;

  constructor({ layer = 'L3', limit = 2048 }: WireOptions) {
    this.layers = { in: layer, out: layer };
    this.#layer = LAYER_NUMBER[layer];
    this.#waiting = new Int32Array(limit);
  }

  /** Who is at the other end; nobody, when it is unplugged. */
  join(far: WireFar | undefined): void {
    this.#far = far;
  }

  /** Whether nothing passes, as with a cable that is pulled out: what comes then is a counted drop at its sender. */
  get cut(): boolean {
    return this.#cut;
  }

  set cut(cut: boolean) {
    this.#cut = cut;
  }

  open(context: AppContext): void {
    this.#context = context;
    const { buffer, byteOffset, byteLength } = context.pool.slab;
    this.#words = new Int32Array(buffer, byteOffset, byteLength >> 2);
  }

  pull({ output }: Ports, room: number): boolean {
    const n = Math.min(room, this.#count);
    for (let i = 0; i < n; i++) {
      output.out.put(this.#waiting[this.#first]);
      this.#first = this.#first + 1 === this.#waiting.length ? 0 : this.#first + 1;
    }
    this.#count -= n;
    return this.#count > 0;
  }

  push({ pool, input, now }: Ports): void {
    const far = this.#far;
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      const refused =
        far === undefined || this.#cut ? Reason.Unlinked : far.take(pool, this.#words, packet, now);
      if (refused === TAKEN) pool.free(packet);
      else pool.drop(packet, refused);
    }
  }

  take(from: Pool, words: Int32Array, packet: number, now: number): number {
    if (this.#context === undefined || this.#cut) return Reason.Unlinked;
    const { pool, account, wake } = this.#context;
    const length = from.length[packet];
    const copy = this.#count === this.#waiting.length ? -1 : pool.allocFor(length, account);
    if (copy < 0) {
      this.#counts[1]++;
      return Reason.LinkFull;
    }
    const source = from.offset[packet];
    const target = pool.offset[copy];
    // Four bytes at a time where both lie so, which is nearly always.
    const whole = ((source | target) & 3) === 0 ? length >> 2 : 0;
    const own = this.#words;
    for (let i = 0; i < whole; i++) own[(target >> 2) + i] = words[(source >> 2) + i];
    const done = whole * 4;
    copyBytes(from.slab, source + done, pool.slab, target + done, length - done);
    pool.length[copy] = length;
    pool.layer[copy] = this.#layer;
    pool.l3Offset[copy] = from.l3Offset[packet];
    pool.arrived[pool.slot[copy]] = now;
    const at = this.#first + this.#count;
    this.#waiting[at < this.#waiting.length ? at : at - this.#waiting.length] = copy;
    this.#count++;
    this.#counts[0]++;
    wake();
    return TAKEN;
  }

  held(): number {
    return this.#count;
  }

  report(): AppReport {
    return { arrived: this.#counts[0], refused: this.#counts[1], waiting: this.#count, cut: this.#cut };
  }

  close(): void {
    const { pool } = this.#context ?? {};
    for (; pool && this.#count > 0; this.#count--) {
      pool.free(this.#waiting[this.#first]);
      this.#first = this.#first + 1 === this.#waiting.length ? 0 : this.#first + 1;
    }
    this.#context = undefined;
  }
}
