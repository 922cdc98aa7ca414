/**
 * Neighbours by address: their link-layer addresses, how sure these are (RFC 4861, 7.3.2; the same for ARP), and the
 * packets that wait for them. Rows in columns, four for each hash; a full set forgets the one that was used longest ago.
 */
import type { Pool } from '../../engine/pool.ts';
import { getInt32 } from '../../packet/word.ts';
import { hashAddress } from '../numbers.ts';
import { NeighbourDrop } from './reasons.ts';

export const State = {
  Free: 0,
  /** Asked for; nobody has answered yet. */
  Incomplete: 1,
  /** It answered lately. */
  Reachable: 2,
  /** It answered some time ago, or it spoke to us unasked. */
  Stale: 3,
  /** Stale and used: it is asked anew if nothing confirms it soon. */
  Delay: 4,
  /** Being asked, at the address that is known. */
  Probe: 5,
} as const;

export const NONE = -1;
const WAYS = 4;
const SETS = 256;
const ROWS = WAYS * SETS;

export class NeighbourTable {
  readonly #pool: Pool;
  readonly #secret: number;
  readonly #perNeighbour: number;
  readonly #most: number;
  /** Four words each; an IPv4 address is mapped into IPv6. */
  readonly #words = new Int32Array(ROWS * 4);
  readonly state = new Uint8Array(ROWS);
  /** Six bytes each. */
  readonly mac = new Uint8Array(ROWS * 6);
  /** When something has to be done: ns. Of Reachable: until when it is. */
  readonly deadline = new Float64Array(ROWS);
  readonly tries = new Uint8Array(ROWS);
  readonly #used = new Float64Array(ROWS);
  // Packets that wait, in chains.
  readonly #head = new Int32Array(ROWS).fill(NONE);
  readonly #tail = new Int32Array(ROWS).fill(NONE);
  readonly #count = new Uint8Array(ROWS);
  readonly #packet: Int32Array;
  readonly #next: Int32Array;
  #free = NONE;
  waiting = 0;

  /** @param most packets that wait for all neighbours together @param perNeighbour for one of them */
  constructor(pool: Pool, secret: number, most: number, perNeighbour: number) {
    this.#pool = pool;
    this.#secret = secret;
    this.#most = most;
    this.#perNeighbour = perNeighbour;
    this.#packet = new Int32Array(most);
    this.#next = new Int32Array(most);
    for (let i = most - 1; i >= 0; i--) {
      this.#next[i] = this.#free;
      this.#free = i;
    }
  }

  get rows(): number {
    return ROWS;
  }

  /** The row of the address at `bytes[at]`, or NONE. */
  find(bytes: Uint8Array, at: number, family: 4 | 6): number {
    const first = this.#set(bytes, at, family);
    for (let row = first; row < first + WAYS; row++) {
      if (this.state[row] === State.Free) continue;
      let i = 0;
      while (i < 4 && this.#words[row * 4 + i] === word(bytes, at, family, i)) i++;
      if (i === 4) return row;
    }
    return NONE;
  }

  /** A row for an address that has none; another one may have to go. The state is the caller's to set. */
  insert(bytes: Uint8Array, at: number, family: 4 | 6, now: number): number {
    const first = this.#set(bytes, at, family);
    let row = first;
    for (let other = first; other < first + WAYS; other++) {
      if (this.state[other] === State.Free) {
        row = other;
        break;
      }
      if (this.#used[other] < this.#used[row]) row = other;
    }
    if (this.state[row] !== State.Free) this.remove(row, NeighbourDrop.Unreachable);
    for (let i = 0; i < 4; i++) this.#words[row * 4 + i] = word(bytes, at, family, i);
    this.#used[row] = now;
    this.tries[row] = 0;
    this.deadline[row] = Number.POSITIVE_INFINITY;
    return row;
  }

  use(row: number, now: number): void {
    this.#used[row] = now;
  }

  family(row: number): 4 | 6 {
    return this.#words[row * 4] === 0 && this.#words[row * 4 + 1] === 0 && this.#words[row * 4 + 2] === 0xffff
      ? 4
      : 6;
  }

  /** Writes the address of a row: 4 or 16 bytes. */
  address(row: number, into: Uint8Array, at: number): void {
    const from = this.family(row) === 4 ? 3 : 0;
    for (let i = from; i < 4; i++) {
      const value = this.#words[row * 4 + i];
      for (let b = 0; b < 4; b++) into[at + 4 * (i - from) + b] = value >>> (24 - 8 * b);
    }
  }

  /** Forgets a row, and drops what waits. */
  remove(row: number, why: number): void {
    for (let packet = this.take(row); packet !== NONE; packet = this.take(row)) this.#pool.drop(packet, why);
    this.state[row] = State.Free;
  }

  /** Keeps a packet for a neighbour; the oldest goes when there are too many (RFC 4861, 7.2.2). */
  keep(row: number, packet: number): void {
    if (this.#count[row] >= this.#perNeighbour) {
      this.#pool.drop(this.take(row), NeighbourDrop.QueueFull);
    } else if (this.waiting >= this.#most) {
      this.#pool.drop(packet, NeighbourDrop.QueueFull);
      return;
    }
    const place = this.#free;
    this.#free = this.#next[place];
    this.#packet[place] = packet;
    this.#next[place] = NONE;
    if (this.#tail[row] === NONE) this.#head[row] = place;
    else this.#next[this.#tail[row]] = place;
    this.#tail[row] = place;
    this.#count[row]++;
    this.waiting++;
  }

  /** The packet that waits longest for a neighbour, without taking it; NONE when none does. */
  first(row: number): number {
    return this.#head[row] === NONE ? NONE : this.#packet[this.#head[row]];
  }

  /** Takes it. */
  take(row: number): number {
    const place = this.#head[row];
    if (place === NONE) return NONE;
    this.#head[row] = this.#next[place];
    if (this.#head[row] === NONE) this.#tail[row] = NONE;
    this.#next[place] = this.#free;
    this.#free = place;
    this.#count[row]--;
    this.waiting--;
    return this.#packet[place];
  }

  clear(): void {
    for (let row = 0; row < ROWS; row++)
      for (let packet = this.take(row); packet !== NONE; packet = this.take(row)) this.#pool.free(packet);
    this.state.fill(State.Free);
  }

  #set(bytes: Uint8Array, at: number, family: 4 | 6): number {
    return (hashAddress(bytes, at, family === 4 ? 4 : 16, this.#secret) & (SETS - 1)) * WAYS;
  }
}

function word(bytes: Uint8Array, at: number, family: 4 | 6, i: number): number {
  if (family === 6) return getInt32(bytes, at + 4 * i);
  return i === 3 ? getInt32(bytes, at) : i === 2 ? 0xffff : 0;
}
