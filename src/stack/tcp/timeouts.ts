/** What happens when a connection's timers are due. */
import type { IpBelow } from './below.ts';
import type { Connection } from './connection.ts';
import { detectLosses, proportional, timedOut } from './loss.ts';
import { NONE } from './sent.ts';
import { before, distance } from './sequence.ts';
import { SECOND } from './settings.ts';
import { Phase, State, type TcpErrorCode, Time, Wait } from './state.ts';
import { backedOff, rearm, setTimer, stopTimer } from './timers.ts';
import { probe, retransmit, sendNew } from './transmit.ts';

const NEVER = Number.POSITIVE_INFINITY;

/** Does what is due. Returns why the connection must end, or undefined. */
export function expire(below: IpBelow, c: Connection, now: number): TcpErrorCode | 'linger' | undefined {
  const { time } = c;
  if (time[Time.linger] <= now) return 'linger';
  if (time[Time.retry] <= now) time[Time.retry] = NEVER;
  if (time[Time.delayedAck] <= now) {
    time[Time.delayedAck] = NEVER;
    c.ackNow = true;
  }
  if (isUnheard(c, now)) return c.softError ?? 'ETIMEDOUT';
  if (time[Time.keepAlive] <= now) {
    if (c.probesUnanswered >= c.settings.keepAliveProbes) return c.softError ?? 'ETIMEDOUT';
    time[Time.keepAlive] = now + c.settings.keepAliveInterval;
    // With data under way the retransmission timer does the asking (RFC 9293, 3.8.4).
    if (c.sent.head === NONE && c.state >= State.Established) {
      c.probesUnanswered++;
      probe(below, c);
    }
  }
  if (time[Time.retransmit] <= now) return retransmission(below, c, now);
  return undefined;
}

function isUnheard(c: Connection, now: number): boolean {
  if (c.state < State.Established) return false;
  const limit = c.settings.userTimeout;
  if (c.wait === Wait.Persist) return now - c.time[Time.received] >= limit && c.backoff > 1;
  return c.wait !== Wait.Nothing && c.sent.head !== NONE && now - c.time[Time.progress] >= limit;
}

function retransmission(below: IpBelow, c: Connection, now: number): TcpErrorCode | undefined {
  if (c.state === State.SynSent || c.state === State.SynReceived) {
    if (++c.backoff > c.settings.synRetries) return c.softError ?? 'ETIMEDOUT';
    c.synPending = true;
    c.retransmissions++;
    setTimer(c, c.wait, now + SECOND * 2 ** c.backoff);
    return undefined;
  }
  switch (c.wait) {
    case Wait.Rto:
      if (c.sent.head === NONE) stopTimer(c);
      else {
        c.backoff = Math.min(c.backoff + 1, 16);
        timedOut(c, now);
        setTimer(c, Wait.Rto, now + backedOff(c));
      }
      break;
    case Wait.Probe:
      tailProbe(below, c, now);
      break;
    case Wait.Reordering:
      rearm(c, now);
      c.flightBefore = 0;
      detectLosses(c, now);
      if (c.phase === Phase.Recovery) proportional(c, 0, false);
      break;
    case Wait.Persist:
      persist(below, c, now);
      break;
    default:
      stopTimer(c);
  }
  return undefined;
}

/** RFC 8985, 7.3: one segment, new or the last one again, so that the peer says what it has. */
function tailProbe(below: IpBelow, c: Connection, now: number): void {
  const { sent } = c;
  if (sent.head === NONE) {
    stopTimer(c);
    return;
  }
  setTimer(c, Wait.Rto, now + backedOff(c));
  if (below.room(c.route) <= 0) return;
  const waiting = c.finSent ? 0 : Math.min(distance(c.nxt, c.written), c.wnd - c.flight, c.mss);
  if (waiting > 0 && sendNew(below, c, waiting)) {
    c.probeRetransmitted = false;
  } else {
    const record = sent.tail;
    const cut = (sent.end[record] - c.mss) | 0;
    if (before(sent.start[record], cut) && !sent.split(record, cut)) return;
    if (!retransmit(below, c, sent.tail, c.mss)) return;
    c.probeRetransmitted = true;
  }
  c.probing = true;
  c.probeEnd = c.nxt;
  setTimer(c, Wait.Rto, now + backedOff(c));
}

/** RFC 9293, 3.8.6.1. A window that is open, but too small to be worth it, is used now (RFC 1122, 4.2.3.4). */
function persist(below: IpBelow, c: Connection, now: number): void {
  const waiting = c.finSent ? 0 : distance(c.nxt, c.written);
  if (c.sent.head !== NONE || waiting <= 0) {
    stopTimer(c);
    return;
  }
  c.backoff = Math.min(c.backoff + 1, 16);
  setTimer(c, Wait.Persist, now + backedOff(c));
  if (below.room(c.route) <= 0) return;
  const usable = Math.min(waiting, c.wnd, c.mss);
  if (usable > 0) sendNew(below, c, usable);
  else probe(below, c);
}
