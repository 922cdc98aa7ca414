/**
 * Time as a heap of events. Nothing happens by itself: `advance` moves the clock from event to event. Events at the
 * same instant run in the order in which they were asked for, so that a run depends on the seed and nothing else.
 */
import { TunconnectorError } from '../errors.ts';
import { DeadlineHeap } from './deadlines.ts';
import type {
  Channel,
  ChannelHandlers,
  ConnectOptions,
  DatagramHandlers,
  DatagramOptions,
  DatagramSocket,
  Listener,
  ListenHandlers,
  ListenOptions,
  Storage,
} from './outside.ts';
import { type RandomStream, randomStream } from './random.ts';
import type { Driven, Driver, Runtime } from './runtime.ts';
import { duration } from './units.ts';
import { DrivenNetworks } from './virtual-networks.ts';
import { type VirtualFaults, VirtualOutside } from './virtual-outside.ts';
import { VirtualDisk, type VirtualDiskOptions } from './virtual-storage.ts';

/** Timers set to fire at once without the clock moving, after which they are said to set each other for ever. */
const TIMERS_AT_ONE_INSTANT = 100_000;
/** 2001-09-09T01:46:40Z: captures of virtual time carry a plausible and constant date. */
const START = 1_000_000_000_000_000_000n;

interface Timer {
  callback: () => void;
}

export interface VirtualOptions {
  /** Of everything that is drawn; default 1. */
  seed?: number;
  /** What the way between sockets does to messages. */
  outside?: VirtualFaults;
  disk?: VirtualDiskOptions;
}

export class VirtualRuntime implements Runtime {
  readonly live = false;
  readonly startOfTime = START;
  readonly seed: number;
  readonly clock = new Float64Array(1);
  /** Timers that were fired and breaths that were taken. The same seed and the same calls: the same events. */
  events = 0;
  readonly #timers = new Map<number, Timer>();
  readonly #heap = new DeadlineHeap();
  #nextTimer = 0;
  /** Timers that were due when they were set, since the timers of this instant began to fire. */
  #setDue = 0;
  readonly #networks: DrivenNetworks;
  /** The timers of this instant are being fired. */
  #firing = false;
  readonly #secrets: RandomStream;
  /** What is between the sockets of this runtime: faults, cuts, breaks. */
  readonly outside: VirtualOutside;
  /** What is under its storages: crashes, failures, a capacity. */
  readonly disk: VirtualDisk;

  constructor(options: VirtualOptions = {}) {
    this.seed = options.seed ?? 1;
    this.#networks = new DrivenNetworks(this.clock);
    this.#secrets = randomStream(this.seed, 'secrets');
    this.outside = new VirtualOutside(this, options.outside);
    this.disk = new VirtualDisk(this, options.disk);
  }

  now(): number {
    return this.clock[0];
  }

  random(name: string): RandomStream {
    return randomStream(this.seed, name);
  }

  secret(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#secrets.fill(bytes);
    return bytes;
  }

  timer(at: number, callback: () => void): () => void {
    const id = this.#nextTimer++;
    if (at <= this.clock[0]) this.#setDue++;
    this.#timers.set(id, { callback });
    this.#heap.set(id, Math.max(at, this.clock[0]));
    return () => {
      this.#timers.delete(id);
      this.#heap.remove(id);
    };
  }

  datagrams(bind: string, handlers: DatagramHandlers, options?: DatagramOptions): DatagramSocket {
    return this.outside.datagrams(bind, handlers, options);
  }

  listen(bind: string, handlers: ListenHandlers, options?: ListenOptions): Listener {
    return this.outside.listen(bind, handlers, options);
  }

  connect(to: string, handlers: ChannelHandlers, options?: ConnectOptions): Channel {
    return this.outside.connect(to, handlers, options);
  }

  storage(name: string): Storage {
    return this.disk.storage(name);
  }

  drive(network: Driven): Driver {
    return this.#networks.add(network);
  }

  /** Runs everything that is due within the next `span` (ns, or text such as `'60ms'`), and ends there. */
  advance(span: string | number): void {
    this.runTo(this.clock[0] + duration(span));
  }

  /** Runs everything that is due until `time` (ns since the start), inclusive. */
  runTo(time: number): void {
    while (this.step(time));
    this.clock[0] = Math.max(this.clock[0], time);
  }

  /**
   * Runs one event that is due until `time`: a timer, or a breath of one network. False: there is none; the clock stays at the last one.
   * @throws ERR_LOOP when timers or networks keep each other busy for ever at one instant
   */
  step(time: number): boolean {
    const at = this.clock;
    // Timers of an instant are all fired before networks run.
    if (!this.#firing || this.#heap.first() > at[0]) {
      if (this.#firing) {
        this.#firing = false;
        this.#networks.wakeDue();
      }
      if (this.#networks.step()) {
        this.events++;
        return true;
      }
      // Time is whole nanoseconds, whatever is waited for.
      const next = Math.ceil(Math.min(this.#heap.first(), this.#networks.earliest));
      if (next > time) return false;
      at[0] = Math.max(at[0], next);
      this.#setDue = 0;
      this.#firing = true;
      if (this.#heap.first() > at[0]) return this.step(time);
    }
    this.events++;
    this.#fire();
    return true;
  }

  #fire(): void {
    if (this.#setDue > TIMERS_AT_ONE_INSTANT) {
      this.#setDue = 0;
      throw new TunconnectorError(
        'ERR_LOOP',
        `${TIMERS_AT_ONE_INSTANT} timers were set at ${this.clock[0]} ns that are due at once`,
        { remedy: 'look for messages that answer each other without a delay' },
      );
    }
    const id = this.#heap.pop();
    const timer = this.#timers.get(id);
    this.#timers.delete(id);
    timer?.callback();
  }
}
