/** Connections that peers open: by a SYN that is kept, or, where there are too many of them, by a cookie (RFC 4987, 3.6). */
import { Flag } from '../../packet/tcp.ts';
import type { IpBelow, Route } from './below.ts';
import { Connection, type Owner } from './connection.ts';
import type { Connections } from './connections.ts';
import { ownMss, scaleFor } from './emit.ts';
import type { TcpListener } from './listener.ts';
import { TcpDrop } from './reasons.ts';
import { takeSyn } from './receive.ts';
import { cookieReply } from './reply.ts';
import type { Counts } from './report.ts';
import { addressIn } from './row.ts';
import type { Secrets } from './secrets.ts';
import type { Segment } from './segment.ts';
import { before } from './sequence.ts';
import { SECOND } from './settings.ts';
import { State, Wait } from './state.ts';
import { setTimer } from './timers.ts';

/** How long a cookie is believed after the last overflow. */
const COOKIE_LIFE = 128 * SECOND;

/** Sends a SYN with an ACK soon. @param ecn the peer has asked for it */
export function answerSyn(c: Connection, secrets: Secrets, ecn: boolean, now: number): void {
  c.state = State.SynReceived;
  c.iss = secrets.isn(c.key, now);
  c.una = c.iss;
  c.nxt = c.written = (c.iss + 1) | 0;
  c.ecnOk = ecn;
  c.synPending = true;
  setTimer(c, Wait.Rto, now + SECOND);
  c.owner.touch(c);
}

export class PassiveOpening {
  readonly #owner: Owner;
  readonly #below: IpBelow;
  readonly #connections: Connections;
  readonly #secrets: Secrets;
  readonly #counts: Counts;

  constructor(owner: Owner, below: IpBelow, connections: Connections, secrets: Secrets, counts: Counts) {
    this.#owner = owner;
    this.#below = below;
    this.#connections = connections;
    this.#secrets = secrets;
    this.#counts = counts;
  }

  /** A SYN for a listener. Returns why it was dropped, or -1. */
  syn(listener: TcpListener, key: Int32Array, s: Segment, now: number): number {
    const route = this.#below.route(addressIn(key, 4), addressIn(key, 0));
    if (!route) return TcpDrop.NoConnection;
    if (listener.pending >= listener.backlog || this.#connections.full) {
      listener.overflowed = now;
      this.#sendCookie(listener, route, key, s, now);
      return -1;
    }
    const c = this.#open(listener, route, key, s, now);
    answerSyn(c, this.#secrets, (s.flags & (Flag.Ece | Flag.Cwr)) === (Flag.Ece | Flag.Cwr), now);
    return -1;
  }

  #open(listener: TcpListener, route: Route, key: Int32Array, s: Segment, now: number): Connection {
    const c = new Connection(this.#connections.nextId(), this.#owner, listener.settings, {}, route);
    c.key.set(key);
    this.#connections.add(c);
    c.listener = listener;
    listener.pending++;
    c.state = State.SynReceived;
    c.stampOffset = this.#secrets.stamp(c.key);
    takeSyn(c, s, now);
    return c;
  }

  #sendCookie(listener: TcpListener, route: Route, key: Int32Array, s: Segment, now: number): void {
    const { settings } = listener;
    const iss = this.#secrets.cookie(key, s.seq, s.mss === 0 ? 536 : s.mss, now);
    const stamps = s.timestamps && settings.timestamps;
    const scaled = stamps && s.scale >= 0 && settings.windowScaling;
    const sack = stamps && s.sackPermitted && settings.sack;
    const clock = (Math.trunc(now / 1e6) + this.#secrets.stamp(key)) | 0;
    // The last six bits of the time stamp come back with the ACK: the scale (15: none), and whether SACK was asked for.
    const said = (scaled ? s.scale : 15) | (sack ? 16 : 0);
    let value = (clock & ~63) | said;
    if (before(clock, value)) value = (value - 64) | 0;
    const window = Math.min(settings.receiveBuffer, 0xffff);
    const scale = scaled ? scaleFor(settings.receiveBuffer) : -1;
    this.#counts.cookiesSent++;
    listener.cookies++;
    const ack = (s.seq + 1) | 0;
    const mss = ownMss(route);
    cookieReply(this.#below, route, key[8], iss, ack, window, mss, stamps, value, s.tsval, scale, sack);
  }

  /** The connection that an ACK with a cookie brings, or undefined. */
  cookie(listener: TcpListener, key: Int32Array, s: Segment, now: number): Connection | undefined {
    if (now - listener.overflowed > COOKIE_LIFE || this.#connections.full) return undefined;
    const irs = (s.seq - 1) | 0;
    const iss = (s.ack - 1) | 0;
    const mss = this.#secrets.checkCookie(key, irs, iss, now);
    if (mss === 0) return undefined;
    const route = this.#below.route(addressIn(key, 4), addressIn(key, 0));
    if (!route) return undefined;
    const said = s.timestamps ? s.tsecr & 63 : 15;
    const { seq, flags } = s;
    s.seq = irs;
    s.mss = mss;
    s.scale = (said & 15) === 15 ? -1 : said & 15;
    s.sackPermitted = (said & 16) !== 0;
    const c = this.#open(listener, route, key, s, now);
    s.seq = seq;
    s.flags = flags;
    c.iss = iss;
    c.una = iss;
    c.nxt = c.written = (iss + 1) | 0;
    this.#counts.cookiesTaken++;
    return c;
  }
}
