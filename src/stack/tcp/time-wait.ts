/** Connections that have ended, for as long as their last segments may still come (RFC 9293, 3.6.1). Little is kept. */
import { Flag } from '../../packet/tcp.ts';
import { Row } from './row.ts';
import type { Segment } from './segment.ts';
import { before } from './sequence.ts';
import { TIME_WAIT } from './settings.ts';

export class TimeWait extends Row {
  readonly timeWait = true;
  nxt = 0;
  next = 0;
  window = 0;
  timestampsOk = false;
  /** Whether this side uses time stamps with peers that have them. */
  timestampsUsed = false;
  stampOffset = 0;
  recent = 0;
  until = 0;
}

/** What is to be done about a segment. */
export const Late = { Nothing: 0, Ack: 1, Again: 2 } as const;

/** RFC 9293, 3.10.7.4, with RFC 1337 (a RST ends nothing) and RFC 6191 (a new connection may come early). */
export function late(w: TimeWait, s: Segment): number {
  if (s.flags & Flag.Rst) return Late.Nothing;
  if ((s.flags & (Flag.Syn | Flag.Ack)) === Flag.Syn) {
    return isNew(w, s) ? Late.Again : Late.Ack;
  }
  return s.length > 0 || s.flags & (Flag.Fin | Flag.Syn) ? Late.Ack : Late.Nothing;
}

/** RFC 6191, 2: by its time stamp, where the new connection will have them; else by its number. */
function isNew(w: TimeWait, s: Segment): boolean {
  const later = before(w.next, s.seq);
  if (!w.timestampsUsed || !s.timestamps) return later;
  if (!w.timestampsOk || before(w.recent, s.tsval)) return true;
  return s.tsval === w.recent && later;
}

/** Those there are, the oldest first. When there are too many, the oldest ends early. */
export class TimeWaits {
  readonly #rows = new Set<TimeWait>();
  readonly #limit: number;
  readonly #end: (row: TimeWait) => void;

  constructor(limit: number, end: (row: TimeWait) => void) {
    this.#limit = limit;
    this.#end = end;
  }

  get size(): number {
    return this.#rows.size;
  }

  add(row: TimeWait, now: number): void {
    if (this.#rows.size >= this.#limit)
      for (const oldest of this.#rows) {
        this.remove(oldest);
        break;
      }
    row.until = now + TIME_WAIT;
    this.#rows.add(row);
  }

  /** The peer's FIN came again: it waits anew. */
  restart(row: TimeWait, now: number): void {
    this.#rows.delete(row);
    row.until = now + TIME_WAIT;
    this.#rows.add(row);
  }

  remove(row: TimeWait): void {
    if (this.#rows.delete(row)) this.#end(row);
  }

  /** When the next one ends, ns or Infinity. */
  first(): number {
    for (const row of this.#rows) return row.until;
    return Number.POSITIVE_INFINITY;
  }

  expire(now: number): void {
    for (const row of this.#rows) {
      if (row.until > now) return;
      this.remove(row);
    }
  }
}
