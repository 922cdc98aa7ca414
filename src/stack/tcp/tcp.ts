/**
 * TCP (RFC 9293) on the IP half of a stack: the table of connections, listeners, and the two ways in, segments from below
 * and calls from programs. It acts in `run` alone: what comes in only changes state, so that a burst is answered once.
 */
import { DeadlineHeap } from '../../engine/deadlines.ts';
import { TunconnectorError } from '../../errors.ts';
import { PacketFlag } from '../../native/binding.ts';
import { type AddressLike, toIp } from '../../packet/address.ts';
import { pseudoSum4, pseudoSum6, sum } from '../../packet/checksum.ts';
import { ecnOf } from '../../packet/ecn.ts';
import { Problem } from '../../packet/problem.ts';
import { Protocol } from '../../packet/protocol.ts';
import * as tcp from '../../packet/tcp.ts';
import { getInt32 } from '../../packet/word.ts';
import { type IpBelow, PathError, type Refusal, type Route, type TransportAbove } from './below.ts';
import { Connection, type Owner, type TcpHandlers } from './connection.ts';
import { emit, emitSyn, ownMss, scaleFor, stampOf } from './emit.ts';
import { TcpListener } from './listener.ts';
import { Offer, type OfferOwner } from './offer.ts';
import { TcpDrop } from './reasons.ts';
import { receive, takeSyn, type Verdicts } from './receive.ts';
import { cookieReply, reply } from './reply.ts';
import { Budget } from './ring.ts';
import { addressIn, KEY_WORDS, keyOf, keyOfPacket } from './row.ts';
import { Secrets } from './secrets.ts';
import { Segment } from './segment.ts';
import { before } from './sequence.ts';
import { checkTcp, LIMITS, SECOND, type TcpLimits, type TcpOptions, type TcpSettings } from './settings.ts';
import { Event, State, type TcpErrorCode, Time, Wait } from './state.ts';
import { Table } from './table.ts';
import { Late, late, TimeWait, TimeWaits } from './time-wait.ts';
import { expire } from './timeouts.ts';
import { deadlineOf, setTimer } from './timers.ts';
import { transmit } from './transmit.ts';

const { Flag } = tcp;
/** RFC 6056, 3.2: the largest range that keeps away from well-known ports and from Linux's. */
const FIRST_PORT = 32_768;
const PORTS = 65_536 - FIRST_PORT;
/** How long a cookie is believed after the last overflow. */
const COOKIE_LIFE = 128 * SECOND;
/** A program that answers every callback by a write would never let go. */
const ROUNDS = 64;

/** How long a SYN may wait for its answer: about as long as those who send them ask again. */
const OFFER_LIFE = 130 * SECOND;

/** Who takes connections to whatever address. */
interface Captor {
  onOffer(offer: Offer): void;
  backlog: number;
  settings: TcpSettings;
}

export interface ConnectOptions extends TcpOptions {
  address: AddressLike;
  port: number;
  /** Default: as the route says. */
  localAddress?: AddressLike;
  /** Default: one that nobody can guess. */
  localPort?: number;
}

export interface ListenOptions extends TcpOptions {
  /** Address of this host; default: any, of both families. */
  address?: AddressLike;
  /** 0, the default: one that is free. */
  port?: number;
  /** Handshakes under way at a time (default 1024); beyond that there are SYN cookies. */
  backlog?: number;
}

export interface TcpReport {
  connections: number;
  timeWaits: number;
  listeners: number;
  /** Bytes of all buffers. */
  memory: number;
  segmentsReceived: number;
  opened: number;
  accepted: number;
  cookiesSent: number;
  cookiesTaken: number;
  resetsSent: number;
}

export class Tcp implements TransportAbove, Owner, OfferOwner, Verdicts {
  readonly protocol = Protocol.Tcp;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  readonly budget: Budget;
  readonly #below: IpBelow;
  readonly #limits: TcpLimits;
  readonly #table: Table;
  readonly #secrets: Secrets;
  readonly #timeWaits: TimeWaits;
  readonly #listeners = new Map<number, TcpListener[]>();
  readonly #byId = new Map<number, Connection>();
  readonly #heap = new DeadlineHeap();
  readonly #segment = new Segment();
  readonly #key = new Int32Array(KEY_WORDS);
  #captor: Captor | undefined;
  readonly #offers = new Set<Offer>();
  #touched: Connection[] = [];
  #working: Connection[] = [];
  #blocked: Connection[] = [];
  #nextId = 0;
  #nextPort = 0;
  /** Inside of `run`, or of a burst that `run` follows: nobody needs waking. */
  #inside = false;
  #segmentsReceived = 0;
  #opened = 0;
  #accepted = 0;
  #cookiesSent = 0;
  #cookiesTaken = 0;
  #resetsSent = 0;

  constructor(below: IpBelow, limits: Partial<TcpLimits> = {}) {
    this.#below = below;
    this.#limits = { ...LIMITS, ...limits };
    this.budget = new Budget(this.#limits.memory);
    const secret = below.secret(16);
    this.#table = new Table(getInt32(secret, 0), getInt32(secret, 4));
    this.#secrets = new Secrets(secret.subarray(8));
    this.#timeWaits = new TimeWaits(this.#limits.timeWaits, (row) => this.#table.remove(row));
  }

  // ── What programs do.

  /**
   * Opens a connection; `onConnected` or `onClosed` says what came of it.
   *
   * @throws ERR_CONFIG, ERR_ADDRESS, ERR_UNREACHABLE when no route leads there, ERR_PORT_IN_USE, ERR_LIMIT
   */
  connect(options: ConnectOptions, handlers: TcpHandlers = {}): Connection {
    const { address, port, localAddress, localPort, ...rest } = options;
    const settings = checkTcp(rest);
    checkPort(port, 1);
    if (localPort !== undefined) checkPort(localPort, 1);
    const remote = toIp(address);
    const source = localAddress === undefined ? undefined : toIp(localAddress).bytes;
    const route = this.#below.route(remote.bytes, source);
    if (!route) throw new TunconnectorError('ERR_UNREACHABLE', 'no route leads to the address');
    this.#checkLimit();
    const c = new Connection(this.#nextId++, this, settings, handlers, route);
    const now = this.#below.clock[0];
    this.#choosePort(c, route, port, localPort, now);
    this.#table.insert(c);
    this.#byId.set(c.id, c);
    c.iss = this.#secrets.isn(c.key, now);
    c.una = c.iss;
    c.nxt = c.written = (c.iss + 1) | 0;
    c.stampOffset = this.#secrets.stamp(c.key);
    c.state = State.SynSent;
    c.synPending = true;
    setTimer(c, Wait.Rto, now + SECOND);
    this.#opened++;
    this.touch(c);
    return c;
  }

  /**
   * Takes connections. `onConnection` is called with each when it is established, and returns its handlers.
   *
   * @throws ERR_CONFIG, ERR_ADDRESS, ERR_PORT_IN_USE
   */
  listen(
    options: ListenOptions,
    onConnection: (connection: Connection) => TcpHandlers | undefined,
  ): TcpListener {
    const { address, port = 0, backlog = 1024, ...rest } = options;
    const settings = checkTcp(rest);
    checkPort(port, 0);
    if (!Number.isInteger(backlog) || backlog < 0 || backlog > 65_535)
      throw new TunconnectorError('ERR_CONFIG', `backlog: found ${backlog}, expected 0 to 65535`);
    const local = address === undefined ? undefined : toIp(address).bytes;
    const chosen = port === 0 ? this.#freeListenPort() : port;
    const there = this.#listeners.get(chosen) ?? [];
    if (there.some((other) => other.local === undefined || local === undefined || same(other.local, local)))
      throw new TunconnectorError('ERR_PORT_IN_USE', `somebody listens on port ${chosen} already`);
    const listener = new TcpListener(local, chosen, backlog, settings, onConnection, (each) =>
      this.#unlisten(each),
    );
    this.#listeners.set(chosen, [...there, listener]);
    return listener;
  }

  /**
   * Takes connections to every address and port where nobody listens. `onOffer` is called with each SYN, which is answered
   * when the offer is: it is kept for two minutes.
   *
   * @param backlog offers at a time; SYNs beyond that are dropped, and come again
   * @throws ERR_CONFIG
   */
  capture(onOffer: (offer: Offer) => void, backlog: number, options: TcpOptions = {}): void {
    this.#captor = { onOffer, backlog, settings: checkTcp(options) };
  }

  report(): TcpReport {
    let listeners = 0;
    for (const each of this.#listeners.values()) listeners += each.length;
    return {
      connections: this.#byId.size,
      timeWaits: this.#timeWaits.size,
      listeners,
      memory: this.budget.used,
      segmentsReceived: this.#segmentsReceived,
      opened: this.#opened,
      accepted: this.#accepted,
      cookiesSent: this.#cookiesSent,
      cookiesTaken: this.#cookiesTaken,
      resetsSent: this.#resetsSent,
    };
  }

  #checkLimit(): void {
    if (this.#byId.size >= this.#limits.connections)
      throw new TunconnectorError('ERR_LIMIT', `there are ${this.#byId.size} connections already`);
  }

  /** RFC 6056, 3.3.3; a port whose last connection to the same place is in TIME-WAIT only when there is no other. */
  #choosePort(c: Connection, route: Route, port: number, wanted: number | undefined, now: number): void {
    const { key } = c;
    if (wanted !== undefined) {
      keyOf(route.source, wanted, route.destination, port, key);
      const row = this.#table.find(key);
      if (row === null) return;
      if (this.#reusable(row as Connection | TimeWait, now)) return;
      throw new TunconnectorError('ERR_PORT_IN_USE', `port ${wanted} has a connection there already`);
    }
    keyOf(route.source, 0, route.destination, port, key);
    const start = (this.#secrets.port(key) + this.#nextPort++) >>> 0;
    for (const reuse of [false, true]) {
      for (let i = 0; i < PORTS; i++) {
        const local = FIRST_PORT + ((start + i) % PORTS);
        if (this.#listeners.has(local)) continue;
        key[8] = (local << 16) | port;
        const row = this.#table.find(key);
        if (row === null || (reuse && this.#reusable(row as Connection | TimeWait, now))) {
          this.#nextPort = (this.#nextPort + i) | 0;
          return;
        }
      }
    }
    throw new TunconnectorError('ERR_PORT_IN_USE', `all ports from ${FIRST_PORT} on have a connection there`);
  }

  /** RFC 6191, seen from the side that connects: time stamps tell new segments from old ones. Its row ends. */
  #reusable(row: Connection | TimeWait, now: number): boolean {
    if (!row.timeWait) return false;
    const waits = row as TimeWait;
    if (!waits.timestampsOk || waits.until - now > 59 * SECOND) return false;
    this.#timeWaits.remove(waits);
    return true;
  }

  #freeListenPort(): number {
    const start = this.#below.secret(2);
    const first = (start[0] << 8) | start[1];
    for (let i = 0; i < PORTS; i++) {
      const port = FIRST_PORT + ((first + i) % PORTS);
      if (!this.#listeners.has(port)) return port;
    }
    throw new TunconnectorError('ERR_PORT_IN_USE', 'somebody listens on every port');
  }

  #unlisten(listener: TcpListener): void {
    const left = this.#listeners.get(listener.port)!.filter((other) => other !== listener);
    if (left.length > 0) this.#listeners.set(listener.port, left);
    else this.#listeners.delete(listener.port);
    if (listener.pending === 0) return;
    for (const c of [...this.#byId.values()]) if (c.listener === listener) this.reset(c);
  }

  // ── Owner: what connections ask for.

  touch(c: Connection): void {
    if (c.touched) return;
    c.touched = true;
    this.#touched.push(c);
    if (!this.#inside) this.#below.wake();
  }

  /** RFC 9293, 3.10.5. */
  reset(c: Connection): void {
    if (c.state !== State.SynSent) this.#sendReset(c);
    c.handlers = {};
    this.drop(c, undefined);
  }

  #sendReset(c: Connection): void {
    this.#resetsSent++;
    const route = this.#routeOf(c);
    if (route) {
      const stamp = stampOf(c, this.#below.clock[0]);
      reply(
        this.#below,
        route,
        c.key[8],
        c.nxt,
        c.next,
        Flag.Rst | Flag.Ack,
        0,
        c.timestampsOk,
        stamp,
        c.recent,
      );
    }
  }

  #routeOf(c: Connection): Route | undefined {
    if (!c.route.stale) return c.route;
    const route = this.#below.route(c.route.destination, c.route.source);
    if (route) c.route = route;
    return route;
  }

  // ── Verdicts: what segments lead to.

  drop(c: Connection, error: TcpErrorCode | undefined): void {
    if (c.state === State.Closed) return;
    c.state = State.Closed;
    this.#table.remove(c);
    this.#byId.delete(c.id);
    this.#heap.remove(c.id);
    c.sent.clear();
    c.sendRing.release();
    if (c.listener !== null) {
      c.listener.pending--;
      c.listener = null;
      c.receiveRing.release();
      c.events = 0;
      return;
    }
    c.error = error;
    if (error !== undefined || c.shut || c.readable === 0) {
      c.read_ = (c.next - (c.finDone ? 1 : 0)) | 0;
      c.receiveRing.release();
      c.events &= ~Event.Readable;
    }
    c.events |= Event.Closed;
    this.touch(c);
  }

  refuse(c: Connection, s: Segment): void {
    this.#resetsSent++;
    const route = this.#routeOf(c);
    if (!route) return;
    // RFC 9293, 3.10.7.4: of a segment with an ACK its number is believed.
    const ack = (s.flags & Flag.Ack) !== 0;
    const seq = ack ? s.ack : c.nxt;
    reply(
      this.#below,
      route,
      c.key[8],
      seq,
      ack ? 0 : c.next,
      Flag.Rst | (ack ? 0 : Flag.Ack),
      0,
      false,
      0,
      0,
    );
  }

  accepted(c: Connection): void {
    const listener = c.listener as TcpListener | null;
    if (listener === null) return;
    c.listener = null;
    listener.pending--;
    listener.accepted++;
    this.#accepted++;
    c.events |= Event.Connected;
    c.handlers = listener.onConnection(c) ?? {};
  }

  timeWait(c: Connection): void {
    const now = this.#below.clock[0];
    const row = new TimeWait();
    row.key.set(c.key);
    row.nxt = c.nxt;
    row.next = c.next;
    row.window = Math.min(c.receiveWindow >> c.receiveScale, 0xffff);
    row.timestampsOk = c.timestampsOk;
    row.stampOffset = c.stampOffset;
    row.recent = c.recent;
    if (this.#routeOf(c) && this.#below.room(c.route) > 0) emit(this.#below, c, c.nxt, 0, Flag.Ack, 0);
    this.drop(c, undefined);
    this.#table.insert(row);
    this.#timeWaits.add(row, now);
  }

  // ── TransportAbove: what comes from below.

  input(packet: number, family: 4 | 6, transport: number, end: number): void {
    const { pool, clock } = this.#below;
    const { slab } = pool;
    const ip = pool.offset[packet];
    const at = ip + transport;
    this.#inside = true;
    this.#segmentsReceived += pool.segments[packet];
    const why = this.#look(packet, family, ip, at, ip + end, slab, clock[0]);
    if (why < 0) pool.free(packet);
    else pool.drop(packet, why);
    this.#inside = false;
  }

  /** Returns why the segment was dropped, or -1. */
  #look(
    packet: number,
    family: 4 | 6,
    ip: number,
    at: number,
    end: number,
    slab: Uint8Array,
    now: number,
  ): number {
    const { pool } = this.#below;
    if (tcp.check(slab, at, end) !== Problem.None) return TcpDrop.Malformed;
    const open = pool.checksumStart[packet] >= 0 || (pool.flags[packet] & PacketFlag.ChecksumValid) !== 0;
    if (!open && !checksumOk(slab, family, ip, at, end)) return TcpDrop.Checksum;
    const s = this.#segment;
    if (!s.read(slab, at, end)) return TcpDrop.Malformed;
    s.ecn = ecnOf(slab, ip);
    s.segments = pool.segments[packet];
    const key = this.#key;
    keyOfPacket(slab, family, ip, at, true, key);
    const row = this.#table.find(key);
    if (row === null) return this.#stranger(key, s, slab, now);
    if (row.timeWait) return this.#late(row as TimeWait, s, slab, now);
    if (row.offered) return this.#again(row as Offer, s, slab, now);
    return receive(this, row as Connection, s, slab, now) ? -1 : TcpDrop.Unacceptable;
  }

  #listenerFor(key: Int32Array): TcpListener | undefined {
    const there = this.#listeners.get(key[8] >>> 16);
    if (there === undefined) return undefined;
    for (const listener of there) {
      if (listener.local === undefined || same(listener.local, addressIn(key, 0))) return listener;
    }
    return undefined;
  }

  /** RFC 9293, 3.10.7.1 and 3.10.7.2. */
  #stranger(key: Int32Array, s: Segment, slab: Uint8Array, now: number): number {
    if (s.flags & Flag.Rst) return TcpDrop.NoConnection;
    const listener = this.#listenerFor(key);
    const kind = s.flags & (Flag.Syn | Flag.Ack | Flag.Fin);
    if (listener !== undefined && kind === Flag.Syn) return this.#syn(listener, key, s, now);
    if (listener !== undefined && kind & Flag.Ack && !(kind & Flag.Syn)) {
      const c = this.#cookie(listener, key, s, now);
      if (c !== undefined) return receive(this, c, s, slab, now) ? -1 : TcpDrop.Unacceptable;
    }
    if (this.#captor !== undefined && listener === undefined && kind === Flag.Syn)
      return this.#offer(this.#captor, key, s, now);
    const route = this.#below.route(addressIn(key, 4), addressIn(key, 0));
    if (route) {
      this.#resetsSent++;
      if (s.flags & Flag.Ack) reply(this.#below, route, key[8], s.ack, 0, Flag.Rst, 0, false, 0, 0);
      else {
        const ack = (s.seq + s.length + (kind & Flag.Syn ? 1 : 0) + (kind & Flag.Fin ? 1 : 0)) | 0;
        reply(this.#below, route, key[8], 0, ack, Flag.Rst | Flag.Ack, 0, false, 0, 0);
      }
    }
    return TcpDrop.NoConnection;
  }

  #offer(captor: Captor, key: Int32Array, s: Segment, now: number): number {
    if (this.#offers.size >= captor.backlog || this.#byId.size >= this.#limits.connections)
      return TcpDrop.Backlog;
    const offer = new Offer(this, key, s, now + OFFER_LIFE);
    this.#table.insert(offer);
    this.#offers.add(offer);
    captor.onOffer(offer);
    return -1;
  }

  /** Something more of somebody whose SYN waits for its answer. */
  #again(offer: Offer, s: Segment, slab: Uint8Array, now: number): number {
    const kind = s.flags & (Flag.Syn | Flag.Ack | Flag.Rst);
    if (kind === Flag.Syn && s.seq !== offer.seq) {
      this.#withdraw(offer);
      return this.#stranger(this.#key, s, slab, now);
    }
    // RFC 9293, 3.10.7.4: nothing but the very next number ends it.
    if (kind & Flag.Rst && s.seq === ((offer.seq + 1) | 0)) this.#withdraw(offer);
    return kind === Flag.Syn || kind & Flag.Rst ? -1 : TcpDrop.Unacceptable;
  }

  #withdraw(offer: Offer): void {
    this.#forget(offer);
    offer.onWithdrawn?.();
  }

  #forget(offer: Offer): void {
    this.#table.remove(offer);
    this.#offers.delete(offer);
    offer.open = false;
  }

  // ── Decider: what becomes of offers.

  accept(offer: Offer, handlers: TcpHandlers): Connection | undefined {
    this.#forget(offer);
    const now = this.#below.clock[0];
    const route = this.#below.route(addressIn(offer.key, 4), addressIn(offer.key, 0));
    if (!route) return undefined;
    const c = new Connection(this.#nextId++, this, this.#captor!.settings, handlers, route);
    c.key.set(offer.key);
    this.#table.insert(c);
    this.#byId.set(c.id, c);
    c.stampOffset = this.#secrets.stamp(c.key);
    offer.into(this.#segment);
    takeSyn(c, this.#segment, now);
    this.#answerSyn(c, offer.askedEcn, now);
    this.#accepted++;
    return c;
  }

  decline(offer: Offer, why: 'reset' | 'silence' | Refusal): void {
    this.#forget(offer);
    const [source, destination] = [addressIn(offer.key, 4), addressIn(offer.key, 0)];
    if (why === 'reset') {
      const route = this.#below.route(source, destination);
      if (!route) return;
      this.#resetsSent++;
      const ack = (offer.seq + 1) | 0;
      reply(this.#below, route, offer.key[8], 0, ack, Flag.Rst | Flag.Ack, 0, false, 0, 0);
    } else if (why !== 'silence') {
      this.#below.refuse(why, source, destination, Protocol.Tcp, offer.header());
    }
    this.#below.wake();
  }

  #answerSyn(c: Connection, ecn: boolean, now: number): void {
    c.state = State.SynReceived;
    c.iss = this.#secrets.isn(c.key, now);
    c.una = c.iss;
    c.nxt = c.written = (c.iss + 1) | 0;
    c.ecnOk = ecn;
    c.synPending = true;
    setTimer(c, Wait.Rto, now + SECOND);
    this.touch(c);
  }

  #syn(listener: TcpListener, key: Int32Array, s: Segment, now: number): number {
    const route = this.#below.route(addressIn(key, 4), addressIn(key, 0));
    if (!route) return TcpDrop.NoConnection;
    if (listener.pending >= listener.backlog || this.#byId.size >= this.#limits.connections) {
      listener.overflowed = now;
      this.#sendCookie(listener, route, key, s, now);
      return -1;
    }
    const c = this.#passive(listener, route, key, s, now);
    this.#answerSyn(c, (s.flags & (Flag.Ece | Flag.Cwr)) === (Flag.Ece | Flag.Cwr), now);
    return -1;
  }

  #passive(listener: TcpListener, route: Route, key: Int32Array, s: Segment, now: number): Connection {
    const c = new Connection(this.#nextId++, this, listener.settings, {}, route);
    c.key.set(key);
    this.#table.insert(c);
    this.#byId.set(c.id, c);
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
    const mss = ownMss(route);
    this.#cookiesSent++;
    listener.cookies++;
    cookieReply(
      this.#below,
      route,
      key[8],
      iss,
      (s.seq + 1) | 0,
      window,
      mss,
      stamps,
      value,
      s.tsval,
      scale,
      sack,
    );
  }

  /** The connection that an ACK with a cookie brings, or undefined. */
  #cookie(listener: TcpListener, key: Int32Array, s: Segment, now: number): Connection | undefined {
    if (now - listener.overflowed > COOKIE_LIFE || this.#byId.size >= this.#limits.connections)
      return undefined;
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
    const c = this.#passive(listener, route, key, s, now);
    s.seq = seq;
    s.flags = flags;
    c.iss = iss;
    c.una = iss;
    c.nxt = c.written = (iss + 1) | 0;
    this.#cookiesTaken++;
    return c;
  }

  #late(row: TimeWait, s: Segment, slab: Uint8Array, now: number): number {
    const what = late(row, s);
    if (what === Late.Again && this.#listenerFor(row.key) !== undefined) {
      this.#timeWaits.remove(row);
      return this.#stranger(this.#key, s, slab, now);
    }
    if (what === Late.Nothing) return TcpDrop.Unacceptable;
    if (s.flags & Flag.Fin) this.#timeWaits.restart(row, now);
    const route = this.#below.route(addressIn(row.key, 4), addressIn(row.key, 0));
    if (route) {
      const stamp = (Math.trunc(now / 1e6) + row.stampOffset) | 0;
      const { key, nxt, next, window, timestampsOk, recent } = row;
      reply(this.#below, route, key[8], nxt, next, Flag.Ack, window, timestampsOk, stamp, recent);
    }
    return TcpDrop.Unacceptable;
  }

  error(kind: PathError, family: 4 | 6, ip: number, transport: number, _end: number, mtu: number): boolean {
    const { slab } = this.#below.pool;
    keyOfPacket(slab, family, ip, transport, false, this.#key);
    const row = this.#table.find(this.#key);
    if (row === null || row.timeWait || row.offered) return false;
    const c = row as Connection;
    const seq = getInt32(slab, transport + tcp.SEQUENCE);
    // RFC 5927, 4.1: it must quote what is under way.
    if (before(seq, c.una) || !before(seq, c.nxt)) return false;
    const opening = c.state === State.SynSent;
    switch (kind) {
      case PathError.TooBig:
        // RFC 1191, 6: a path that takes what it is sent has no reason to complain.
        if (mtu >= c.route.mtu) return false;
        this.touch(c);
        return true;
      case PathError.Refused:
        if (opening) this.drop(c, 'ECONNREFUSED');
        else c.softError = 'ECONNREFUSED';
        return true;
      case PathError.Prohibited:
        if (opening) this.drop(c, 'EHOSTUNREACH');
        else c.softError = 'EHOSTUNREACH';
        return true;
      case PathError.Unreachable:
        // RFC 1122, 4.2.3.9: may pass.
        c.softError = 'EHOSTUNREACH';
        return true;
      default:
        return true;
    }
  }

  run(): void {
    // A callback may do something that leads back here.
    if (this.#inside) return;
    this.#inside = true;
    const now = this.#below.clock[0];
    this.#timeWaits.expire(now);
    this.#expireOffers(now);
    this.#expire(now);
    const blocked = this.#blocked;
    this.#blocked = [];
    for (const c of blocked) this.touch(c);
    for (let round = 0; this.#touched.length > 0 && round < ROUNDS; round++) {
      const list = this.#touched;
      this.#touched = this.#working;
      this.#working = list;
      for (let i = 0; i < list.length; i++) {
        list[i].touched = false;
        this.#serve(list[i], now);
      }
      list.length = 0;
    }
    this.#inside = false;
    if (this.#touched.length > 0) this.#below.wake();
    this.due[0] = Math.min(this.#heap.first(), this.#timeWaits.first(), this.#firstOffer());
  }

  /** When the oldest offer ends. */
  #firstOffer(): number {
    for (const offer of this.#offers) return offer.until;
    return Number.POSITIVE_INFINITY;
  }

  #expireOffers(now: number): void {
    for (const offer of this.#offers) {
      if (offer.until > now) return;
      this.#withdraw(offer);
    }
  }

  #expire(now: number): void {
    while (this.#heap.first() <= now) {
      const c = this.#byId.get(this.#heap.pop())!;
      c.heapAt = Number.POSITIVE_INFINITY;
      if (this.#routeOf(c) === undefined) {
        // Nothing can be sent; time passes all the same.
        c.softError ??= 'ENETUNREACH';
      }
      const end = expire(this.#below, c, now);
      if (end === 'linger') {
        this.drop(c, undefined);
      } else if (end !== undefined) {
        if (c.state >= State.Established) this.#sendReset(c);
        this.drop(c, end);
      } else this.touch(c);
    }
  }

  /** Tells its program what happened, and sends what there is to send. */
  #serve(c: Connection, now: number): void {
    if (c.events !== 0) this.#tell(c);
    if (c.state === State.Closed) return;
    if (this.#routeOf(c) === undefined) c.softError ??= 'ENETUNREACH';
    else if (!this.#send(c, now)) this.#blocked.push(c);
    const due = deadlineOf(c);
    // An earlier deadline in the heap is found out to be too early when it is due: most deadlines only move back.
    if (due < c.heapAt) {
      c.heapAt = due;
      this.#heap.set(c.id, due);
    }
  }

  #send(c: Connection, now: number): boolean {
    if (c.state >= State.Established) return transmit(this.#below, c);
    if (!c.synPending) return true;
    if (this.#below.room(c.route) <= 0) return false;
    // RFC 3168, 6.1.1.1: a host behind something that drops such SYNs can still be reached.
    const askEcn = c.settings.ecn && c.backoff === 0;
    if (emitSyn(this.#below, c, c.state === State.SynReceived, askEcn)) {
      c.synPending = false;
      c.ackNow = false;
    } else c.time[Time.retry] = now + 1e6;
    return true;
  }

  #tell(c: Connection): void {
    const { events, handlers } = c;
    c.events = 0;
    if (events & Event.Connected) handlers.onConnected?.();
    if (events & Event.Readable && c.readable > 0) c.handlers.onReadable?.();
    if (events & Event.Writable && c.state !== State.Closed) c.handlers.onWritable?.();
    if ((events | c.events) & Event.End && c.readable === 0 && c.finDone && !c.endTold) {
      c.endTold = true;
      c.events &= ~Event.End;
      c.handlers.onEnd?.();
    }
    if (events & Event.Closed) {
      if (c.readable > 0 && c.error === undefined && !c.shut) {
        // What came before the end is still to be read.
        c.events |= Event.Closed;
        return;
      }
      c.receiveRing.release();
      c.handlers.onClosed?.(c.error);
    }
  }

  close(): void {
    for (const c of [...this.#byId.values()]) {
      if (c.state >= State.Established) this.#sendReset(c);
      this.drop(c, 'ECONNABORTED');
      c.touched = false;
      this.#tell(c);
    }
    for (const offer of [...this.#offers]) this.#withdraw(offer);
    for (const row of [...this.#table]) if (row.timeWait) this.#timeWaits.remove(row as TimeWait);
    for (const each of [...this.#listeners.values()].flat()) each.close();
    this.#touched.length = 0;
    this.#blocked.length = 0;
  }
}

function checksumOk(slab: Uint8Array, family: 4 | 6, ip: number, at: number, end: number): boolean {
  const length = end - at;
  const pseudo =
    family === 4
      ? pseudoSum4(slab, ip + 12, Protocol.Tcp, length)
      : pseudoSum6(slab, ip + 8, ip + 24, Protocol.Tcp, length);
  return sum(slab, at, length, pseudo) === 0xffff;
}

function checkPort(port: number, least: number): void {
  if (!Number.isInteger(port) || port < least || port > 65_535)
    throw new TunconnectorError('ERR_CONFIG', `port: found ${port}, expected ${least} to 65535`);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
