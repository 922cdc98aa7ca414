/**
 * A bounded ring of packet handles between two apps. It is the queue of one input: what the consumer has not taken
 * stays here when the network around it changes. It never grows, blocks or throws; what does not fit is counted and
 * freed.
 */
import { DEBUG } from './debug.ts';
import { type Attachment, NATIVE_FROM, type Pool } from './pool.ts';
import { Reason } from './reasons.ts';

export const LINK_CAPACITY = 1024;

/** Sees every packet that is put on a link, for captures. */
export type LinkWitness = (handle: number) => void;

/** Native code holds a ring's memory, not the link: what a network no longer has is let go. */
const forgotten = new FinalizationRegistry<{ attachment: Attachment; ring: number }>(
  ({ attachment, ring }) => {
    if (!attachment.ended) attachment.native.ringDetach(attachment.pool, ring);
  },
);

export class Link {
  /** `producer.output -> consumer.input`. Changes when the network gives the input another producer. */
  name: string;
  readonly #pool: Pool;
  readonly #ring: Int32Array;
  readonly #mask: number;
  // Running counts, masked on use. They wrap at 2^32 as int32 and their difference stays right.
  #head = 0;
  #tail = 0;

  /** The links this input's packets move on to. Their room bounds `waiting`. Set by the network. */
  downstream: readonly Link[] = [];
  /** The most packets that one from this input turns into, on any output. Set by the network. */
  expansion = 1;
  /** A link that closes a loop exerts no back-pressure, or a full loop would stand still for ever. */
  feedback = false;

  /** Packets, bytes, dropped: cells, for a double in a field of its own may be a new object with every sum. */
  readonly #counts = new Float64Array(new ArrayBuffer(24));
  /** Set while a capture wants to see this link. */
  witness: LinkWitness | null = null;

  /** Why packets that do not fit are dropped. */
  readonly #overflow: number;

  /** Who knows this ring by its number. */
  #attachment: Attachment | null = null;
  #number = -1;

  /** A link that leads nowhere: whatever is put on it is dropped and counted, and it holds nobody up. */
  static discard(pool: Pool): Link {
    const link = new Link('unlinked', pool, 0, Reason.Unlinked);
    link.feedback = true;
    return link;
  }

  /** @param capacity a power of two */
  constructor(name: string, pool: Pool, capacity = LINK_CAPACITY, overflow = Reason.LinkFull) {
    this.name = name;
    this.#pool = pool;
    this.#ring = new Int32Array(capacity);
    this.#mask = capacity - 1;
    this.#overflow = overflow;
    if ((capacity & this.#mask) !== 0)
      throw new RangeError(`a link's capacity is a power of two, not ${capacity}`);
  }

  /** Wire packets since the link was made; a superframe counts its segments. */
  get packets(): number {
    return this.#counts[0];
  }

  /** Bytes of those packets. */
  get bytes(): number {
    return this.#counts[1];
  }

  /** Wire packets that found the ring full. */
  get dropped(): number {
    return this.#counts[2];
  }

  get capacity(): number {
    return this.#ring.length;
  }

  /** Handles in the ring. */
  get count(): number {
    return (this.#tail - this.#head) | 0;
  }

  /** How many more handles fit. */
  get room(): number {
    return this.#ring.length - ((this.#tail - this.#head) | 0);
  }

  /** For the consumer: how many it may take now and be sure that what comes of them has room downstream. */
  get waiting(): number {
    let n = (this.#tail - this.#head) | 0;
    for (let i = 0; i < this.downstream.length; i++) {
      const next = this.downstream[i];
      const room = this.expansion === 1 ? next.room : Math.trunc(next.room / this.expansion);
      if (room < n) n = room;
    }
    return n;
  }

  put(handle: number): void {
    const pool = this.#pool;
    const segments = pool.segments[handle];
    if (((this.#tail - this.#head) | 0) === this.#ring.length) {
      this.#counts[2] += segments;
      pool.drop(handle, this.#overflow);
      return;
    }
    if (DEBUG) pool.ledger!.enterLink(handle, pool.actor);
    this.#counts[0] += segments;
    this.#counts[1] += pool.length[handle];
    if (this.witness !== null) this.witness(handle);
    this.#ring[this.#tail & this.#mask] = handle;
    this.#tail = (this.#tail + 1) | 0;
  }

  /** The oldest handle. Only call it when `count` (or `waiting`) says there is one. */
  take(): number {
    const handle = this.#ring[this.#head & this.#mask];
    this.#head = (this.#head + 1) | 0;
    if (DEBUG) this.#pool.ledger!.leaveLink(handle, this.#pool.actor);
    return handle;
  }

  /** Puts `n` handles from `handles[0]` on. */
  putBurst(handles: Int32Array, n: number): void {
    const pool = this.#pool;
    const ring = this.#ring;
    const room = ring.length - ((this.#tail - this.#head) | 0);
    const fits = Math.min(n, room);
    if (DEBUG) for (let i = 0; i < fits; i++) pool.ledger!.enterLink(handles[i], pool.actor);
    if (this.witness !== null) for (let i = 0; i < fits; i++) this.witness(handles[i]);
    if (fits >= NATIVE_FROM && this.#attached()) {
      const { native, pool: id } = this.#attachment!;
      native.ringPut(id, handles, fits, this.#number, this.#tail);
    } else {
      const mask = this.#mask;
      for (let i = 0; i < fits; i++) {
        const handle = handles[i];
        this.#counts[0] += pool.segments[handle];
        this.#counts[1] += pool.length[handle];
        ring[(this.#tail + i) & mask] = handle;
      }
    }
    this.#tail = (this.#tail + fits) | 0;
    for (let i = fits; i < n; i++) {
      this.#counts[2] += pool.segments[handles[i]];
      pool.drop(handles[i], this.#overflow);
    }
  }

  /** Takes up to `max` of the waiting handles into `into[0..n)`; returns n. */
  takeBurst(into: Int32Array, max: number): number {
    const n = this.peekBurst(into, Math.min(max, this.waiting));
    this.skip(n);
    return n;
  }

  /** Copies up to `max` handles without taking them: for ports that learn only afterwards how many went out. */
  peekBurst(into: Int32Array, max: number): number {
    const ring = this.#ring;
    const mask = this.#mask;
    const head = this.#head;
    const n = Math.min(max, (this.#tail - head) | 0);
    let i = 0;
    // Four at a time: V8 looks each array's type and length up again in every round of a loop (0.9 against 0.6 ns).
    for (; i + 4 <= n; i += 4) {
      into[i] = ring[(head + i) & mask];
      into[i + 1] = ring[(head + i + 1) & mask];
      into[i + 2] = ring[(head + i + 2) & mask];
      into[i + 3] = ring[(head + i + 3) & mask];
    }
    for (; i < n; i++) into[i] = ring[(head + i) & mask];
    return n;
  }

  /** Takes `n` handles that `peekBurst` showed; they are in the caller's hands. */
  skip(n: number): void {
    if (DEBUG) {
      const { ledger, actor } = this.#pool;
      for (let i = 0; i < n; i++) ledger!.leaveLink(this.#ring[(this.#head + i) & this.#mask], actor);
    }
    this.#head = (this.#head + n) | 0;
  }

  /** Takes `n` handles that `peekBurst` showed and native code has sent and freed since. */
  forget(n: number): void {
    if (DEBUG) {
      const { ledger, actor } = this.#pool;
      for (let i = 0; i < n; i++) ledger!.forgotten(this.#ring[(this.#head + i) & this.#mask], actor);
    }
    this.#head = (this.#head + n) | 0;
  }

  // ── From link to link, without the handles in the app's hands: one native call for a burst.

  /**
   * Puts up to `n` packets like `template` (see `Pool.stampBurst`), as many as there is room and memory for; returns how
   * many.
   */
  putStamped(template: number, n: number): number {
    const fits = Math.min(n, this.room);
    if (this.#direct(fits)) {
      const { native, pool } = this.#attachment!;
      const made = native.ringStamp(pool, template, fits, this.#number, this.#tail);
      if (made <= 0) return 0;
      this.#tail = (this.#tail + made) | 0;
      return made;
    }
    for (let i = 0; i < fits; i++) {
      const packet = this.#pool.stamp(template);
      if (packet < 0) return i;
      this.put(packet);
    }
    return Math.max(fits, 0);
  }

  /** Takes the `n` oldest (no more than `count`) and puts them on `to`. */
  moveTo(to: Link, n: number): void {
    if (n <= to.room && to.#direct(n) && this.#attached()) {
      const { native, pool } = this.#attachment!;
      native.ringMove(pool, this.#number, this.#head, n, to.#number, to.#tail);
      to.#tail = (to.#tail + n) | 0;
      this.#head = (this.#head + n) | 0;
      return;
    }
    for (let i = 0; i < n; i++) to.put(this.take());
  }

  /** Puts clones of the `n` oldest on `to`; they stay. What there is no memory for is counted as `no-memory`. */
  cloneTo(to: Link, n: number): void {
    this.#secondsTo(to, n, false);
  }

  /** The same with bytes of their own. */
  copyTo(to: Link, n: number): void {
    this.#secondsTo(to, n, true);
  }

  #secondsTo(to: Link, n: number, copies: boolean): void {
    let made = 0;
    if (n <= to.room && to.#direct(n) && this.#attached()) {
      const { native, pool } = this.#attachment!;
      made = copies
        ? native.ringCopy(pool, this.#number, this.#head, n, to.#number, to.#tail)
        : native.ringClone(pool, this.#number, this.#head, n, to.#number, to.#tail);
      made = Math.max(made, 0);
      to.#tail = (to.#tail + made) | 0;
    } else {
      for (; made < n; made++) {
        const handle = this.#ring[(this.#head + made) & this.#mask];
        const second = copies ? this.#pool.copy(handle) : this.#pool.clone(handle);
        if (second < 0) break;
        to.put(second);
      }
    }
    this.#noMemory(made, n);
  }

  /** `cloneTo(clones, n)` and `moveTo(to, n)` in one look at the packets. */
  splitTo(clones: Link, to: Link, n: number): void {
    const fits = n <= clones.room && n <= to.room && clones.#direct(n) && to.#direct(n);
    if (clones === to || !fits || !this.#attached()) {
      this.cloneTo(clones, n);
      this.moveTo(to, n);
      return;
    }
    const { native, pool } = this.#attachment!;
    const made = Math.max(
      0,
      native.ringSplit(pool, this.#number, this.#head, n, clones.#number, clones.#tail, to.#number, to.#tail),
    );
    this.#noMemory(made, n);
    clones.#tail = (clones.#tail + made) | 0;
    to.#tail = (to.#tail + made) | 0;
    this.#head = (this.#head + made) | 0;
    if (made < n) this.moveTo(to, n - made);
  }

  /** Takes the `n` oldest and ends them. How many wire packets and bytes that were stands in the pool's `tally` then. */
  freeBurst(n: number): void {
    const pool = this.#pool;
    if (n >= NATIVE_FROM && this.#attached()) {
      const { native, pool: id } = this.#attachment!;
      native.ringFree(id, this.#number, this.#head, n);
      this.#head = (this.#head + n) | 0;
      return;
    }
    let packets = 0;
    let bytes = 0;
    for (let i = 0; i < n; i++) {
      const handle = this.take();
      packets += pool.segments[handle];
      bytes += pool.length[handle];
      pool.free(handle);
    }
    pool.tally[0] = packets;
    pool.tally[1] = bytes;
  }

  /** Counts what of the `n` oldest found no memory for a second one. */
  #noMemory(made: number, n: number): void {
    for (let i = made; i < n; i++) {
      const handle = this.#ring[(this.#head + i) & this.#mask];
      this.#pool.countDrops(Reason.NoMemory, this.#pool.segments[handle]);
    }
  }

  /** Whether native code may put a burst of `n` on this link unseen. */
  #direct(n: number): boolean {
    return n >= NATIVE_FROM && this.witness === null && this.#attached();
  }

  /** Whether native code knows this ring; it is told of it when it is first asked to do something. */
  #attached(): boolean {
    const attachment = this.#pool.attachment;
    if (attachment !== this.#attachment) {
      this.#attachment = attachment;
      this.#number = -1;
      if (attachment !== null) {
        this.#number = attachment.native.ringAttach(attachment.pool, this.#ring, this.#counts);
        if (this.#number >= 0) forgotten.register(this, { attachment, ring: this.#number });
      }
    }
    return this.#number >= 0;
  }

  /** Frees everything that waits, counted. */
  clear(reason: number): void {
    for (let n = this.count; n > 0; n--) this.#pool.drop(this.take(), reason);
  }
}
