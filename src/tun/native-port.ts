/**
 * What every port with a descriptor has in common. Inward: while the descriptor has something, bursts of packets are
 * received natively into fresh handles, as many as there is room for downstream, and put on `out`. Outward: what
 * waits on `in` is shown to native code, which sends from the front and frees; what the kernel has no room for stays
 * on the link, and everything upstream stops by itself.
 */
import { constants } from 'node:os';
import type { App, AppContext, AppReport, Ports } from '../engine/app.ts';
import type { Watch } from '../engine/runtime.ts';
import { PORT_COUNTERS, PortCounter } from '../native/binding.ts';
import { native } from '../native/load.ts';

/** Packets per native call. */
const BURST = 256;
const ENOBUFS = constants.errno.ENOBUFS;

export abstract class NativePort implements App {
  readonly inputs: readonly string[] = ['in'];
  readonly outputs: readonly string[] = ['out'];
  readonly paths = { in: [] };
  readonly superframes = true;

  protected readonly native = native();
  protected readonly batch = new Int32Array(BURST);
  protected readonly counters = new Float64Array(PORT_COUNTERS);
  protected context: AppContext | undefined;
  #port = -1;
  #watch: Watch | undefined;
  #fd = -1;

  /** For subclasses: takes over a descriptor and its native port. */
  protected attach(context: AppContext, fd: number, port: number): void {
    this.context = context;
    this.#fd = fd;
    this.#port = port;
    this.#watch = context.watch(fd);
    // Something may have come before anybody watched.
    this.#watch.readable = true;
  }

  protected get port(): number {
    return this.#port;
  }

  get fd(): number {
    return this.#fd;
  }

  pull({ output }: Ports, room: number): boolean {
    const watch = this.#watch!;
    if (!watch.readable) return false;
    const n = this.native.receive(this.#port, room < BURST ? room : BURST);
    if (n > 0) {
      output.out.putBurst(this.batch, n);
      return true;
    }
    if (n === -ENOBUFS) return true;
    watch.readable = false;
    if (n < 0 && watch.failed) this.failed(-n);
    return false;
  }

  push({ input }: Ports): void {
    const link = input.in;
    const watch = this.#watch!;
    if (!watch.writable) return;
    for (;;) {
      const n = link.peekBurst(this.batch, BURST);
      if (n === 0) return;
      const done = this.native.send(this.#port, n);
      if (done > 0) link.forget(done);
      if (done < n) {
        watch.awaitWritable();
        return;
      }
    }
  }

  /** The descriptor is broken for good: its interface was removed. */
  protected failed(errno: number): void {
    this.context?.emit({ type: 'port-failed', errno });
  }

  report(): AppReport {
    if (this.#port < 0) return {};
    this.native.portStatistics(this.#port);
    const report: AppReport = {};
    for (const [name, index] of Object.entries(PortCounter)) report[name] = this.counters[index];
    return report;
  }

  close(): void {
    if (this.#port >= 0) this.native.portClose(this.#port);
    if (this.#fd >= 0) this.native.close(this.#fd);
    this.#port = -1;
    this.#fd = -1;
  }
}
