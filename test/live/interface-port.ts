/**
 * A packet socket on any interface, a TUN too: what the test puts in leaves through the interface as it is, and what
 * arrives there is seen before the kernel's own stack looks at it, cut into wire packets with complete checksums.
 */
import { type Layer, liveRuntime, Network } from '../../src/engine/index.ts';
import { TunOffload } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import type { Host } from '../../src/testing/index.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { NativePort, type PortMemory } from '../../src/tun/native-port.ts';

class InterfacePort extends NativePort {
  readonly layers: Readonly<Record<string, Layer>>;
  protected readonly subject: string;
  readonly #netns: string;
  readonly #layer: 'L2' | 'L3';
  #vnetHeader = 0;

  constructor(name: string, netns: string, layer: 'L2' | 'L3') {
    super();
    this.subject = name;
    this.#netns = netns;
    this.#layer = layer;
    this.layers = { in: layer, out: layer };
  }

  protected openDescriptor(): number {
    const { fd, vnetHeader } = native().packetOpen({
      interface: this.subject,
      netns: this.#netns,
      vnetHeader: true,
      outgoing: false,
      promiscuous: true,
      buffer: 8 << 20,
    });
    this.#vnetHeader = vnetHeader;
    return fd;
  }

  protected openPort(fd: number, { pool, batch, counters, account, epoch }: PortMemory): number {
    const layer = this.#layer === 'L2' ? 2 : 3;
    const offloads = TunOffload.checksum | TunOffload.tso4 | TunOffload.tso6 | TunOffload.uso;
    const vnetHeader = this.#vnetHeader;
    return native().packetPort(pool, fd, { batch, counters, account, epoch, layer, vnetHeader, offloads });
  }
}

export class InterfaceTap implements AsyncDisposable {
  readonly #net = new Network(liveRuntime(), { memory: 48 << 20 });
  readonly #program: MemoryPort;

  constructor(program: MemoryPort) {
    this.#program = program;
  }

  static async open(host: Host, name: string, layer: 'L2' | 'L3'): Promise<InterfaceTap> {
    const tap = new InterfaceTap(new MemoryPort({ layer }));
    await tap.#net
      .app('program', tap.#program)
      .app('interface', new InterfacePort(name, host.path, layer))
      .link('program.out -> interface.in')
      .link('interface.out -> program.in')
      .start();
    return tap;
  }

  /** Lets packets leave through the interface, in this order. */
  send(packets: readonly Uint8Array[]): void {
    for (const packet of packets) this.#program.send(packet);
  }

  /** What arrived there so far, oldest first. */
  get received(): Uint8Array[] {
    return this.#program.received.map(({ bytes }) => bytes);
  }

  /** Of a packet that the kernel described as a superframe. */
  get superframes(): number {
    const port = this.#net.report().apps.find(({ app }) => app === 'interface');
    return Number(port?.report.rxSuperframes ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#net.close();
  }
}
