/** What a function has beside its packet: time, timers, draws, counters, packets of its own, and those it holds. */
import type { RandomStream } from '../../engine/random.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { duration } from '../../engine/units.ts';
import { OwnReasons, VnfDrop } from './reasons.ts';
import { VnfTimers } from './timers.ts';

/** Counters that one function may have. */
const MAX_COUNTERS = 64;

/** The way of a flow's packets, kept: what `ctx.emit` sends with it goes that way. */
export interface VnfPath {
  /** @internal */
  readonly prefix: Uint8Array;
  /** @internal */
  readonly peer: number;
}

/** What the app that runs the function does for its context. */
export interface ContextHost {
  readonly now: number;
  readonly ticket: number;
  emit(bytes: Uint8Array, reply: boolean, path: VnfPath | undefined): boolean;
  path(): VnfPath;
  release(ticket: number, verdict: 'forward' | 'drop' | 'reply'): boolean;
  note(text: string): void;
  wake(): void;
}

export class VnfContext {
  /** Repeatable in virtual time; a stream of this function's own. */
  readonly random: RandomStream;
  /** Time passes by itself: not in virtual time. */
  readonly live: boolean;
  /** Nanoseconds of the Unix epoch at `time` 0. */
  readonly startOfTime: bigint;
  /** Why the packet in hand is dropped. @internal */
  reason: number = VnfDrop.Dropped;
  /** @internal */
  readonly timers = new VnfTimers();
  readonly #host: ContextHost;
  readonly #reasons = new OwnReasons();
  readonly #counters = new Map<string, number>();
  readonly #counts = new Float64Array(MAX_COUNTERS);

  /** @internal */
  constructor(host: ContextHost, random: RandomStream, runtime: Pick<Runtime, 'live' | 'startOfTime'>) {
    this.#host = host;
    this.random = random;
    this.live = runtime.live;
    this.startOfTime = runtime.startOfTime;
  }

  /** Integer nanoseconds since the runtime's start. */
  get time(): number {
    return this.#host.now;
  }

  /**
   * `return ctx.drop('telnet')`: the packet ends, and is counted as `vnf-telnet`.
   * @param reason lower case words joined by hyphens; a function has 16
   */
  drop(reason: string): 'drop' {
    this.reason = this.#reasons.number(reason);
    return 'drop';
  }

  /** A counter in the report and the metrics. A function has 64; others are not counted. */
  count(name: string, by = 1): void {
    let place = this.#counters.get(name);
    if (place === undefined) {
      if (this.#counters.size === MAX_COUNTERS) return;
      place = this.#counters.size;
      this.#counters.set(name, place);
    }
    this.#counts[place] += by;
  }

  /** By name. */
  counters(): Record<string, number> {
    return Object.fromEntries([...this.#counters].map(([name, place]) => [name, this.#counts[place]]));
  }

  /**
   * Calls back once, between packets. A function has 1024 timers at a time.
   * @param delay `50ms`, or ns @returns how to cancel it
   */
  timer(delay: string | number, callback: () => void): () => void {
    const cancel = this.timers.set(this.#host.now + duration(delay), callback);
    this.#host.wake();
    return cancel;
  }

  /**
   * Sends an IP packet of the function's own, with its checksums filled in: on the way of the packet in hand, or back.
   *
   * @param way `forward`, or `reply` for back to where the packet in hand came from
   * @param path that of another packet, kept with `path()`: for timers, when there is none in hand
   * @returns false when there is no room or no memory
   * @throws RangeError for bytes that are no IP packet
   */
  emit(bytes: Uint8Array, way: 'forward' | 'reply' = 'forward', path?: VnfPath): boolean {
    return this.#host.emit(bytes, way === 'reply', path);
  }

  /** The way of the packet in hand, to keep; allocates. */
  path(): VnfPath {
    return this.#host.path();
  }

  /** What the packet in hand is known by when it is held; -1 when no more can be. */
  get ticket(): number {
    return this.#host.ticket;
  }

  /** Lets a packet go that was held. False when there is none: it was held for too long, or is gone already. */
  release(ticket: number, verdict: 'forward' | 'drop' | 'reply' = 'forward'): boolean {
    return this.#host.release(ticket, verdict);
  }

  /** Tells whoever runs the network, at most ten times in a second. */
  note(text: string): void {
    this.#host.note(text);
  }
}
