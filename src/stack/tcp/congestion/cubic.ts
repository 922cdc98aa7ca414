/** CUBIC (RFC 9438), in segments and seconds. All of it is +, -, * and /, so that it is the same on every machine. */
import type { CongestionControl, Window } from './control.ts';

const C = 0.4;
const BETA = 0.7;
/** RFC 9438, 4.3: Reno's increase with this decrease. */
const ALPHA = (3 * (1 - BETA)) / (1 + BETA);

/** By Newton's method: Math.cbrt may differ from machine to machine. */
export function cubeRoot(x: number): number {
  if (x <= 0) return 0;
  let root = 1;
  while (root * root * root < x) root *= 2;
  for (let i = 0; i < 8; i++) root -= (root * root * root - x) / (3 * root * root);
  return root;
}

export class Cubic implements CongestionControl {
  readonly name = 'cubic';
  #wMax = 0;
  #k = 0;
  /** When the current epoch began, ns; -1: with the next ACK in congestion avoidance. */
  #epoch = -1;
  #wEst = 0;
  /** Fractions of a segment that the window is still to grow. */
  #owed = 0;
  #before = 0;

  acked(window: Window, bytes: number, now: number): void {
    if (window.cwnd < window.ssthresh) {
      const grow = Math.min(bytes, window.ssthresh - window.cwnd);
      window.cwnd += grow;
      bytes -= grow;
      if (bytes === 0) return;
    }
    const cwnd = window.cwnd / window.mss;
    const acked = bytes / window.mss;
    if (this.#epoch < 0) {
      this.#epoch = now;
      this.#wEst = cwnd;
      if (this.#wMax < cwnd) {
        this.#wMax = cwnd;
        this.#k = 0;
      } else this.#k = cubeRoot((this.#wMax - cwnd) / C);
    }
    // 4.2: where the curve will be one round trip from now, but no more than half as much again.
    const t = (now - this.#epoch + window.srtt) / 1e9 - this.#k;
    const target = Math.min(Math.max(C * t * t * t + this.#wMax, cwnd), 1.5 * cwnd);
    // 4.3: never slower than Reno.
    this.#wEst += (this.#wEst < this.#before ? ALPHA : 1) * (acked / cwnd);
    const grow = Math.max(((target - cwnd) / cwnd) * acked, this.#wEst - cwnd - this.#owed);
    if (grow > 0) this.#owed += grow;
    const whole = Math.trunc(this.#owed * window.mss);
    window.cwnd += whole;
    this.#owed -= whole / window.mss;
  }

  reduce(window: Window, flight: number): number {
    const cwnd = window.cwnd / window.mss;
    this.#before = cwnd;
    // 4.7: a flow that lost before it reached its last maximum makes room for others.
    this.#wMax = cwnd < this.#wMax ? (cwnd * (1 + BETA)) / 2 : cwnd;
    this.#epoch = -1;
    this.#owed = 0;
    // 4.6: of what is under way, so that a window that was not used does not count.
    return Math.max(Math.trunc(Math.min(window.cwnd, flight + 2 * window.mss) * BETA), 2 * window.mss);
  }

  timeout(): void {
    this.#epoch = -1;
  }

  undo(window: Window): void {
    this.#wMax = Math.max(this.#wMax, window.cwnd / window.mss);
    this.#epoch = -1;
  }

  idle(): void {
    this.#epoch = -1;
  }
}
