/**
 * The machine's clock, randomness and descriptors. One driver per network, over an epoll that holds its descriptors.
 * Two ways to sleep: the event loop watches the epoll, or the thread blocks in it and serves its event loop besides.
 * The only place in the engine that touches the machine.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { PollEvent } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { LiveDatagrams, LiveListener, liveConnect } from './live-outside.ts';
import { LiveDisk } from './live-storage.ts';
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
import type { Driven, Driver, Runtime, Watch } from './runtime.ts';
import { MILLISECOND } from './units.ts';

/** Pairs (key, events) one wait can bring. What does not fit comes with the next. */
const READY_PAIRS = 64;
/** After this long in a row the event loop gets its turn: control messages and signals must not wait for packets. */
const TURN = MILLISECOND;

export interface LiveOptions {
  /** Seed of the random streams; drawn when left out, and readable as `runtime.seed`. Secrets never depend on it. */
  seed?: number;
  /** Folder that holds what `storage` keeps; made when it is first used, for one program at a time. */
  storage?: string;
  /**
   * Networks block this thread while they wait, which is some microseconds less per packet than its event loop takes.
   * Messages, timers, files and promises are served all the same. For worker threads; the first network
   * of a thread blocks, further ones are served as its event loop is.
   */
  blocking?: boolean;
}

export class LiveRuntime implements Runtime {
  readonly live = true;
  readonly seed: number;
  /** CLOCK_MONOTONIC at the start, ns. */
  readonly epoch = Number(process.hrtime.bigint());
  readonly clock = new Float64Array(1);
  readonly blocking: boolean;
  readonly startOfTime = BigInt(Date.now()) * 1_000_000n;

  readonly #disk: LiveDisk;

  constructor(options: LiveOptions = {}) {
    this.seed = options.seed ?? randomInt(2 ** 32);
    this.blocking = options.blocking ?? false;
    this.#disk = new LiveDisk(options.storage);
  }

  now(): number {
    return Number(process.hrtime.bigint()) - this.epoch;
  }

  random(name: string): RandomStream {
    return randomStream(this.seed, name);
  }

  secret(length: number): Uint8Array {
    return new Uint8Array(randomBytes(length));
  }

  timer(at: number, callback: () => void): () => void {
    // setTimeout counts milliseconds and may be early by a part of one; never before `at`.
    let timeout: NodeJS.Timeout;
    const arm = () => {
      timeout = setTimeout(
        () => (this.now() >= at ? callback() : arm()),
        Math.max(0, Math.ceil((at - this.now()) / MILLISECOND)),
      );
    };
    arm();
    return () => clearTimeout(timeout);
  }

  datagrams(bind: string, handlers: DatagramHandlers, options?: DatagramOptions): DatagramSocket {
    return new LiveDatagrams(bind, handlers, options);
  }

  listen(bind: string, handlers: ListenHandlers, options?: ListenOptions): Listener {
    return new LiveListener(bind, handlers, options);
  }

  connect(to: string, handlers: ChannelHandlers, options?: ConnectOptions): Channel {
    return liveConnect(to, handlers, options);
  }

  storage(name: string): Storage {
    return this.#disk.storage(name);
  }

  drive(network: Driven): Driver {
    return new LiveDriver(this, network);
  }
}

let common: LiveRuntime | undefined;

/** The runtime of this process, made on first use. */
export function liveRuntime(options?: LiveOptions): LiveRuntime {
  if (options) return new LiveRuntime(options);
  common ??= new LiveRuntime();
  return common;
}

class LiveDriver implements Driver {
  readonly #clock: Float64Array;
  readonly #network: Driven;
  readonly #native = native();
  readonly #ready = new Int32Array(READY_PAIRS * 2);
  /** What the poller knows of time: the clock, and when to wake this thread. */
  readonly #times = new Float64Array(2);
  readonly #poller: number;
  readonly #watches = new Map<number, LiveWatch>();
  #nextKey = 1;
  #turning = false;
  /** Somebody called `wake` during the turn: one more breath, for this one may be past what it was about. */
  #woken = false;
  #stopped = false;

  constructor(runtime: LiveRuntime, network: Driven) {
    this.#clock = runtime.clock;
    this.#network = network;
    this.#times[1] = Number.POSITIVE_INFINITY;
    this.#poller = this.#native.pollerOpen(this.#ready, this.#times, runtime.epoch);
    this.#native.pollerWatch(this.#poller, (ready) => this.#turn(ready), runtime.blocking);
  }

  wake(): void {
    if (this.#turning) this.#woken = true;
    else if (!this.#stopped) this.#native.pollerSoon(this.#poller);
  }

  watch(fd: number, onReady: () => void, onClose: () => void): Watch {
    const key = this.#nextKey++;
    const watch = new LiveWatch(this.#native, this.#poller, fd, key, onReady, () => {
      this.#watches.delete(key);
      onClose();
    });
    this.#watches.set(key, watch);
    return watch;
  }

  readClock(): void {
    this.#native.pollerClock(this.#poller);
    this.#clock[0] = this.#times[0];
  }

  /** Takes in what is ready, lets the network breathe for a while, and says whether it wants to go on at once. */
  #turn(ready: number): boolean {
    if (this.#stopped) return false;
    this.#turning = true;
    const network = this.#network;
    const clock = this.#clock;
    const times = this.#times;
    let more = false;
    try {
      for (let i = 0; i < ready; i++) this.#watches.get(this.#ready[2 * i])?.note(this.#ready[2 * i + 1]);
      const end = times[0] + TURN;
      do {
        clock[0] = times[0];
        this.#woken = false;
        more = network.breathe() || this.#woken;
        if (!more) break;
        this.#native.pollerClock(this.#poller);
      } while (times[0] < end);
    } catch (error) {
      this.#turning = false;
      network.fail(error);
      return false;
    }
    this.#turning = false;
    times[1] = network.deadline[0];
    return more || times[1] <= times[0];
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const watch of this.#watches.values()) watch.close();
    this.#native.pollerClose(this.#poller);
  }
}

/** Readiness is edge-triggered: the kernel says it once, and the flag stays up until the port finds nothing more. */
class LiveWatch implements Watch {
  readable = false;
  writable = true;
  failed = false;
  readonly #native: ReturnType<typeof native>;
  readonly #poller: number;
  readonly #fd: number;
  readonly #key: number;
  readonly #onReady: () => void;
  readonly #onClose: () => void;
  #open = true;

  constructor(
    addon: ReturnType<typeof native>,
    poller: number,
    fd: number,
    key: number,
    onReady: () => void,
    onClose: () => void,
  ) {
    this.#native = addon;
    this.#poller = poller;
    this.#fd = fd;
    this.#key = key;
    this.#onReady = onReady;
    this.#onClose = onClose;
    addon.pollerAdd(poller, fd, key, PollEvent.read | PollEvent.edge);
  }

  note(events: number): void {
    if (events & PollEvent.read) this.readable = true;
    if (events & PollEvent.error) this.failed = this.readable = this.writable = true;
    if (events & PollEvent.write && !this.writable) {
      this.writable = true;
      // Asked for only while it matters: a socket would report every datagram that leaves its buffer.
      this.#native.pollerModify(this.#poller, this.#fd, this.#key, PollEvent.read | PollEvent.edge);
    }
    this.#onReady();
  }

  awaitWritable(): void {
    if (!this.writable || !this.#open) return;
    this.writable = false;
    this.#native.pollerModify(
      this.#poller,
      this.#fd,
      this.#key,
      PollEvent.read | PollEvent.write | PollEvent.edge,
    );
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#native.pollerRemove(this.#poller, this.#fd);
    this.#onClose();
  }
}
