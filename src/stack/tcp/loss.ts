/**
 * What was lost, and what that does to the window: RACK-TLP (RFC 8985) with SACK, duplicate ACKs (RFC 6582) without,
 * proportional rate reduction (RFC 6937) while it is mended, and taking back what was no loss (RFC 3522, RFC 3708).
 */
import type { Connection } from './connection.ts';
import { stampOf } from './emit.ts';
import { Mark, NONE } from './sent.ts';
import { before, notAfter } from './sequence.ts';
import { Phase, Time, Wait } from './state.ts';
import { setTimer } from './timers.ts';

/** RFC 5681, 3.2 */
const DUPLICATES = 3;
/** Quarters of a round trip. */
const MOST_PATIENT = 20;
/** RFC 8985, 6.2: recoveries for which the window stays what it has become. */
const PERSISTENT = 16;

/** RFC 8985, 6.2 steps 2 and 3, for one record that was just acknowledged. */
export function rackDelivered(c: Connection, record: number, now: number): void {
  const { sent, time } = c;
  const end = sent.end[record];
  const again = (sent.marks[record] & Mark.Retransmitted) !== 0;
  const at = sent.at[record];
  const rtt = now - at;
  // An ACK that comes sooner than any can is for an earlier transmission.
  if (again && rtt < time[Time.minRtt]) return;
  if (!again) {
    if (before(c.rackFack, end)) c.rackFack = end;
    else if (before(end, c.fackBefore)) c.reordering = true;
  }
  if (at > time[Time.rackAt] || (at === time[Time.rackAt] && before(c.rackEnd, end))) {
    time[Time.rackAt] = at;
    time[Time.rackRtt] = rtt;
    c.rackEnd = end;
  }
}

/**
 * RFC 8985, 6.2 step 4. ns. The least round trip says little where packets overtake others by most of it: once the peer has called a
 * retransmission needless, it is a quarter of the usual one at least.
 */
function reorderingWindow(c: Connection): number {
  const { time } = c;
  if (!c.reordering && (c.phase >= Phase.Recovery || c.sent.sacked >= DUPLICATES * c.mss)) return 0;
  const least = time[Time.minRtt];
  const base = c.reorderMultiplier > 1 ? Math.max(least, time[Time.srtt] / 4) : least;
  return Math.min((c.reorderMultiplier * base) / 4, time[Time.srtt]);
}

/** The same step: a DSACK says that the window was too short. */
export function rackDuplicate(c: Connection): void {
  if (c.dsackInRound && notAfter(c.dsackRound, c.una)) c.dsackInRound = false;
  if (c.dsackInRound) return;
  c.dsackInRound = true;
  c.dsackRound = c.nxt;
  if (c.reorderMultiplier < MOST_PATIENT) c.reorderMultiplier++;
  c.reorderPersist = PERSISTENT;
}

/** RFC 8985, 6.2 step 5: marks what is lost. Returns ns until what may be lost is, or 0. */
function rackDetect(c: Connection, now: number): number {
  const { sent, time } = c;
  const window = reorderingWindow(c);
  const latest = time[Time.rackAt];
  let timeout = 0;
  for (let record = sent.oldest; record !== NONE; ) {
    const newer = sent.newer[record];
    const at = sent.at[record];
    if (at > latest || (at === latest && !before(sent.end[record], c.rackEnd))) break;
    const remaining = at + time[Time.rackRtt] + window - now;
    if (remaining <= 0) sent.markLost(record);
    else if (remaining > timeout) timeout = remaining;
    record = newer;
  }
  return timeout;
}

/** After every ACK, and when the reordering timer is due: losses are found, and recovery begins. */
export function detectLosses(c: Connection, now: number): void {
  const { sent } = c;
  let timeout = 0;
  if (c.sackOk) timeout = rackDetect(c, now);
  else if (c.duplicateAcks >= DUPLICATES && c.phase < Phase.Recovery && sent.head !== NONE) {
    // RFC 6582, 3.2 step 2: not for duplicates that a timeout's retransmissions have caused.
    if (notAfter(c.recover, c.una)) loseFirst(c);
  }
  if (sent.lost > 0 && c.phase < Phase.Recovery) enterRecovery(c, now);
  if (timeout > 0) setTimer(c, Wait.Reordering, Math.ceil(now + timeout));
}

/** The first segment is lost, and no more than that is known. */
export function loseFirst(c: Connection): void {
  const { sent } = c;
  const record = sent.head;
  if (record === NONE || (sent.marks[record] & (Mark.Lost | Mark.Again)) === Mark.Lost) return;
  if (sent.length(record) > c.mss) sent.split(record, (sent.start[record] + c.mss) | 0);
  sent.markLost(record);
}

function remember(c: Connection): void {
  c.priorCwnd = c.window.cwnd;
  c.priorSsthresh = c.window.ssthresh;
  c.retransmitStamp = 0;
  c.undoLeft = 0;
  c.canUndo = true;
}

export function enterRecovery(c: Connection, now: number): void {
  const { window } = c;
  // What was under way when the window was full; limited transmit does not count (RFC 5681, 3.2 step 2).
  const flight = Math.min(Math.max(c.flight, c.flightBefore), window.cwnd);
  if (c.phase === Phase.Open) remember(c);
  else c.canUndo = false;
  if (c.phase === Phase.Open) window.ssthresh = c.control.reduce(window, flight, now);
  c.phase = Phase.Recovery;
  c.recover = c.nxt;
  c.prrDelivered = 0;
  c.prrOut = 0;
  c.recoverFlight = Math.max(flight, c.mss);
  c.recoveries++;
  c.probing = false;
}

/** RFC 6937, with its slow start bound. @param delivered bytes newly acknowledged, selectively or not */
export function proportional(c: Connection, delivered: number, progress: boolean): void {
  const { window } = c;
  const { pipe } = c;
  c.prrDelivered += delivered;
  let send: number;
  if (pipe > window.ssthresh) {
    send = Math.ceil((c.prrDelivered * window.ssthresh) / c.recoverFlight) - c.prrOut;
  } else {
    const bound = Math.max(c.prrDelivered - c.prrOut, delivered) + (progress ? c.mss : 0);
    send = Math.min(window.ssthresh - pipe, bound);
  }
  if (c.prrOut === 0) send = Math.max(send, c.mss);
  window.cwnd = Math.max(pipe + Math.max(send, 0), c.mss);
}

/** RFC 3168, 6.1.2: as if one segment were lost, once for every window. */
export function congestionSeen(c: Connection, now: number): void {
  if (c.phase !== Phase.Open) return;
  const { window } = c;
  window.ssthresh = c.control.reduce(window, c.flight, now);
  window.cwnd = window.ssthresh;
  c.phase = Phase.Reduced;
  c.recover = c.nxt;
  c.sendCwr = true;
  c.canUndo = false;
}

/** RFC 5681, 3.1 and RFC 6298, 5.4 to 5.6: everything is taken for lost, and the window is one segment. */
export function timedOut(c: Connection, now: number): void {
  const { sent, window } = c;
  if (c.phase !== Phase.Loss || notAfter(c.recover, c.una)) {
    if (c.phase === Phase.Open) remember(c);
    // A second timeout without progress reduces nothing further.
    if (c.phase !== Phase.Recovery)
      window.ssthresh = c.control.reduce(window, Math.min(c.flight, window.cwnd), now);
  }
  c.control.timeout?.(window, now);
  c.phase = Phase.Loss;
  c.recover = c.nxt;
  c.left = 0;
  c.duplicateAcks = 0;
  c.probing = false;
  c.timeouts++;
  // A receiver that has forgotten what it had would never be told otherwise (RFC 2018, 8).
  if (sent.head !== NONE && (sent.marks[sent.head] & Mark.Sacked) !== 0) sent.renege();
  for (let record = sent.head; record !== NONE; record = sent.next[record]) {
    if ((sent.marks[record] & Mark.Sacked) === 0) sent.markLost(record);
  }
  window.cwnd = c.mss;
}

/** Nothing was lost after all: the window is what it was. */
function undo(c: Connection, now: number): void {
  const { sent, window } = c;
  for (let record = sent.head; record !== NONE; record = sent.next[record]) sent.markFound(record);
  window.cwnd = Math.max(window.cwnd, c.priorCwnd);
  window.ssthresh = Math.max(window.ssthresh, c.priorSsthresh);
  c.control.undo?.(window, now);
  c.phase = Phase.Open;
  c.canUndo = false;
  c.reordering = true;
  // One more each round trip, as DSACKs have it, would take many needless recoveries.
  c.reorderMultiplier = Math.min(2 * c.reorderMultiplier, MOST_PATIENT);
  c.reorderPersist = PERSISTENT;
  c.undone++;
}

/** Whether the ACK is for what was sent before the first retransmission (RFC 3522), or DSACKs have called all of them needless. */
export function checkSpurious(
  c: Connection,
  advanced: boolean,
  tsecr: number,
  stamped: boolean,
  now: number,
): boolean {
  if (!c.canUndo || c.phase < Phase.Recovery) return false;
  const older = stamped && advanced && c.retransmitStamp !== 0 && before(tsecr, c.retransmitStamp);
  const needless = c.retransmitStamp !== 0 && c.undoLeft <= 0;
  if (!older && !needless) return false;
  // The peer's echo must be of this connection's clock.
  if (older && before(stampOf(c, now), tsecr)) return false;
  undo(c, now);
  return true;
}

/** What was lost is mended. */
export function exitRecovery(c: Connection): void {
  if (c.phase === Phase.Recovery || c.phase === Phase.Loss) {
    c.reorderPersist--;
    if (c.reorderPersist <= 0) c.reorderMultiplier = 1;
  }
  if (c.phase === Phase.Recovery) c.window.cwnd = Math.max(c.window.ssthresh, c.mss);
  c.phase = Phase.Open;
  c.left = 0;
  c.duplicateAcks = 0;
}
