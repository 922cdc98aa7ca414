/**
 * Source NAT in userspace: flows from inside get an address and a port outside, and what comes back to these goes to whom
 * it is for. One inner endpoint has one outer endpoint for all it talks to (RFC 4787, REQ-1), and only those it talks to can
 * answer (address and port-dependent filtering). TCP, UDP, ICMP queries; ICMP errors with the packet they quote; fragments
 * go with the first of their datagram. Where there is no room, TCP connections that both ends have closed are forgotten before
 * their time; no other flow is: a full table refuses new ones.
 *
 * Packets are bytes, changed where they stand, superframes and open checksums as well. Nothing is allocated for them.
 */

import { Reason } from '../../engine/reasons.ts';
import { SECOND } from '../../engine/units.ts';
import type { IpAddress } from '../../packet/address.ts';
import { hashKey, KEY_CELLS, KeyCell, replaceEndpoint } from '../../packet/flow-key.ts';
import * as icmp from '../../packet/icmp.ts';
import * as icmpv6 from '../../packet/icmpv6.ts';
import * as ip from '../../packet/ip.ts';
import { KeyTable, NONE } from '../../packet/key-table.ts';
import { Problem } from '../../packet/problem.ts';
import { Protocol } from '../../packet/protocol.ts';
import * as tcp from '../../packet/tcp.ts';
import { translate } from '../../packet/translate.ts';
import { isLaterFragment, upperDistance, upperProtocol } from '../../packet/upper.ts';
import { get32 } from '../../packet/word.ts';
import { FlowKeys, UNKNOWN_DATAGRAM } from '../flow-keys.ts';
import { Fragments } from '../fragments.ts';
import { NO_ADDRESS, NO_PORT, OuterPorts } from './ports.ts';
import { NatDrop } from './reasons.ts';
import { IDLE_KINDS, Idle, Sessions } from './sessions.ts';

/** What `outward` and `inward` say: the packet was translated. */
export const TRANSLATED = -1;
/** A later fragment that came before its first: it may be held in `inside` or `outside`, or is to be dropped. */
export const EARLY_FRAGMENT = UNKNOWN_DATAGRAM;

/** What was seen of a TCP connection. */
const Seen = { Outward: 1, Answer: 2, FinOut: 4, FinIn: 8, Reset: 16 } as const;
const ESTABLISHED = Seen.Outward | Seen.Answer;
const CLOSED = Seen.FinOut | Seen.FinIn;
/** What was seen of a UDP flow: a packet each way, and another. */
const Talk = { Out: 1, In: 2, More: 4 } as const;
/** Ports that have a protocol of their own, which may be known to be short (RFC 4787, REQ-5a): names, time, and what else asks once. */
const WELL_KNOWN = 1024;

export interface NatOptions {
  /** Outer addresses, at least one. */
  addresses: readonly IpAddress[];
  /** Of all protocols. */
  ports: { min: number; max: number };
  /** Flows at a time. */
  sessions: number;
  /** Flows of one inner address at a time. */
  perSource: number;
  /** Idle times: ns. */
  timeouts: { tcp: number; tcpTransitory: number; udp: number; udpQuestion: number; icmp: number };
  /** 16 bytes that nobody else knows. */
  secret: Uint8Array;
}

/** A flow as plain data, for another NAT with the same outer addresses. */
export interface NatSession {
  /** As the inside knows it: the cells of a flow key without its hash. */
  key: number[];
  /** By that key, of what goes out. */
  direction: number;
  /** Outer address (4 bytes a cell) and port. */
  address: number[];
  port: number;
  /** Bits, of TCP and UDP. */
  seen: number;
}

/** How many closed connections are looked at for one to be forgotten. */
const MOST_CLOSED = 64;

/** The idle times that the RFCs recommend; for UDP 5 minutes, and less for a question and its answer: ns. */
export const TIMEOUTS = {
  tcp: 7440 * SECOND,
  tcpTransitory: 240 * SECOND,
  udp: 300 * SECOND,
  udpQuestion: 30 * SECOND,
  icmp: 60 * SECOND,
};

export class Nat {
  /** Fragments from inside and from outside. */
  readonly inside: Fragments;
  readonly outside: Fragments;
  readonly sessions: Sessions;
  /** Inner endpoints that have an outer one: by key with the endpoint as the lower one, and nothing else. */
  readonly #bindings: KeyTable;
  /** By binding. */
  readonly #users: Int32Array;
  readonly #outerRow: Int32Array;
  readonly #outerPort: Int32Array;
  /** Inner addresses, and how many flows each has. */
  readonly #sources: KeyTable;
  readonly #flows: Int32Array;
  readonly #perSource: number;
  readonly #ports: OuterPorts;
  readonly #seed: number;
  readonly #insideKeys: FlowKeys;
  readonly #outsideKeys: FlowKeys;
  readonly #idle: Float64Array;
  readonly #other = new Int32Array(KEY_CELLS);
  readonly #endpoint = new Int32Array(KEY_CELLS);

  constructor(options: NatOptions) {
    const { sessions, secret, timeouts } = options;
    this.#seed = get32(secret, 12) | 0;
    this.inside = new Fragments({ seed: this.#seed });
    this.outside = new Fragments({ seed: this.#seed });
    this.#insideKeys = new FlowKeys(this.inside, this.#seed);
    this.#outsideKeys = new FlowKeys(this.outside, this.#seed);
    this.sessions = new Sessions(sessions);
    this.#bindings = new KeyTable(sessions);
    this.#users = new Int32Array(sessions);
    this.#outerRow = new Int32Array(sessions);
    this.#outerPort = new Int32Array(sessions);
    this.#sources = new KeyTable(sessions);
    this.#flows = new Int32Array(sessions);
    this.#perSource = options.perSource;
    this.#ports = new OuterPorts(options.addresses, options.ports.min, options.ports.max, secret);
    this.#idle = new Float64Array(IDLE_KINDS);
    this.#idle[Idle.Transitory] = this.#idle[Idle.Closed] = timeouts.tcpTransitory;
    this.#idle[Idle.Tcp] = timeouts.tcp;
    this.#idle[Idle.Udp] = timeouts.udp;
    this.#idle[Idle.Question] = Math.min(timeouts.udp, timeouts.udpQuestion);
    this.#idle[Idle.Icmp] = timeouts.icmp;
  }

  /** Inner endpoints that have an outer one. */
  get bindings(): number {
    return this.#bindings.size;
  }

  /**
   * Translates the packet from inside at `bytes[at..end)`, whose bytes are the caller's to change.
   *
   * @param open whether its transport checksum is still to be filled in
   * @param now ns; times must not go back
   * @returns TRANSLATED, EARLY_FRAGMENT, or the reason to drop it for
   */
  outward(bytes: Uint8Array, at: number, end: number, open: boolean, now: number): number {
    if (ip.check(bytes, at, end) !== Problem.None) return Reason.Malformed;
    const { key } = this.#insideKeys;
    const direction = this.#insideKeys.of(bytes, at, end, 0, now);
    if (direction < 0) return direction === UNKNOWN_DATAGRAM ? EARLY_FRAGMENT : NatDrop.Protocol;
    const upper = ip.upper(bytes, at);
    const error = isError(bytes, at, upper);
    let session = this.sessions.findInside(key, direction);
    if (session === NONE) {
      // An error about a flow that there is not, or a piece of one that was refused.
      if (error || isLaterFragment(upper)) return NatDrop.Unsolicited;
      if (!translatable(bytes, at, end, upper)) return NatDrop.Protocol;
      session = this.#begin(key, direction, now);
      if (session < 0) return -session;
    }
    const binding = this.sessions.binding[session];
    const words = this.#ports.words;
    const row = 4 * this.#outerRow[binding];
    const port = this.#outerPort[binding];
    if (!translate(bytes, at, end, true, words, row, port, open, true)) return NatDrop.Protocol;
    if (!error) this.#heard(session, bytes, at, end, upper, true, now);
    return TRANSLATED;
  }

  /** The same for a packet from outside. */
  inward(bytes: Uint8Array, at: number, end: number, open: boolean, now: number): number {
    if (ip.check(bytes, at, end) !== Problem.None) return Reason.Malformed;
    const direction = this.#outsideKeys.of(bytes, at, end, 0, now);
    if (direction < 0) return direction === UNKNOWN_DATAGRAM ? EARLY_FRAGMENT : NatDrop.Protocol;
    const session = this.sessions.findOutside(this.#outsideKeys.key, direction);
    if (session === NONE) return NatDrop.Unsolicited;
    const upper = ip.upper(bytes, at);
    const { keys } = this.sessions;
    const key = this.sessions.keyAt(session);
    const lower = this.sessions.direction(session) === 0;
    const ports = keys[key + KeyCell.ports];
    const port = lower ? ports >>> 16 : ports & 0xffff;
    const address = key + (lower ? KeyCell.lower : KeyCell.higher);
    const error = isError(bytes, at, upper);
    if (!translate(bytes, at, end, false, keys, address, port, open)) return NatDrop.Protocol;
    if (!error) this.#heard(session, bytes, at, end, upper, false, now);
    return TRANSLATED;
  }

  /** Ends up to `most` flows that were silent for too long; returns how many. */
  expire(now: number, most: number): number {
    let ended = 0;
    for (let kind = 0; kind < IDLE_KINDS; kind++) {
      while (ended < most) {
        const row = this.sessions.oldest(kind);
        if (row === NONE || this.sessions.last[row] + this.#idle[kind] > now) break;
        this.#end(row);
        ended++;
      }
    }
    return ended;
  }

  /** When `expire` has something to end: ns, or Infinity. */
  nextDeadline(): number {
    let earliest = Infinity;
    for (let kind = 0; kind < IDLE_KINDS; kind++) {
      const row = this.sessions.oldest(kind);
      if (row !== NONE) earliest = Math.min(earliest, this.sessions.last[row] + this.#idle[kind]);
    }
    return earliest;
  }

  /** All flows, for another NAT. Not for the packet path. */
  *export(): Generator<NatSession> {
    const { sessions } = this;
    for (const row of sessions) {
      const at = sessions.keyAt(row);
      const binding = sessions.binding[row];
      const outer = 4 * this.#outerRow[binding];
      yield {
        key: [...sessions.keys.subarray(at, at + KeyCell.hash)],
        direction: sessions.direction(row),
        address: [...this.#ports.words.subarray(outer, outer + 4)],
        port: this.#outerPort[binding],
        seen: sessions.seen[row],
      };
    }
  }

  /** Takes over a flow. False when its outer endpoint is another's here, or not of this NAT, or there is no room. */
  import(session: NatSession, now: number): boolean {
    const key = new Int32Array(KEY_CELLS);
    key.set(session.key.slice(0, KeyCell.hash));
    key[KeyCell.hash] = hashKey(key, this.#seed);
    const direction = session.direction === 0 ? 0 : 1;
    if (this.sessions.findInside(key, direction) !== NONE) return true;
    const row = this.#ports.rowOf(key[KeyCell.protocol] >> 8, session.address);
    if (row === NO_ADDRESS) return false;
    const begun = this.#begin(key, direction, now, row, session.port);
    if (begun < 0) return false;
    this.sessions.seen[begun] = session.seen;
    this.sessions.touch(begun, this.#idleOf(begun), now);
    return true;
  }

  /** A row for a new flow, or a reason with its sign changed. @param row, port a certain outer endpoint, or none */
  #begin(key: Int32Array, direction: number, now: number, row = -1, port = 0): number {
    const { sessions } = this;
    if (sessions.size === sessions.limit && !this.#forgetClosed(key, NONE)) return -NatDrop.Full;
    const source = this.#sourceOf(key, direction);
    if (source !== NONE && this.#flows[source] >= this.#perSource && !this.#forgetClosed(key, source))
      return -NatDrop.SourceLimit;
    let binding = this.#bind(key, direction, row, port);
    if (binding === -NatDrop.NoPort && row < 0 && this.#forgetClosed(key, NONE))
      binding = this.#bind(key, direction, row, port);
    if (binding < 0) return binding;

    const outside = this.#other;
    outside.set(key);
    const outerPort = this.#outerPort[binding];
    const lower = direction === 0;
    const { words } = this.#ports;
    const below = replaceEndpoint(outside, lower, words, 4 * this.#outerRow[binding], outerPort, this.#seed);
    let into = below ? 1 : 0;
    if (isQuery(key)) {
      // An identifier is the port of both ends. Of equal addresses the order is then that of equal ports.
      outside[KeyCell.ports] = (outerPort << 16) | outerPort;
      outside[KeyCell.hash] = hashKey(outside, this.#seed);
    }
    if (sessions.findOutside(outside, into) !== NONE) into = -1;
    if (into < 0 || toItself(outside)) {
      // To its own outer endpoint: no answer could be told apart.
      if (this.#users[binding] === 0) this.#unbind(binding);
      return -NatDrop.Protocol;
    }
    const session = sessions.add(key, direction, outside, into);
    sessions.binding[session] = binding;
    this.#users[binding]++;
    const counted = this.#sourceOf(key, direction);
    if (counted === NONE) this.#flows[this.#sources.insert(this.#endpoint)] = 1;
    else this.#flows[counted]++;
    sessions.touch(session, this.#idleOf(session), now);
    return session;
  }

  /** The binding of the endpoint that a flow comes from, a new one if need be; or a reason with its sign changed. */
  #bind(key: Int32Array, direction: number, row: number, port: number): number {
    const version = key[KeyCell.protocol] >> 8;
    const protocol = key[KeyCell.protocol] & 0xff;
    const endpoint = this.#endpointOf(key, direction, true);
    const known = this.#bindings.find(endpoint);
    if (known !== NONE) {
      const same = row < 0 || (this.#outerRow[known] === row && this.#outerPort[known] === port);
      return same ? known : -NatDrop.NoPort;
    }
    if (row >= 0) {
      if (!this.#ports.claim(row, protocol, port)) return -NatDrop.NoPort;
    } else {
      row = this.#ports.take(version, protocol, endpoint, KeyCell.lower);
      if (row === NO_ADDRESS) return -NatDrop.NoAddress;
      if (row === NO_PORT) return -NatDrop.NoPort;
      port = this.#ports.port;
    }
    const binding = this.#bindings.insert(endpoint);
    this.#users[binding] = 0;
    this.#outerRow[binding] = row;
    this.#outerPort[binding] = port;
    return binding;
  }

  #unbind(binding: number): void {
    const protocol = this.#bindings.keys[binding * KEY_CELLS + KeyCell.protocol] & 0xff;
    this.#ports.give(this.#outerRow[binding], protocol, this.#outerPort[binding]);
    this.#bindings.remove(binding);
  }

  #end(session: number): void {
    const { sessions } = this;
    const at = sessions.keyAt(session);
    const key = this.#other;
    for (let i = 0; i < KEY_CELLS; i++) key[i] = sessions.keys[at + i];
    const source = this.#sourceOf(key, sessions.direction(session));
    if (--this.#flows[source] === 0) this.#sources.remove(source);
    const binding = sessions.binding[session];
    sessions.remove(session);
    if (--this.#users[binding] === 0) this.#unbind(binding);
  }

  /**
   * Ends the closed connection that was silent longest, of the IP version of a new flow. False: there is none among the first few.
   * @param source of this inner address only; or NONE
   */
  #forgetClosed(key: Int32Array, source: number): boolean {
    const { sessions } = this;
    let row = sessions.oldest(Idle.Closed);
    for (let n = 0; n < MOST_CLOSED && row !== NONE; n++, row = sessions.later(row)) {
      const at = sessions.keyAt(row);
      if (sessions.keys[at + KeyCell.protocol] >> 8 !== key[KeyCell.protocol] >> 8) continue;
      if (source !== NONE) {
        for (let i = 0; i < KEY_CELLS; i++) this.#other[i] = sessions.keys[at + i];
        if (this.#sourceOf(this.#other, sessions.direction(row)) !== source) continue;
      }
      this.#end(row);
      return true;
    }
    return false;
  }

  #sourceOf(key: Int32Array, direction: number): number {
    return this.#sources.find(this.#endpointOf(key, direction, false));
  }

  /** The end of a flow that what goes out comes from, as a key of its own; with its port, or its address alone. */
  #endpointOf(key: Int32Array, direction: number, ported: boolean): Int32Array {
    const endpoint = this.#endpoint;
    const from = direction === 0 ? KeyCell.lower : KeyCell.higher;
    for (let i = 0; i < 4; i++) {
      endpoint[KeyCell.lower + i] = key[from + i];
      endpoint[KeyCell.higher + i] = 0;
    }
    const port = direction === 0 ? key[KeyCell.ports] >>> 16 : key[KeyCell.ports] & 0xffff;
    endpoint[KeyCell.ports] = ported ? port : 0;
    endpoint[KeyCell.protocol] = ported ? key[KeyCell.protocol] : key[KeyCell.protocol] & 0xff00;
    endpoint[KeyCell.hash] = hashKey(endpoint, this.#seed);
    return endpoint;
  }

  /** A packet of a flow passed. */
  #heard(
    session: number,
    bytes: Uint8Array,
    at: number,
    end: number,
    upper: number,
    out: boolean,
    now: number,
  ): void {
    const { sessions } = this;
    if (upperProtocol(upper) === Protocol.Udp && !isLaterFragment(upper)) {
      const seen = sessions.seen[session];
      const way = out ? Talk.Out : Talk.In;
      sessions.seen[session] = seen | ((seen & way) === 0 ? way : Talk.More);
    } else if (upperProtocol(upper) === Protocol.Tcp && !isLaterFragment(upper)) {
      const header = at + upperDistance(upper);
      if (tcp.check(bytes, header, end) === Problem.None) {
        const flags = bytes[header + tcp.FLAGS];
        // A SYN from inside begins a connection that was over anew.
        const anew = out && (flags & tcp.Flag.Syn) !== 0 && isOver(sessions.seen[session]);
        sessions.seen[session] = (anew ? 0 : sessions.seen[session]) | seenIn(flags, out);
      }
    }
    sessions.touch(session, this.#idleOf(session), now);
  }

  #idleOf(session: number): number {
    const { keys } = this.sessions;
    const at = this.sessions.keyAt(session);
    const protocol = keys[at + KeyCell.protocol] & 0xff;
    if (protocol === Protocol.Udp) {
      const ports = keys[at + KeyCell.ports];
      const asked = this.sessions.direction(session) === 0 ? ports & 0xffff : ports >>> 16;
      const isQuestion = asked < WELL_KNOWN && (this.sessions.seen[session] & Talk.More) === 0;
      return isQuestion ? Idle.Question : Idle.Udp;
    }
    if (protocol !== Protocol.Tcp) return Idle.Icmp;
    const seen = this.sessions.seen[session];
    if ((seen & CLOSED) === CLOSED) return Idle.Closed;
    return !isOver(seen) && (seen & ESTABLISHED) === ESTABLISHED ? Idle.Tcp : Idle.Transitory;
  }
}

const isOver = (seen: number): boolean => (seen & CLOSED) === CLOSED || (seen & Seen.Reset) !== 0;

/** What a segment adds. A reset may be a guess: it shortens the idle time and ends nothing (RFC 7857, 2.2). */
function seenIn(flags: number, out: boolean): number {
  if ((flags & tcp.Flag.Rst) !== 0) return Seen.Reset;
  const fin = (flags & tcp.Flag.Fin) !== 0;
  if (out) return fin ? Seen.Outward | Seen.FinOut : Seen.Outward;
  // An answer acknowledges something.
  return ((flags & tcp.Flag.Ack) !== 0 ? Seen.Answer : 0) | (fin ? Seen.FinIn : 0);
}

const isQuery = (key: Int32Array): boolean => {
  const protocol = key[KeyCell.protocol] & 0xff;
  return protocol === Protocol.Icmp || protocol === Protocol.Icmpv6;
};

/** Whether both ends are one address. */
function toItself(key: Int32Array): boolean {
  for (let i = 0; i < 4; i++) if (key[KeyCell.lower + i] !== key[KeyCell.higher + i]) return false;
  return true;
}

/** Whether a packet whose key was found is an ICMP error. */
function isError(bytes: Uint8Array, at: number, upper: number): boolean {
  const protocol = upperProtocol(upper);
  const type = bytes[at + upperDistance(upper)];
  if (isLaterFragment(upper)) return false;
  if (bytes[at] >> 4 === 4) return protocol === Protocol.Icmp && icmp.isError(type);
  return protocol === Protocol.Icmpv6 && icmpv6.isError(type);
}

/** Whether a packet that is no error can begin a flow. */
function translatable(bytes: Uint8Array, at: number, end: number, upper: number): boolean {
  const protocol = upperProtocol(upper);
  const transport = at + upperDistance(upper);
  const limit = Math.min(end, ip.packetEnd(bytes, at));
  if (protocol === Protocol.Tcp) return transport + tcp.HEADER <= limit;
  if (protocol === Protocol.Udp) return transport + 8 <= limit;
  // The answer to a query is nobody's beginning.
  const type = bytes[transport];
  if (transport + icmp.HEADER > limit) return false;
  if (bytes[at] >> 4 === 4)
    return protocol === Protocol.Icmp && (type === icmp.Type.Echo || type === icmp.Type.Timestamp);
  return protocol === Protocol.Icmpv6 && type === icmpv6.Type.Echo;
}
