/**
 * What is behind the headers: of TCP, UDP and ICMP their payload, else all behind the IP header. Offsets are from its start.
 * Reading beyond the end and writing over it are RangeErrors, which cost the function that packet.
 */
import { get16, get32, put16, put32 } from '../../packet/word.ts';
import type { Cursor } from './cursor.ts';

const text = new TextDecoder();

export class PayloadView {
  readonly #c: Cursor;

  constructor(cursor: Cursor) {
    this.#c = cursor;
  }

  /** Bytes; of a superframe those of all its segments. */
  get length(): number {
    return this.#c.payloadEnd - this.#c.payload;
  }

  /** The byte at an offset. */
  at(offset: number): number {
    return this.#c.slab[this.#place(offset, 1)];
  }

  get16(offset: number): number {
    return get16(this.#c.slab, this.#place(offset, 2));
  }

  /** 0 to 2^32 - 1. */
  get32(offset: number): number {
    return get32(this.#c.slab, this.#place(offset, 4));
  }

  /** Where `bytes` stand at `from` or later; -1 when they do not. */
  indexOf(bytes: Uint8Array, from = 0): number {
    const { slab, payload } = this.#c;
    const last = this.length - bytes.length;
    if (bytes.length === 0) return from <= this.length ? from : -1;
    const first = bytes[0];
    for (let i = Math.max(0, from); i <= last; i++) {
      if (slab[payload + i] === first && this.#equal(payload + i, bytes)) return i;
    }
    return -1;
  }

  startsWith(bytes: Uint8Array): boolean {
    return bytes.length <= this.length && this.#equal(this.#c.payload, bytes);
  }

  #equal(at: number, bytes: Uint8Array): boolean {
    const { slab } = this.#c;
    for (let i = 0; i < bytes.length; i++) if (slab[at + i] !== bytes[i]) return false;
    return true;
  }

  /** Bytes to keep; allocates. */
  copy(offset = 0, length = this.length - offset): Uint8Array {
    const at = this.#place(offset, length);
    return this.#c.slab.slice(at, at + length);
  }

  /** Copies into memory of the function's own, as much as fits; returns how much. Allocates nothing. */
  copyTo(into: Uint8Array, offset = 0, at = 0): number {
    const length = Math.max(0, Math.min(this.length - offset, into.length - at));
    const from = this.#place(offset, length);
    const { slab } = this.#c;
    for (let i = 0; i < length; i++) into[at + i] = slab[from + i];
    return length;
  }

  /** As UTF-8; allocates. */
  text(): string {
    return text.decode(this.copy());
  }

  // ── Writing. False, with nothing changed, where that cannot be: see `splice`.

  set(offset: number, byte: number): boolean {
    this.#place(offset, 1);
    if (!this.#c.touchPayload()) return false;
    this.#c.slab[this.#c.payload + offset] = byte;
    return true;
  }

  set16(offset: number, value: number): boolean {
    this.#place(offset, 2);
    if (!this.#c.touchPayload()) return false;
    put16(this.#c.slab, this.#c.payload + offset, value);
    return true;
  }

  set32(offset: number, value: number): boolean {
    this.#place(offset, 4);
    if (!this.#c.touchPayload()) return false;
    put32(this.#c.slab, this.#c.payload + offset, value);
    return true;
  }

  /** Writes over what is there; the length stays. */
  write(offset: number, bytes: Uint8Array): boolean {
    this.#place(offset, bytes.length);
    if (!this.#c.touchPayload()) return false;
    this.#put(offset, bytes);
    return true;
  }

  /**
   * Takes `remove` bytes out and puts `bytes` in their place: the packet grows or shrinks, and lengths and checksums with it. The
   * sequence numbers of TCP are the function's business.
   *
   * @returns false for a superframe or a fragment, without memory, and for more than 65535 bytes in all
   */
  splice(offset: number, remove: number, bytes: Uint8Array): boolean {
    this.#place(offset, remove);
    if (!this.#c.splice(offset, remove, bytes.length)) return false;
    this.#put(offset, bytes);
    return true;
  }

  /** Cuts the end off, or adds zeros there. */
  resize(length: number): boolean {
    const before = this.length;
    if (!Number.isInteger(length) || length < 0) throw new RangeError(`a payload of ${length} bytes`);
    if (length <= before) return this.#c.splice(length, before - length, 0);
    if (!this.#c.splice(before, 0, length - before)) return false;
    const { slab, payload } = this.#c;
    for (let i = before; i < length; i++) slab[payload + i] = 0;
    return true;
  }

  #put(offset: number, bytes: Uint8Array): void {
    const { slab, payload } = this.#c;
    for (let i = 0; i < bytes.length; i++) slab[payload + offset + i] = bytes[i];
  }

  #place(offset: number, length: number): number {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.length))
      throw new RangeError(`${length} bytes at ${offset} of a payload of ${this.length}`);
    return this.#c.payload + offset;
  }
}
