/**
 * A packet socket (AF_PACKET): all Ethernet frames of an existing interface. With `PACKET_VNET_HDR`, superframes pass
 * whole. What is sent here leaves through the interface; the host's own stack still sees what arrives.
 */
import { z } from 'zod';
import { type AppContext, type AppReport, defineApp, type Layer } from '../engine/app.ts';
import { checkOptions } from '../engine/options.ts';
import { TunOffload } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { NativePort, type PortMemory } from './native-port.ts';
import { checkInterfaceName } from './tun.ts';

const schema = z.strictObject({
  interface: z.string().min(1),
  /** Superframes and open checksums, as far as the kernel has them. */
  offload: z.boolean().default(true),
  /** Also see what this host sends there: for captures, never for bridges. */
  outgoing: z.boolean().default(false),
  promiscuous: z.boolean().default(true),
  buffer: z
    .number()
    .int()
    .min(4096)
    .max(1 << 30)
    .default(8 << 20),
  netns: z.string().default(''),
});

export type PacketSocketOptions = z.input<typeof schema>;

export class PacketSocketPort extends NativePort {
  readonly layers: Readonly<Record<string, Layer>> = { in: 'L2', out: 'L2' };
  readonly options: z.output<typeof schema>;
  #vnetHeader = 0;

  constructor(options: z.output<typeof schema>) {
    super();
    this.options = options;
  }

  protected get subject(): string {
    return `the interface "${this.options.interface}"`;
  }

  protected openDescriptor(): number {
    const { offload, ...rest } = this.options;
    const handle = native().packetOpen({ ...rest, vnetHeader: offload });
    this.#vnetHeader = handle.vnetHeader;
    return handle.fd;
  }

  protected openPort(fd: number, memory: PortMemory, _context: AppContext): number {
    const { batch, counters, account, epoch } = memory;
    return native().packetPort(memory.pool, fd, {
      batch,
      counters,
      account,
      epoch,
      layer: 2,
      vnetHeader: this.#vnetHeader,
      offloads:
        this.#vnetHeader > 0 ? TunOffload.checksum | TunOffload.tso4 | TunOffload.tso6 | TunOffload.uso : 0,
    });
  }

  override report(): AppReport {
    return { interface: this.options.interface, vnetHeader: this.#vnetHeader > 0, ...super.report() };
  }
}

export const packetSocket = defineApp<PacketSocketOptions, z.output<typeof schema>>({
  module: import.meta.url,
  export: 'packetSocket',
  check(options) {
    const checked = checkOptions(schema, options);
    checkInterfaceName(checked.interface);
    return checked;
  },
  create: (options) => new PacketSocketPort(options),
});
