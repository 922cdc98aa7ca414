/** A port whose outside is a program that reads and writes packets one by one, with back-pressure both ways. */
import type { App, AppContext, Layer, Ports } from '../engine/app.ts';
import { HEADROOM, LARGE_SLOT } from '../native/binding.ts';

/** The longest packet a slot holds. */
const MAX_PACKET = LARGE_SLOT - HEADROOM;

/** One `await`ed read. */
interface Reader {
  resolve(result: IteratorResult<Uint8Array, undefined>): void;
  reject(error: unknown): void;
}

export class ProgramPort implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly paths = { in: [] };
  readonly layers: Readonly<Record<string, Layer>>;
  /** For the program, in wire packets. */
  received = 0;
  receivedBytes = 0;
  /** From the program. */
  sent = 0;
  sentBytes = 0;
  /** Written by a program that did not wait, or longer than any packet. */
  dropped = 0;

  readonly #layer: number;
  readonly #limit: number;
  #context: AppContext | undefined;
  #unread: Uint8Array[] = [];
  #unsent: Uint8Array[] = [];
  readonly #readers: Reader[] = [];
  /** Packets wait on the link because the program does not read. */
  #stalled = false;
  #room: { promise: Promise<boolean>; resolve: (room: boolean) => void } | undefined;
  #ended = false;
  #error: unknown;

  /** @param limit packets that may be unread, and unsent */
  constructor(layer: 'L2' | 'L3', limit: number) {
    this.layers = { in: layer, out: layer };
    this.#layer = layer === 'L2' ? 2 : 3;
    this.#limit = limit;
  }

  get unread(): number {
    return this.#unread.length;
  }

  get unsent(): number {
    return this.#unsent.length;
  }

  open(context: AppContext): void {
    this.#context = context;
  }

  // ── From the network to the program.

  push({ pool, input }: Ports): void {
    const link = input.in!;
    let n = Math.min(link.count, this.#limit - this.#unread.length + this.#readers.length);
    this.#stalled = n < link.count;
    for (; n > 0; n--) {
      const packet = link.take();
      const value = pool.copyOut(packet);
      pool.free(packet);
      this.received++;
      this.receivedBytes += value.length;
      const reader = this.#readers.shift();
      if (reader) reader.resolve({ value, done: false });
      else this.#unread.push(value);
    }
  }

  read(): Promise<IteratorResult<Uint8Array, undefined>> {
    const value = this.#unread.shift();
    if (value) {
      // At half, so that one turn of the loop serves many reads.
      if (this.#stalled && this.#unread.length <= this.#limit >> 1) this.#context?.wake();
      return Promise.resolve({ value, done: false });
    }
    if (this.#ended) {
      const error = this.#error;
      this.#error = undefined;
      return error === undefined ? Promise.resolve({ value: undefined, done: true }) : Promise.reject(error);
    }
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  // ── From the program to the network.

  write(bytes: Uint8Array): boolean | Promise<boolean> {
    if (this.#unsent.length >= 2 * this.#limit || bytes.length === 0 || bytes.length > MAX_PACKET) {
      this.dropped++;
      return false;
    }
    // A copy, which `slice` of a Buffer would not be.
    this.#unsent.push(new Uint8Array(bytes));
    this.#context?.wake();
    if (this.#unsent.length < this.#limit) return true;
    if (!this.#room) {
      let resolve: (room: boolean) => void = () => {};
      this.#room = { promise: new Promise((r) => (resolve = r)), resolve };
    }
    return this.#room.promise;
  }

  pull({ pool, output, now }: Ports, room: number): boolean {
    const unsent = this.#unsent;
    const n = Math.min(room, unsent.length);
    let i = 0;
    for (; i < n; i++) {
      const bytes = unsent[i]!;
      const packet = pool.copyIn(bytes, this.#layer, this.#context!.account);
      if (packet < 0) break; // memory comes back as packets leave
      pool.arrived[pool.slot[packet]] = now;
      this.sent++;
      this.sentBytes += bytes.length;
      output.out!.put(packet);
    }
    unsent.splice(0, i);
    if (unsent.length <= this.#limit >> 1) this.#tellRoom(true);
    return unsent.length > 0;
  }

  #tellRoom(room: boolean): void {
    this.#room?.resolve(room);
    this.#room = undefined;
  }

  /** Nothing more will come: readers end, with the error if there is one, and unread packets are gone. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#unread = [];
    const [first, ...others] = this.#readers.splice(0);
    if (error === undefined) first?.resolve({ value: undefined, done: true });
    else if (first) first.reject(error);
    else this.#error = error;
    for (const reader of others) reader.resolve({ value: undefined, done: true });
    this.#tellRoom(false);
  }

  close(): void {
    this.end();
    this.#unsent = [];
  }
}
