/**
 * Which flow the later fragments of a datagram belong to: a table that first fragments fill, and a small hold for fragments
 * that overtook theirs. Both are bounded: a full set forgets the datagram it has known longest, and what finds no room in
 * the hold, or waits there too long, is its caller's to drop.
 */

import { SECOND } from '../engine/units.ts';
import { KEY_CELLS } from '../packet/flow-key.ts';
import * as ipv4 from '../packet/ipv4.ts';
import * as ipv6 from '../packet/ipv6.ts';
import { Protocol } from '../packet/protocol.ts';
import { get16, getInt32 } from '../packet/word.ts';

/** No packet, no direction. */
export const NONE = -1;

/** Cells of a datagram's name: source and destination (4 each), identification, protocol and version, tenant. */
const NAME_CELLS = 11;
/** Datagrams with the same hash. */
const WAYS = 4;

export interface FragmentOptions {
  /** Datagrams remembered, a power of two from 4 on. Default 1024. */
  datagrams?: number;
  /** How long one is remembered after its first fragment: ns. Default 30 s, as long as Linux reassembles. */
  lifetime?: number;
  /** Fragments held at a time. Default 64. */
  held?: number;
  /** How long one is held: ns. Default 100 ms, more than paths reorder. */
  patience?: number;
  /** Of the table's hash: nobody who sends can know it. Default 0. */
  seed?: number;
}

export class Fragments {
  readonly #sets: number;
  readonly #lifetime: number;
  readonly #patience: number;
  readonly #seed: number;

  // Datagrams, WAYS for each hash.
  readonly #names: Int32Array;
  readonly #keys: Int32Array;
  readonly #directions: Uint8Array;
  /** When the first fragment came; -Infinity for a free place. */
  readonly #since: Float64Array;

  // Held fragments, in the order in which they came.
  readonly #held: Int32Array;
  readonly #heldNames: Int32Array;
  readonly #heldSince: Float64Array;
  #waiting = 0;
  readonly #name = new Int32Array(NAME_CELLS);

  constructor(options: FragmentOptions = {}) {
    const { datagrams = 1024, lifetime = 30 * SECOND, held = 64, patience = SECOND / 10, seed = 0 } = options;
    if (datagrams < WAYS || (datagrams & (datagrams - 1)) !== 0)
      throw new RangeError(`datagrams is a power of two from ${WAYS} on, not ${datagrams}`);
    this.#sets = datagrams / WAYS;
    this.#lifetime = lifetime;
    this.#patience = patience;
    this.#seed = seed | 0;
    this.#names = new Int32Array(datagrams * NAME_CELLS);
    this.#keys = new Int32Array(datagrams * KEY_CELLS);
    this.#directions = new Uint8Array(datagrams);
    this.#since = new Float64Array(datagrams).fill(-Infinity);
    this.#held = new Int32Array(held);
    this.#heldNames = new Int32Array(held * NAME_CELLS);
    this.#heldSince = new Float64Array(held);
  }

  /** Fragments that wait for their first. */
  get waiting(): number {
    return this.#waiting;
  }

  /** The first fragment of a datagram at `bytes[at]` belongs to the flow with this key, and goes this way. */
  learn(bytes: Uint8Array, at: number, tenant: number, key: Int32Array, direction: 0 | 1, now: number): void {
    this.#read(bytes, at, tenant);
    let place = this.#find(this.#name, 0, now);
    if (place < 0) {
      place = this.#set(this.#name, 0);
      for (let other = place + 1, end = place + WAYS; other < end; other++)
        if (this.#since[other] < this.#since[place]) place = other;
    }
    this.#names.set(this.#name, place * NAME_CELLS);
    for (let i = 0; i < KEY_CELLS; i++) this.#keys[place * KEY_CELLS + i] = key[i];
    this.#directions[place] = direction;
    this.#since[place] = now;
  }

  /** Fills the key of the datagram that the later fragment at `bytes[at]` is of, and returns its direction, or NONE. */
  follow(bytes: Uint8Array, at: number, tenant: number, key: Int32Array, now: number): -1 | 0 | 1 {
    this.#read(bytes, at, tenant);
    const place = this.#find(this.#name, 0, now);
    if (place < 0) return NONE;
    for (let i = 0; i < KEY_CELLS; i++) key[i] = this.#keys[place * KEY_CELLS + i];
    return this.#directions[place] as 0 | 1;
  }

  /** Keeps the packet of a later fragment that `follow` knew nothing of. Returns false when there is no room. */
  hold(bytes: Uint8Array, at: number, tenant: number, packet: number, now: number): boolean {
    if (this.#waiting === this.#held.length) return false;
    this.#read(bytes, at, tenant);
    const place = this.#waiting++;
    this.#held[place] = packet;
    this.#heldSince[place] = now;
    this.#heldNames.set(this.#name, place * NAME_CELLS);
    return true;
  }

  /** Gives back a held packet whose first fragment has come since, or NONE. The caller asks until there is none. */
  release(now: number): number {
    for (let place = 0; place < this.#waiting; place++) {
      if (this.#find(this.#heldNames, place * NAME_CELLS, now) >= 0) return this.#take(place);
    }
    return NONE;
  }

  /** Gives back a packet that has been held too long, or NONE. The caller drops it, and asks until there is none. */
  expire(now: number): number {
    return this.#waiting > 0 && this.nextDeadline() <= now ? this.#take(0) : NONE;
  }

  /** When `expire` must be asked: ns, or Infinity. */
  nextDeadline(): number {
    return this.#waiting === 0 ? Infinity : this.#heldSince[0] + this.#patience;
  }

  #take(place: number): number {
    const packet = this.#held[place];
    this.#held.copyWithin(place, place + 1, this.#waiting);
    this.#heldSince.copyWithin(place, place + 1, this.#waiting);
    this.#heldNames.copyWithin(place * NAME_CELLS, (place + 1) * NAME_CELLS, this.#waiting * NAME_CELLS);
    this.#waiting--;
    return packet;
  }

  /** The place of the datagram whose name stands at `names[at]`, or NONE. */
  #find(names: Int32Array, at: number, now: number): number {
    const first = this.#set(names, at);
    for (let place = first; place < first + WAYS; place++) {
      if (this.#since[place] + this.#lifetime <= now) continue;
      let i = 0;
      while (i < NAME_CELLS && this.#names[place * NAME_CELLS + i] === names[at + i]) i++;
      if (i === NAME_CELLS) return place;
    }
    return NONE;
  }

  /** The first place of the set that a name belongs to. */
  #set(names: Int32Array, at: number): number {
    let hash = this.#seed;
    for (let i = 0; i < NAME_CELLS; i++) {
      hash = Math.imul(hash ^ names[at + i], 0x85ebca6b);
      hash ^= hash >>> 13;
    }
    hash = Math.imul(hash, 0xc2b2ae35);
    return ((hash ^ (hash >>> 16)) & (this.#sets - 1)) * WAYS;
  }

  /** The name of the datagram that a fragment, whose headers are whole, is of. */
  #read(bytes: Uint8Array, at: number, tenant: number): void {
    const name = this.#name;
    if (bytes[at] >> 4 === 4) {
      name.fill(0);
      name[0] = getInt32(bytes, at + ipv4.SOURCE);
      name[4] = getInt32(bytes, at + ipv4.DESTINATION);
      name[8] = get16(bytes, at + ipv4.IDENTIFICATION);
      name[9] = 0x400 | bytes[at + ipv4.PROTOCOL];
    } else {
      for (let i = 0; i < 8; i++) name[i] = getInt32(bytes, at + ipv6.SOURCE + 4 * i);
      const header = ipv6.findExtension(bytes, at, ipv6.packetEnd(bytes, at), Protocol.Fragment);
      name[8] = ipv6.fragmentIdentification(bytes, header);
      // RFC 8200, 4.5: the identification alone tells datagrams of two hosts apart.
      name[9] = 0x600;
    }
    name[10] = tenant;
  }
}
