/**
 * Datagrams in pieces (RFC 791, 3.2; RFC 8200, 4.5). Fragments are held as the packets they are, sorted by place, until
 * their datagram is whole or its time has come. What is held is bounded: when there is no room, the datagram that
 * has waited longest goes. Fragments that overlap end their datagram, and those that follow too (RFC 5722).
 */
import type { Pool } from '../../engine/pool.ts';
import { Reason } from '../../engine/reasons.ts';
import { SECOND } from '../../engine/units.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { copyBytes, getInt32, put16 } from '../../packet/word.ts';
import { StackDrop } from '../reasons.ts';

/** No packet, no row. */
export const NONE = -1;
/** As Linux (net.ipv4.ipfrag_time). */
const PATIENCE_V4 = 30 * SECOND;
/** RFC 8200, 4.5. */
const PATIENCE_V6 = 60 * SECOND;
/** Datagrams at a time, and fragments of one. */
const DATAGRAMS = 256;
const FRAGMENTS_OF_ONE = 256;
/** Fragments in large slots: those longer than a small slot. */
export const LARGE_FRAGMENTS = 32;
const LONGEST = 65_535;
/** Source and destination (4 words each), identification, and version with protocol. */
const NAME = 10;

const State = { Free: 0, Open: 1, Spoilt: 2 } as const;

export class Reassembly {
  readonly #pool: Pool;
  readonly #account: number;
  readonly #onTimeout: (first: number) => void;
  /** One cell: when `expire` must be asked. */
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  completed = 0;

  // Datagrams.
  readonly #state = new Uint8Array(DATAGRAMS);
  readonly #names = new Int32Array(DATAGRAMS * NAME);
  readonly #deadline = new Float64Array(DATAGRAMS);
  readonly #first = new Int32Array(DATAGRAMS);
  readonly #last = new Int32Array(DATAGRAMS);
  readonly #pieces = new Int32Array(DATAGRAMS);
  readonly #bytes = new Int32Array(DATAGRAMS);
  /** Of the whole payload; NONE until the last fragment came. */
  readonly #end = new Int32Array(DATAGRAMS);
  /** Bit n: a fragment had the ECN field n. */
  readonly #ecn = new Uint8Array(DATAGRAMS);
  /** Of IPv6: where the first fragment says that a fragment header follows, and where that is, from its start. */
  readonly #nextHeaderAt = new Int32Array(DATAGRAMS);
  readonly #headerAt = new Int32Array(DATAGRAMS);
  readonly #name = new Int32Array(NAME);

  // Fragments.
  readonly #packet: Int32Array;
  readonly #start: Int32Array;
  readonly #stop: Int32Array;
  /** Where its data begins, from `pool.offset`. */
  readonly #data: Int32Array;
  readonly #next: Int32Array;
  #free = NONE;
  #held = 0;
  #large = 0;

  /**
   * @param account that pays for whole datagrams
   * @param limit fragments held at a time
   * @param onTimeout gets the first fragment of a datagram that did not come whole in time; it stays the caller's
   */
  constructor(pool: Pool, account: number, limit: number, onTimeout: (first: number) => void) {
    this.#pool = pool;
    this.#account = account;
    this.#onTimeout = onTimeout;
    this.#packet = new Int32Array(limit);
    this.#start = new Int32Array(limit);
    this.#stop = new Int32Array(limit);
    this.#data = new Int32Array(limit);
    this.#next = new Int32Array(limit);
    for (let i = limit - 1; i >= 0; i--) {
      this.#next[i] = this.#free;
      this.#free = i;
    }
  }

  /** Fragments it holds. */
  get held(): number {
    return this.#held;
  }

  /**
   * Takes a fragment over. Returns the whole datagram as a packet without fragmentation, or NONE.
   *
   * @param at where its IP header starts, in the slab; it was checked, and the packet ends where it says
   * @param header of IPv6: where its fragment header starts, in the slab
   * @param nextHeaderAt of IPv6: where the field is that names that header, in the slab
   */
  add(packet: number, at: number, header: number, nextHeaderAt: number, now: number): number {
    const { slab, offset } = this.#pool;
    const isV4 = slab[at] >> 4 === 4;
    const start = isV4 ? ipv4.fragmentOffset(slab, at) : ipv6.fragmentOffset(slab, header);
    const more = isV4 ? ipv4.moreFragments(slab, at) : ipv6.moreFragments(slab, header);
    const data = isV4 ? at + ipv4.headerLength(slab, at) : header + ipv6.FRAGMENT_HEADER;
    const length = (isV4 ? ipv4.packetEnd(slab, at) : ipv6.packetEnd(slab, at)) - data;
    const stop = start + length;
    const before = isV4 ? data - at : header - at - ipv6.HEADER;
    if (length <= 0 || (more && (length & 7) !== 0) || before + stop > LONGEST)
      return this.#refuse(packet, StackDrop.Fragment);
    this.#read(at, header, isV4);
    let row = this.#find();
    if (row === NONE) row = this.#open(now + (isV4 ? PATIENCE_V4 : PATIENCE_V6));
    if (this.#state[row] === State.Spoilt) return this.#refuse(packet, StackDrop.FragmentOverlap);
    const end = this.#end[row];
    // Two ends, or data behind the end: somebody lies.
    if (end !== NONE && (more ? stop > end : stop !== end)) return this.#spoil(row, packet);
    if (!more && this.#last[row] !== NONE && this.#stop[this.#last[row]] > stop)
      return this.#spoil(row, packet);
    const place = this.#placeFor(row, start, stop);
    if (place === OVERLAP) return this.#spoil(row, packet);
    if (place === AGAIN) return this.#refuse(packet, StackDrop.FragmentAgain);
    const large = this.#isLarge(packet) ? 1 : 0;
    if (!this.#makeRoom(row, large)) return this.#refuse(packet, StackDrop.FragmentLimit);
    if (!more) this.#end[row] = stop;
    if (start === 0 && !isV4) {
      this.#headerAt[row] = header - at;
      this.#nextHeaderAt[row] = nextHeaderAt - at;
    }
    this.#ecn[row] |= 1 << (isV4 ? ipv4.ecn(slab, at) : ipv6.ecn(slab, at));
    this.#link(row, place, packet, start, stop, data - offset[packet]);
    return this.#bytes[row] === this.#end[row] ? this.#assemble(row) : NONE;
  }

  #refuse(packet: number, why: number): typeof NONE {
    this.#pool.drop(packet, why);
    return NONE;
  }

  /** The name of a fragment's datagram. */
  #read(at: number, header: number, isV4: boolean): void {
    const { slab } = this.#pool;
    const name = this.#name;
    name.fill(0);
    if (isV4) {
      name[0] = getInt32(slab, at + ipv4.SOURCE);
      name[4] = getInt32(slab, at + ipv4.DESTINATION);
      name[8] = ipv4.identification(slab, at);
      name[9] = 0x400 | ipv4.protocol(slab, at);
      return;
    }
    for (let i = 0; i < 8; i++) name[i] = getInt32(slab, at + ipv6.SOURCE + 4 * i);
    name[8] = getInt32(slab, header + 4);
    // RFC 8200, 4.5: the next header may differ between fragments of one.
    name[9] = 0x600;
  }

  #find(): number {
    const name = this.#name;
    for (let row = 0; row < DATAGRAMS; row++) {
      if (this.#state[row] === State.Free || this.#names[row * NAME + 8] !== name[8]) continue;
      let i = 0;
      while (i < NAME && this.#names[row * NAME + i] === name[i]) i++;
      if (i === NAME) return row;
    }
    return NONE;
  }

  #open(deadline: number): number {
    let row = this.#state.indexOf(State.Free);
    if (row < 0) {
      row = this.#oldest(NONE);
      this.#finish(row, StackDrop.FragmentLimit);
    }
    this.#state[row] = State.Open;
    this.#names.set(this.#name, row * NAME);
    this.#deadline[row] = deadline;
    this.due[0] = Math.min(this.due[0], deadline);
    this.#first[row] = this.#last[row] = this.#end[row] = NONE;
    this.#pieces[row] = this.#bytes[row] = this.#ecn[row] = 0;
    return row;
  }

  /** The datagram that ends first, other than `but`; NONE when there is no other. */
  #oldest(but: number): number {
    let best = NONE;
    for (let row = 0; row < DATAGRAMS; row++) {
      if (this.#state[row] === State.Free || row === but) continue;
      if (best === NONE || this.#deadline[row] < this.#deadline[best]) best = row;
    }
    return best;
  }

  /** Room for one more fragment of a datagram; others go for it. */
  #makeRoom(row: number, large: number): boolean {
    if (this.#pieces[row] >= FRAGMENTS_OF_ONE) return false;
    while (this.#free === NONE || (large > 0 && this.#large >= LARGE_FRAGMENTS)) {
      const other = this.#oldest(row);
      if (other === NONE) return false;
      this.#finish(other, StackDrop.FragmentLimit);
    }
    return true;
  }

  /** The fragment after which one from `start` to `stop` comes (NONE: it is the first), or OVERLAP or AGAIN. */
  #placeFor(row: number, start: number, stop: number): number {
    const last = this.#last[row];
    // Most come in order.
    if (last === NONE || start >= this.#stop[last]) return last;
    let before = NONE;
    let at = this.#first[row];
    while (at !== NONE && this.#start[at] < start) {
      before = at;
      at = this.#next[at];
    }
    if (at !== NONE && this.#start[at] === start && this.#stop[at] === stop) return AGAIN;
    if (before !== NONE && this.#stop[before] > start) return OVERLAP;
    return at !== NONE && this.#start[at] < stop ? OVERLAP : before;
  }

  #link(row: number, before: number, packet: number, start: number, stop: number, data: number): void {
    const at = this.#free;
    this.#free = this.#next[at];
    this.#packet[at] = packet;
    this.#start[at] = start;
    this.#stop[at] = stop;
    this.#data[at] = data;
    this.#next[at] = before === NONE ? this.#first[row] : this.#next[before];
    if (before === NONE) this.#first[row] = at;
    else this.#next[before] = at;
    if (this.#next[at] === NONE) this.#last[row] = at;
    this.#pieces[row]++;
    this.#bytes[row] += stop - start;
    this.#held++;
    if (this.#isLarge(packet)) this.#large++;
  }

  #isLarge(packet: number): boolean {
    return this.#pool.slot[packet] >= this.#pool.smallSlots;
  }

  #spoil(row: number, packet: number): typeof NONE {
    this.#drop(row, StackDrop.FragmentOverlap);
    this.#state[row] = State.Spoilt;
    return this.#refuse(packet, StackDrop.FragmentOverlap);
  }

  /** Drops the fragments of a datagram. */
  #drop(row: number, why: number): void {
    let at = this.#first[row];
    while (at !== NONE) {
      const next = this.#next[at];
      const packet = this.#packet[at];
      if (this.#isLarge(packet)) this.#large--;
      if (why === NONE) this.#pool.free(packet);
      else this.#pool.drop(packet, why);
      this.#next[at] = this.#free;
      this.#free = at;
      this.#held--;
      at = next;
    }
    this.#first[row] = this.#last[row] = NONE;
    this.#pieces[row] = 0;
  }

  #finish(row: number, why: number): void {
    this.#drop(row, why);
    this.#state[row] = State.Free;
  }

  #assemble(row: number): number {
    const pool = this.#pool;
    const { slab } = pool;
    const first = this.#packet[this.#first[row]];
    const from = pool.offset[first];
    const isV4 = slab[from] >> 4 === 4;
    const header = isV4 ? ipv4.headerLength(slab, from) : this.#headerAt[row];
    const total = header + this.#end[row];
    const whole = this.#mayJoin(row) ? pool.allocFor(total, this.#account) : NONE;
    if (whole < 0) {
      this.#finish(row, this.#mayJoin(row) ? Reason.NoMemory : StackDrop.Fragment);
      return NONE;
    }
    const to = pool.offset[whole];
    copyBytes(slab, from, slab, to, header);
    for (let at = this.#first[row]; at !== NONE; at = this.#next[at])
      copyBytes(
        slab,
        pool.offset[this.#packet[at]] + this.#data[at],
        slab,
        to + header + this.#start[at],
        this.#stop[at] - this.#start[at],
      );
    pool.length[whole] = total;
    pool.layer[whole] = 3;
    pool.arrived[pool.slot[whole]] = pool.arrived[pool.slot[first]];
    if (isV4) {
      put16(slab, to + ipv4.TOTAL_LENGTH, total);
      put16(slab, to + ipv4.FRAGMENT, 0);
      if ((this.#ecn[row] & CE) !== 0) slab[to + ipv4.TRAFFIC_CLASS] |= 3;
      ipv4.fillChecksum(slab, to);
    } else {
      put16(slab, to + ipv6.PAYLOAD_LENGTH, total - ipv6.HEADER);
      slab[to + this.#nextHeaderAt[row]] = slab[from + this.#headerAt[row]];
      if ((this.#ecn[row] & CE) !== 0) slab[to + 1] |= 0x30;
    }
    this.#finish(row, NONE);
    this.completed++;
    return whole;
  }

  /** RFC 3168, 5.3: what met congestion cannot be joined with what cannot say so. */
  #mayJoin(row: number): boolean {
    return (this.#ecn[row] & (CE | NOT_ECT)) !== (CE | NOT_ECT);
  }

  /** Ends what has waited too long; those who sent it are told if their first fragment came (RFC 792, RFC 4443, 3.3). */
  expire(now: number): void {
    if (this.due[0] > now) return;
    this.due[0] = Number.POSITIVE_INFINITY;
    for (let row = 0; row < DATAGRAMS; row++) {
      if (this.#state[row] === State.Free) continue;
      if (this.#deadline[row] > now) {
        this.due[0] = Math.min(this.due[0], this.#deadline[row]);
        continue;
      }
      const first = this.#first[row];
      if (first !== NONE && this.#start[first] === 0) this.#onTimeout(this.#packet[first]);
      this.#finish(row, StackDrop.FragmentTimeout);
    }
  }

  clear(): void {
    for (let row = 0; row < DATAGRAMS; row++) if (this.#state[row] !== State.Free) this.#finish(row, NONE);
  }
}

const OVERLAP = -2;
const AGAIN = -3;
const CE = 1 << 3;
const NOT_ECT = 1 << 0;
