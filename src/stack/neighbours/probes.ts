/** Whether another station has an IPv4 address that this one wants: ARP probes (RFC 5227, 2.1.1). */
import type { Pool } from '../../engine/pool.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import * as arp from '../../packet/arp.ts';
import { getInt32 } from '../../packet/word.ts';
import { ARP_FRAME, sameAt, writeArp } from './messages.ts';
import type { Station } from './station.ts';

/** RFC 5227, 1.1: PROBE_WAIT, PROBE_NUM, PROBE_MIN, PROBE_MAX, ANNOUNCE_WAIT. */
const LONGEST_START = SECOND;
const PROBES = 3;
const LEAST_GAP = SECOND;
const LONGEST_GAP = 2 * SECOND;
const LISTEN = 2 * SECOND;
const MOST = 16;
const NO_ADDRESS = new Uint8Array(4);

interface Probe {
  address: Uint8Array;
  /** Probes that are still to be sent. */
  left: number;
  /** ns */
  due: number;
  done(taken: boolean): void;
}

export class AddressProbes {
  /** When `run` must be called. */
  due = Number.POSITIVE_INFINITY;
  sent = 0;
  readonly #pool: Pool;
  readonly #station: Station;
  readonly #random: () => number;
  readonly #probes = new Set<Probe>();

  /** @param random from 0 to 1, which nobody can guess */
  constructor(station: Station, random: () => number) {
    this.#pool = station.pool;
    this.#station = station;
    this.#random = random;
  }

  /** @returns what ends it without a word @throws ERR_LIMIT */
  start(address: Uint8Array, now: number, done: (taken: boolean) => void): () => void {
    if (this.#probes.size >= MOST)
      throw new TunconnectorError('ERR_LIMIT', `${MOST} addresses are probed already`);
    const probe = { address, left: PROBES, due: now + Math.round(this.#random() * LONGEST_START), done };
    this.#probes.add(probe);
    this.due = Math.min(this.due, probe.due);
    return () => void this.#probes.delete(probe);
  }

  /** An ARP message of another station: whether it says that an address is not free. Two that probe the same both leave it. */
  heard(slab: Uint8Array, header: number): boolean {
    if (this.#probes.size === 0) return false;
    const sender = header + arp.SENDER_IP;
    const wants = arp.operation(slab, header) === arp.Operation.Request && getInt32(slab, sender) === 0;
    const about = wants ? header + arp.TARGET_IP : sender;
    for (const probe of this.#probes) {
      if (!sameAt(slab, about, probe.address, 0, 4)) continue;
      this.#probes.delete(probe);
      probe.done(true);
      return true;
    }
    return false;
  }

  /** Does what is due. */
  run(now: number): void {
    for (const probe of [...this.#probes]) {
      if (probe.due > now || !this.#probes.has(probe)) continue;
      if (probe.left === 0) {
        this.#probes.delete(probe);
        probe.done(false);
      } else this.#probe(probe, now);
    }
    this.due = Number.POSITIVE_INFINITY;
    for (const { due } of this.#probes) this.due = Math.min(this.due, due);
  }

  #probe(probe: Probe, now: number): void {
    const gap = LEAST_GAP + Math.round(this.#random() * (LONGEST_GAP - LEAST_GAP));
    probe.due = now + gap;
    const frame = this.#station.make(ARP_FRAME);
    // What was not asked was not answered either: again.
    if (frame < 0) return;
    const { slab, offset } = this.#pool;
    const { mac } = this.#station;
    writeArp(slab, offset[frame], arp.Operation.Request, mac, NO_ADDRESS, probe.address, undefined);
    this.#station.put(frame);
    this.sent++;
    if (--probe.left === 0) probe.due = now + LISTEN;
  }

  clear(): void {
    this.#probes.clear();
    this.due = Number.POSITIVE_INFINITY;
  }
}
