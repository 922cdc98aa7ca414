/**
 * A simulated switch: a learning bridge between links of Ethernet frames (IEEE 802.1D, without spanning tree: there are no loops). It takes no
 * time and holds nothing: what a link brings is copied into the links that it leaves by.
 */
import type { Pool } from '../../engine/pool.ts';
import { Reason, reason } from '../../engine/reasons.ts';
import * as ethernet from '../../packet/ethernet.ts';
import { get16, get32 } from '../../packet/word.ts';
import { TAKEN, type WireEnd, type WireFar } from '../../tun/wire.ts';
import { MacTable } from '../../tunnel/mac-table.ts';

export const SwitchDrop = {
  /** For where it comes from. */
  Returning: reason('returning'),
  /** The two hosts are apart. */
  Apart: reason('apart'),
} as const;

/** Who is in which set, in one partition. */
export type Sets = ReadonlyMap<string, number>;

/** A number for each address, for what is asked rarely. */
export const macKey = (bytes: Uint8Array, at: number): number =>
  get16(bytes, at) * 2 ** 32 + (get32(bytes, at + 2) >>> 0);

export interface SwitchReport {
  /** Frames that came. */
  received: number;
  /** Frames that left by one link, because it is known where their station is. */
  forwarded: number;
  /** Frames that left by all others. */
  flooded: number;
  /** Frames that found no way, or no room where they were to leave. */
  dropped: number;
}

const Count = { received: 0, forwarded: 1, flooded: 2, dropped: 3 } as const;

export class SimSwitch {
  readonly name: string;
  readonly #ports: SwitchPort[] = [];
  readonly #macs = new MacTable();
  readonly #counts = new Float64Array(4);
  /** By `macKey`: hosts. */
  readonly #stations: ReadonlyMap<number, string>;
  /** By who wants it: hosts that do not hear each other. */
  readonly #apart = new Map<number, Sets>();

  /** @param stations hosts by the number of their link-layer addresses */
  constructor(name: string, stations: ReadonlyMap<number, string>) {
    this.name = name;
    this.#stations = stations;
  }

  /** One port more. @param host at the other end of its link; undefined: another switch */
  port(host: string | undefined): SwitchPort {
    const port = new SwitchPort(this, this.#ports.length, host);
    this.#ports.push(port);
    return port;
  }

  /** From now on hosts in different sets do not hear each other. @param sets undefined: they do again */
  separate(by: number, sets: Sets | undefined): void {
    if (sets) this.#apart.set(by, sets);
    else this.#apart.delete(by);
  }

  /** A frame that came in by a port. See `WireFar`. */
  frame(from: Pool, words: Int32Array, frame: number, now: number, by: number): number {
    const counts = this.#counts;
    const { slab } = from;
    const at = from.offset[frame]!;
    counts[Count.received]!++;
    if (from.length[frame]! < ethernet.HEADER || ethernet.isMulticast(slab, at + ethernet.SOURCE)) {
      counts[Count.dropped]!++;
      return Reason.Malformed;
    }
    this.#macs.learn(slab, at + ethernet.SOURCE, by, now);
    const to = this.#macs.lookup(slab, at, now);
    if (to < 0) {
      counts[Count.flooded]!++;
      for (let n = 0; n < this.#ports.length; n++)
        if (n !== by && this.#pass(from, words, frame, now, n) !== TAKEN) counts[Count.dropped]!++;
      return TAKEN;
    }
    const refused = to === by ? SwitchDrop.Returning : this.#pass(from, words, frame, now, to);
    counts[refused === TAKEN ? Count.forwarded : Count.dropped]!++;
    return refused;
  }

  #pass(from: Pool, words: Int32Array, frame: number, now: number, to: number): number {
    const { far, host } = this.#ports[to]!;
    if (far === undefined) return Reason.Unlinked;
    if (this.#apart.size > 0 && host !== undefined) {
      const station = this.#stations.get(macKey(from.slab, from.offset[frame]! + ethernet.SOURCE));
      if (station !== undefined && this.#areApart(station, host)) return SwitchDrop.Apart;
    }
    return far.take(from, words, frame, now);
  }

  #areApart(a: string, b: string): boolean {
    for (const sets of this.#apart.values()) {
      const [one, other] = [sets.get(a), sets.get(b)];
      if (one !== undefined && other !== undefined && one !== other) return true;
    }
    return false;
  }

  inspect(): SwitchReport {
    const [received, forwarded, flooded, dropped] = this.#counts as unknown as [
      number,
      number,
      number,
      number,
    ];
    return { received, forwarded, flooded, dropped };
  }
}

export class SwitchPort implements WireFar {
  readonly host: string | undefined;
  far: WireEnd | undefined;
  readonly #switch: SimSwitch;
  readonly #number: number;

  constructor(owner: SimSwitch, number: number, host: string | undefined) {
    this.#switch = owner;
    this.#number = number;
    this.host = host;
  }

  join(far: WireEnd | undefined): void {
    this.far = far;
  }

  take(from: Pool, words: Int32Array, packet: number, now: number): number {
    return this.#switch.frame(from, words, packet, now, this.#number);
  }
}
