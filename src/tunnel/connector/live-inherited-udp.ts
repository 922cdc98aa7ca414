/**
 * A UDP socket that another process opened and this one inherited: it stays in the network namespace it was made in,
 * while this process and its TUN are in another.
 */
import { z } from 'zod';
import { type AppContext, type AppReport, defineApp, type Layer, type Ports } from '../../engine/app.ts';
import { checkOptions } from '../../engine/options.ts';
import { Coalesce } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { NativePort, type PortMemory } from '../../tun/native-port.ts';
import { coalescing } from '../../tun/udp.ts';

const schema = z.strictObject({
  /** A number means the same descriptor in every thread of a process. */
  fd: z.number().int().min(0),
  family: z.union([z.literal(4), z.literal(6)]),
  port: z.number().int().min(1).max(65_535),
  /** What the kernel granted when it was opened. */
  gso: z.boolean(),
  gro: z.boolean(),
  /** The descriptor is somebody else's in this process, and stays open when the app closes. */
  lent: z.boolean().default(false),
  /** As of `udp()`. */
  coalesce: coalescing,
  /** As of `udp()`. */
  refusals: z.boolean().default(false),
  /** Takes nothing in before `resume`. */
  paused: z.boolean().default(false),
});

export type InheritedSocket = z.input<typeof schema>;
type Checked = z.output<typeof schema>;

class InheritedUdp extends NativePort {
  readonly layers: Readonly<Record<string, Layer>> = { in: 'datagram', out: 'datagram' };
  readonly #socket: Checked;
  #leave: (() => void) | undefined;
  #paused: boolean;
  #wake: (() => void) | undefined;

  constructor(socket: Checked) {
    super();
    this.#socket = socket;
    this.#paused = socket.paused;
  }

  protected override get isLent(): boolean {
    return this.#socket.lent;
  }

  /** Takes nothing in any more: what comes waits in the socket, for the next who has it. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#wake?.();
  }

  override pull(ports: Ports, room: number): boolean {
    return this.#paused ? false : super.pull(ports, room);
  }

  protected get subject(): string {
    return `the UDP port ${this.#socket.port}`;
  }

  get localPort(): number {
    return this.#socket.port;
  }

  protected openDescriptor(): number {
    return this.#socket.fd;
  }

  protected openPort(fd: number, memory: PortMemory, context: AppContext): number {
    const { family, gso, gro, coalesce, refusals } = this.#socket;
    const { addresses } = context.pool;
    this.#wake = context.wake;
    const { batch, counters, account, epoch } = memory;
    const port = native().udpPort(memory.pool, fd, {
      batch,
      counters,
      account,
      epoch,
      family,
      gso,
      gro,
      coalesce: Coalesce[coalesce],
      refusals,
      addresses,
    });
    this.#leave = addresses.listen({
      pinned: (row) => native().addressPin(port, row),
      unpinned: (row) => native().addressUnpin(port, row),
    });
    return port;
  }

  override report(): AppReport {
    const { port: localPort, gso, gro } = this.#socket;
    return { localPort, gso, gro, ...super.report() };
  }

  override close(): void {
    this.#leave?.();
    super.close();
  }
}

/** The descriptor is closed with the app, and gone, unless it is lent: the app stays as long as its options stay the same. */
export const inheritedUdp = defineApp<InheritedSocket, Checked>({
  module: import.meta.url,
  export: 'inheritedUdp',
  check: (options) => checkOptions(schema, options),
  create: (options) => new InheritedUdp(options),
});
