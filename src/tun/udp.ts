/**
 * A UDP socket: the payload of each datagram that arrives enters the network at `out` with its sender as `peer`;
 * what arrives at `in` is sent to the address that its `peer` names (`pool.addresses`). Equal datagrams to one peer
 * leave in one system call, superframes are cut into datagrams on the way out.
 */
import { z } from 'zod';
import { type AppContext, type AppReport, defineApp, type Layer } from '../engine/app.ts';
import { checkOptions } from '../engine/options.ts';
import { Coalesce, type UdpHandle } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../packet/prefix.ts';
import { NativePort, type PortMemory } from './native-port.ts';
import { scopeOf } from './scope.ts';
import { trusted } from './udp-self-test.ts';

/** Bytes asked for each socket buffer. A burst of superframes has to fit while JavaScript is busy elsewhere. */
const SOCKET_BUFFER = 8 << 20;

/**
 * Makes superframes of the TCP and UDP packets inside the datagrams that one receive call brings: datagrams that are IP
 * packets, Ethernet frames behind an EtherIP header, bare Ethernet frames, or IP packets behind NSH in VXLAN-GPE or Geneve. Everything else comes as it is.
 */
export const coalescing = z.enum(['none', 'ip', 'etherip', 'ethernet', 'gpe', 'geneve']).default('none');

const schema = z.strictObject({
  /** `0.0.0.0:55555`; `[::]:55555` takes IPv4 as well; port 0 for any. */
  bind: z.string().default('0.0.0.0:0'),
  /** Several datagrams in one send (UDP_SEGMENT), several in one receive (UDP_GRO), as far as the kernel has them. */
  gso: z.boolean().default(true),
  gro: z.boolean().default(true),
  coalesce: coalescing,
  /** Counts what comes back from where nobody listens, by peer (`pool.addresses.takeRefused`). */
  refusals: z.boolean().default(false),
  buffer: z
    .number()
    .int()
    .min(4096)
    .max(1 << 30)
    .default(SOCKET_BUFFER),
  /** Binds to an interface. */
  device: z.string().default(''),
  reuse: z.boolean().default(false),
  netns: z.string().default(''),
});

export type UdpOptions = z.input<typeof schema>;

export class UdpPort extends NativePort {
  readonly layers: Readonly<Record<string, Layer>> = { in: 'datagram', out: 'datagram' };
  readonly options: z.output<typeof schema>;
  readonly #endpoint: Endpoint;
  #handle: UdpHandle | undefined;
  #selfTest = 'not needed';
  #leave: (() => void) | undefined;

  constructor(options: z.output<typeof schema>) {
    super();
    this.options = options;
    this.#endpoint = parseEndpoint(options.bind);
  }

  protected get subject(): string {
    return `the UDP port ${formatEndpoint(this.#endpoint)}`;
  }

  get localPort(): number {
    return this.#handle?.port ?? this.#endpoint.port;
  }

  protected openDescriptor(context: AppContext): number {
    const { address, port } = this.#endpoint;
    const { buffer, device, reuse, netns } = this.options;
    const { gso, gro, selfTest } = trusted(this.options);
    this.#selfTest = selfTest;
    if (selfTest.endsWith('failed')) {
      context.emit({ type: 'offload-failed', selfTest, subject: this.subject });
    }
    const bytes = new Uint8Array(16);
    bytes.set(address.bytes);
    this.#handle = native().udpOpen({
      family: address.family,
      address: bytes,
      scope: scopeOf(address.zone, netns),
      port,
      dualStack: address.family === 6 && address.bytes.every((b) => b === 0),
      reuse,
      buffer,
      gso,
      gro,
      device,
      netns,
    });
    return this.#handle!.fd;
  }

  protected openPort(fd: number, memory: PortMemory, context: AppContext): number {
    const { gso, gro } = this.#handle!;
    const addresses = context.pool.addresses;
    const port = native().udpPort(memory.pool, fd, {
      batch: memory.batch,
      counters: memory.counters,
      account: memory.account,
      epoch: memory.epoch,
      family: this.#endpoint.address.family,
      gso,
      gro,
      coalesce: Coalesce[this.options.coalesce],
      refusals: this.options.refusals,
      addresses,
    });
    this.#leave = addresses.listen({
      pinned: (row) => native().addressPin(port, row),
      unpinned: (row) => native().addressUnpin(port, row),
    });
    return port;
  }

  override report(): AppReport {
    const { gso = false, gro = false, receiveBuffer = 0, sendBuffer = 0 } = this.#handle ?? {};
    const offloads = { gso, gro, selfTest: this.#selfTest };
    return { localPort: this.localPort, ...offloads, receiveBuffer, sendBuffer, ...super.report() };
  }

  override close(): void {
    this.#leave?.();
    super.close();
  }
}

export const udp = defineApp<UdpOptions, z.output<typeof schema>>({
  module: import.meta.url,
  export: 'udp',
  check(options) {
    const checked = checkOptions(schema, options);
    parseEndpoint(checked.bind);
    return checked;
  },
  create: (options) => new UdpPort(options),
});
