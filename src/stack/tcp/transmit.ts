/** What a connection may send now: retransmissions first, then new data, then what is left to acknowledge. */
import { Flag } from '../../packet/tcp.ts';
import type { IpBelow } from './below.ts';
import type { Connection } from './connection.ts';
import { ECT0, emit, overhead, stampOf } from './emit.ts';
import { Mark, NONE } from './sent.ts';
import { before, distance } from './sequence.ts';
import { MS } from './settings.ts';
import { Phase, State, Time, Wait } from './state.ts';
import { backedOff, rearm, setTimer } from './timers.ts';

/** Payload of one superframe at most: it fits a large slot, and an IP packet with all headers. */
const MAX_SUPERFRAME = 65_000;
const MAX_SEGMENTS = 256;
/** Without memory it tries again after this. */
const MEMORY_RETRY = MS;
/** RFC 6928 */
export const initialWindow = (mss: number): number => Math.min(10 * mss, Math.max(2 * mss, 14_600));

/** Fits the segments to the route. True when they have become shorter. */
export function fitMss(c: Connection): boolean {
  const before = c.mss;
  c.mtu = c.route.mtu;
  const most = c.mtu - overhead(c, c.timestampsOk);
  c.mss = Math.max(1, Math.min(most, c.peerMss - (c.timestampsOk ? 12 : 0)));
  c.window.mss = c.mss;
  return c.mss < before;
}

const canSend = (c: Connection): boolean =>
  c.state === State.Established ||
  c.state === State.CloseWait ||
  c.state === State.FinWait1 ||
  c.state === State.Closing ||
  c.state === State.LastAck;

/** Sends what may be sent. False when the way out has no room: it is to be called again. */
export function transmit(below: IpBelow, c: Connection): boolean {
  if (canSend(c)) {
    if (c.mtu !== c.route.mtu && fitMss(c)) resend(c);
    if (!sendData(below, c)) return false;
  }
  if (!wantsAck(c)) return true;
  // What came in one breath may have left more holes than one ACK tells of: a peer takes for lost what it hears nothing of.
  do {
    if (below.room(c.route) <= 0) return false;
    if (!emit(below, c, c.nxt, 0, Flag.Ack, 0)) {
      c.time[Time.retry] = below.clock[0] + MEMORY_RETRY;
      return true;
    }
  } while (c.ranges.partlyTold);
  return true;
}

/**
 * RFC 8201, 5.4: what was longer than the path takes is sent again at once, and it was no congestion: the window stays, and does not
 * double either while this is mended.
 */
function resend(c: Connection): void {
  const { sent, window } = c;
  if (sent.head === NONE) return;
  for (let record = sent.head; record !== NONE; record = sent.next[record]) {
    const marks = sent.marks[record] & (Mark.Sacked | Mark.Lost | Mark.Again);
    if (marks !== Mark.Sacked && marks !== Mark.Lost) sent.markLost(record);
  }
  if (c.phase >= Phase.Recovery) return;
  c.phase = Phase.Loss;
  c.recover = c.nxt;
  c.canUndo = false;
  c.left = 0;
  c.duplicateAcks = 0;
  window.ssthresh = Math.min(window.ssthresh, window.cwnd);
}

function wantsAck(c: Connection): boolean {
  if (c.state < State.Established && c.state !== State.SynReceived) return false;
  if (c.ackNow || c.ranges.partlyTold) return true;
  // The window has opened by enough for the peer to want to know (RFC 1122, 4.2.3.3).
  const open = distance(c.next, c.edge);
  const grow = c.receiveWindow - open;
  const { receiveBuffer } = c.settings;
  return (
    grow >= Math.min(2 * c.receivedMss, receiveBuffer >> 1) &&
    (open < receiveBuffer >> 1 || grow >= receiveBuffer >> 2)
  );
}

/** The most payload that one packet takes. */
function mostPayload(c: Connection): number {
  if (!c.route.superframes) return c.mss;
  return Math.max(1, Math.min(MAX_SEGMENTS, Math.trunc(MAX_SUPERFRAME / c.mss))) * c.mss;
}

function sendData(below: IpBelow, c: Connection): boolean {
  const { sent, window } = c;
  c.limited = false;
  restartAfterIdle(c, below.clock[0]);
  for (;;) {
    const record = sent.nextLost();
    const allowance = window.cwnd - c.pipe;
    if (record !== NONE) {
      // At least the first loss is mended whatever the window says (RFC 6675, 5 step 4.3).
      const forced = record === sent.head && sent.again === 0;
      if (allowance < Math.min(c.mss, sent.length(record)) && !forced) {
        c.limited = true;
        return true;
      }
      if (below.room(c.route) <= 0) return false;
      if (!retransmit(below, c, record, Math.max(allowance, c.mss))) return true;
      continue;
    }
    const length = sendable(below, c, allowance);
    if (length < 0) return true;
    if (below.room(c.route) <= 0) return false;
    if (!sendNew(below, c, length)) return true;
  }
}

/** RFC 5681, 4.1: a window that was not used for so long says nothing about the path. */
function restartAfterIdle(c: Connection, now: number): void {
  if (c.sent.head !== NONE || c.written === c.nxt || c.phase !== Phase.Open) return;
  if (now - c.time[Time.sent] <= c.time[Time.rto]) return;
  const restart = initialWindow(c.mss);
  if (c.window.cwnd <= restart) return;
  c.window.cwnd = restart;
  c.control.idle?.(c.window, now);
}

/** Sends a lost record again, or as much of it as is allowed. False: no memory. */
export function retransmit(below: IpBelow, c: Connection, record: number, allowance: number): boolean {
  const { sent } = c;
  const now = below.clock[0];
  const whole = Math.min(
    sent.length(record),
    mostPayload(c),
    Math.max(c.mss, allowance - (allowance % c.mss)),
  );
  const start = sent.start[record];
  const end = (start + whole) | 0;
  if (whole < sent.length(record) && !sent.split(record, end)) {
    c.time[Time.retry] = now + MEMORY_RETRY;
    return false;
  }
  const fin = c.finSent && before(c.written, end);
  const length = whole - (fin ? 1 : 0);
  const push = length > 0 && ((start + length) | 0) === c.written;
  if (!emit(below, c, start, length, Flag.Ack | (fin ? Flag.Fin : 0) | (push ? Flag.Psh : 0), 0)) {
    c.time[Time.retry] = now + MEMORY_RETRY;
    return false;
  }
  sent.markSentAgain(record, now);
  const segments = Math.max(1, Math.ceil(length / c.mss));
  c.retransmissions += segments;
  c.undoLeft += segments;
  c.bytesSent += length;
  c.prrOut += whole;
  if (c.canUndo && c.retransmitStamp === 0) c.retransmitStamp = stampOf(c, now) || 1;
  if (c.wait === Wait.Nothing || c.wait === Wait.Probe) rearm(c, now);
  return true;
}

/**
 * Payload of the next new segment, 0 for a FIN alone; -1: nothing may be sent now. Nagle (RFC 9293, 3.7.4), the
 * sender's side of silly windows (3.8.6.2.1), both windows.
 */
function sendable(below: IpBelow, c: Connection, allowance: number): number {
  const waiting = distance(c.nxt, c.written) - (c.finSent ? 1 : 0);
  const fin = c.ended && !c.finSent;
  if (c.finSent || (waiting <= 0 && !fin)) return -1;
  const idle = c.nxt === c.una;
  if (waiting <= 0) {
    // A FIN needs no window.
    return 0;
  }
  const usable = c.wnd - c.flight;
  let length = Math.min(waiting, usable);
  if (length > c.mss) length = Math.min(length - (length % c.mss), mostPayload(c));
  if (length < c.mss) {
    const last = length === waiting;
    const half = length > 0 && length >= c.maxWnd >> 1;
    const may = last ? c.settings.noDelay || idle || fin : half;
    if (!may || length <= 0) {
      if (idle) persist(c, below.clock[0]);
      return -1;
    }
  }
  if (length > allowance) {
    c.limited = true;
    // One segment at a time at least, when nothing is under way.
    if (allowance < c.mss) return c.pipe === 0 ? Math.min(length, c.mss) : -1;
    length = Math.min(length, allowance - (allowance % c.mss));
  }
  return length;
}

/** RFC 9293, 3.8.6.1: the window is shut, so somebody must ask. */
function persist(c: Connection, now: number): void {
  if (c.wait === Wait.Persist) return;
  c.backoff = 0;
  setTimer(c, Wait.Persist, now + backedOff(c));
}

/** Sends new data, or a FIN. False: no memory. */
export function sendNew(below: IpBelow, c: Connection, length: number): boolean {
  const now = below.clock[0];
  const { sent } = c;
  // RFC 3168, 6.1.2: CWR goes once, on new data; a train would repeat it.
  if (c.sendCwr && length > c.mss) length = c.mss;
  const end = (c.nxt + length) | 0;
  const last = end === c.written;
  const fin = last && c.ended;
  let flags: number = Flag.Ack;
  if (length > 0 && last) flags |= Flag.Psh;
  if (fin) flags |= Flag.Fin;
  if (c.sendCwr && length > 0) flags |= Flag.Cwr;
  const record = sent.append(c.nxt, (end + (fin ? 1 : 0)) | 0, now);
  if (record === NONE) return false;
  if (!emit(below, c, c.nxt, length, flags, c.ecnOk && length > 0 ? ECT0 : 0)) {
    sent.pop();
    c.time[Time.retry] = now + MEMORY_RETRY;
    return false;
  }
  if (flags & Flag.Cwr) c.sendCwr = false;
  if (c.una === c.nxt) c.time[Time.progress] = now;
  c.prrOut += length;
  c.bytesSent += length;
  c.nxt = sent.end[record];
  if (fin) {
    c.finSent = true;
    if (c.state === State.Established) c.state = State.FinWait1;
    else if (c.state === State.CloseWait) c.state = State.LastAck;
  }
  if (c.wait === Wait.Persist) {
    c.wait = Wait.Nothing;
    c.backoff = 0;
  }
  // RFC 8985, 7.2: the probe's time counts from the last new data, the timeout's from when it was started.
  if (c.wait === Wait.Nothing || c.wait === Wait.Probe) rearm(c, now);
  return true;
}

/** A segment without data that the peer must answer: it lies before what it expects (RFC 9293, 3.8.4). */
export const probe = (below: IpBelow, c: Connection): boolean =>
  emit(below, c, (c.una - 1) | 0, 0, Flag.Ack, 0);
