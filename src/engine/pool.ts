/**
 * The memory of a network. A packet is an integer, its *handle*: a row in the columns below (the descriptor), which
 * points at bytes in a *slot*. Several descriptors may share a slot; the slot counts them.
 *
 * Slots come in two sizes: small ones for packets as they are on a wire, large ones for superframes. Every slot is
 * paid for by an *account*: each source of packets has one with a quota, so that no source can starve another
 * whatever queues up downstream of it.
 */
import { COMMON_ACCOUNT, HEADROOM, LARGE_SLOT, type Native, SMALL_SLOT } from '../native/binding.ts';
import { copyBytes } from '../packet/word.ts';
import { AddressBook } from './address-book.ts';
import { DEBUG } from './debug.ts';
import { Ledger } from './ledger.ts';
import { addonOrNull, releasePool, retainPool } from './native-pool.ts';
import { type PoolSize, SharedPoolMemory } from './pool-memory.ts';
import { MAX_REASONS } from './reasons.ts';

/** How many apps a network can have; each has a row of drop counters. */
export const MAX_ACTORS = 4096;
/** Rows of counters at first: networks of a simulation have ten apps, and there are thousands of them. */
const FIRST_ACTORS = 32;
/** A freed row of a debug pool comes back only after the others of its generation ring. */
const DEBUG_GENERATIONS = 4;

/** A native call costs as much as a few packets in JavaScript: shorter bursts stay here. */
export const NATIVE_FROM = 8;

/** A pool that native code knows, from `accelerate` to `retire`. */
export interface Attachment {
  readonly native: Native;
  /** The pool's number there. */
  readonly pool: number;
  ended: boolean;
}

/** Sees packets on their way out of the world, for captures. `reason` is a number of `reasons.ts`. */
export type DropWitness = (handle: number, reason: number, actor: number) => void;

export class Pool extends SharedPoolMemory {
  /** What the `peer` column's numbers mean. */
  readonly addresses: AddressBook;

  /** The app that runs now; drops are counted for it. Set by the network. */
  actor = 0;
  /** Wire packets dropped, by `actor * MAX_REASONS + reason`. */
  drops = new Float64Array(FIRST_ACTORS * MAX_REASONS);
  /** Set while a capture wants to see drops. */
  witness: DropWitness | null = null;

  /** Debug pools: where each handle is. Production never asks it. */
  readonly ledger: Ledger | null;
  /** What does whole bursts, once `accelerate` was called where there is an addon. */
  attachment: Attachment | null = null;
  #native: Native | null = null;
  #id = -1;

  constructor(size: PoolSize) {
    super(size, DEBUG ? DEBUG_GENERATIONS : 1);
    this.addresses = new AddressBook(size.smallSlots + size.largeSlots);
    this.ledger = DEBUG ? new Ledger(this) : null;
  }

  /** Makes room for the drops of an app with this number. */
  admit(actor: number): void {
    let rows = this.drops.length / MAX_REASONS;
    if (actor < rows) return;
    while (actor >= rows) rows *= 2;
    const { drops } = this;
    this.drops = new Float64Array(rows * MAX_REASONS);
    this.drops.set(drops);
  }

  /**
   * From now on native code does the bursts, if there is an addon. Debug pools check every packet on its own and do
   * without. `retire` undoes it.
   */
  accelerate(): void {
    if (DEBUG || this.#native !== null) return;
    const addon = addonOrNull();
    if (addon === null) return;
    this.#id = retainPool(this);
    this.#native = addon;
    this.attachment = { native: addon, pool: this.#id, ended: false };
  }

  retire(): void {
    if (this.#native === null) return;
    this.#native.ringsDetach(this.#id);
    this.attachment!.ended = true;
    this.attachment = null;
    this.#native = null;
    releasePool(this);
  }

  /** Descriptors that are not in use. */
  get freeHandles(): number {
    return this.freeDescriptors[0];
  }

  /** Packets (descriptors) that are alive. */
  get live(): number {
    return this.freeDescriptors.length - 1 - this.freeDescriptors[0];
  }

  /** A fresh packet in a small slot, with no bytes yet and `HEADROOM` free bytes in front; -1 when there is none to be had. */
  alloc(account: number): number {
    const free = this.freeSmall;
    const n = free[0];
    if (n === 0 || this.usedSmall[account] >= this.quotaSmall[account]) return -1;
    if (this.freeDescriptors[0] === 0) return -1;
    const slot = free[n];
    free[0] = n - 1;
    this.usedSmall[account]++;
    return this.#describe(slot, slot * SMALL_SLOT + HEADROOM, account);
  }

  /** The same in a large slot. */
  allocLarge(account: number): number {
    const free = this.freeLarge;
    const n = free[0];
    if (n === 0 || this.usedLarge[account] >= this.quotaLarge[account]) return -1;
    if (this.freeDescriptors[0] === 0) return -1;
    const slot = free[n];
    free[0] = n - 1;
    this.usedLarge[account]++;
    const at = this.smallSlots * SMALL_SLOT + (slot - this.smallSlots) * LARGE_SLOT;
    return this.#describe(slot, at + HEADROOM, account);
  }

  /** A fresh packet with room for `length` bytes; -1 when there is none or `length` is over a large slot's room. */
  allocFor(length: number, account: number): number {
    if (length <= SMALL_SLOT - HEADROOM) return this.alloc(account);
    if (length <= LARGE_SLOT - HEADROOM) return this.allocLarge(account);
    return -1;
  }

  #describe(slot: number, offset: number, account: number): number {
    const free = this.freeDescriptors;
    const n = free[0];
    const handle = free[n];
    free[0] = n - 1;
    this.references[slot] = 1;
    this.owner[slot] = account;
    this.arrived[slot] = 0;
    this.slot[handle] = slot;
    this.offset[handle] = offset;
    this.length[handle] = 0;
    this.layer[handle] = 0;
    this.l3Offset[handle] = 0;
    this.prefixLength[handle] = 0;
    this.segmentSize[handle] = 0;
    this.segments[handle] = 1;
    this.gsoType[handle] = 0;
    this.checksumStart[handle] = -1;
    this.checksumOffset[handle] = 0;
    this.peer[handle] = -1;
    this.trafficClass[handle] = 0;
    this.flags[handle] = 0;
    this.state[handle] = 1;
    if (DEBUG) this.ledger!.enter(handle, this.actor);
    return handle;
  }

  /** Ends a packet. Its slot is free again when no other descriptor shares it. */
  free(handle: number): void {
    if (DEBUG) this.ledger!.leave(handle, this.actor);
    const slot = this.slot[handle];
    if (--this.references[slot] === 0) {
      if (slot < this.smallSlots) {
        this.freeSmall[++this.freeSmall[0]] = slot;
        this.usedSmall[this.owner[slot]]--;
      } else {
        this.freeLarge[++this.freeLarge[0]] = slot;
        this.usedLarge[this.owner[slot]]--;
      }
    }
    this.state[handle] = 0;
    const next = this.stride === 0 ? handle : (handle + this.stride) % this.descriptors.length;
    this.freeDescriptors[++this.freeDescriptors[0]] = next;
  }

  /** Ends a packet and counts why, for the app that runs now. A superframe counts all its segments. */
  drop(handle: number, reason: number): void {
    if (DEBUG) this.ledger!.check(handle, 'dropped');
    this.drops[this.actor * MAX_REASONS + reason] += this.segments[handle];
    if (this.witness !== null) this.witness(handle, reason, this.actor);
    this.free(handle);
  }

  // ── Bursts: the same for many packets, in one native call that costs about as much as three packets one by one.

  /** Fresh packets in small slots, up to `n`, into `into`; returns how many there were. */
  allocBurst(account: number, into: Int32Array, n: number): number {
    if (this.#native !== null && n >= NATIVE_FROM) return this.#native.poolAlloc(this.#id, account, into, n);
    for (let i = 0; i < n; i++) {
      const handle = this.alloc(account);
      if (handle < 0) return i;
      into[i] = handle;
    }
    return n;
  }

  /** A clone of each of `from[0..n)`, from the first on, into `into`; returns for how many there was one. */
  cloneBurst(from: Int32Array, n: number, into: Int32Array): number {
    if (this.#native !== null && n >= NATIVE_FROM) return this.#native.poolClone(this.#id, from, n, into);
    for (let i = 0; i < n; i++) {
      const copy = this.clone(from[i]);
      if (copy < 0) return i;
      into[i] = copy;
    }
    return n;
  }

  /** The same with bytes of their own, that may be written to. */
  copyBurst(from: Int32Array, n: number, into: Int32Array): number {
    if (this.#native !== null && n >= NATIVE_FROM) return this.#native.poolCopy(this.#id, from, n, into);
    for (let i = 0; i < n; i++) {
      const copy = this.copy(from[i]);
      if (copy < 0) return i;
      into[i] = copy;
    }
    return n;
  }

  /**
   * `n` packets like `template`, columns and bytes, in small slots of their own, paid by its account; returns how many
   * there were. For whoever makes packets rather than reads them.
   */
  stampBurst(template: number, into: Int32Array, n: number): number {
    if (this.#native !== null && n >= NATIVE_FROM) return this.#native.poolStamp(this.#id, template, into, n);
    for (let i = 0; i < n; i++) {
      const copy = this.stamp(template);
      if (copy < 0) return i;
      into[i] = copy;
    }
    return n;
  }

  /** One of those; -1 when there is none. */
  stamp(template: number): number {
    const account = this.owner[this.slot[template]];
    if (this.usedSmall[account] >= this.quotaSmall[account]) return -1;
    return this.copy(template);
  }

  /** Ends `handles[0..n)`. How many wire packets and bytes that were stands in `tally` then. */
  freeBurst(handles: Int32Array, n: number): void {
    if (this.#native !== null && n >= NATIVE_FROM) {
      this.#native.poolFree(this.#id, handles, n);
      return;
    }
    let packets = 0;
    let bytes = 0;
    for (let i = 0; i < n; i++) {
      packets += this.segments[handles[i]];
      bytes += this.length[handles[i]];
      this.free(handles[i]);
    }
    this.tally[0] = packets;
    this.tally[1] = bytes;
  }

  /** Ends `handles[from..n)` and counts why. */
  dropBurst(handles: Int32Array, from: number, n: number, reason: number): void {
    for (let i = from; i < n; i++) this.drop(handles[i], reason);
  }

  /**
   * Wire packets for a superframe, which stays as it is, in `cut[0..n)`. 0 when native code does not do it: it is not
   * there, or there is not memory for all of them, or the superframe makes no sense.
   */
  cutNatively(packet: number): number {
    return this.#native === null ? 0 : Math.max(0, this.#native.segment(this.#id, packet));
  }

  /** Counts packets that were lost before they had a handle. */
  countDrops(reason: number, packets: number): void {
    this.drops[this.actor * MAX_REASONS + reason] += packets;
  }

  /** A second descriptor over the same bytes; -1 when there is none. Neither may be written to until `own`. */
  clone(handle: number): number {
    if (DEBUG) this.ledger!.check(handle, 'cloned');
    const free = this.freeDescriptors;
    const n = free[0];
    if (n === 0) return -1;
    const copy = free[n];
    free[0] = n - 1;
    this.references[this.slot[handle]]++;
    this.#copyColumns(handle, copy);
    this.slot[copy] = this.slot[handle];
    this.offset[copy] = this.offset[handle];
    this.state[copy] = 1;
    if (DEBUG) this.ledger!.enter(copy, this.actor);
    return copy;
  }

  /** A second packet with bytes of its own; -1 when there is no memory. */
  copy(handle: number): number {
    const copy = this.clone(handle);
    if (copy < 0 || this.own(copy)) return copy;
    this.free(copy);
    return -1;
  }

  #copyColumns(from: number, to: number): void {
    this.length[to] = this.length[from];
    this.layer[to] = this.layer[from];
    this.l3Offset[to] = this.l3Offset[from];
    this.prefixLength[to] = this.prefixLength[from];
    this.segmentSize[to] = this.segmentSize[from];
    this.segments[to] = this.segments[from];
    this.gsoType[to] = this.gsoType[from];
    this.checksumStart[to] = this.checksumStart[from];
    this.checksumOffset[to] = this.checksumOffset[from];
    this.peer[to] = this.peer[from];
    this.trafficClass[to] = this.trafficClass[from];
    this.flags[to] = this.flags[from];
  }

  /**
   * Makes a packet the only one on its bytes and its prefix, copying them if they are shared. Must be called before
   * writing. Returns false, with nothing changed, when there is no memory for the copy, or the prefix is longer than the
   * headroom.
   */
  own(handle: number): boolean {
    if (DEBUG) this.ledger!.check(handle, 'written to');
    const slot = this.slot[handle];
    if (this.references[slot] === 1) return true;
    const prefix = this.prefixLength[handle];
    if (prefix > HEADROOM) return false;
    const length = this.length[handle];
    // Whoever paid for the original pays for the copy; the common account helps out.
    let fresh = this.#copySlot(length, this.owner[slot]);
    if (fresh < 0) fresh = this.#copySlot(length, COMMON_ACCOUNT);
    if (fresh < 0) return false;
    const from = this.offset[handle] - prefix;
    const to = this.#slotStart(fresh) + HEADROOM;
    this.slab.copyWithin(to - prefix, from, from + prefix + length);
    this.references[slot]--;
    this.references[fresh] = 1;
    this.arrived[fresh] = this.arrived[slot];
    this.slot[handle] = fresh;
    this.offset[handle] = to;
    return true;
  }

  /** A slot for `length` bytes out of `account`, without a descriptor; -1 when there is none. */
  #copySlot(length: number, account: number): number {
    const small = length <= SMALL_SLOT - HEADROOM;
    const free = small ? this.freeSmall : this.freeLarge;
    const used = small ? this.usedSmall : this.usedLarge;
    const quota = small ? this.quotaSmall : this.quotaLarge;
    if (free[0] === 0 || used[account] >= quota[account]) return -1;
    used[account]++;
    const slot = free[free[0]--];
    this.owner[slot] = account;
    return slot;
  }

  /** What one packet has in front of it goes in front of another, a fresh one: its prefix. False when it has no room there. */
  copyPrefix(from: number, to: number): boolean {
    const prefix = this.prefixLength[from];
    if (prefix === 0) return true;
    if (prefix > HEADROOM) return false;
    copyBytes(this.slab, this.offset[from] - prefix, this.slab, this.offset[to] - prefix, prefix);
    this.prefixLength[to] = prefix;
    return true;
  }

  /** Bytes free in front of the packet and its prefix. */
  headroom(handle: number): number {
    return this.offset[handle] - this.prefixLength[handle] - this.#slotStart(this.slot[handle]);
  }

  /** Bytes the packet could grow to from its offset on. */
  capacity(handle: number): number {
    const slot = this.slot[handle];
    const size = slot < this.smallSlots ? SMALL_SLOT : LARGE_SLOT;
    return this.#slotStart(slot) + size - this.offset[handle];
  }

  #slotStart(slot: number): number {
    return slot < this.smallSlots
      ? slot * SMALL_SLOT
      : this.smallSlots * SMALL_SLOT + (slot - this.smallSlots) * LARGE_SLOT;
  }

  /** A packet made from `bytes`; -1 when there is no memory. For control messages, tests and people. */
  copyIn(bytes: Uint8Array, layer: number, account = COMMON_ACCOUNT): number {
    const handle = this.allocFor(bytes.length, account);
    if (handle < 0) return -1;
    this.slab.set(bytes, this.offset[handle]);
    this.length[handle] = bytes.length;
    this.layer[handle] = layer;
    return handle;
  }

  /** The packet's bytes as a copy of their own. For logs, tests and people. */
  copyOut(handle: number): Uint8Array {
    if (DEBUG) this.ledger!.check(handle, 'read');
    const copy = new Uint8Array(this.length[handle]);
    copy.set(this.slab.subarray(this.offset[handle], this.offset[handle] + copy.length));
    return copy;
  }
}
