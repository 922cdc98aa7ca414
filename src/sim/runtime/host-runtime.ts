/**
 * What the programs of one simulated host have for a runtime: the world's events, by a clock, random streams, secrets and a disk of their own.
 * When the host crashes, nothing of it is ever called again; it starts anew with another one of these.
 */
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
  Outside,
  Storage,
} from '../../engine/outside.ts';
import { type RandomStream, randomStream } from '../../engine/random.ts';
import type { Driven, Driver, Runtime } from '../../engine/runtime.ts';
import type { VirtualRuntime } from '../../engine/virtual-runtime.ts';
import { HostClock } from './host-clock.ts';

export interface HostRuntimeOptions {
  world: VirtualRuntime;
  /** Of the host: its streams are named after it, so that another host more changes none of its draws. */
  name: string;
  /** How often it was started before. */
  starts: number;
  /** Parts per million that its clock is fast. */
  ppm: number;
  /** Sockets and disk. */
  outside: Outside;
  /** Something of this host is about to run. */
  entered: () => void;
}

export class HostRuntime implements Runtime {
  readonly live = false;
  readonly startOfTime: bigint;
  readonly clock = new Float64Array(1);
  readonly #world: VirtualRuntime;
  readonly #name: string;
  readonly #time: HostClock;
  readonly #secrets: RandomStream;
  readonly #outside: Outside;
  readonly #entered: () => void;
  readonly #timers = new Set<HostTimer>();
  readonly #driven = new Map<HostDriven, Driver>();
  /** What came while it stands still; undefined: it does not. */
  #late: (() => void)[] | undefined;
  #halted = false;

  constructor({ world, name, starts, ppm, outside, entered }: HostRuntimeOptions) {
    this.#world = world;
    this.#name = starts === 0 ? name : `${name}#${starts}`;
    this.#time = new HostClock(world.now(), ppm);
    this.startOfTime = world.startOfTime + BigInt(world.now());
    this.#secrets = randomStream(world.seed, `${this.#name}/secrets`);
    this.#outside = outside;
    this.#entered = entered;
  }

  now(): number {
    return this.#time.at(this.#world.now());
  }

  random(name: string): RandomStream {
    return randomStream(this.#world.seed, `${this.#name}/${name}`);
  }

  secret(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#secrets.fill(bytes);
    return bytes;
  }

  timer(at: number, callback: () => void): () => void {
    if (this.#halted) return () => {};
    const timer: HostTimer = { at, cancel: () => {}, fire: () => {} };
    timer.fire = () => {
      this.#timers.delete(timer);
      this.#entered();
      callback();
    };
    this.#timers.add(timer);
    if (!this.#late) this.#arm(timer);
    return () => {
      timer.cancel();
      this.#timers.delete(timer);
    };
  }

  #arm(timer: HostTimer): void {
    timer.cancel = this.#world.timer(this.#time.when(timer.at), timer.fire);
  }

  drive(network: Driven): Driver {
    const driven = new HostDriven(network, this.#time, this.#world, this.clock, this.#entered);
    const driver = this.#world.drive(driven);
    driven.isStill = this.#late !== undefined;
    if (this.#halted) driver.stop();
    else this.#driven.set(driven, driver);
    return {
      wake: () => driver.wake(),
      watch: (fd, onReady, onClose) => driver.watch(fd, onReady, onClose),
      stop: () => {
        this.#driven.delete(driven);
        driver.stop();
      },
    };
  }

  datagrams(bind: string, handlers: DatagramHandlers, options?: DatagramOptions): DatagramSocket {
    return this.#outside.datagrams(bind, handlers, options);
  }

  listen(bind: string, handlers: ListenHandlers, options?: ListenOptions): Listener {
    return this.#outside.listen(bind, handlers, options);
  }

  connect(to: string, handlers: ChannelHandlers, options?: ConnectOptions): Channel {
    return this.#outside.connect(to, handlers, options);
  }

  storage(name: string): Storage {
    return this.#outside.storage(name);
  }

  /** From now on the clock is fast by so much. What waits for a time of it waits for the same one. @param ppm parts per million */
  drift(ppm: number): void {
    this.#time.drift(ppm, this.#world.now());
    this.#rearm();
  }

  /** The clock jumps forward; what has become due by that happens now. @param span ns */
  jump(span: number): void {
    this.#time.jump(span, this.#world.now());
    this.#rearm();
  }

  #rearm(): void {
    if (this.#late) return;
    for (const timer of this.#timers) {
      timer.cancel();
      this.#arm(timer);
    }
    for (const driver of this.#driven.values()) driver.wake();
  }

  /** The host stands still: timers, packets and what its disk has to say wait. Its clock goes on. */
  pause(): void {
    if (this.#late) return;
    this.#late = [];
    for (const timer of this.#timers) timer.cancel();
    for (const driven of this.#driven.keys()) driven.isStill = true;
  }

  /** It goes on: what was due meanwhile happens now. */
  resume(): void {
    const late = this.#late;
    if (!late || this.#halted) return;
    this.#late = undefined;
    for (const driven of this.#driven.keys()) driven.isStill = false;
    for (const callback of late) this.#world.timer(this.#world.now(), callback);
    this.#rearm();
  }

  /** Calls it, unless the host has crashed; when it stands still, later. */
  whenAwake(callback: () => void): void {
    if (this.#halted) return;
    if (this.#late) {
      this.#late.push(() => this.whenAwake(callback));
      return;
    }
    this.#entered();
    callback();
  }

  /** The host has crashed: nothing of it is called any more. */
  halt(): void {
    this.#halted = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    for (const driver of this.#driven.values()) driver.stop();
    this.#driven.clear();
  }
}

interface HostTimer {
  /** Of the host's clock, ns. */
  readonly at: number;
  cancel: () => void;
  fire: () => void;
}

/** A network of the host, as the world runs it: its deadline by the world's time. */
class HostDriven implements Driven {
  readonly deadline = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  isStill = false;
  readonly #network: Driven;
  readonly #time: HostClock;
  readonly #world: VirtualRuntime;
  readonly #clock: Float64Array;
  readonly #entered: () => void;

  constructor(
    network: Driven,
    time: HostClock,
    world: VirtualRuntime,
    clock: Float64Array,
    entered: () => void,
  ) {
    this.#network = network;
    this.#time = time;
    this.#world = world;
    this.#clock = clock;
    this.#entered = entered;
  }

  breathe(): boolean {
    if (this.isStill) {
      this.deadline[0] = Number.POSITIVE_INFINITY;
      return false;
    }
    this.#entered();
    this.#clock[0] = this.#time.at(this.#world.clock[0]);
    const more = this.#network.breathe();
    this.deadline[0] = this.#time.when(this.#network.deadline[0]);
    return more;
  }

  fail(error: unknown): void {
    this.#network.fail(error);
  }
}
