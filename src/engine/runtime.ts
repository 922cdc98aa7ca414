/**
 * Everything that is not a packet: time, randomness, secrets, and being woken up. The same network runs on the
 * machine's (`LiveRuntime`) and on a heap of events and a seed (`VirtualRuntime`).
 */
import type { Outside } from './outside.ts';
import type { RandomStream } from './random.ts';

/** What a runtime runs: a network. */
export interface Driven {
  /** One round at the time in `runtime.clock`: brings packets in, moves them, sends them out. True: more to do at once. */
  breathe(): boolean;
  /** One cell: when it must run again though nothing arrived, ns since the runtime's start, or Infinity. */
  readonly deadline: Float64Array;
  /** An error that escaped an app. The network cannot go on. */
  fail(error: unknown): void;
}

/** A network's connection to the runtime that runs it. */
export interface Driver {
  /** Something changed outside of the packet path: run soon. */
  wake(): void;
  /** Starts to tell when a descriptor is ready. Live only; a virtual runtime throws ERR_PLATFORM. */
  watch(fd: number, onReady: () => void, onClose: () => void): Watch;
  /** Brings the clock up to date within a breath. Live only; in virtual time nothing passes meanwhile. */
  readClock?(): void;
  stop(): void;
}

/** A descriptor whose readiness a port wants to know. Set by the runtime, cleared by the port when it finds out otherwise. */
export interface Watch {
  readable: boolean;
  writable: boolean;
  /** EPOLLERR or EPOLLHUP was seen. */
  failed: boolean;
  /** The kernel had no room: `writable` is false from now on, until it says otherwise. */
  awaitWritable(): void;
  close(): void;
}

export interface Runtime extends Outside {
  /** Whether there is a machine behind it: descriptors can be watched, and time passes by itself. */
  readonly live: boolean;
  /** Integer nanoseconds since the runtime was made. */
  now(): number;
  /**
   * One cell: the time of the breath that runs, read anew when packets came in, or of the last one. A cell, because JavaScript makes an object of
   * nearly every double that is passed or returned, and breaths are to make none.
   */
  readonly clock: Float64Array;
  /** Nanoseconds of the Unix epoch at the runtime's start; a fixed instant in virtual time. For captures and logs. */
  readonly startOfTime: bigint;
  /** A repeatable stream of its own for every name. */
  random(name: string): RandomStream;
  /** Bytes nobody can guess. Never seeded when live; derived from the seed in virtual time. */
  secret(length: number): Uint8Array;
  /** Calls back once at `at` (ns) or later. Returns a function that cancels. For control planes, never for packets. */
  timer(at: number, callback: () => void): () => void;
  drive(network: Driven): Driver;
}
