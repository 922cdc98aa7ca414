/** What happened in a simulation, as a fingerprint of all of it and a list of its packets: to find where two runs differ. */
import { createHash } from 'node:crypto';
import type { Network } from '../engine/network.ts';
import { describePacket } from '../packet/summary.ts';
import { addWitness } from '../tun/capture/witness.ts';

/** Seen on a link: as it is put in at one end, and as it comes out of the other. */
const POINTS = ['a.out', 'up.out', 'b.out', 'down.out'];
/** What gathers before it is hashed; longer than the longest packet. */
const CHUNK = 256 << 10;
const HEAD = 16;
const WHAT: Record<string, string> = {
  'a.out': 'from the first end',
  'up.out': 'to the second end',
  'b.out': 'from the second end',
  'down.out': 'to the first end',
};

/** Is told of everything that happens, when it does. @param where a host or a link; empty: the simulation */
export type Witness = (where: string, what: string) => void;

export class Trace {
  readonly #hash = createHash('sha256');
  readonly #now: () => number;
  readonly #witness: Witness | undefined;
  readonly #chunk = new Uint8Array(CHUNK);
  readonly #view = new DataView(this.#chunk.buffer);
  #gathered = 0;
  #places = 0;
  #packets = 0;

  /** @param now world time, ns */
  constructor(now: () => number, witness?: Witness) {
    this.#now = now;
    this.#witness = witness;
  }

  /** Packets on links that were seen; one that goes all the way counts twice. */
  get packets(): number {
    return this.#packets;
  }

  /** @param layer of what passes */
  watch(name: string, network: Network, layer: 'L2' | 'L3'): void {
    const { pool } = network;
    for (const { link } of network.links()) {
      const point = POINTS.find((each) => link.name.startsWith(`${each} `));
      if (point === undefined) continue;
      const place = this.#places++;
      this.#hash.update(`${place} ${name} ${point}\n`);
      addWitness(link, (handle) => {
        this.#packets++;
        const from = pool.offset[handle];
        const bytes = pool.slab.subarray(from, from + pool.length[handle]);
        this.#gather(place, bytes);
        if (!this.#witness) return;
        const text = describePacket(bytes, 0, bytes.length, layer === 'L2' ? 2 : 3);
        this.#witness(name, `${WHAT[point]}: ${text}, ${check(bytes)}`);
      });
    }
  }

  /** Time, place, length and bytes of a packet: a call of the hash for each would take longer than the hash. */
  #gather(place: number, bytes: Uint8Array): void {
    if (this.#gathered + HEAD + bytes.length > CHUNK) this.#flush();
    const at = this.#gathered;
    this.#view.setFloat64(at, this.#now());
    this.#view.setUint32(at + 8, place);
    this.#view.setUint32(at + 12, bytes.length);
    this.#chunk.set(bytes, at + HEAD);
    this.#gathered = at + HEAD + bytes.length;
  }

  #flush(): void {
    this.#hash.update(this.#chunk.subarray(0, this.#gathered));
    this.#gathered = 0;
  }

  line(host: string | undefined, text: string): void {
    this.#flush();
    this.#hash.update(`${this.#now()} ${host ?? ''}: ${text}\n`);
    this.#witness?.(host ?? '', `says: ${text}`);
  }

  /** Of all so far, and of how many events it took: 64 hexadecimal digits. */
  fingerprint(events: number): string {
    this.#flush();
    return this.#hash.copy().update(`${this.#now()} ${events}`).digest('hex');
  }
}

/** Of all its bytes: two packets that are described alike may differ. */
const check = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex').slice(0, 12);
