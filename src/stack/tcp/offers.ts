/** SYNs to hosts that this stack only stands for, until somebody says what those hosts answer. */

import { Protocol } from '../../packet/protocol.ts';
import { Flag } from '../../packet/tcp.ts';
import type { IpBelow, Refusal } from './below.ts';
import { Connection, type Owner, type TcpHandlers } from './connection.ts';
import type { Connections } from './connections.ts';
import { Offer, type OfferOwner } from './offer.ts';
import { answerSyn } from './passive.ts';
import { TcpDrop } from './reasons.ts';
import { takeSyn } from './receive.ts';
import { reply } from './reply.ts';
import type { Counts } from './report.ts';
import { addressIn } from './row.ts';
import type { Secrets } from './secrets.ts';
import { Segment } from './segment.ts';
import { SECOND, type TcpSettings } from './settings.ts';

/** How long a SYN may wait for its answer: about as long as those who send them ask again. */
const OFFER_LIFE = 130 * SECOND;

/** Who takes connections to whatever address. */
export interface Captor {
  onOffer(offer: Offer): void;
  backlog: number;
  settings: TcpSettings;
}

export class Offers implements OfferOwner {
  captor: Captor | undefined;
  readonly #owner: Owner;
  readonly #below: IpBelow;
  readonly #connections: Connections;
  readonly #secrets: Secrets;
  readonly #counts: Counts;
  /** The oldest first. */
  readonly #waiting = new Set<Offer>();
  readonly #segment = new Segment();

  constructor(owner: Owner, below: IpBelow, connections: Connections, secrets: Secrets, counts: Counts) {
    this.#owner = owner;
    this.#below = below;
    this.#connections = connections;
    this.#secrets = secrets;
    this.#counts = counts;
  }

  /** Offers a SYN to the captor. Returns why it was dropped, or -1. */
  offer(captor: Captor, key: Int32Array, s: Segment, now: number): number {
    if (this.#waiting.size >= captor.backlog || this.#connections.full) return TcpDrop.Backlog;
    const offer = new Offer(this, key, s, now + OFFER_LIFE);
    this.#connections.table.insert(offer);
    this.#waiting.add(offer);
    captor.onOffer(offer);
    return -1;
  }

  withdraw(offer: Offer): void {
    this.#forget(offer);
    offer.onWithdrawn?.();
  }

  #forget(offer: Offer): void {
    this.#connections.table.remove(offer);
    this.#waiting.delete(offer);
    offer.open = false;
  }

  // ── OfferOwner: what becomes of them.

  accept(offer: Offer, handlers: TcpHandlers): Connection | undefined {
    this.#forget(offer);
    const now = this.#below.clock[0];
    const route = this.#below.route(addressIn(offer.key, 4), addressIn(offer.key, 0));
    if (!route) return undefined;
    const { settings } = this.captor!;
    const c = new Connection(this.#connections.nextId(), this.#owner, settings, handlers, route);
    c.key.set(offer.key);
    this.#connections.add(c);
    c.stampOffset = this.#secrets.stamp(c.key);
    offer.into(this.#segment);
    takeSyn(c, this.#segment, now);
    answerSyn(c, this.#secrets, offer.askedEcn, now);
    this.#counts.accepted++;
    return c;
  }

  decline(offer: Offer, why: 'reset' | 'silence' | Refusal): void {
    this.#forget(offer);
    const [source, destination] = [addressIn(offer.key, 4), addressIn(offer.key, 0)];
    if (why === 'reset') {
      const route = this.#below.route(source, destination);
      if (!route) return;
      this.#counts.resetsSent++;
      const ack = (offer.seq + 1) | 0;
      reply(this.#below, route, offer.key[8], 0, ack, Flag.Rst | Flag.Ack, 0, false, 0, 0);
    } else if (why !== 'silence') {
      this.#below.refuse(why, source, destination, Protocol.Tcp, offer.header());
    }
    this.#below.wake();
  }

  // ── Time.

  /** When the oldest one ends, ns or Infinity. */
  first(): number {
    for (const offer of this.#waiting) return offer.until;
    return Number.POSITIVE_INFINITY;
  }

  expire(now: number): void {
    for (const offer of this.#waiting) {
      if (offer.until > now) return;
      this.withdraw(offer);
    }
  }

  close(): void {
    for (const offer of [...this.#waiting]) this.withdraw(offer);
  }
}
