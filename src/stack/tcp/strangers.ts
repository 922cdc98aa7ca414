/** Segments that have no connection: for a listener, for whoever takes what is for others, late for one in TIME-WAIT, or for nobody. */
import { Flag } from '../../packet/tcp.ts';
import type { IpBelow } from './below.ts';
import type { Connections } from './connections.ts';
import type { Listeners } from './listeners.ts';
import type { Offer } from './offer.ts';
import type { Offers } from './offers.ts';
import type { PassiveOpening } from './passive.ts';
import { TcpDrop } from './reasons.ts';
import { receive, type Verdicts } from './receive.ts';
import { reply } from './reply.ts';
import type { Resets } from './resets.ts';
import { addressIn } from './row.ts';
import type { Segment } from './segment.ts';
import { Late, late, type TimeWait } from './time-wait.ts';

export interface StrangerParts {
  below: IpBelow;
  connections: Connections;
  listeners: Listeners;
  passive: PassiveOpening;
  offers: Offers;
  resets: Resets;
  verdicts: Verdicts;
}

export class Strangers {
  readonly #parts: StrangerParts;

  constructor(parts: StrangerParts) {
    this.#parts = parts;
  }

  /** RFC 9293, 3.10.7.1 and 3.10.7.2. Returns why it was dropped, or -1. */
  input(key: Int32Array, s: Segment, slab: Uint8Array, now: number): number {
    const { listeners, passive, offers, resets, verdicts } = this.#parts;
    if (s.flags & Flag.Rst) return TcpDrop.NoConnection;
    const listener = listeners.find(key);
    const kind = s.flags & (Flag.Syn | Flag.Ack | Flag.Fin);
    if (listener !== undefined && kind === Flag.Syn) return passive.syn(listener, key, s, now);
    if (listener !== undefined && kind & Flag.Ack && !(kind & Flag.Syn)) {
      const c = passive.cookie(listener, key, s, now);
      if (c !== undefined) return receive(verdicts, c, s, slab, now) ? -1 : TcpDrop.Unacceptable;
    }
    if (offers.captor !== undefined && listener === undefined && kind === Flag.Syn)
      return offers.offer(offers.captor, key, s, now);
    resets.stranger(key, s);
    return TcpDrop.NoConnection;
  }

  /** Something more of somebody whose SYN waits for its answer. */
  again(offer: Offer, key: Int32Array, s: Segment, slab: Uint8Array, now: number): number {
    const { offers } = this.#parts;
    const kind = s.flags & (Flag.Syn | Flag.Ack | Flag.Rst);
    if (kind === Flag.Syn && s.seq !== offer.seq) {
      offers.withdraw(offer);
      return this.input(key, s, slab, now);
    }
    // RFC 9293, 3.10.7.4: nothing but the very next number ends it.
    if (kind & Flag.Rst && s.seq === ((offer.seq + 1) | 0)) offers.withdraw(offer);
    return kind === Flag.Syn || kind & Flag.Rst ? -1 : TcpDrop.Unacceptable;
  }

  /** For a connection in TIME-WAIT: its last ACK again, or, by a new SYN, a new connection. */
  late(row: TimeWait, key: Int32Array, s: Segment, slab: Uint8Array, now: number): number {
    const { below, connections, listeners } = this.#parts;
    const what = late(row, s);
    if (what === Late.Again && listeners.find(row.key) !== undefined) {
      connections.timeWaits.remove(row);
      return this.input(key, s, slab, now);
    }
    if (what === Late.Nothing) return TcpDrop.Unacceptable;
    if (s.flags & Flag.Fin) connections.timeWaits.restart(row, now);
    const route = below.route(addressIn(row.key, 4), addressIn(row.key, 0));
    if (route) {
      const stamp = (Math.trunc(now / 1e6) + row.stampOffset) | 0;
      const { nxt, next, window, timestampsOk, recent } = row;
      reply(below, route, row.key[8], nxt, next, Flag.Ack, window, timestampsOk, stamp, recent);
    }
    return TcpDrop.Unacceptable;
  }
}
