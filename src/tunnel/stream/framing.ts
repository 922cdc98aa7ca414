/**
 * The `stream` format: each inner packet behind its length in two bytes, big endian, which does not count itself.
 * Nothing here knows sockets or packets' memory; both halves work on a span of some array that they are given once.
 *
 * In: bytes come in any pieces. A record that cannot be a packet is passed over and said why; the next one starts
 * where its length says. A length that was wrong once makes every later one wrong, and nothing in the format lets a
 * receiver find the rhythm again. Then records are no packets at all, one after the other: `Found.Lost`.
 */
import * as ethernet from '../../packet/ethernet.ts';
import * as ip from '../../packet/ip.ts';
import { Problem } from '../../packet/problem.ts';
import { EtherType } from '../../packet/protocol.ts';
import { get16, put16 } from '../../packet/word.ts';
import { StreamDrop } from './reasons.ts';

/** Bytes in front of each packet. */
export const PREFIX = 2;
/** The longest packet that a record holds. */
export const MAX_RECORD = 0xffff;
/** Shortest span that works: a record of full length. */
export const MIN_SPAN = PREFIX + MAX_RECORD;

/** Records in a row that are no packet of any kind, after which the stream is out of step for good. */
const STRIKES = 4;
const IPV4_HEADER = 20;

export const Found = {
  /** No whole record is there. */
  More: 0,
  /** A record with a packet in it: `at`, `length`. It stays the next one until `pass`. */
  Packet: 1,
  /** A record without a packet, passed over: `reason`. */
  Bad: 2,
  /** The same, and once too often. */
  Lost: 3,
} as const;
export type Found = (typeof Found)[keyof typeof Found];

/** Finds the records in the bytes of one connection. */
export class RecordReader {
  readonly bytes: Uint8Array;
  readonly #layer: 2 | 3;
  readonly #base: number;
  readonly #limit: number;
  /** The longest packet to take, bytes. */
  longest: number;
  /** Unread bytes are `start..end`. */
  #start: number;
  #end: number;
  #strikes = 0;
  /** The packet that `next` found. */
  at = 0;
  length = 0;
  /** Why the record that `next` passed over was none: a drop reason. */
  reason = 0;

  /** @param size of the span `bytes[base..base+size)`, at least MIN_SPAN */
  constructor(layer: 2 | 3, longest: number, bytes: Uint8Array, base: number, size: number) {
    if (size < MIN_SPAN) throw new RangeError(`a record needs ${MIN_SPAN} bytes, and the span has ${size}`);
    this.#layer = layer;
    this.longest = longest;
    this.bytes = bytes;
    this.#base = base;
    this.#limit = base + size;
    this.#start = base;
    this.#end = base;
  }

  /** Forgets everything, for another connection. */
  reset(): void {
    this.#start = this.#end = this.#base;
    this.#strikes = 0;
  }

  /** Bytes that belong to no whole record yet, or were not asked for. */
  get waiting(): number {
    return this.#end - this.#start;
  }

  /** Makes all the room there is behind the unread bytes, and returns how much: never 0 after `Found.More`. */
  makeRoom(): number {
    if (this.#start > this.#base) {
      this.bytes.copyWithin(this.#base, this.#start, this.#end);
      this.#end -= this.#start - this.#base;
      this.#start = this.#base;
    }
    return this.#limit - this.#end;
  }

  /** Where the next bytes go; `makeRoom` says how many fit. */
  get end(): number {
    return this.#end;
  }

  /** `n` bytes were written at `end`. */
  added(n: number): void {
    this.#end += n;
  }

  next(): Found {
    const { bytes } = this;
    const start = this.#start;
    const there = this.#end - start;
    if (there < PREFIX) return Found.More;
    const length = get16(bytes, start);
    if (there < PREFIX + length) return Found.More;
    this.at = start + PREFIX;
    this.length = length;
    const reason = this.#layer === 3 ? this.#checkPacket() : this.#checkFrame();
    if (reason === 0) return Found.Packet;
    this.reason = reason;
    this.pass();
    if (reason !== StreamDrop.NotAPacket) return Found.Bad;
    return ++this.#strikes < STRIKES ? Found.Bad : Found.Lost;
  }

  /** Goes on behind the record that `next` found. */
  pass(): void {
    this.#start = this.at + this.length;
  }

  /**
   * Why the record is no IP packet, or 0. Only one whose two lengths agree proves that the stream is in step: among
   * random bytes one record in eight looks like the start of some IP packet.
   */
  #checkPacket(): number {
    const { bytes, at, length } = this;
    if (length < IPV4_HEADER) return StreamDrop.TooShort;
    if (length > this.longest) return StreamDrop.TooLong;
    switch (ip.check(bytes, at, at + length)) {
      case Problem.None:
        if (ip.totalLength(bytes, at) === length) this.#strikes = 0;
        return 0;
      case Problem.Version:
        return StreamDrop.NotAPacket;
      case Problem.Truncated:
        return StreamDrop.TooShort;
      case Problem.Length:
        return StreamDrop.Truncated;
      default:
        return StreamDrop.Malformed;
    }
  }

  /** The same for a frame. No station's own address is a group's (IEEE 802, 8.2): that is not the start of a frame. */
  #checkFrame(): number {
    const { bytes, at, length } = this;
    if (length < ethernet.HEADER) return StreamDrop.TooShort;
    if (length > this.longest) return StreamDrop.TooLong;
    if ((bytes[at + ethernet.SOURCE] & 1) !== 0) return StreamDrop.NotAPacket;
    const found = ethernet.payload(bytes, at, at + length);
    if (found < 0) return StreamDrop.Malformed;
    const type = ethernet.payloadType(found);
    if (type === EtherType.Ipv4 || type === EtherType.Ipv6) {
      const payload = at + ethernet.payloadDistance(found);
      if (ip.check(bytes, payload, at + length) === Problem.None) this.#strikes = 0;
    }
    return 0;
  }
}

/** Gathers records for one connection. Filled anew only when everything in it has left, so that it hides no queue. */
export class RecordWriter {
  readonly bytes: Uint8Array;
  readonly #base: number;
  readonly #limit: number;
  /** Bytes that still have to leave are `start..end`. */
  start: number;
  end: number;

  /** @param size of the span `bytes[base..base+size)`, at least MIN_SPAN */
  constructor(bytes: Uint8Array, base: number, size: number) {
    if (size < MIN_SPAN) throw new RangeError(`a record needs ${MIN_SPAN} bytes, and the span has ${size}`);
    this.bytes = bytes;
    this.#base = base;
    this.#limit = base + size;
    this.start = base;
    this.end = base;
  }

  get empty(): boolean {
    return this.start === this.end;
  }

  /** Whether a packet of `length` bytes fits behind the others. */
  fits(length: number): boolean {
    return this.end + PREFIX + length <= this.#limit;
  }

  /** Where a packet is to be written, before `add`. */
  get at(): number {
    return this.end + PREFIX;
  }

  /** A packet of `length` bytes (at most MAX_RECORD) was written at `at`. */
  add(length: number): void {
    put16(this.bytes, this.end, length);
    this.end += PREFIX + length;
  }

  /** `n` bytes from `start` on have left. */
  sent(n: number): void {
    this.start += n;
    if (this.start === this.end) this.start = this.end = this.#base;
  }

  /** Forgets what has not left, and returns how many records did not leave whole. */
  discard(): number {
    let lost = 0;
    if (!this.empty) {
      for (let at = this.#base; at < this.end; ) {
        at += PREFIX + get16(this.bytes, at);
        if (at > this.start) lost++;
      }
    }
    this.start = this.end = this.#base;
    return lost;
  }
}
