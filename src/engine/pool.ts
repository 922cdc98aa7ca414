/**
 * The memory of a network. A packet is an integer, its *handle*: a row in the columns below (the descriptor), which
 * points at bytes in a *slot*. Several descriptors may share a slot; the slot counts them.
 *
 * Slots come in two sizes: small ones for packets as they are on a wire, large ones for superframes. Every slot is
 * paid for by an *account*: each source of packets has one with a quota, so that no source can starve another
 * whatever queues up downstream of it.
 */
import { TunconnectorError } from '../errors.ts';
import { COMMON_ACCOUNT, HEADROOM, LARGE_SLOT, type PoolMemory, SMALL_SLOT } from '../native/binding.ts';
import { AddressBook } from './address-book.ts';
import { DEBUG } from './debug.ts';
import { MAX_REASONS } from './reasons.ts';

export const MAX_ACCOUNTS = 256;
/** How many apps a network can have; each has a row of drop counters. */
export const MAX_ACTORS = 4096;
/** A freed row of a debug pool comes back only after the others of its generation ring. */
const DEBUG_GENERATIONS = 4;

/** Where a handle is, in debug pools. */
const Place = { Free: 0, App: 1, Link: 2 } as const;

export interface PoolSize {
  smallSlots: number;
  largeSlots: number;
}

/** Sees packets on their way out of the world, for captures. `reason` is a number of `reasons.ts`. */
export type DropWitness = (handle: number, reason: number, actor: number) => void;

export class Pool implements PoolMemory {
  readonly slab: Uint8Array;
  readonly smallSlots: number;
  readonly largeSlots: number;
  readonly stride: number;

  readonly slot: Int32Array;
  readonly offset: Int32Array;
  readonly length: Int32Array;
  readonly layer: Uint8Array;
  readonly l3Offset: Uint16Array;
  readonly prefixLength: Uint16Array;
  readonly segmentSize: Int32Array;
  readonly segments: Int32Array;
  readonly gsoType: Uint8Array;
  readonly checksumStart: Int32Array;
  readonly checksumOffset: Int32Array;
  readonly peer: Int32Array;
  readonly trafficClass: Uint8Array;
  readonly flags: Uint8Array;
  readonly arrival: Float64Array;
  readonly state: Uint8Array;

  readonly references: Int32Array;
  readonly owner: Uint8Array;

  readonly freeDescriptors: Int32Array;
  readonly freeSmall: Int32Array;
  readonly freeLarge: Int32Array;

  readonly usedSmall = shared(Int32Array, MAX_ACCOUNTS);
  readonly quotaSmall = shared(Int32Array, MAX_ACCOUNTS);
  readonly usedLarge = shared(Int32Array, MAX_ACCOUNTS);
  readonly quotaLarge = shared(Int32Array, MAX_ACCOUNTS);

  /** What the `peer` column's numbers mean. */
  readonly addresses: AddressBook;

  /** The app that runs now; drops are counted for it. Set by the network. */
  actor = 0;
  /** Wire packets dropped, by `actor * MAX_REASONS + reason`. */
  readonly drops = new Float64Array(MAX_ACTORS * MAX_REASONS);
  /** Set while a capture wants to see drops. */
  witness: DropWitness | null = null;

  /** Debug pools: where each handle is, and which app touched it last. */
  readonly #place: Uint8Array;
  readonly #actorOf: Uint16Array;

  constructor(size: PoolSize) {
    const slots = size.smallSlots + size.largeSlots;
    // Clones need descriptors of their own: as many again as there are slots.
    const descriptors = slots * 2;
    const rows = DEBUG ? descriptors * DEBUG_GENERATIONS : descriptors;
    this.smallSlots = size.smallSlots;
    this.largeSlots = size.largeSlots;
    this.stride = DEBUG ? descriptors : 0;
    const bytes = size.smallSlots * SMALL_SLOT + size.largeSlots * LARGE_SLOT;
    if (bytes > 0x7fffffff) {
      throw new TunconnectorError('ERR_LIMIT', `a pool of ${bytes} bytes is over the limit of 2^31 - 1`);
    }
    this.slab = shared(Uint8Array, bytes);
    this.slot = shared(Int32Array, rows);
    this.offset = shared(Int32Array, rows);
    this.length = shared(Int32Array, rows);
    this.layer = shared(Uint8Array, rows);
    this.l3Offset = shared(Uint16Array, rows);
    this.prefixLength = shared(Uint16Array, rows);
    this.segmentSize = shared(Int32Array, rows);
    this.segments = shared(Int32Array, rows);
    this.gsoType = shared(Uint8Array, rows);
    this.checksumStart = shared(Int32Array, rows);
    this.checksumOffset = shared(Int32Array, rows);
    this.peer = shared(Int32Array, rows);
    this.trafficClass = shared(Uint8Array, rows);
    this.flags = shared(Uint8Array, rows);
    this.arrival = shared(Float64Array, rows);
    this.state = shared(Uint8Array, rows);
    this.references = shared(Int32Array, slots);
    this.owner = shared(Uint8Array, slots);
    this.freeDescriptors = stack(descriptors, 0);
    this.freeSmall = stack(size.smallSlots, 0);
    this.freeLarge = stack(size.largeSlots, size.smallSlots);
    this.addresses = new AddressBook(slots);
    this.#place = new Uint8Array(DEBUG ? rows : 0);
    this.#actorOf = new Uint16Array(DEBUG ? rows : 0);
    this.quotaSmall[COMMON_ACCOUNT] = size.smallSlots;
    this.quotaLarge[COMMON_ACCOUNT] = size.largeSlots;
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
    this.arrival[handle] = 0;
    this.state[handle] = 1;
    if (DEBUG) this.#settle(handle, Place.App);
    return handle;
  }

  /** Ends a packet. Its slot is free again when no other descriptor shares it. */
  free(handle: number): void {
    if (DEBUG) this.#leave(handle, 'freed');
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
    const next = this.stride === 0 ? handle : (handle + this.stride) % this.state.length;
    this.freeDescriptors[++this.freeDescriptors[0]] = next;
  }

  /** Ends a packet and counts why, for the app that runs now. A superframe counts all its segments. */
  drop(handle: number, reason: number): void {
    if (DEBUG) this.check(handle, 'dropped');
    this.drops[this.actor * MAX_REASONS + reason] += this.segments[handle];
    if (this.witness !== null) this.witness(handle, reason, this.actor);
    this.free(handle);
  }

  /** Counts packets that were lost before they had a handle. */
  countDrops(reason: number, packets: number): void {
    this.drops[this.actor * MAX_REASONS + reason] += packets;
  }

  /** A second descriptor over the same bytes; -1 when there is none. Neither may be written to until `own`. */
  clone(handle: number): number {
    if (DEBUG) this.check(handle, 'cloned');
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
    if (DEBUG) this.#settle(copy, Place.App);
    return copy;
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
    this.arrival[to] = this.arrival[from];
  }

  /**
   * Makes a packet the only one on its bytes, copying them if they are shared. Must be called before writing.
   * Returns false, with nothing changed, when there is no memory for the copy.
   */
  own(handle: number): boolean {
    if (DEBUG) this.check(handle, 'written to');
    const slot = this.slot[handle];
    if (this.references[slot] === 1) return true;
    const prefix = this.prefixLength[handle];
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

  /** Bytes free in front of the packet. */
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
    if (DEBUG) this.check(handle, 'read');
    const copy = new Uint8Array(this.length[handle]);
    copy.set(this.slab.subarray(this.offset[handle], this.offset[handle] + copy.length));
    return copy;
  }

  // ── What debug builds check. Production never calls these.

  /** Throws ERR_HANDLE unless the handle names a live packet. */
  check(handle: number, doing: string): void {
    if (handle >= 0 && handle < this.state.length && this.state[handle] === 1) return;
    const last = handle >= 0 && handle < this.#actorOf.length ? this.#actorOf[handle] : 0;
    throw new TunconnectorError(
      'ERR_HANDLE',
      `packet ${handle} is ${doing} but not live (last app: ${last})`,
    );
  }

  /** A handle goes from an app's hands to a link. */
  enterLink(handle: number): void {
    this.check(handle, 'put on a link');
    if (this.#place[handle] === Place.Link) {
      throw new TunconnectorError(
        'ERR_HANDLE',
        `packet ${handle} is put on a second link (app ${this.actor})`,
      );
    }
    this.#settle(handle, Place.Link);
  }

  leaveLink(handle: number): void {
    this.check(handle, 'taken from a link');
    this.#settle(handle, Place.App);
  }

  /** Native code has freed a handle that was on a link. */
  forgotten(handle: number): void {
    if (this.state[handle] !== 0) {
      throw new TunconnectorError(
        'ERR_HANDLE',
        `packet ${handle} was forgotten but never freed (app ${this.actor})`,
      );
    }
    this.#settle(handle, Place.Free);
  }

  #settle(handle: number, place: number): void {
    this.#place[handle] = place;
    this.#actorOf[handle] = this.actor;
  }

  #leave(handle: number, doing: string): void {
    this.check(handle, doing);
    if (this.#place[handle] === Place.Link) {
      throw new TunconnectorError(
        'ERR_HANDLE',
        `packet ${handle} is ${doing} while it is on a link (app ${this.actor})`,
      );
    }
    this.#settle(handle, Place.Free);
    // Whoever reads a column of a stale handle gets nonsense at once instead of plausible bytes later.
    this.length[handle] = -1;
  }

  /** Handles that are alive, with the app that touched them last. Debug pools only. */
  leaks(): { handle: number; actor: number }[] {
    const found: { handle: number; actor: number }[] = [];
    for (let h = 0; h < this.state.length; h++) {
      if (this.state[h] === 1) found.push({ handle: h, actor: this.#actorOf[h] ?? 0 });
    }
    return found;
  }
}

interface CellType<T> {
  new (memory: SharedArrayBuffer): T;
  readonly BYTES_PER_ELEMENT: number;
}

/** Columns are shared memory, so that packets can cross threads; measured as fast as private memory. */
function shared<T>(type: CellType<T>, length: number): T {
  return new type(new SharedArrayBuffer(length * type.BYTES_PER_ELEMENT));
}

/** A full stack of `count` numbers from `first` on, the lowest on top. Element 0 is the count. */
function stack(count: number, first: number): Int32Array {
  const cells = shared(Int32Array, count + 1);
  cells[0] = count;
  for (let i = 0; i < count; i++) cells[i + 1] = first + count - 1 - i;
  return cells;
}
