/** What happened in a simulation, as a fingerprint of all of it and a list of its packets: to find where two runs differ. */
import { createHash } from 'node:crypto';
import type { Network } from '../engine/network.ts';
import { addWitness } from '../tun/capture/witness.ts';

/** Seen on a link: as it is put in at one end, and as it comes out of the other. */
const POINTS = ['a.out', 'up.out', 'b.out', 'down.out'];

export class Trace {
  readonly #hash = createHash('sha256');
  readonly #now: () => number;
  #packets = 0;

  /** @param now world time, ns */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Packets on links that were seen; one that goes all the way counts twice. */
  get packets(): number {
    return this.#packets;
  }

  watch(name: string, network: Network): void {
    const { pool } = network;
    for (const { link } of network.links()) {
      const point = POINTS.find((each) => link.name.startsWith(`${each} `));
      if (point === undefined) continue;
      addWitness(link, (handle) => {
        this.#packets++;
        const from = pool.offset[handle];
        this.#hash.update(`${this.#now()} ${name} ${point} ${pool.length[handle]}\n`);
        this.#hash.update(pool.slab.subarray(from, from + pool.length[handle]));
      });
    }
  }

  line(text: string): void {
    this.#hash.update(`${this.#now()} ${text}\n`);
  }

  /** Of all so far, and of how many events it took: 64 hexadecimal digits. */
  fingerprint(events: number): string {
    return this.#hash.copy().update(`${this.#now()} ${events}`).digest('hex');
  }
}
