/**
 * A UDP socket that another process opened and this one inherited: it stays in the network namespace it was made in,
 * while this process and its TUN are in another.
 */
import type { AppContext, AppReport, Layer } from '../../engine/app.ts';
import { native } from '../../native/load.ts';
import { NativePort, type PortMemory } from '../../tun/native-port.ts';

export interface InheritedSocket {
  fd: number;
  family: 4 | 6;
  port: number;
  /** What the kernel granted when it was opened. */
  gso: boolean;
  gro: boolean;
}

export class InheritedUdp extends NativePort {
  readonly layers: Readonly<Record<string, Layer>> = { in: 'datagram', out: 'datagram' };
  readonly #socket: InheritedSocket;
  #leave: (() => void) | undefined;

  constructor(socket: InheritedSocket) {
    super();
    this.#socket = socket;
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
    const { family, gso, gro } = this.#socket;
    const { addresses } = context.pool;
    const { batch, counters, account, epoch } = memory;
    const port = native().udpPort(memory.pool, fd, {
      batch,
      counters,
      account,
      epoch,
      family,
      gso,
      gro,
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
