/**
 * Wire packets that wait, in one or more lists. An entry is a run of wire packets of one superframe (or one packet), so that
 * a superframe of 45 wire packets waits as one; it is looked at one wire packet at a time all the same. Entries live
 * in columns and are linked by their numbers. There are never more of them than wire packets, which disciplines limit.
 */
import type { Pool } from '../../engine/pool.ts';

const NONE = -1;

export class Backlog {
  /** By list: wire packets and bytes on the wire. */
  readonly packets: Int32Array;
  readonly bytes: Float64Array;
  /** What `take` took: the packet, which of its wire packets, its bytes on the wire, and whether it is to be marked. */
  packet = NONE;
  segment = 0;
  length = 0;
  marked = false;
  /** What it repeats of its superframe, and that one's payload in each wire packet but the last: bytes. */
  header = 0;
  size = 0;
  /** When that came: ns. */
  readonly came = new Float64Array(1);

  readonly #pool: Pool;
  readonly #heads: Int32Array;
  readonly #tails: Int32Array;
  #entries = 64;
  #packet = new Int32Array(64);
  #next = new Int32Array(64);
  #end = new Int32Array(64);
  /** Bytes of the headers that each wire packet repeats, and of payload in each but the last. */
  #header = new Int32Array(64);
  #size = new Int32Array(64);
  #mark = new Uint8Array(64);
  #came = new Float64Array(64);
  #link = new Int32Array(64);
  #free = NONE;

  constructor(pool: Pool, lists: number) {
    this.#pool = pool;
    this.packets = new Int32Array(lists);
    this.bytes = new Float64Array(lists);
    this.#heads = new Int32Array(lists).fill(NONE);
    this.#tails = new Int32Array(lists).fill(NONE);
    this.#chain(0);
  }

  /** Wire packets `first` to `end` of a packet at the end of a list; they came at `clock[0]`. */
  add(
    list: number,
    packet: number,
    first: number,
    end: number,
    header: number,
    size: number,
    marked: boolean,
    clock: Float64Array,
  ): void {
    this.packets[list] += end - first;
    const last = this.#tails[list];
    this.bytes[list] += runLength(this.#pool.length[packet], header, size, first, end);
    if (
      last !== NONE &&
      this.#packet[last] === packet &&
      this.#end[last] === first &&
      this.#came[last] === clock[0] &&
      (this.#mark[last] === 1) === marked
    ) {
      this.#end[last] = end;
      return;
    }
    if (this.#free === NONE) this.#grow();
    const entry = this.#free;
    this.#free = this.#link[entry];
    this.#packet[entry] = packet;
    this.#next[entry] = first;
    this.#end[entry] = end;
    this.#header[entry] = header;
    this.#size[entry] = size;
    this.#mark[entry] = marked ? 1 : 0;
    this.#came[entry] = clock[0];
    this.#link[entry] = NONE;
    if (last === NONE) this.#heads[list] = entry;
    else this.#link[last] = entry;
    this.#tails[list] = entry;
  }

  /** Takes the first wire packet out of a list: see `packet` and what is below it. False when there is none. */
  take(list: number): boolean {
    const entry = this.#heads[list];
    if (entry === NONE) return false;
    const packet = this.#packet[entry];
    const segment = this.#next[entry]++;
    this.packet = packet;
    this.segment = segment;
    this.header = this.#header[entry];
    this.size = this.#size[entry];
    this.length = runLength(this.#pool.length[packet], this.header, this.size, segment, segment + 1);
    this.marked = this.#mark[entry] === 1;
    this.came[0] = this.#came[entry];
    this.packets[list]--;
    this.bytes[list] -= this.length;
    if (segment + 1 === this.#end[entry]) {
      const next = this.#link[entry];
      this.#heads[list] = next;
      if (next === NONE) this.#tails[list] = NONE;
      this.#link[entry] = this.#free;
      this.#free = entry;
    }
    return true;
  }

  #chain(from: number): void {
    for (let i = from; i < this.#entries; i++) this.#link[i] = i + 1 < this.#entries ? i + 1 : NONE;
    this.#free = from;
  }

  #grow(): void {
    const from = this.#entries;
    this.#entries *= 2;
    this.#packet = doubled(this.#packet);
    this.#next = doubled(this.#next);
    this.#end = doubled(this.#end);
    this.#header = doubled(this.#header);
    this.#size = doubled(this.#size);
    this.#link = doubled(this.#link);
    const mark = new Uint8Array(this.#entries);
    mark.set(this.#mark);
    this.#mark = mark;
    const came = new Float64Array(this.#entries);
    came.set(this.#came);
    this.#came = came;
    this.#chain(from);
  }
}

function doubled(column: Int32Array): Int32Array<ArrayBuffer> {
  const more = new Int32Array(column.length * 2);
  more.set(column);
  return more;
}

/**
 * Bytes on the wire of the wire packets `first` to `end` of a packet.
 * @param length of the packet as it stands @param header that each repeats @param size payload of each but the last
 */
export function runLength(length: number, header: number, size: number, first: number, end: number): number {
  const payload = length - header;
  const behind = Math.min(end * size, payload);
  return (end - first) * header + behind - first * size;
}
