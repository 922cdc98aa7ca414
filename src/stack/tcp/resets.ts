/** RSTs: for connections that end, and for segments that nobody wants (RFC 9293, 3.10.7). */
import { Flag } from '../../packet/tcp.ts';
import type { IpBelow, Route } from './below.ts';
import type { Connection } from './connection.ts';
import { stampOf } from './emit.ts';
import { reply } from './reply.ts';
import type { Counts } from './report.ts';
import { addressIn } from './row.ts';
import type { Segment } from './segment.ts';

/** The connection's route, looked up anew when it leads nowhere any more; undefined when no other does. */
export function routeOf(below: IpBelow, c: Connection): Route | undefined {
  if (!c.route.stale) return c.route;
  const route = below.route(c.route.destination, c.route.source);
  if (route) c.route = route;
  return route;
}

export class Resets {
  readonly #below: IpBelow;
  readonly #counts: Counts;

  constructor(below: IpBelow, counts: Counts) {
    this.#below = below;
    this.#counts = counts;
  }

  /** Tells the peer that it is over. */
  end(c: Connection): void {
    this.#counts.resetsSent++;
    const route = routeOf(this.#below, c);
    if (!route) return;
    const stamp = stampOf(c, this.#below.clock[0]);
    const flags = Flag.Rst | Flag.Ack;
    reply(this.#below, route, c.key[8], c.nxt, c.next, flags, 0, c.timestampsOk, stamp, c.recent);
  }

  /** Answers a segment for a connection. */
  refuse(c: Connection, s: Segment): void {
    this.#counts.resetsSent++;
    const route = routeOf(this.#below, c);
    if (!route) return;
    // RFC 9293, 3.10.7.4: of a segment with an ACK its number is believed.
    if (s.flags & Flag.Ack) reply(this.#below, route, c.key[8], s.ack, 0, Flag.Rst, 0, false, 0, 0);
    else reply(this.#below, route, c.key[8], c.nxt, c.next, Flag.Rst | Flag.Ack, 0, false, 0, 0);
  }

  /** Answers a segment that has no connection (RFC 9293, 3.10.7.1). */
  stranger(key: Int32Array, s: Segment): void {
    const route = this.#below.route(addressIn(key, 4), addressIn(key, 0));
    if (!route) return;
    this.#counts.resetsSent++;
    if (s.flags & Flag.Ack) {
      reply(this.#below, route, key[8], s.ack, 0, Flag.Rst, 0, false, 0, 0);
      return;
    }
    const ack = (s.seq + s.length + (s.flags & Flag.Syn ? 1 : 0) + (s.flags & Flag.Fin ? 1 : 0)) | 0;
    reply(this.#below, route, key[8], 0, ack, Flag.Rst | Flag.Ack, 0, false, 0, 0);
  }
}
