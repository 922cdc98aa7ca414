/** The sender's side of a segment that has come: what it acknowledges, selectively too, and the peer's window. */
import { Flag } from '../../packet/tcp.ts';
import type { Connection } from './connection.ts';
import { stampOf } from './emit.ts';
import {
  checkSpurious,
  congestionSeen,
  detectLosses,
  exitRecovery,
  loseFirst,
  proportional,
  rackDelivered,
  rackDuplicate,
} from './loss.ts';
import type { Segment } from './segment.ts';
import { Mark, NONE } from './sent.ts';
import { before, distance, later, notAfter } from './sequence.ts';
import { Event, Phase, Time, Wait } from './state.ts';
import { rearm, sampleRtt, stopTimer } from './timers.ts';

export const Acked = { Fine: 0, Old: 1, Unsent: 2 } as const;

/** RFC 9293, 3.10.7.4 step 5, with RFC 5961, 5. */
export function judge(c: Connection, ack: number): number {
  if (before(c.nxt, ack)) return Acked.Unsent;
  if (before(ack, (c.una - Math.max(c.maxWnd, 65_535)) | 0)) return Acked.Unsent;
  return before(ack, c.una) ? Acked.Old : Acked.Fine;
}

/** An ACK that `judge` calls fine. @param quiet it carries no data, SYN or FIN */
export function acknowledge(c: Connection, s: Segment, quiet: boolean, now: number): void {
  const { sent } = c;
  const priorUna = c.una;
  const priorSacked = sent.sacked;
  const priorWnd = c.wnd;
  const outstanding = sent.head !== NONE;
  const advanced = s.ack !== c.una;
  let rtt = -1;
  let duplicate = false;
  // One ACK may tell of much: what is out of order is so against what was known before it.
  c.fackBefore = c.rackFack;
  c.flightBefore = c.flight;
  if (c.sackOk && s.sackBlocks > 0) {
    duplicate = isDuplicate(c, s);
    if (duplicate) {
      rackDuplicate(c);
      c.undoLeft--;
    }
    rtt = selectively(c, s, duplicate ? 1 : 0, now);
  }
  updateWindow(c, s);
  let acked = 0;
  if (advanced) {
    acked = distance(priorUna, s.ack);
    const sackedBefore = sent.sacked;
    const sample = cumulatively(c, s.ack, now);
    if (sample >= 0) rtt = sample;
    // What SACK had told of already is not delivered twice.
    const delivered = acked - (sackedBefore - sent.sacked);
    c.time[Time.progress] = now;
    c.backoff = 0;
    finish(c, s, now, rtt, advanced, duplicate, delivered + Math.max(0, sackedBefore - priorSacked), acked);
  } else {
    if (!c.sackOk && quiet && outstanding && c.wnd === priorWnd && s.ack === priorUna) {
      c.duplicateAcks++;
      c.left = Math.min(c.left + c.mss, Math.max(0, c.flight - c.mss));
    }
    finish(c, s, now, rtt, advanced, duplicate, sent.sacked - priorSacked, 0);
  }
  if (c.writeBlocked && c.room > c.settings.sendBuffer >> 2) {
    c.writeBlocked = false;
    c.events |= Event.Writable;
  }
}

function finish(
  c: Connection,
  s: Segment,
  now: number,
  rtt: number,
  advanced: boolean,
  duplicate: boolean,
  delivered: number,
  acked: number,
): void {
  const { sent, window } = c;
  const wasLimited = c.limited;
  if (rtt >= 0) sampleRtt(c, rtt, now);
  else if (advanced && c.timestampsOk && s.timestamps && s.tsecr !== 0) {
    // RFC 7323, 4: of a retransmission only the echo tells which transmission arrived.
    const age = (stampOf(c, now) - s.tsecr) | 0;
    if (age >= 0 && age < 600_000) sampleRtt(c, age * 1e6, now);
  }
  if (c.ecnOk && (s.flags & Flag.Ece) !== 0) congestionSeen(c, now);
  if (c.probing) tailProbe(c, s, advanced, duplicate, now);
  const undone = checkSpurious(c, advanced, s.tsecr, s.timestamps && c.timestampsOk, now);
  const inRecovery = c.phase >= Phase.Recovery;
  if (!undone && c.phase !== Phase.Open && advanced && notAfter(c.recover, c.una)) {
    exitRecovery(c);
  } else if (!c.sackOk && advanced) {
    c.duplicateAcks = 0;
    if (inRecovery && !undone) {
      // RFC 6582, 3.2 step 3: a partial ACK, so the next segment is lost as well.
      c.left = Math.max(0, c.left - acked + c.mss);
      if (c.phase === Phase.Recovery) loseFirst(c);
    } else c.left = 0;
  }
  const recovering = c.phase === Phase.Recovery;
  if (sent.head !== NONE) {
    if (advanced || c.wait === Wait.Reordering || (delivered > 0 && c.wait === Wait.Probe)) rearm(c, now);
    detectLosses(c, now);
  } else if (c.wait !== Wait.Persist || c.wnd > 0) stopTimer(c);
  if (c.phase === Phase.Recovery) {
    proportional(c, delivered, advanced && recovering);
  } else if (acked > 0 && !inRecovery && c.phase === Phase.Open && (wasLimited || window.cwnd < 2 * c.mss)) {
    c.control.acked(window, acked, now);
  } else if (acked > 0 && c.phase === Phase.Loss) {
    c.control.acked(window, Math.min(acked, 2 * c.mss), now);
  }
}

/** Records before `ack` end. Returns the round trip of the latest that was sent once, ns, or -1. */
function cumulatively(c: Connection, ack: number, now: number): number {
  const { sent } = c;
  let rtt = -1;
  while (sent.head !== NONE && before(sent.start[sent.head], ack)) {
    const record = sent.head;
    const marks = sent.marks[record];
    // Of a train it may be a part, and no more of it has arrived.
    const whole = notAfter(sent.end[record], ack) || sent.split(record, ack);
    if (!(marks & Mark.Sacked)) {
      if (!(marks & Mark.Retransmitted)) rtt = now - sent.at[record];
      rackDelivered(c, record, now);
    }
    if (!whole) {
      sent.trim(ack);
      break;
    }
    sent.shift();
  }
  c.una = ack;
  return rtt;
}

/** RFC 2883, 4: the first block lies before the ACK, or inside the second. */
function isDuplicate(c: Connection, s: Segment): boolean {
  const left = s.sack[0];
  const right = s.sack[1];
  if (!before(left, right) || before(left, (c.una - Math.max(c.maxWnd, 65_535)) | 0)) return false;
  if (notAfter(right, s.ack)) return true;
  return s.sackBlocks > 1 && notAfter(s.sack[2], left) && notAfter(right, s.sack[3]);
}

/** Marks what the blocks cover. Returns the round trip of the latest that was sent once, ns, or -1. */
function selectively(c: Connection, s: Segment, from: number, now: number): number {
  const { sent } = c;
  let rtt = -1;
  for (let block = from; block < s.sackBlocks; block++) {
    const left = later(s.sack[2 * block], s.ack);
    const right = s.sack[2 * block + 1];
    // RFC 2018 trusts; what lies outside of what was sent says nothing.
    if (!before(left, right) || before(left, c.una) || before(c.nxt, right)) continue;
    let record = sent.find(left);
    while (record !== NONE && before(sent.start[record], right)) {
      if (!(sent.marks[record] & Mark.Sacked)) {
        if (before(sent.start[record], left)) {
          if (!sent.split(record, left)) break;
          record = sent.next[record];
          continue;
        }
        if (before(right, sent.end[record]) && !sent.split(record, right)) break;
        if (!(sent.marks[record] & Mark.Retransmitted)) rtt = now - sent.at[record];
        rackDelivered(c, record, now);
        sent.markSacked(record);
      }
      record = sent.next[record];
    }
  }
  return rtt;
}

/** RFC 9293, 3.10.7.4 step 5. */
export function updateWindow(c: Connection, s: Segment): void {
  const newer = before(c.wl1, s.seq) || (c.wl1 === s.seq && notAfter(c.wl2, s.ack));
  if (!newer) return;
  c.wnd = s.window << (s.flags & Flag.Syn ? 0 : c.sendScale);
  c.wl1 = s.seq;
  c.wl2 = s.ack;
  if (c.wnd > c.maxWnd) c.maxWnd = c.wnd;
}

/** RFC 8985, 7.4.2: whether the probe mended a loss that nobody else will have seen. */
function tailProbe(c: Connection, s: Segment, advanced: boolean, duplicate: boolean, now: number): void {
  if (before(s.ack, c.probeEnd)) return;
  if (!c.probeRetransmitted || duplicate) {
    c.probing = false;
  } else if (before(c.probeEnd, s.ack)) {
    // No second ACK has come in between: the probe itself has filled the hole.
    c.probing = false;
    if (c.phase !== Phase.Open) return;
    c.window.ssthresh = c.control.reduce(c.window, c.flightBefore, now);
    c.window.cwnd = c.window.ssthresh;
  } else if (!advanced && s.sackBlocks === 0) c.probing = false;
}
