/**
 * Which link-layer address a neighbour has: asked for when a packet needs it, believed when it was asked for, and asked about
 * again when it is old or somebody contradicts it (RFC 4861, 7.2 and 7.3).
 */
import { ADDRESS_ROW } from '../../engine/address-book.ts';
import type { Pool } from '../../engine/pool.ts';
import { SECOND } from '../../engine/units.ts';
import * as arp from '../../packet/arp.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { ARP_FRAME, groupMac, ND_FRAME, sameAt, writeArp, writeSolicitation } from './messages.ts';
import { NeighbourDrop } from './reasons.ts';
import type { Station } from './station.ts';
import { type NeighbourTable, NONE, State } from './table.ts';

/** RFC 4861, 10. */
const REACHABLE = 30 * SECOND;
const RETRANSMIT = SECOND;
const DELAY = 5 * SECOND;
const TRIES = 3;
const NO_ADDRESS = new Uint8Array(4);

export class Resolution {
  readonly table: NeighbourTable;
  /** One cell: when `timers` must be called. */
  readonly due: Float64Array;
  asked = 0;
  readonly #station: Station;
  readonly #pool: Pool;
  readonly #address = new Uint8Array(16);
  readonly #group = new Uint8Array(6);

  constructor(station: Station, table: NeighbourTable, due: Float64Array) {
    this.#station = station;
    this.#pool = station.pool;
    this.table = table;
    this.due = due;
  }

  /** A packet of the stack: it leaves, waits for its neighbour, or is dropped. */
  packet(packet: number, now: number): void {
    const pool = this.#pool;
    const { slab } = pool;
    const at = pool.offset[packet];
    const family = slab[at] >> 4 === 4 ? 4 : 6;
    const peer = pool.peer[packet];
    const bytes = peer >= 0 ? pool.addresses.rows : slab;
    const to = peer >= 0 ? peer * ADDRESS_ROW + 4 : at + (family === 4 ? ipv4.DESTINATION : ipv6.DESTINATION);
    if (family === 4 ? this.#station.isGroup4(bytes, to) : bytes[to] === 0xff) {
      if (family === 4 && (bytes[to] < 224 || bytes[to] >= 240)) this.#group.fill(0xff);
      else groupMac(bytes, to, family, this.#group, 0);
      this.#station.send(packet, this.#group, 0);
      return;
    }
    const table = this.table;
    let row = table.find(bytes, to, family);
    if (row === NONE) {
      row = table.insert(bytes, to, family, now);
      table.state[row] = State.Incomplete;
      table.keep(row, packet);
      this.#ask(row, now);
      return;
    }
    table.use(row, now);
    const state = table.state[row];
    if (state === State.Incomplete) {
      table.keep(row, packet);
      return;
    }
    if (state === State.Stale || (state === State.Reachable && table.deadline[row] <= now)) {
      table.state[row] = State.Delay;
      this.#schedule(row, now + DELAY);
    }
    this.#station.send(packet, table.mac, row * 6);
  }

  /** An answer to a question that was asked: the first counts. */
  answer(at: number, family: 4 | 6, mac: number, now: number): number {
    const { slab } = this.#pool;
    const table = this.table;
    const row = table.find(slab, at, family);
    if (row === NONE) return NeighbourDrop.Unasked;
    const state = table.state[row];
    const asked = state === State.Incomplete || state === State.Probe;
    if (!asked) return this.hint(slab, at, family, mac, now) ? 0 : NeighbourDrop.Unasked;
    if (state === State.Probe && !sameAt(slab, mac, table.mac, row * 6, 6)) return NeighbourDrop.Unasked;
    for (let i = 0; i < 6; i++) table.mac[row * 6 + i] = slab[mac + i];
    table.state[row] = State.Reachable;
    table.deadline[row] = now + REACHABLE;
    table.tries[row] = 0;
    this.#release(row);
    return 0;
  }

  /** A neighbour that wants to speak to this host says where it is: believed where nothing is known. */
  heard(at: number, family: 4 | 6, mac: number, now: number): void {
    const { slab } = this.#pool;
    const table = this.table;
    let row = table.find(slab, at, family);
    if (row !== NONE && table.state[row] !== State.Incomplete) {
      this.hint(slab, at, family, mac, now);
      return;
    }
    if (row === NONE) row = table.insert(slab, at, family, now);
    for (let i = 0; i < 6; i++) table.mac[row * 6 + i] = slab[mac + i];
    table.state[row] = State.Stale;
    table.deadline[row] = Number.POSITIVE_INFINITY;
    this.#release(row);
  }

  /** Something unasked about a neighbour. When it contradicts what is known, that is asked about. Whether it is known. */
  hint(bytes: Uint8Array, at: number, family: 4 | 6, mac: number, now: number): boolean {
    const table = this.table;
    const row = table.find(bytes, at, family);
    if (row === NONE || table.state[row] === State.Incomplete) return false;
    if (sameAt(bytes, mac, table.mac, row * 6, 6)) return true;
    if (table.state[row] !== State.Probe) this.#probe(row, now);
    return true;
  }

  /** What waited for a neighbour leaves. */
  #release(row: number): void {
    const table = this.table;
    for (let packet = table.take(row); packet !== NONE; packet = table.take(row))
      this.#station.send(packet, table.mac, row * 6);
  }

  #probe(row: number, now: number): void {
    this.table.state[row] = State.Probe;
    this.table.tries[row] = 0;
    this.#ask(row, now);
  }

  /** Asks for a neighbour: everybody, or in Probe the one that is known. */
  #ask(row: number, now: number): void {
    const table = this.table;
    table.tries[row]++;
    this.#schedule(row, now + RETRANSMIT);
    this.asked++;
    const family = table.family(row);
    table.address(row, this.#address, 0);
    const target = this.#address.slice(0, family === 4 ? 4 : 16);
    const source = this.#sourceFor(row, family, target);
    const to = table.state[row] === State.Probe ? table.mac.slice(row * 6, row * 6 + 6) : undefined;
    // Without an IPv6 address nothing can be asked; ARP has a probe for that.
    const frame = source || family === 4 ? this.#station.make(family === 4 ? ARP_FRAME : ND_FRAME) : -1;
    if (frame < 0) return;
    const { slab, offset } = this.#pool;
    if (family === 4)
      writeArp(
        slab,
        offset[frame],
        arp.Operation.Request,
        this.#station.mac,
        source ?? NO_ADDRESS,
        target,
        to,
      );
    else writeSolicitation(slab, offset[frame], this.#station.mac, source!, target, to);
    this.#station.put(frame);
  }

  /** RFC 4861, 7.2.2: the source of the packet that waits, if it is an own one; else one of the same link. */
  #sourceFor(row: number, family: 4 | 6, target: Uint8Array): Uint8Array | undefined {
    const size = family === 4 ? 4 : 16;
    const waits = this.table.first(row);
    if (waits !== NONE) {
      const { slab, offset } = this.#pool;
      const at = offset[waits] + (family === 4 ? ipv4.SOURCE : ipv6.SOURCE);
      const own = this.#station.ownAt(slab, at, size);
      if (own) return own;
    }
    return this.#station.near(family, target);
  }

  #schedule(row: number, time: number): void {
    this.table.deadline[row] = time;
    this.due[0] = Math.min(this.due[0], time);
  }

  /** Does what is due. */
  timers(now: number): void {
    const table = this.table;
    this.due[0] = Number.POSITIVE_INFINITY;
    for (let row = 0; row < table.rows; row++) {
      const state = table.state[row];
      if (state !== State.Incomplete && state !== State.Delay && state !== State.Probe) continue;
      if (table.deadline[row] > now) {
        this.due[0] = Math.min(this.due[0], table.deadline[row]);
      } else if (state === State.Delay) {
        this.#probe(row, now);
      } else if (table.tries[row] < TRIES) {
        this.#ask(row, now);
      } else {
        table.remove(row, NeighbourDrop.Unreachable);
      }
    }
  }
}
