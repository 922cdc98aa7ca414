/** TCP connections of the `stream` format: how they are opened, how they end, and when a client tries again. */
import { getSystemErrorName } from 'node:util';
import type { Watch } from '../../engine/runtime.ts';
import { MILLISECOND, SECOND } from '../../engine/units.ts';
import type { Native } from '../../native/binding.ts';
import type { RecordReader } from './framing.ts';

/** The addon's calls for TCP. Tests put a network of their own here. */
export type StreamSockets = Pick<
  Native,
  'tcpListen' | 'tcpConnect' | 'tcpAccept' | 'tcpError' | 'read' | 'write' | 'close'
>;

/**
 * Milliseconds without an acknowledgement, or idle without an answer to keepalives, after which a peer is dead. A TCP
 * left to itself doubles its waits: after a path was cut for a minute it may sleep another.
 */
export const DEAD_AFTER = 3000;
/** Bytes the kernel may hold unsent: enough for a full segment burst, little enough that ping stays quick on a slow path. */
export const UNSENT = 128 << 10;

/** How long a connection attempt takes at most. The kernel sends its SYN at the start and after 1 s. */
const ATTEMPT = 2 * SECOND;
const FIRST_WAIT = 250 * MILLISECOND;
const LAST_WAIT = SECOND;
/** A connection that ended sooner does not count as a success: two clients of one server replace each other for ever. */
const STABLE = 5 * SECOND;
/** When nobody answers, the peer's name may mean another address by now. */
const RESOLVE_AFTER = 3 * SECOND;
const RESOLVE_EVERY = 5 * SECOND;

export interface Connection {
  readonly fd: number;
  readonly watch: Watch;
  readonly inbox: RecordReader;
  /** The peer, `192.168.6.9:55555`. */
  readonly outer: string;
}

/** Why a connection ended: a word for programs and a clause for people. */
export interface Ending {
  reason: string;
  text: string;
}

export const OUT_OF_STEP: Ending = {
  reason: 'out-of-step',
  text: 'what it sends is no packet, again and again: it speaks another format, or another layer',
};
export const CLOSED: Ending = { reason: 'closed', text: 'it closed the connection' };
export const NEW_TARGET: Ending = { reason: 'reconfigured', text: 'another peer was asked for' };

const BY_NAME: Record<string, Ending> = {
  ETIMEDOUT: { reason: 'timeout', text: `nothing was acknowledged for ${DEAD_AFTER / 1000} s` },
  ECONNRESET: { reason: 'reset', text: 'it reset the connection' },
  EPIPE: { reason: 'reset', text: 'it reset the connection' },
  ECONNREFUSED: { reason: 'refused', text: 'nobody listens there' },
  EHOSTUNREACH: { reason: 'unreachable', text: 'there is no way to it' },
  ENETUNREACH: { reason: 'unreachable', text: 'there is no way to it' },
};

/** @param errno positive; 0 when the socket gave no error */
export function endingOf(errno: number): Ending {
  if (errno === 0) return CLOSED;
  const name = getSystemErrorName(-errno);
  return BY_NAME[name] ?? { reason: name.toLowerCase(), text: `the connection failed (${name})` };
}

/** A client's patience: when the next attempt starts, when the one under way has failed. All times in ns. */
export class Redial {
  #wait = FIRST_WAIT;
  #upSince = 0;
  #resolveAt: number;
  /** When to connect; Infinity while connected or connecting. */
  at: number;
  /** When to give the attempt under way up; Infinity without one. */
  giveUpAt = Number.POSITIVE_INFINITY;

  constructor(now: number) {
    this.at = now;
    this.#resolveAt = now + RESOLVE_AFTER;
  }

  started(now: number): void {
    this.at = Number.POSITIVE_INFINITY;
    this.giveUpAt = now + ATTEMPT;
  }

  connected(now: number): void {
    this.#upSince = now;
    this.at = this.giveUpAt = Number.POSITIVE_INFINITY;
  }

  /** The attempt failed. One that nobody answered has waited long enough. */
  failed(now: number): void {
    const silent = now >= this.giveUpAt;
    this.giveUpAt = Number.POSITIVE_INFINITY;
    this.at = silent ? now : this.#afterPause(now);
  }

  /** The connection ended. */
  lost(now: number): void {
    if (now - this.#upSince >= STABLE) this.#wait = FIRST_WAIT;
    this.at = this.#afterPause(now);
    this.#resolveAt = now + RESOLVE_AFTER;
  }

  /** Whether it is time to ask again what the peer's name means. */
  resolveDue(now: number): boolean {
    if (now < this.#resolveAt) return false;
    this.#resolveAt = now + RESOLVE_EVERY;
    return true;
  }

  #afterPause(now: number): number {
    const at = now + this.#wait;
    this.#wait = Math.min(2 * this.#wait, LAST_WAIT);
    return at;
  }
}
