/**
 * What every port with a descriptor has in common. Inward: while the descriptor has something, bursts of packets are
 * received natively into fresh handles, as many as there is room for downstream, and put on `out`. Outward: what
 * waits on `in` is shown to native code, which sends from the front and frees; what the kernel has no room for stays
 * on the link, and everything upstream stops by itself.
 */
import { constants } from 'node:os';
import type { App, AppContext, AppReport, Layer, Ports } from '../engine/app.ts';
import { releasePool, retainPool } from '../engine/native-pool.ts';
import type { Pool } from '../engine/pool.ts';
import type { Watch } from '../engine/runtime.ts';
import { PORT_COUNTERS, PortCounter, RX_DRAINED } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { systemError } from './system-error.ts';

/** Packets per native call. */
const BURST = 256;
const ENOBUFS = constants.errno.ENOBUFS;

/** What `openPort` of a subclass gets to make its native port. */
export interface PortMemory {
  pool: number;
  batch: Int32Array;
  counters: Float64Array;
  account: number;
  /** CLOCK_MONOTONIC at the runtime's start, ns. */
  epoch: number;
}

export abstract class NativePort implements App {
  readonly inputs: readonly string[] = ['in'];
  readonly outputs: readonly string[] = ['out'];
  readonly paths = { in: [] };
  readonly superframes = true;
  abstract readonly layers: Readonly<Record<string, Layer>>;

  /** What the descriptor is called in errors: `the TUN "tun0"`. */
  protected abstract readonly subject: string;

  readonly #batch = new Int32Array(BURST);
  readonly #counters = new Float64Array(PORT_COUNTERS);
  #native = native;
  #context: AppContext | undefined;
  #watch: Watch | undefined;
  #pool: Pool | undefined;
  #fd = -1;
  #port = -1;

  /** Whether the descriptor is another's, and stays open when this port closes. */
  protected get isLent(): boolean {
    return false;
  }
  /** Opens the descriptor. */
  protected abstract openDescriptor(context: AppContext): number;
  /** Makes the native port on it. */
  protected abstract openPort(fd: number, memory: PortMemory, context: AppContext): number;

  open(context: AppContext): void {
    this.#context = context;
    try {
      this.#fd = this.openDescriptor(context);
      this.#pool = context.pool;
      const memory = {
        pool: retainPool(context.pool),
        batch: this.#batch,
        counters: this.#counters,
        account: context.account,
        epoch: this.#native().now() - context.runtime.now(),
      };
      this.#port = this.openPort(this.#fd, memory, context);
      this.#watch = context.watch(this.#fd);
      // Something may have come before anybody watched.
      this.#watch.readable = true;
    } catch (error) {
      this.close();
      throw systemError(error, this.subject);
    }
  }

  get fd(): number {
    return this.#fd;
  }

  protected get port(): number {
    return this.#port;
  }

  pull({ output }: Ports, room: number): boolean {
    const watch = this.#watch!;
    if (!watch.readable) return false;
    const n = this.#native().receive(this.#port, Math.min(room, BURST));
    if (n > 0) {
      output.out.putBurst(this.#batch, n);
      // The call that would find nothing is a third of those of a wake-up for one packet.
      if (this.#counters[RX_DRAINED] === 0 || watch.failed) return true;
      watch.readable = false;
      return false;
    }
    if (n === -ENOBUFS) return true;
    watch.readable = watch.failed = false;
    // A socket's pending error was read and counted; a device that is gone stays so.
    if (n < 0) this.failed(-n);
    return false;
  }

  push({ input }: Ports): void {
    const link = input.in;
    const watch = this.#watch!;
    while (watch.writable) {
      const n = link.peekBurst(this.#batch, BURST);
      if (n === 0) return;
      const done = this.#native().send(this.#port, n);
      if (done > 0) link.forget(done);
      if (done < n) watch.awaitWritable();
    }
  }

  /** Reading failed with something else than "nothing there". */
  protected failed(errno: number): void {
    this.#context?.emit({ type: 'port-failed', errno, subject: this.subject });
  }

  report(): AppReport {
    if (this.#port < 0) return {};
    this.#native().portStatistics(this.#port);
    const report: AppReport = {};
    for (const [name, index] of Object.entries(PortCounter)) report[name] = this.#counters[index];
    return report;
  }

  close(): void {
    this.#watch?.close();
    if (this.#port >= 0) this.#native().portClose(this.#port);
    if (this.#fd >= 0 && !this.isLent) this.#native().close(this.#fd);
    if (this.#pool) releasePool(this.#pool);
    this.#watch = undefined;
    this.#pool = undefined;
    this.#port = -1;
    this.#fd = -1;
  }
}
