/** RFC 5681 with appropriate byte counting (RFC 3465), whose limit is what was acknowledged: peers may merge their ACKs. */
import type { CongestionControl, Window } from './control.ts';

export class NewReno implements CongestionControl {
  readonly name = 'newreno';
  #counted = 0;

  acked(window: Window, bytes: number): void {
    if (window.cwnd < window.ssthresh) {
      const grow = Math.min(bytes, window.ssthresh - window.cwnd);
      window.cwnd += grow;
      bytes -= grow;
    }
    this.#counted += bytes;
    if (this.#counted < window.cwnd) return;
    this.#counted -= window.cwnd;
    window.cwnd += window.mss;
  }

  reduce(window: Window, flight: number): number {
    this.#counted = 0;
    return Math.max(Math.trunc(flight / 2), 2 * window.mss);
  }
}
