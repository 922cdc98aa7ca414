/** What client and server share: the outside world, events, drop reasons, and small helpers. */
import { reason } from '../../engine/reasons.ts';
import { TunconnectorError } from '../../errors.ts';
import type { IpPrefix } from '../../packet/prefix.ts';
import { isNetwork, MAX_ADDRESSES, MAX_DATAGRAM, MAX_NETWORKS, MIN_DATAGRAM } from './wire.ts';

/** Seeded in a simulation, secret when live. */
export interface RandomStream {
  /** Uniform over 0 .. 2^32-1. */
  u32(): number;
  fill(bytes: Uint8Array): void;
}

/** What a control state machine asks of its surroundings. Peers are rows of the address table of a UDP port. */
export interface ControlOut {
  /**
   * Sends `bytes[0..length)` as one datagram; the bytes are overwritten after the call returns.
   * @param fragmentable false: with DF set (a PROBE); true: the path may fragment it
   */
  send(peer: number, bytes: Uint8Array, length: number, fragmentable: boolean): void;
  event(event: TunnelEvent): void;
  /**
   * Keeps the address that `peer` (pinned or passing) names. Returns the row that names it from now on, always
   * the same for the same address, or -1 when no row is free.
   */
  pin(peer: number): number;
  unpin(peer: number): void;
  /** The 32 bytes of the row `peer`; `AddressTable` in src/native/binding.ts has the layout. */
  address(peer: number): Uint8Array;
}

export type TunnelEventType =
  | 'up' // a session began
  | 'silent' // nothing heard for some keepalive intervals, or the server said goodbye
  | 'back' // heard again; reason 'restarted' when the server had to make a new session
  | 'moved' // server: the client has another outer address now
  | 'gone' // server: the session is over; reason 'goodbye', 'forgotten', 'replaced' or 'restarted'
  | 'refused' // client: by the server. server: a proven client was refused. reason is the refusal
  | 'pmtu' // `mtu` changed
  | 'resolve'; // client: the server's host name should be looked up again

export interface TunnelEvent {
  type: TunnelEventType;
  /** ns since start. */
  time: number;
  /** Session index on a server; 0 on a client; -1 without a session. */
  session: number;
  peer: number;
  /** Copy of the peer's row, valid after the peer is unpinned. */
  outer: Uint8Array;
  /** Inner addresses and networks of the client; on a client's own 'up' and 'back', the server's addresses. */
  addresses: readonly IpPrefix[];
  networks: readonly IpPrefix[];
  reason: string;
  /** One line for people, '' when `type` and `reason` say it all. */
  text: string;
  /** Largest datagram (UDP payload, bytes) that may be sent. */
  mtu: number;
}

/** Why a control message was dropped; numbers of the engine's drop reasons, none of which is 0. */
export const ControlDrop = {
  Malformed: reason('control-malformed'),
  Version: reason('control-version'),
  /** A type that this end never receives, or an answer nobody asked for. */
  Unexpected: reason('control-unexpected'),
  UnknownToken: reason('control-unknown-token'),
  WrongAddress: reason('control-wrong-address'),
  RateLimited: reason('control-rate-limited'),
  /** The request is smaller than the answer would be. */
  Unpadded: reason('control-unpadded'),
  /** Older than what was seen already. */
  Stale: reason('control-stale'),
  Refused: reason('control-refused'),
  /** No room to look into another claim. */
  Busy: reason('control-busy'),
  Closed: reason('control-closed'),
} as const;

export const MS = 1e6;
export const SECOND = 1e9;
export const DEFAULT_KEEPALIVE = 1000;
/** Limits of the keepalive interval, ms. */
export const MIN_KEEPALIVE = 100;
export const MAX_KEEPALIVE = 30_000;

/** What client and server configurations have in common. @throws ERR_CONFIG */
export function checkEnd(mtu: number, addresses: readonly IpPrefix[], networks: readonly IpPrefix[]): void {
  if (!Number.isInteger(mtu) || mtu < MIN_DATAGRAM || mtu > MAX_DATAGRAM) {
    throw new TunconnectorError('ERR_CONFIG', `mtu: found ${mtu}`, {
      remedy: `give the largest datagram in bytes, ${MIN_DATAGRAM} to ${MAX_DATAGRAM}`,
    });
  }
  if (addresses.length > MAX_ADDRESSES) {
    throw new TunconnectorError('ERR_CONFIG', `addresses: found ${addresses.length} inner addresses`, {
      remedy: `give at most ${MAX_ADDRESSES}`,
    });
  }
  if (networks.length > MAX_NETWORKS || !networks.every(isNetwork)) {
    throw new TunconnectorError('ERR_CONFIG', `networks: found ${networks.length}, or bits behind a prefix`, {
      remedy: `give at most ${MAX_NETWORKS} networks, host bits zero`,
    });
  }
}

export function clampKeepalive(milliseconds: number): number {
  return Math.max(MIN_KEEPALIVE, Math.min(MAX_KEEPALIVE, milliseconds));
}

/** Smoothed round trip (RFC 6298's gain of 1/8), from 0 = unknown. */
export function smoothRtt(rtt: number, sample: number): number {
  return Math.max(1, Math.round(rtt === 0 ? sample : rtt + (sample - rtt) / 8));
}

/** RFC 1982: is serial number `a` before `b`? */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** Family, port, address and scope of two address rows are equal; the spare bytes do not matter. */
export function sameOuter(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < 24; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A token bucket that bounds what strangers can make this end send. */
export class RateLimit {
  readonly #perNanosecond: number;
  readonly #burst: number;
  #level: number;
  #last = 0;

  /** @param rate messages per second @param burst messages at once */
  constructor(rate: number, burst: number) {
    this.#perNanosecond = rate / 1e9;
    this.#burst = burst;
    this.#level = burst;
  }

  /** Takes one if more than `reserve` (0..1 of the burst) is left: less urgent messages leave room for others. */
  take(now: number, reserve: number): boolean {
    if (now > this.#last) {
      this.#level = Math.min(this.#burst, this.#level + (now - this.#last) * this.#perNanosecond);
      this.#last = now;
    }
    if (this.#level < 1 + reserve * this.#burst) return false;
    this.#level--;
    return true;
  }
}

/** Counts who holds a peer, so that each address is pinned once and unpinned once. */
export class Peers {
  readonly #out: ControlOut;
  readonly #holders = new Map<number, number>();
  readonly #rows = new Map<string, number>();

  readonly #limit: number;

  /** @param limit rows from this one on are of no use */
  constructor(out: ControlOut, limit: number) {
    this.#out = out;
    this.#limit = limit;
  }

  /** The held row with the address of `peer`, or -1. */
  find(peer: number): number {
    if (this.#holders.has(peer)) return peer;
    // Datagrams that were read before their sender was pinned still name a passing row.
    return this.#rows.get(this.#key(peer)) ?? -1;
  }

  /** Holds the address of `peer`; returns its row, or -1 when none is free. */
  hold(peer: number): number {
    let row = this.find(peer);
    if (row < 0) {
      const key = this.#key(peer);
      row = this.#out.pin(peer);
      if (row >= this.#limit) this.#out.unpin(row);
      if (row < 0 || row >= this.#limit) return -1;
      this.#rows.set(key, row);
    }
    this.#holders.set(row, (this.#holders.get(row) ?? 0) + 1);
    return row;
  }

  release(row: number): void {
    const holders = this.#holders.get(row) ?? 0;
    if (holders > 1) this.#holders.set(row, holders - 1);
    else if (holders === 1) {
      this.#holders.delete(row);
      this.#rows.delete(this.#key(row));
      this.#out.unpin(row);
    }
  }

  #key(peer: number): string {
    return String.fromCharCode(...this.#out.address(peer).subarray(0, 24));
  }
}
