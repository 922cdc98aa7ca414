/** TCP of clients: which connections are opened, and how many. */
import { formatIpAt } from '../packet/address.ts';
import type { Offer } from '../stack/tcp/offer.ts';
import { Joined } from './connection.ts';
import type { Counts } from './counts.ts';
import type { Outward } from './outward.ts';
import type { Reach } from './reach.ts';
import { Sources } from './sources.ts';

export interface TcpDeliveryLimits {
  connections: number;
  perSource: number;
}

export class TcpDelivery {
  readonly #reach: Reach;
  readonly #outward: Outward;
  readonly #counts: Counts;
  readonly #most: number;
  readonly #sources: Sources;
  readonly #joined = new Set<Joined>();

  constructor(reach: Reach, outward: Outward, counts: Counts, limits: TcpDeliveryLimits) {
    this.#reach = reach;
    this.#outward = outward;
    this.#counts = counts;
    this.#most = limits.connections;
    this.#sources = new Sources(limits.perSource);
  }

  onOffer = (offer: Offer): void => {
    const counts = this.#counts;
    const target = this.#reach.find(offer.destination, offer.localPort);
    if (!target) {
      counts.prohibited++;
      offer.decline('prohibited');
      return;
    }
    const source = offer.sourceAddress;
    if (this.#joined.size >= this.#most || !this.#sources.take(source)) {
      counts.refused++;
      // It asks again, and there may be room then.
      offer.decline('silence');
      return;
    }
    const address = formatIpAt(target.bytes, 0, target.bytes.length === 4 ? 4 : 6);
    const joined: Joined = new Joined(
      offer,
      (handlers) => this.#outward.connect(address, target.port, handlers),
      (ending) => {
        this.#joined.delete(joined);
        this.#sources.release(source);
        counts.connections = this.#joined.size;
        counts.bytesUp += joined.up;
        counts.bytesDown += joined.down;
        if (ending === 'failed') counts.failed++;
        else if (ending === 'broken') counts.broken++;
      },
    );
    this.#joined.add(joined);
    counts.opened++;
    counts.connections = this.#joined.size;
  };

  /** Bytes of the connections that there are: from clients, and to them. */
  get underWay(): [up: number, down: number] {
    let [up, down] = [0, 0];
    for (const joined of this.#joined) {
      up += joined.up;
      down += joined.down;
    }
    return [up, down];
  }

  close(): void {
    for (const joined of [...this.#joined]) joined.destroy();
  }
}
