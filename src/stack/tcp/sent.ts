/**
 * What is under way: one record for every stretch of sequence space that was sent at once, in the order of sequence
 * numbers, and those that can still be found lost also in the order of their last transmission (RFC 8985, 5.1). Bytes
 * that were selectively acknowledged, are taken for lost, and are under way again are summed up as RFC 6675 needs them.
 */
import { before, distance, notAfter } from './sequence.ts';

/** No record. */
export const NONE = -1;
export const MAX_RECORDS = 16384;

export const Mark = {
  Sacked: 1,
  Lost: 2,
  /** Sent again, and that transmission is under way. */
  Again: 4,
  /** Was sent more than once: no sample of the round trip (Karn). */
  Retransmitted: 8,
} as const;

export class Sent {
  start = new Int32Array(16);
  end = new Int32Array(16);
  marks = new Uint8Array(16);
  next = new Int32Array(16);
  #previous = new Int32Array(16);
  /** By time of transmission; NONE twice for those that are not in that order. */
  newer = new Int32Array(16);
  #older = new Int32Array(16);
  #timed = new Uint8Array(16);
  /** ns */
  at = new Float64Array(16);
  head = NONE;
  tail = NONE;
  oldest = NONE;
  #newest = NONE;
  #free = NONE;
  #made = 0;
  count = 0;
  /** Bytes. */
  sacked = 0;
  lost = 0;
  again = 0;
  /** No record before this one waits for retransmission; NONE: none at all. */
  #firstLost = NONE;

  /** @returns NONE when there are too many */
  append(start: number, end: number, time: number): number {
    const record = this.#take();
    if (record === NONE) return NONE;
    this.start[record] = start;
    this.end[record] = end;
    this.marks[record] = 0;
    this.next[record] = NONE;
    this.#previous[record] = this.tail;
    if (this.tail === NONE) this.head = record;
    else this.next[this.tail] = record;
    this.tail = record;
    this.#time(record, time);
    return record;
  }

  length(record: number): number {
    return (this.end[record] - this.start[record]) | 0;
  }

  /** Cuts a record in two at `seq`, which lies inside; the second half is a record of its own. False: too many. */
  split(record: number, seq: number): boolean {
    const half = this.#take();
    if (half === NONE) return false;
    const next = this.next[record];
    this.start[half] = seq;
    this.end[half] = this.end[record];
    this.end[record] = seq;
    this.marks[half] = this.marks[record];
    this.at[half] = this.at[record];
    this.next[half] = next;
    this.#previous[half] = record;
    this.next[record] = half;
    if (next === NONE) this.tail = half;
    else this.#previous[next] = half;
    this.#timed[half] = this.#timed[record];
    if (this.#timed[record]) {
      const newer = this.newer[record];
      this.newer[half] = newer;
      this.#older[half] = record;
      this.newer[record] = half;
      if (newer === NONE) this.#newest = half;
      else this.#older[newer] = half;
    }
    return true;
  }

  /** The first record ends: it was acknowledged. */
  shift(): void {
    const record = this.head;
    this.#account(record, -1);
    if (record === this.#firstLost) this.#firstLost = this.next[record];
    this.#untime(record);
    this.head = this.next[record];
    if (this.head === NONE) {
      this.tail = NONE;
      this.#firstLost = NONE;
    } else this.#previous[this.head] = NONE;
    this.next[record] = this.#free;
    this.#free = record;
    this.count--;
  }

  /** Takes the last record back: it was never sent. */
  pop(): void {
    const record = this.tail;
    this.#untime(record);
    this.tail = this.#previous[record];
    if (this.tail === NONE) this.head = NONE;
    else this.next[this.tail] = NONE;
    this.next[record] = this.#free;
    this.#free = record;
    this.count--;
  }

  /** The first record's bytes before `seq` were acknowledged. */
  trim(seq: number): void {
    const record = this.head;
    this.#account(record, -1);
    this.start[record] = seq;
    this.#account(record, 1);
  }

  markSacked(record: number): void {
    this.#account(record, -1);
    this.marks[record] = (this.marks[record] & Mark.Retransmitted) | Mark.Sacked;
    this.#account(record, 1);
    this.#untime(record);
  }

  /** The receiver has forgotten what it said it had (RFC 2018, 8). */
  renege(): void {
    for (let record = this.head; record !== NONE; record = this.next[record]) {
      if ((this.marks[record] & Mark.Sacked) === 0) continue;
      this.#account(record, -1);
      this.marks[record] &= ~Mark.Sacked;
    }
  }

  markLost(record: number): void {
    this.#account(record, -1);
    this.marks[record] = (this.marks[record] | Mark.Lost) & ~Mark.Again;
    this.#account(record, 1);
    this.#untime(record);
    const first = this.#firstLost;
    if (first === NONE || before(this.start[record], this.start[first])) this.#firstLost = record;
  }

  /** It was not lost after all, only late. */
  markFound(record: number): void {
    if ((this.marks[record] & Mark.Lost) === 0) return;
    const timed = this.#timed[record] !== 0;
    this.#account(record, -1);
    this.marks[record] &= ~(Mark.Lost | Mark.Again);
    this.#account(record, 1);
    if (!timed) this.#time(record, this.at[record]);
  }

  markSentAgain(record: number, time: number): void {
    this.#account(record, -1);
    this.marks[record] |= Mark.Again | Mark.Retransmitted;
    this.#account(record, 1);
    this.#untime(record);
    this.#time(record, time);
  }

  /** The first record that waits for retransmission, or NONE. */
  nextLost(): number {
    let record = this.#firstLost;
    while (record !== NONE && (this.marks[record] & (Mark.Lost | Mark.Again)) !== Mark.Lost) {
      record = this.next[record];
    }
    this.#firstLost = record;
    return record;
  }

  /** The record with `seq` in it, looked for from the end when it is near there; NONE. */
  find(seq: number): number {
    if (this.head === NONE || before(seq, this.start[this.head]) || !before(seq, this.end[this.tail]))
      return NONE;
    if (distance(seq, this.end[this.tail]) < distance(this.start[this.head], seq)) {
      let record = this.tail;
      while (before(seq, this.start[record])) record = this.#previous[record];
      return record;
    }
    let record = this.head;
    while (notAfter(this.end[record], seq)) record = this.next[record];
    return record;
  }

  clear(): void {
    while (this.head !== NONE) this.shift();
  }

  #account(record: number, sign: number): void {
    const marks = this.marks[record];
    const bytes = sign * ((this.end[record] - this.start[record]) | 0);
    if (marks & Mark.Sacked) this.sacked += bytes;
    if (marks & Mark.Lost) this.lost += bytes;
    if (marks & Mark.Again) this.again += bytes;
  }

  #time(record: number, time: number): void {
    this.at[record] = time;
    this.#timed[record] = 1;
    this.newer[record] = NONE;
    this.#older[record] = this.#newest;
    if (this.#newest === NONE) this.oldest = record;
    else this.newer[this.#newest] = record;
    this.#newest = record;
  }

  #untime(record: number): void {
    if (!this.#timed[record]) return;
    this.#timed[record] = 0;
    const newer = this.newer[record];
    const older = this.#older[record];
    if (newer === NONE) this.#newest = older;
    else this.#older[newer] = older;
    if (older === NONE) this.oldest = newer;
    else this.newer[older] = newer;
  }

  #take(): number {
    let record = this.#free;
    if (record !== NONE) {
      this.#free = this.next[record];
    } else {
      if (this.#made === MAX_RECORDS) return NONE;
      if (this.#made === this.start.length) this.#grow();
      record = this.#made++;
    }
    this.count++;
    return record;
  }

  #grow(): void {
    const size = this.start.length * 2;
    const int32 = (old: Int32Array) => {
      const fresh = new Int32Array(size);
      fresh.set(old);
      return fresh;
    };
    const bytes = (old: Uint8Array) => {
      const fresh = new Uint8Array(size);
      fresh.set(old);
      return fresh;
    };
    this.start = int32(this.start);
    this.end = int32(this.end);
    this.next = int32(this.next);
    this.#previous = int32(this.#previous);
    this.newer = int32(this.newer);
    this.#older = int32(this.#older);
    this.marks = bytes(this.marks);
    this.#timed = bytes(this.#timed);
    const at = new Float64Array(size);
    at.set(this.at);
    this.at = at;
  }
}
