/**
 * Congestion control as a plug-in (RFC 5681): it says how large the window is, TCP says what happened. Loss detection,
 * retransmission and the reduction while a loss is mended (RFC 6937) are TCP's own.
 */

/** What a controller and TCP share, for one connection. Whole bytes; times in ns. */
export interface Window {
  cwnd: number;
  ssthresh: number;
  /** Sender's maximum segment size. */
  mss: number;
  /** Smoothed round trip, and the shortest; 0 when none was measured. */
  srtt: number;
  minRtt: number;
}

/** One per connection. Arithmetic must be the same on every machine: + - * / and comparisons are. */
export interface CongestionControl {
  readonly name: string;
  /** `bytes` were newly acknowledged, and the window was what limited the sender: grow `window.cwnd`. */
  acked(window: Window, bytes: number, now: number): void;
  /** Loss or ECN: returns the new `ssthresh`, which the window goes down to. @param flight bytes under way */
  reduce(window: Window, flight: number, now: number): number;
  /** The retransmission timer ran out; `cwnd` is one segment now. */
  timeout?(window: Window, now: number): void;
  /** What was taken for a loss was none: window and threshold are as before it. */
  undo?(window: Window, now: number): void;
  /** Nothing was sent for longer than a retransmission timeout; `cwnd` has been restarted. */
  idle?(window: Window, now: number): void;
}

export type CongestionFactory = () => CongestionControl;
