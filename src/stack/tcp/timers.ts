/** Round trips and the timers that follow from them (RFC 6298, RFC 8985). */
import type { Connection } from './connection.ts';
import { NONE } from './sent.ts';
import { MS, SECOND } from './settings.ts';
import { Phase, Time, Wait } from './state.ts';

const NEVER = Number.POSITIVE_INFINITY;
const MAX_RTO = 60 * SECOND;
/** The clock's granularity, G of RFC 6298. */
const GRANULARITY = MS;
/** RFC 8985, 7.2: what a delayed ACK may take. */
const WORST_DELAYED_ACK = 200 * MS;
/** RFC 8985, 6.2 wants a minimum over a time, so that a new path is found out. */
const MIN_RTT_WINDOW = 300 * SECOND;

/** RFC 6298, 2. @param rtt ns */
export function sampleRtt(c: Connection, rtt: number, now: number): void {
  const { time, window } = c;
  const sample = Math.max(rtt, 1);
  if (time[Time.srtt] === 0) {
    time[Time.srtt] = sample;
    time[Time.rttvar] = sample / 2;
  } else {
    time[Time.rttvar] = 0.75 * time[Time.rttvar] + 0.25 * Math.abs(time[Time.srtt] - sample);
    time[Time.srtt] = 0.875 * time[Time.srtt] + 0.125 * sample;
  }
  if (time[Time.minRtt] === 0 || sample <= time[Time.minRtt] || now - time[Time.minRttAt] > MIN_RTT_WINDOW) {
    time[Time.minRtt] = sample;
    time[Time.minRttAt] = now;
  }
  window.srtt = time[Time.srtt];
  window.minRtt = time[Time.minRtt];
  const rto = time[Time.srtt] + Math.max(GRANULARITY, 4 * time[Time.rttvar]);
  time[Time.rto] = Math.round(Math.min(Math.max(rto, c.settings.minRto), MAX_RTO));
}

/** The timeout with its backoff (RFC 6298, 5.5). */
export const backedOff = (c: Connection): number => Math.min(c.time[Time.rto] * 2 ** c.backoff, MAX_RTO);

/** Starts the retransmission timer anew, or a probe before it where RFC 8985, 7.2 wants one. */
export function rearm(c: Connection, now: number): void {
  const { sent, time } = c;
  if (sent.head === NONE) {
    if (c.wait !== Wait.Persist) stopTimer(c);
    return;
  }
  const rto = now + backedOff(c);
  if (
    c.sackOk &&
    c.phase === Phase.Open &&
    c.backoff === 0 &&
    !c.probing &&
    sent.sacked === 0 &&
    sent.lost === 0
  ) {
    const srtt = time[Time.srtt];
    const single = c.flight <= c.mss;
    const probe = srtt === 0 ? SECOND : 2 * srtt + (single ? WORST_DELAYED_ACK : 2 * MS);
    setTimer(c, Wait.Probe, Math.round(Math.min(now + probe, rto)));
    return;
  }
  setTimer(c, Wait.Rto, rto);
}

export function setTimer(c: Connection, wait: number, at: number): void {
  c.wait = wait;
  c.time[Time.retransmit] = at;
}

export function stopTimer(c: Connection): void {
  c.wait = Wait.Nothing;
  c.time[Time.retransmit] = NEVER;
}

/** The earliest deadline, ns or Infinity. */
export function deadlineOf(c: Connection): number {
  const { time } = c;
  let first = time[0];
  for (let i = 1; i < Time.deadlines; i++) if (time[i] < first) first = time[i];
  // What was sent may go unacknowledged for so long and no longer.
  if (c.wait === Wait.Rto || c.wait === Wait.Probe || c.wait === Wait.Reordering) {
    const end = time[Time.progress] + c.settings.userTimeout;
    if (end < first) first = end;
  }
  return first;
}
