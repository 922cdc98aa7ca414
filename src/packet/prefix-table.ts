/**
 * Longest-prefix match for one address family: a path-compressed binary trie in typed arrays. A lookup walks at most
 * one node per distinct prefix length on its path, and allocates nothing.
 */
import { getInt32 } from './word.ts';

const NONE = -1;

export class PrefixTable {
  /** 32-bit words of an address: 1 or 4. */
  readonly #words: number;
  readonly #bits: number;

  // Nodes are rows of these columns. A node is a prefix that was inserted, or a fork of two that were.
  /** The prefix's bits, `#words` cells per node, zeros behind its length. */
  #key = new Int32Array(0);
  #length = new Uint8Array(0);
  /** Two cells per node: where the next bit is 0, and where it is 1. */
  #child = new Int32Array(0);
  /** NONE in a fork. */
  #value = new Int32Array(0);
  /** Freed rows, linked through #child. */
  #free = NONE;
  #rows = 0;
  #nodes = 0;
  #root = NONE;
  #size = 0;
  /** The address at hand, so that walks do not read bytes again. */
  readonly #wanted: Int32Array;

  constructor(family: 4 | 6) {
    this.#words = family === 4 ? 1 : 4;
    this.#bits = 32 * this.#words;
    this.#wanted = new Int32Array(this.#words);
  }

  /** Prefixes in the table. */
  get size(): number {
    return this.#size;
  }

  /** Nodes of the trie, forks among them: less than twice as many as prefixes. */
  get nodes(): number {
    return this.#nodes;
  }

  /**
   * Adds a prefix, or replaces its value. Bits behind the length do not matter.
   *
   * @param bytes the whole address (4 or 16 bytes) at `offset`
   * @param prefixLength 0 to 32 or 128
   * @param value an integer from 0 to 2^31 - 1
   */
  insert(bytes: Uint8Array, offset: number, prefixLength: number, value: number): void {
    if (!Number.isInteger(prefixLength) || prefixLength < 0 || prefixLength > this.#bits)
      throw new RangeError(`a prefix length is 0 to ${this.#bits}, not ${prefixLength}`);
    if (!Number.isInteger(value) || value < 0 || value > 0x7fffffff)
      throw new RangeError(`a value is 0 to 2^31 - 1, not ${value}`);
    this.#load(bytes, offset);
    let parent = NONE;
    let node = this.#root;
    while (node !== NONE) {
      const common = this.#common(node, prefixLength);
      if (common < this.#length[node]) {
        // The ways part inside this node's prefix, or the new prefix is a part of it: a node goes in between.
        const between = this.#make(common, common === prefixLength ? value : NONE);
        this.#child[2 * between + this.#bit(this.#key, node * this.#words, common)] = node;
        this.#attach(parent, node, between);
        if (common < prefixLength) {
          const leaf = this.#make(prefixLength, value);
          this.#child[2 * between + this.#bit(this.#wanted, 0, common)] = leaf;
        }
        this.#size++;
        return;
      }
      if (common === prefixLength) {
        if (this.#value[node] === NONE) this.#size++;
        this.#value[node] = value;
        return;
      }
      parent = node;
      node = this.#child[2 * node + this.#bit(this.#wanted, 0, common)];
    }
    const leaf = this.#make(prefixLength, value);
    if (parent === NONE) this.#root = leaf;
    else this.#child[2 * parent + this.#bit(this.#wanted, 0, this.#length[parent])] = leaf;
    this.#size++;
  }

  /** Takes exactly this prefix out. Returns whether it was there. */
  remove(bytes: Uint8Array, offset: number, prefixLength: number): boolean {
    this.#load(bytes, offset);
    let grandparent = NONE;
    let parent = NONE;
    let node = this.#root;
    while (node !== NONE) {
      const length = this.#length[node];
      if (length > prefixLength || this.#common(node, prefixLength) < length) return false;
      if (length === prefixLength) break;
      grandparent = parent;
      parent = node;
      node = this.#child[2 * node + this.#bit(this.#wanted, 0, length)];
    }
    if (node === NONE || this.#value[node] === NONE) return false;
    this.#value[node] = NONE;
    this.#size--;
    this.#splice(parent, node);
    // A fork that lost one of its two ways is no fork any more.
    if (parent !== NONE && this.#value[parent] === NONE) this.#splice(grandparent, parent);
    return true;
  }

  /** The value of the longest prefix that covers the address at `bytes[offset]`, or -1. */
  lookup(bytes: Uint8Array, offset: number): number {
    const words = this.#words;
    const key = this.#key;
    const child = this.#child;
    const lengths = this.#length;
    const value = this.#value;
    let best = NONE;
    let node = this.#root;
    while (node !== NONE) {
      const length = lengths[node];
      const full = length >>> 5;
      const row = node * words;
      for (let i = 0; i < full; i++) if (key[row + i] !== getInt32(bytes, offset + 4 * i)) return best;
      const rest = length & 31;
      if (rest !== 0 && (key[row + full] ^ getInt32(bytes, offset + 4 * full)) >>> (32 - rest) !== 0)
        return best;
      if (value[node] !== NONE) best = value[node];
      if (length === this.#bits) return best;
      node = child[2 * node + ((bytes[offset + (length >>> 3)] >>> (7 - (length & 7))) & 1)];
    }
    return best;
  }

  /** Takes everything out. */
  clear(): void {
    this.#root = NONE;
    this.#free = NONE;
    this.#rows = 0;
    this.#nodes = 0;
    this.#size = 0;
  }

  #load(bytes: Uint8Array, offset: number): void {
    if (offset + 4 * this.#words > bytes.length)
      throw new RangeError(
        `an address of ${4 * this.#words} bytes does not fit at ${offset} of ${bytes.length}`,
      );
    for (let i = 0; i < this.#words; i++) this.#wanted[i] = getInt32(bytes, offset + 4 * i);
  }

  #bit(words: Int32Array, row: number, position: number): number {
    return (words[row + (position >>> 5)] >>> (31 - (position & 31))) & 1;
  }

  /** Leading bits that the address at hand, cut to `limit`, and a node's prefix have in common. */
  #common(node: number, limit: number): number {
    const most = Math.min(limit, this.#length[node]);
    for (let i = 0; 32 * i < most; i++) {
      const different = Math.clz32(this.#key[node * this.#words + i] ^ this.#wanted[i]);
      if (different < 32) return Math.min(most, 32 * i + different);
    }
    return most;
  }

  /** A node for the first `length` bits of the address at hand, without children. */
  #make(length: number, value: number): number {
    let node = this.#free;
    if (node !== NONE) this.#free = this.#child[2 * node];
    else {
      node = this.#rows++;
      if (node === this.#value.length) this.#grow();
    }
    for (let i = 0; i < this.#words; i++) {
      const kept = Math.min(32, Math.max(0, length - 32 * i));
      this.#key[node * this.#words + i] = kept === 0 ? 0 : this.#wanted[i] & (-1 << (32 - kept));
    }
    this.#length[node] = length;
    this.#value[node] = value;
    this.#child[2 * node] = NONE;
    this.#child[2 * node + 1] = NONE;
    this.#nodes++;
    return node;
  }

  #grow(): void {
    const rows = Math.max(16, 2 * this.#value.length);
    const larger = (from: Int32Array, cells: number) => {
      const into = new Int32Array(cells);
      into.set(from);
      return into;
    };
    this.#key = larger(this.#key, rows * this.#words);
    this.#child = larger(this.#child, rows * 2);
    this.#value = larger(this.#value, rows);
    const lengths = new Uint8Array(rows);
    lengths.set(this.#length);
    this.#length = lengths;
  }

  /** Puts `now` where `parent` had `was`. */
  #attach(parent: number, was: number, now: number): void {
    if (parent === NONE) this.#root = now;
    else if (this.#child[2 * parent] === was) this.#child[2 * parent] = now;
    else this.#child[2 * parent + 1] = now;
  }

  /** Takes a node without a value out, unless it is a fork. */
  #splice(parent: number, node: number): void {
    const [left, right] = [this.#child[2 * node], this.#child[2 * node + 1]];
    if (left !== NONE && right !== NONE) return;
    this.#attach(parent, node, left !== NONE ? left : right);
    this.#child[2 * node] = this.#free;
    this.#free = node;
    this.#nodes--;
  }
}
