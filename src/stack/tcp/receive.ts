/** Segments for a connection, in the order of RFC 9293, 3.10.7, with RFC 5961 and RFC 7323. */
import { Flag } from '../../packet/tcp.ts';
import { Acked, acknowledge, judge } from './acknowledge.ts';
import type { Connection } from './connection.ts';
import { scaleFor } from './emit.ts';
import type { Segment } from './segment.ts';
import { before, distance, later, notAfter } from './sequence.ts';
import { FIN_WAIT_2, MS, SECOND } from './settings.ts';
import { Event, State, Time, Wait } from './state.ts';
import { sampleRtt, setTimer, stopTimer } from './timers.ts';
import { fitMss, initialWindow } from './transmit.ts';

/** RFC 7323, 5.5: after so long a silence an old time stamp says nothing. */
const STALE_STAMP = 24 * 24 * 3600 * SECOND;
/** At most one answer to strange segments in this time, for each connection (RFC 5961, 7). */
const CHALLENGE_EVERY = 500 * MS;

/** What the owner does for `receive`. */
export interface Verdicts {
  /** Ends the connection without sending anything. */
  drop(c: Connection, error: 'ECONNREFUSED' | 'ECONNRESET' | undefined): void;
  /** Sends a RST for a segment (RFC 9293, 3.10.7.1). */
  refuse(c: Connection, s: Segment): void;
  /** A passive connection is established. */
  accepted(c: Connection): void;
  /** Both directions have ended, and this side must wait. */
  timeWait(c: Connection): void;
}

/** False: it was dropped as unacceptable. */
export function receive(to: Verdicts, c: Connection, s: Segment, slab: Uint8Array, now: number): boolean {
  c.segmentsReceived += s.segments;
  return c.state === State.SynSent ? inSynSent(to, c, s, now) : synchronized(to, c, s, slab, now);
}

/** RFC 9293, 3.10.7.3. */
function inSynSent(to: Verdicts, c: Connection, s: Segment, now: number): boolean {
  const ack = (s.flags & Flag.Ack) !== 0;
  if (ack && s.ack !== ((c.iss + 1) | 0)) {
    if (!(s.flags & Flag.Rst)) to.refuse(c, s);
    return false;
  }
  if (s.flags & Flag.Rst) {
    if (!ack) return false;
    to.drop(c, 'ECONNREFUSED');
    return true;
  }
  if (!(s.flags & Flag.Syn)) return false;
  takeSyn(c, s, now);
  const asked = c.settings.ecn;
  c.ecnOk = asked && (s.flags & (Flag.Ece | Flag.Cwr)) === Flag.Ece;
  if (!ack) {
    // Both open at once: 3.5, figure 7.
    c.state = State.SynReceived;
    c.ecnOk = false;
    c.backoff = 0;
    c.synPending = true;
    setTimer(c, Wait.Rto, now + SECOND);
    c.owner.touch(c);
    return true;
  }
  if (s.timestamps && c.backoff === 0) sampleRtt(c, now - c.time[Time.sent], now);
  c.una = s.ack;
  establish(c, now);
  c.wl1 = s.seq;
  c.wl2 = s.ack;
  c.wnd = c.maxWnd = s.window;
  c.ackNow = true;
  c.owner.touch(c);
  return true;
}

/** What a SYN says. */
export function takeSyn(c: Connection, s: Segment, now: number): void {
  const { settings } = c;
  c.irs = s.seq;
  c.next = c.read_ = (s.seq + 1) | 0;
  c.edge = later((c.next + Math.min(settings.receiveBuffer, 0xffff)) | 0, c.next);
  c.peerMss = s.mss === 0 ? 536 : Math.max(s.mss, 64);
  c.sackOk = settings.sack && s.sackPermitted;
  c.timestampsOk = settings.timestamps && s.timestamps;
  c.scaleOk = settings.windowScaling && s.scale >= 0;
  c.sendScale = c.scaleOk ? s.scale : 0;
  c.receiveScale = c.scaleOk ? scaleFor(settings.receiveBuffer) : 0;
  if (c.timestampsOk) {
    c.recent = s.tsval;
    c.time[Time.recentAt] = now;
  }
  fitMss(c);
  c.receivedMss = c.mss;
}

/** RFC 9293: the handshake is done. The window is RFC 6928's; after a lost SYN one segment (RFC 6298, 5.7; RFC 5681, 3.1). */
export function establish(c: Connection, now: number): void {
  c.state = State.Established;
  fitMss(c);
  c.window.cwnd = c.backoff > 0 ? c.mss : initialWindow(c.mss);
  if (c.backoff > 0 && c.time[Time.srtt] === 0) c.time[Time.rto] = 3 * SECOND;
  c.backoff = 0;
  stopTimer(c);
  c.nxt = c.una;
  c.rackFack = c.fackBefore = c.una;
  c.recover = c.una;
  c.time[Time.received] = now;
  c.time[Time.progress] = now;
  c.time[Time.started] = now;
  if (c.settings.keepAlive > 0) c.time[Time.keepAlive] = now + c.settings.keepAlive;
  c.events |= Event.Connected;
}

/** RFC 9293, 3.10.7.4. */
function synchronized(to: Verdicts, c: Connection, s: Segment, slab: Uint8Array, now: number): boolean {
  const { flags } = s;
  const occupied = s.length + (flags & Flag.Syn ? 1 : 0) + (flags & Flag.Fin ? 1 : 0);
  // First, the sequence number; RFC 7323, 5.3 before it.
  if (c.timestampsOk && s.timestamps && !(flags & (Flag.Rst | Flag.Syn)) && old(c, s, now)) {
    if (occupied > 0 && notAfter(s.seq, c.next)) sayDuplicate(c, s.seq, (s.seq + s.length) | 0);
    answer(c, s, now);
    return false;
  }
  // When both open at once, the peer's SYN comes again, with the ACK that was missing.
  const crossed =
    c.state === State.SynReceived &&
    (flags & (Flag.Syn | Flag.Ack | Flag.Rst)) === (Flag.Syn | Flag.Ack) &&
    s.seq === c.irs;
  if (!crossed && !acceptable(c, s.seq, occupied)) {
    if (flags & Flag.Rst) return false;
    if (c.state === State.SynReceived && flags & Flag.Syn && s.seq === c.irs) {
      // The SYN again: so the answer again.
      c.synPending = true;
      c.owner.touch(c);
      return false;
    }
    if (flags & Flag.Syn) {
      challenge(c, now);
      return false;
    }
    if (s.length > 0 && notAfter((s.seq + s.length) | 0, c.next))
      sayDuplicate(c, s.seq, (s.seq + s.length) | 0);
    answer(c, s, now);
    return false;
  }
  // Second, RST (RFC 5961, 3).
  if (flags & Flag.Rst) {
    if (s.seq === c.next) {
      to.drop(c, c.state === State.SynReceived && c.listener === null ? 'ECONNREFUSED' : 'ECONNRESET');
      return true;
    }
    challenge(c, now);
    return false;
  }
  // Fourth, SYN (RFC 5961, 4).
  if (flags & Flag.Syn && !crossed) {
    challenge(c, now);
    return false;
  }
  // Fifth, ACK.
  if (!(flags & Flag.Ack)) return false;
  if (c.state === State.SynReceived) {
    if (s.ack !== ((c.iss + 1) | 0)) {
      to.refuse(c, s);
      return false;
    }
    c.una = s.ack;
    if (c.time[Time.srtt] === 0 && c.backoff === 0) sampleRtt(c, now - c.time[Time.sent], now);
    establish(c, now);
    c.wl1 = s.seq;
    c.wl2 = s.ack;
    c.wnd = c.maxWnd = s.window << (flags & Flag.Syn ? 0 : c.sendScale);
    to.accepted(c);
    c.owner.touch(c);
  } else {
    const verdict = judge(c, s.ack);
    if (verdict === Acked.Unsent) {
      challenge(c, now);
      return false;
    }
    if (verdict === Acked.Fine) acknowledge(c, s, s.length === 0 && !(flags & (Flag.Syn | Flag.Fin)), now);
  }
  heard(c, s, now);
  if (c.finSent && c.una === c.nxt) finAcknowledged(to, c, now);
  if (c.state === State.Closed) return true;
  // Seventh and eighth, the data and FIN.
  if (s.length > 0 || flags & Flag.Fin) return take(to, c, s, slab, now);
  c.owner.touch(c);
  return true;
}

/** RFC 7323, 5.3 R1. */
function old(c: Connection, s: Segment, now: number): boolean {
  return before(s.tsval, c.recent) && now - c.time[Time.recentAt] < STALE_STAMP;
}

/** RFC 9293, 3.4, table 6. */
function acceptable(c: Connection, seq: number, occupied: number): boolean {
  const window = distance(c.next, c.edge);
  if (occupied === 0) {
    // At the right edge as well: a peer that has used the whole window acknowledges from there.
    return seq === c.next || (notAfter(c.next, seq) && notAfter(seq, c.edge));
  }
  if (window <= 0) return false;
  const last = (seq + occupied - 1) | 0;
  const inside = (x: number) => notAfter(c.next, x) && before(x, c.edge);
  return inside(seq) || inside(last) || (before(seq, c.next) && notAfter(c.edge, last));
}

/** RFC 7323, 4.3, and signs of life. */
function heard(c: Connection, s: Segment, now: number): void {
  c.time[Time.received] = now;
  c.probesUnanswered = 0;
  if (c.settings.keepAlive > 0) c.time[Time.keepAlive] = now + c.settings.keepAlive;
  if (c.timestampsOk && s.timestamps && !before(s.tsval, c.recent) && notAfter(s.seq, c.lastAckSent)) {
    c.recent = s.tsval;
    c.time[Time.recentAt] = now;
  }
}

function challenge(c: Connection, now: number): void {
  if (now - c.time[Time.challenge] < CHALLENGE_EVERY) return;
  c.time[Time.challenge] = now;
  c.ackNow = true;
  c.owner.touch(c);
}

/** An ACK for what was not acceptable. One with data is a peer's that lost ours; others could make two ends talk for ever. */
function answer(c: Connection, s: Segment, now: number): void {
  if (s.length === 0 && !(s.flags & Flag.Fin)) {
    challenge(c, now);
    return;
  }
  c.ackNow = true;
  c.owner.touch(c);
}

function sayDuplicate(c: Connection, left: number, right: number): void {
  if (!c.sackOk || left === right) return;
  c.duplicate = true;
  c.duplicateLeft = left;
  c.duplicateRight = right;
}

/** Data and FIN of an acceptable segment. */
function take(to: Verdicts, c: Connection, s: Segment, slab: Uint8Array, now: number): boolean {
  let { seq, data, length } = s;
  let fin = (s.flags & Flag.Fin) !== 0;
  c.owner.touch(c);
  if (c.ecnOk) {
    if (s.flags & Flag.Cwr) c.echoCongestion = false;
    if (s.ecn === 3) {
      c.echoCongestion = true;
      c.ackNow = true;
    }
  }
  if (s.segments === 1 && length > c.receivedMss) c.receivedMss = Math.min(length, c.mss);
  // What came before is cut off in front, what is outside of the window behind.
  const early = distance(seq, c.next);
  if (early > 0) {
    sayDuplicate(c, seq, (seq + Math.min(early, length)) | 0);
    c.ackNow = true;
    const cut = Math.min(early, length);
    seq = (seq + cut) | 0;
    data += cut;
    length -= cut;
  }
  const over = distance(c.edge, (seq + length) | 0);
  if (over > 0) {
    length -= over;
    fin = false;
  } else if (over === 0 && fin && c.edge === c.next) fin = false;
  if (length <= 0 && !fin) return false;
  if (c.shut && length > 0 && !c.finDone) {
    // RFC 9293, 3.6.1: data that nobody will read; the peer must know.
    to.refuse(c, s);
    to.drop(c, undefined);
    return true;
  }
  const end = (seq + length) | 0;
  if (fin) {
    if (c.finSeen && c.finAt !== end) return false;
    c.finSeen = true;
    c.finAt = end;
  } else if (c.finSeen && before(c.finAt, end)) return false;
  if (length > 0) {
    if (!c.receiveRing.reserve(c.read_, end)) {
      if (fin) c.finSeen = false;
      return false;
    }
    if (seq === c.next) {
      c.receiveRing.put(seq, slab, data, length);
      if (c.ranges.count > 0) {
        c.next = c.ranges.advance(end);
        // RFC 5681, 4.2: a hole was filled.
        c.ackNow = true;
      } else c.next = end;
      c.bytesReceived += distance(seq, c.next);
      c.events |= Event.Readable;
      c.unacked += distance(seq, c.next);
    } else {
      c.ackNow = true;
      if (c.ranges.holds(seq, end)) sayDuplicate(c, seq, end);
      else {
        if (!c.ranges.add(seq, end)) {
          if (fin) c.finSeen = false;
          return false;
        }
        c.receiveRing.put(seq, slab, data, length);
      }
    }
  }
  if (c.finSeen && !c.finDone && c.next === c.finAt) finReceived(to, c);
  else if (fin) c.ackNow = true;
  acknowledgeLater(c, now);
  return true;
}

/** RFC 9293, 3.8.6.3: every second full segment at least, or after a while. */
function acknowledgeLater(c: Connection, now: number): void {
  if (c.ackNow || c.unacked === 0) return;
  if (c.unacked >= 2 * c.receivedMss) c.ackNow = true;
  else if (c.time[Time.delayedAck] === Number.POSITIVE_INFINITY) {
    c.time[Time.delayedAck] = now + c.settings.delayedAck;
  }
}

/** 3.10.7.4 eighth: everything up to the FIN is here. */
function finReceived(to: Verdicts, c: Connection): void {
  c.finDone = true;
  c.next = (c.next + 1) | 0;
  if (c.shut) c.read_ = (c.next - 1) | 0;
  c.ackNow = true;
  if (c.readable === 0) c.events |= Event.End;
  if (c.state === State.Established) c.state = State.CloseWait;
  else if (c.state === State.FinWait1) c.state = State.Closing;
  else if (c.state === State.FinWait2) to.timeWait(c);
}

function finAcknowledged(to: Verdicts, c: Connection, now: number): void {
  if (c.state === State.FinWait1) {
    c.state = State.FinWait2;
    if (c.shut) c.time[Time.linger] = now + FIN_WAIT_2;
  } else if (c.state === State.Closing) to.timeWait(c);
  else if (c.state === State.LastAck) to.drop(c, undefined);
}
