/** Whether the size of a path is settled, by session: until then, what may be too long is fragmented, not refused. */
import { SECOND } from '../engine/units.ts';
import type { TunnelEvent } from './control/session.ts';

const SEARCH = 5 * SECOND;

export class PathState {
  readonly #settled: Float64Array;
  readonly #size: Int32Array;

  constructor(sessions: number) {
    this.#settled = new Float64Array(sessions);
    this.#size = new Int32Array(sessions);
  }

  /** To be told every event of the control protocol. */
  note(event: TunnelEvent): void {
    const { session, type, time, mtu } = event;
    if (session < 0) return;
    if (type === 'up' || type === 'moved' || type === 'back') this.#settled[session] = time + SEARCH;
    if (type === 'pmtu') {
      // After a fall a new search begins, which may end higher.
      this.#settled[session] = mtu < this.#size[session] ? time + SEARCH : 0;
      this.#size[session] = mtu;
    }
  }

  settled(session: number, now: number): boolean {
    return now >= this.#settled[session];
  }
}
