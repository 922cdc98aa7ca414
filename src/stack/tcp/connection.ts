/**
 * One connection: what RFC 9293 keeps for it (3.3.1), and what a program does with it. How segments change it is in
 * receive.ts and acknowledge.ts, what it sends in transmit.ts.
 */
import { formatIpAt } from '../../packet/address.ts';
import type { Route } from './below.ts';
import type { CongestionControl, Window } from './congestion/control.ts';
import { Ranges } from './ranges.ts';
import { type Budget, Ring } from './ring.ts';
import { addressIn, Row } from './row.ts';
import { Sent } from './sent.ts';
import { distance } from './sequence.ts';
import { congestionOf, type TcpSettings } from './settings.ts';
import { Event, Phase, STATE_NAMES, State, type TcpErrorCode, Time, Wait } from './state.ts';

export interface TcpHandlers {
  onConnected?(): void;
  /** There are bytes to `read`. Called again when more have come. */
  onReadable?(): void;
  /** The peer has ended its direction, and everything before that was read. */
  onEnd?(): void;
  /** `write` has room again, after it had taken less than it was given. */
  onWritable?(): void;
  /** The connection is gone; with an error code unless both sides had ended it. */
  onClosed?(error?: TcpErrorCode): void;
}

/** The TCP that a connection belongs to. */
export interface Owner {
  readonly budget: Budget;
  /** It has something to send, or to tell. */
  touch(connection: Connection): void;
  reset(connection: Connection): void;
}

export interface TcpFigures {
  state: string;
  /** Bytes. */
  cwnd: number;
  ssthresh: number;
  inFlight: number;
  mss: number;
  /** ns; 0 when none was measured. */
  srtt: number;
  minRtt: number;
  rto: number;
  bytesSent: number;
  bytesReceived: number;
  segmentsSent: number;
  segmentsReceived: number;
  /** Segments sent again, and how often the retransmission timer ran out. */
  retransmissions: number;
  timeouts: number;
  /** Fast recoveries, and those found to have been needless. */
  recoveries: number;
  undone: number;
  sendWindow: number;
  receiveWindow: number;
}

export class Connection extends Row {
  readonly timeWait = false;
  /** Orders what happens at the same instant. */
  readonly id: number;
  settings: TcpSettings;
  handlers: TcpHandlers;
  route: Route;
  readonly owner: Owner;
  /** Passive: the listener, until the connection is established. */
  listener: { pending: number } | null = null;
  state: number = State.Closed;
  readonly time = new Float64Array(Time.cells);
  /** In the list of those that have something to do. */
  touched = false;
  /** Its deadline in the heap of all connections; ns. */
  heapAt = Number.POSITIVE_INFINITY;
  synPending = false;
  events = 0;
  error: TcpErrorCode | undefined;
  /** The last error that may pass (RFC 1122, 4.2.3.9): what a timeout is told as. */
  softError: TcpErrorCode | undefined;

  // ── Send sequence space (RFC 9293, figure 3).
  iss = 0;
  una = 0;
  nxt = 0;
  /** The peer's window in bytes, the segment that told it, and the largest it ever was. */
  wnd = 0;
  wl1 = 0;
  wl2 = 0;
  maxWnd = 0;
  /** Behind the last byte that the program has written. */
  written = 0;
  readonly sendRing: Ring;
  readonly sent = new Sent();
  /** The program has ended its direction; the FIN stands at `written`. */
  ended = false;
  finSent = false;
  /** Payload of a segment with nothing but timestamps. */
  mss = 536;
  peerMss = 536;
  /** The route's MTU that `mss` was made for. */
  mtu = 0;
  sendScale = 0;
  writeBlocked = false;

  // ── Receive sequence space.
  irs = 0;
  /** rcv.nxt */
  next = 0;
  /** What the program has read up to. */
  read_ = 0;
  /** The right edge that was told to the peer. */
  edge = 0;
  receiveScale = 0;
  readonly receiveRing: Ring;
  readonly ranges = new Ranges();
  finAt = 0;
  /** The peer's FIN has come, perhaps before what precedes it; and all before it has come too. */
  finSeen = false;
  finDone = false;
  endTold = false;
  shut = false;

  // ── Acknowledging.
  /** Payload that was not acknowledged yet. */
  unacked = 0;
  ackNow = false;
  /** The largest segment that came lately: what "every second segment" means. */
  receivedMss = 536;
  /** RFC 2883: a duplicate to tell of. */
  duplicate = false;
  duplicateLeft = 0;
  duplicateRight = 0;

  // ── Options.
  sackOk = false;
  scaleOk = false;
  timestampsOk = false;
  stampOffset = 0;
  recent = 0;
  lastAckSent = 0;
  ecnOk = false;
  /** RFC 3168, 6.1.3: until the peer says CWR, every ACK carries ECE. */
  echoCongestion = false;
  sendCwr = false;

  // ── Congestion and loss.
  readonly control: CongestionControl;
  readonly window: Window = { cwnd: 0, ssthresh: 0x3fffffff, mss: 536, srtt: 0, minRtt: 0 };
  phase: number = Phase.Open;
  /** Where this loss is mended: `nxt` when it was found. */
  recover = 0;
  duplicateAcks = 0;
  /** Without SACK: segments that duplicate ACKs say have left the network (bytes). */
  left = 0;
  wait: number = Wait.Nothing;
  backoff = 0;
  /** The window was what kept it from sending. */
  limited = false;
  priorCwnd = 0;
  priorSsthresh = 0;
  /** Time stamp of the first retransmission of this episode, and whether there is one (RFC 3522). */
  retransmitStamp = 0;
  canUndo = false;
  /** Retransmissions of this episode that no DSACK has called needless. */
  undoLeft = 0;
  // RFC 6937.
  prrDelivered = 0;
  prrOut = 0;
  recoverFlight = 0;
  // RFC 8985.
  rackEnd = 0;
  rackFack = 0;
  fackBefore = 0;
  flightBefore = 0;
  reordering = false;
  reorderMultiplier = 1;
  reorderPersist = 16;
  dsackRound = 0;
  dsackInRound = false;
  probing = false;
  probeEnd = 0;
  probeRetransmitted = false;
  probesUnanswered = 0;
  bytesSent = 0;
  bytesReceived = 0;
  segmentsSent = 0;
  segmentsReceived = 0;
  retransmissions = 0;
  timeouts = 0;
  recoveries = 0;
  undone = 0;

  constructor(id: number, owner: Owner, settings: TcpSettings, handlers: TcpHandlers, route: Route) {
    super();
    this.id = id;
    this.owner = owner;
    this.settings = settings;
    this.handlers = handlers;
    this.route = route;
    this.control = congestionOf(settings);
    this.sendRing = new Ring(owner.budget);
    this.receiveRing = new Ring(owner.budget);
    this.time.fill(Number.POSITIVE_INFINITY, 0, Time.deadlines);
    this.time[Time.rto] = 1e9;
    this.time[Time.challenge] = Number.NEGATIVE_INFINITY;
  }

  // ── What a program does.

  /** How much of `bytes` was taken; less than all of it: wait for `onWritable`. 0 after `end` and when it is closed. */
  write(bytes: Uint8Array): number {
    if (this.ended || this.state === State.Closed) return 0;
    const n = Math.min(bytes.length, this.room);
    const taken = n > 0 && this.sendRing.reserve(this.una, (this.written + n) | 0) ? n : 0;
    if (taken > 0) {
      this.sendRing.put(this.written, bytes, 0, taken);
      this.written = (this.written + taken) | 0;
      this.owner.touch(this);
    }
    if (taken < bytes.length) this.writeBlocked = true;
    return taken;
  }

  /** Bytes that `write` would take. */
  get room(): number {
    if (this.ended || this.state === State.Closed) return 0;
    return Math.max(0, this.settings.sendBuffer - distance(this.una, this.written));
  }

  /** Copies what has come into `into` and returns how much that was. */
  read(into: Uint8Array): number {
    const n = Math.min(into.length, this.readable);
    if (n === 0) return 0;
    this.receiveRing.get(this.read_, into, 0, n);
    this.read_ = (this.read_ + n) | 0;
    if (this.finDone && this.readable === 0) this.events |= Event.End;
    this.owner.touch(this);
    return n;
  }

  /** Bytes that wait to be read. */
  get readable(): number {
    return distance(this.read_, (this.next - (this.finDone ? 1 : 0)) | 0);
  }

  /** Nothing more will be written: a FIN follows what was. What the peer sends can still be read. */
  end(): void {
    if (this.ended || this.state === State.Closed) return;
    this.ended = true;
    this.owner.touch(this);
  }

  /** The program will read nothing more: what comes is dropped, and waits no longer than a minute for the peer's end. */
  close(): void {
    this.shut = true;
    this.end();
    this.read_ = (this.next - (this.finDone ? 1 : 0)) | 0;
    this.owner.touch(this);
  }

  /** Ends it at once, with a RST. `onClosed` is not called. */
  reset(): void {
    if (this.state === State.Closed) return;
    this.owner.reset(this);
  }

  /** Nothing more will come: the peer has ended, and everything before that was read. */
  get atEnd(): boolean {
    return this.finDone && this.readable === 0;
  }

  get closed(): boolean {
    return this.state === State.Closed;
  }

  setNoDelay(noDelay: boolean): void {
    this.settings = { ...this.settings, noDelay };
    this.owner.touch(this);
  }

  /** @param time ns of silence after which the peer is asked; 0: never */
  setKeepAlive(time: number): void {
    this.settings = { ...this.settings, keepAlive: time };
    if (this.state < State.Established) return;
    this.time[Time.keepAlive] = time > 0 ? this.time[Time.received] + time : Number.POSITIVE_INFINITY;
    this.owner.touch(this);
  }

  get localAddress(): string {
    return formatIpAt(addressIn(this.key, 0), 0, this.route.family);
  }

  get remoteAddress(): string {
    return formatIpAt(addressIn(this.key, 4), 0, this.route.family);
  }

  get family(): 4 | 6 {
    return this.route.family;
  }

  get flight(): number {
    return distance(this.una, this.nxt);
  }

  /** RFC 6675: bytes that are taken to be under way. */
  get pipe(): number {
    const { sacked, lost, again } = this.sent;
    return Math.max(0, ((this.nxt - this.una) | 0) - sacked - lost + again - this.left);
  }

  /** Bytes that may come now, as far as the peer can be told of them. */
  get receiveWindow(): number {
    const free = this.settings.receiveBuffer - distance(this.read_, this.next);
    return Math.max(0, Math.min(free, 0xffff << this.receiveScale));
  }

  figures(): TcpFigures {
    const { time, window } = this;
    return {
      state: STATE_NAMES[this.state],
      cwnd: window.cwnd,
      ssthresh: window.ssthresh,
      inFlight: this.pipe,
      mss: this.mss,
      srtt: time[Time.srtt],
      minRtt: time[Time.minRtt],
      rto: time[Time.rto],
      bytesSent: this.bytesSent,
      bytesReceived: this.bytesReceived,
      segmentsSent: this.segmentsSent,
      segmentsReceived: this.segmentsReceived,
      retransmissions: this.retransmissions,
      timeouts: this.timeouts,
      recoveries: this.recoveries,
      undone: this.undone,
      sendWindow: this.wnd,
      receiveWindow: this.receiveWindow,
    };
  }
}
