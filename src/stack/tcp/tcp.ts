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
import type { IpBelow, PathError, TransportAbove } from './below.ts';
import { tell } from './callbacks.ts';
import { Connection, type Owner, type TcpHandlers } from './connection.ts';
import { Connections } from './connections.ts';
import { emit, emitSyn } from './emit.ts';
import { TcpListener } from './listener.ts';
import { Listeners } from './listeners.ts';
import { checkPort, LocalPorts } from './local-ports.ts';
import type { Offer } from './offer.ts';
import { Offers } from './offers.ts';
import { PassiveOpening } from './passive.ts';
import { pathError } from './path-errors.ts';
import { TcpDrop } from './reasons.ts';
import { receive, type Verdicts } from './receive.ts';
import { Counts, type TcpReport } from './report.ts';
import { Resets, routeOf } from './resets.ts';
import { Budget } from './ring.ts';
import { KEY_WORDS, keyOfPacket } from './row.ts';
import { Secrets } from './secrets.ts';
import { Segment } from './segment.ts';
import { checkTcp, LIMITS, SECOND, type TcpLimits, type TcpOptions } from './settings.ts';
import { Event, State, type TcpErrorCode, Time, Wait } from './state.ts';
import { Strangers } from './strangers.ts';
import { TimeWait } from './time-wait.ts';
import { expire } from './timeouts.ts';
import { deadlineOf, setTimer } from './timers.ts';
import { transmit } from './transmit.ts';

const { Flag } = tcp;
/** A program that answers every callback by a write would never let go. */
const ROUNDS = 64;

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

export class Tcp implements TransportAbove, Owner, Verdicts {
  readonly protocol = Protocol.Tcp;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  readonly budget: Budget;
  readonly #below: IpBelow;
  readonly #connections: Connections;
  readonly #listeners = new Listeners();
  readonly #secrets: Secrets;
  readonly #ports: LocalPorts;
  readonly #resets: Resets;
  readonly #offers: Offers;
  readonly #strangers: Strangers;
  readonly #counts = new Counts();
  readonly #heap = new DeadlineHeap();
  /** Of the packet that is looked at. */
  readonly #segment = new Segment();
  readonly #key = new Int32Array(KEY_WORDS);
  #touched: Connection[] = [];
  #working: Connection[] = [];
  #blocked: Connection[] = [];
  /** Inside of `run`, or of a burst that `run` follows: nobody needs waking. */
  #inside = false;

  constructor(below: IpBelow, limits: Partial<TcpLimits> = {}) {
    this.#below = below;
    const all = { ...LIMITS, ...limits };
    this.budget = new Budget(all.memory);
    const secret = below.secret(16);
    this.#connections = new Connections(all, getInt32(secret, 0), getInt32(secret, 4));
    this.#secrets = new Secrets(secret.subarray(8));
    const connections = this.#connections;
    const listeners = this.#listeners;
    this.#ports = new LocalPorts(connections, listeners, this.#secrets);
    this.#resets = new Resets(below, this.#counts);
    const resets = this.#resets;
    const passive = new PassiveOpening(this, below, connections, this.#secrets, this.#counts);
    this.#offers = new Offers(this, below, connections, this.#secrets, this.#counts);
    const offers = this.#offers;
    this.#strangers = new Strangers({
      below,
      connections,
      listeners,
      passive,
      offers,
      resets,
      verdicts: this,
    });
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
    this.#connections.checkLimit();
    const c = new Connection(this.#connections.nextId(), this, settings, handlers, route);
    const now = this.#below.clock[0];
    this.#ports.choose(c, route, port, localPort, now);
    this.#connections.add(c);
    c.iss = this.#secrets.isn(c.key, now);
    c.una = c.iss;
    c.nxt = c.written = (c.iss + 1) | 0;
    c.stampOffset = this.#secrets.stamp(c.key);
    c.state = State.SynSent;
    c.synPending = true;
    setTimer(c, Wait.Rto, now + SECOND);
    this.#counts.opened++;
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
    const chosen = port === 0 ? this.#ports.toListen(this.#below) : port;
    this.#listeners.checkFree(local, chosen);
    const listener = new TcpListener(local, chosen, backlog, settings, onConnection, (each) =>
      this.#unlisten(each),
    );
    this.#listeners.add(listener);
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
    this.#offers.captor = { onOffer, backlog, settings: checkTcp(options) };
  }

  report(): TcpReport {
    return {
      connections: this.#connections.size,
      timeWaits: this.#connections.timeWaits.size,
      listeners: this.#listeners.count,
      memory: this.budget.used,
      ...this.#counts,
    };
  }

  #unlisten(listener: TcpListener): void {
    this.#listeners.remove(listener);
    if (listener.pending === 0) return;
    for (const c of this.#connections.all()) if (c.listener === listener) this.reset(c);
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
    if (c.state !== State.SynSent) this.#resets.end(c);
    c.handlers = {};
    this.drop(c, undefined);
  }

  // ── Verdicts: what segments lead to.

  drop(c: Connection, error: TcpErrorCode | undefined): void {
    if (c.state === State.Closed) return;
    c.state = State.Closed;
    this.#connections.remove(c);
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
    this.#resets.refuse(c, s);
  }

  accepted(c: Connection): void {
    const listener = c.listener as TcpListener | null;
    if (listener === null) return;
    c.listener = null;
    listener.pending--;
    listener.accepted++;
    this.#counts.accepted++;
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
    row.timestampsUsed = c.settings.timestamps;
    row.stampOffset = c.stampOffset;
    row.recent = c.recent;
    if (routeOf(this.#below, c) && this.#below.room(c.route) > 0) emit(this.#below, c, c.nxt, 0, Flag.Ack, 0);
    this.drop(c, undefined);
    this.#connections.table.insert(row);
    this.#connections.timeWaits.add(row, now);
  }

  // ── TransportAbove: what comes from below.

  input(packet: number, family: 4 | 6, transport: number, end: number): void {
    const { pool, clock } = this.#below;
    const { slab } = pool;
    const ip = pool.offset[packet];
    const at = ip + transport;
    this.#inside = true;
    this.#counts.segmentsReceived += pool.segments[packet];
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
    const row = this.#connections.table.find(key);
    if (row === null) return this.#strangers.input(key, s, slab, now);
    if (row.timeWait) return this.#strangers.late(row as TimeWait, key, s, slab, now);
    if (row.offered) return this.#strangers.again(row as Offer, key, s, slab, now);
    return receive(this, row as Connection, s, slab, now) ? -1 : TcpDrop.Unacceptable;
  }

  error(kind: PathError, family: 4 | 6, ip: number, transport: number, _end: number, mtu: number): boolean {
    const { slab } = this.#below.pool;
    keyOfPacket(slab, family, ip, transport, false, this.#key);
    const row = this.#connections.table.find(this.#key);
    if (row === null || row.timeWait || row.offered) return false;
    return pathError(this, row as Connection, kind, getInt32(slab, transport + tcp.SEQUENCE), mtu);
  }

  run(): void {
    // A callback may do something that leads back here.
    if (this.#inside) return;
    this.#inside = true;
    const now = this.#below.clock[0];
    this.#connections.timeWaits.expire(now);
    this.#offers.expire(now);
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
    this.due[0] = Math.min(this.#heap.first(), this.#connections.timeWaits.first(), this.#offers.first());
  }

  #expire(now: number): void {
    while (this.#heap.first() <= now) {
      const c = this.#connections.byId(this.#heap.pop())!;
      c.heapAt = Number.POSITIVE_INFINITY;
      if (routeOf(this.#below, c) === undefined) {
        // Nothing can be sent; time passes all the same.
        c.softError ??= 'ENETUNREACH';
      }
      const end = expire(this.#below, c, now);
      if (end === 'linger') {
        this.drop(c, undefined);
      } else if (end !== undefined) {
        if (c.state >= State.Established) this.#resets.end(c);
        this.drop(c, end);
      } else this.touch(c);
    }
  }

  /** Tells its program what happened, and sends what there is to send. */
  #serve(c: Connection, now: number): void {
    if (c.events !== 0) tell(c);
    if (c.state === State.Closed) return;
    if (routeOf(this.#below, c) === undefined) c.softError ??= 'ENETUNREACH';
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

  /** No handler of a connection is called any more. */
  mute(): void {
    for (const c of this.#connections.all()) c.handlers = {};
  }

  close(): void {
    for (const c of this.#connections.all()) {
      if (c.state >= State.Established) this.#resets.end(c);
      this.drop(c, 'ECONNABORTED');
      c.touched = false;
      tell(c);
    }
    this.#offers.close();
    this.#connections.endTimeWaits();
    for (const each of this.#listeners.all()) each.close();
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
