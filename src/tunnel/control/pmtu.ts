/**
 * Packetization layer path MTU discovery for datagrams (RFC 8899), one direction of one session. Sizes are UDP
 * payload bytes. It sends nothing itself: `poll` says which size to probe, `answered` what came back.
 *
 * The maximum is tried first, for on most paths it fits and one round trip settles it. When it does not, BASE is
 * confirmed, then the range is halved until it is `RESOLUTION` wide. A probe counts as lost only if the peer was
 * heard after it was sent: a path that is cut says nothing about sizes.
 */

import { MIN_DATAGRAM } from './wire.ts';

/** RFC 8899, 5.1.2: BASE_PLPMTU. */
export const BASE_MTU = 1200;
/** The search ends when the answer is known this exactly. */
export const RESOLUTION = 8;
export const MAX_PROBES = 3;

/** A PROBE without padding is a little smaller than this. */
const MIN_PROBE = 64;

const MS = 1e6;
const MIN_PROBE_TIMER = 100 * MS;
const MAX_PROBE_TIMER = 1000 * MS;
/** Before a round trip was measured. */
const FIRST_PROBE_TIMER = 300 * MS;
const CONFIRM_INTERVAL = 5000 * MS;
/** RFC 8899, 5.1.1: PMTU_RAISE_TIMER. */
const RAISE_INTERVAL = 600_000 * MS;

export class PathMtu {
  /** What may be sent now. */
  current = BASE_MTU;
  /** When `poll` wants to be called (ns); Infinity when there is nothing to find. */
  deadline = Infinity;
  /** Sequence number for the next PROBE. */
  sequence = 0;

  #phase: 'off' | 'searching' | 'confirming' | 'complete' = 'off';
  #base = BASE_MTU;
  #maximum = BASE_MTU;
  #low = BASE_MTU; // passes
  #high = BASE_MTU + 1; // does not pass, or is above the maximum
  #baseConfirmed = false;
  #target = 0;
  #sent = false; // a probe for this target, the last one at #lastSent
  #lastSent = 0;
  #losses = 0;
  #firstSequence = 0; // of the probes for this target; an answer to an older one may be from another path
  #confirmAt = 0;
  #raiseAt = 0;
  #reported = 0;

  /** True once for each change that people want to know of: the result of a search, or a fall. */
  news(): boolean {
    const rising = this.#phase === 'searching' && this.current > this.#reported;
    if (rising || this.current === this.#reported) return false;
    this.#reported = this.current;
    return true;
  }

  /** A new path: back to BASE. @param maximum the least of what this end may send and the peer accepts */
  start(now: number, maximum: number): void {
    this.#maximum = maximum;
    this.#base = Math.min(BASE_MTU, maximum);
    this.current = this.#base;
    this.#reported = 0;
    this.#search(now, this.#base, maximum + 1, maximum, false);
  }

  /** The peer does not answer probes: BASE it is. */
  fix(maximum: number): void {
    this.#phase = 'off';
    this.current = this.#reported = Math.min(BASE_MTU, maximum);
    this.deadline = Infinity;
  }

  /** The path was silent and is back, perhaps another one: does what was believed hold, and does more pass? */
  recheck(now: number): void {
    if (this.#phase === 'off') return;
    this.#raiseAt = now;
    if (this.current > this.#base) this.#confirm(now);
    else this.#search(now, this.current, this.#maximum + 1, this.#maximum, false);
  }

  /**
   * @param rtt measured round trip (ns), 0 when unknown
   * @param heard when the peer was last heard (ns)
   * @param large datagrams above BASE were sent since the last call that returned a probe
   * @returns the size of the PROBE to send now, with a KEEPALIVE behind it to be heard from; or 0
   */
  poll(now: number, rtt: number, heard: number, large: boolean): number {
    if (now < this.deadline) return 0;
    if (this.#phase === 'complete') this.#wake(now, large);
    else if (this.#sent && this.#heardSince(heard, rtt) && ++this.#losses === MAX_PROBES) this.#lost(now);
    if (now < this.deadline) return 0;
    this.#sent = true;
    this.#lastSent = now;
    this.deadline = now + probeTimer(rtt);
    return this.#target;
  }

  /** On a path without delay (in virtual time) the answer to a probe comes at the instant at which it was sent. */
  #heardSince(heard: number, rtt: number): boolean {
    return heard > this.#lastSent || (rtt <= 1 && heard === this.#lastSent);
  }

  /** A PROBED. */
  answered(now: number, sequence: number, size: number): void {
    const probing = this.#phase === 'searching' || this.#phase === 'confirming';
    // Serial number arithmetic (RFC 1982): neither before the first probe of this target nor after the last.
    const early = (sequence - this.#firstSequence) | 0;
    const late = (this.sequence - 1 - sequence) | 0;
    if (!probing || size !== this.#target || early < 0 || late < 0) return;
    if (this.#phase === 'confirming') {
      this.#complete(now);
      return;
    }
    if (size >= this.#base) this.#baseConfirmed = true;
    this.#low = size;
    if (size > this.current) this.current = size;
    this.#next(now);
  }

  /** The system refused a datagram of `size` as too long (EMSGSIZE): the interface is narrower than that. */
  tooLong(now: number, size: number): void {
    if (this.#phase === 'off' || size < 1) return;
    const limit = Math.max(MIN_PROBE, size - 1);
    const probing = this.#phase === 'searching' || this.#phase === 'confirming';
    if (limit >= this.current && !(probing && limit < this.#target)) return;
    this.#high = Math.min(this.#high, limit + 1);
    if (limit < this.#base) this.#belowBase(limit);
    else if (this.current > limit) {
      // Another interface or another MTU: what was known of smaller sizes is old too.
      this.current = this.#base;
      this.#baseConfirmed = false;
    }
    this.#low = Math.min(this.#low, this.current);
    this.#next(now);
  }

  /** Not even BASE passes: there is nothing to fall back to, and the search begins at the bottom. */
  #belowBase(limit: number): void {
    this.#low = this.current = Math.min(MIN_DATAGRAM, limit);
    this.#baseConfirmed = true;
  }

  #search(now: number, low: number, high: number, target: number, baseConfirmed: boolean): void {
    this.#phase = 'searching';
    this.#low = low;
    this.#high = high;
    this.#baseConfirmed = baseConfirmed;
    this.#aim(now, target);
  }

  #aim(now: number, target: number): void {
    this.#target = target;
    this.#sent = false;
    this.#losses = 0;
    this.#firstSequence = this.sequence;
    this.deadline = now;
  }

  #confirm(now: number): void {
    this.#phase = 'confirming';
    this.#aim(now, this.current);
  }

  #complete(now: number): void {
    this.#phase = 'complete';
    this.#confirmAt = now + CONFIRM_INTERVAL;
    this.deadline = Math.min(this.#confirmAt, this.#raiseAt);
  }

  /** The target did not pass. */
  #lost(now: number): void {
    if (this.#phase === 'confirming') {
      // A black hole (RFC 8899, 4.3): the path became smaller and nobody said so.
      const failed = this.current;
      this.current = this.#base;
      this.#search(now, this.#base, Math.max(failed, this.#base + 1), this.#base, false);
      return;
    }
    if (this.#target <= this.#base && !this.#baseConfirmed) {
      this.#high = this.#target;
      this.#belowBase(this.#base);
    } else this.#high = Math.min(this.#high, this.#target);
    this.#next(now);
  }

  #next(now: number): void {
    this.#phase = 'searching';
    if (!this.#baseConfirmed) this.#aim(now, Math.min(this.#base, this.#high - 1));
    else if (this.#high - this.#low <= RESOLUTION) {
      this.#raiseAt = now + RAISE_INTERVAL;
      this.#complete(now);
    } else this.#aim(now, this.#low + ((this.#high - this.#low) >> 1));
  }

  #wake(now: number, large: boolean): void {
    const raise = now >= this.#raiseAt;
    if (raise) this.#raiseAt = now + RAISE_INTERVAL;
    if (raise && this.current < this.#maximum) {
      this.#search(now, this.current, this.#maximum + 1, this.#maximum, true);
    } else if (large && this.current > this.#base) this.#confirm(now);
    else this.#complete(now);
  }
}

/** Three round trips, within the limits: late enough for jitter, early enough for a search of a second. */
function probeTimer(rtt: number): number {
  if (rtt === 0) return FIRST_PROBE_TIMER;
  return Math.max(MIN_PROBE_TIMER, Math.min(MAX_PROBE_TIMER, 3 * rtt));
}
