/**
 * A TUN (IP packets) or TAP (Ethernet frames) interface: what the kernel sends into it enters the network at `out`,
 * what arrives at `in` enters the kernel. With offload, TCP and UDP come and go as superframes of up to 64 KiB.
 */
import { z } from 'zod';
import { type AppContext, type AppReport, defineApp, type Layer } from '../engine/app.ts';
import { configError } from '../engine/config.ts';
import { checkOptions } from '../engine/options.ts';
import { type TunHandle, TunOffload } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { NativePort, type PortMemory } from './native-port.ts';

/** Linux's IFNAMSIZ without the terminator. */
export const MAX_INTERFACE_NAME = 15;

const schema = z.strictObject({
  /** Exact name, a pattern such as `tun%d`, or '' for the kernel's choice. */
  name: z.string().default('tun%d'),
  mode: z.enum(['tun', 'tap']).default('tun'),
  /** Superframes and checksum offload, as far as the kernel has them. */
  offload: z.boolean().default(true),
  multiQueue: z.boolean().default(false),
  /** The interface stays when it is closed. */
  persist: z.boolean().default(false),
  /** Path of a network namespace to make it in. */
  netns: z.string().default(''),
});

export type TunOptions = z.input<typeof schema>;

export class TunPort extends NativePort {
  readonly layers: Readonly<Record<string, Layer>>;
  readonly options: z.output<typeof schema>;
  #handle: TunHandle | undefined;

  /** @param handle of a device that is open already; the port closes it */
  constructor(options: z.output<typeof schema>, handle?: TunHandle) {
    super();
    this.options = options;
    this.#handle = handle;
    const layer: Layer = options.mode === 'tap' ? 'L2' : 'L3';
    this.layers = { in: layer, out: layer };
  }

  protected get subject(): string {
    return `the ${this.options.mode.toUpperCase()} "${this.#handle?.name ?? this.options.name}"`;
  }

  /** The interface's name, once it is open. */
  get name(): string {
    return this.#handle?.name ?? this.options.name;
  }

  /** The interface's index, once it is open. */
  get index(): number {
    return this.#handle?.index ?? 0;
  }

  /** What the kernel granted of what was asked for. */
  get offloads(): { vnetHeader: boolean; checksum: boolean; tso: boolean; uso: boolean } {
    const bits = this.#handle?.offloads ?? 0;
    return {
      vnetHeader: (this.#handle?.vnetHeader ?? 0) > 0,
      checksum: (bits & TunOffload.checksum) !== 0,
      tso: (bits & TunOffload.tso4) !== 0,
      uso: (bits & TunOffload.uso) !== 0,
    };
  }

  protected openDescriptor(): number {
    if (this.#handle) return this.#handle.fd;
    const { name, mode, offload, multiQueue, netns, persist } = this.options;
    this.#handle = native().tunOpen({
      name,
      mode,
      offload,
      multiQueue,
      exclusive: !persist && !multiQueue,
      netns,
    });
    if (persist) native().tunPersist(this.#handle!.fd, true);
    return this.#handle!.fd;
  }

  protected openPort(fd: number, memory: PortMemory, context: AppContext): number {
    const { vnetHeader, offloads } = this.#handle!;
    context.emit({ type: 'interface', name: this.name, index: this.index });
    return native().tunPort(memory.pool, fd, {
      batch: memory.batch,
      counters: memory.counters,
      account: memory.account,
      epoch: memory.epoch,
      layer: this.options.mode === 'tap' ? 2 : 3,
      vnetHeader,
      offloads,
    });
  }

  override report(): AppReport {
    return { interface: this.name, ...this.offloads, ...super.report() };
  }
}

/** Refuses what the kernel would refuse with less to say about it. */
export function checkInterfaceName(name: string): string {
  if (name.length > MAX_INTERFACE_NAME) {
    throw configError(
      `name: found "${name}" with ${name.length} characters, expected at most ${MAX_INTERFACE_NAME}`,
    );
  }
  if (!/^[^\s/:%]*(%d)?[^\s/:%]*$/.test(name) || name === '.' || name === '..') {
    throw configError(`name: found "${name}", expected an interface name without spaces, "/" and ":"`);
  }
  return name;
}

export const tun = defineApp<TunOptions, z.output<typeof schema>>({
  module: import.meta.url,
  export: 'tun',
  check(options) {
    const checked = checkOptions(schema, options);
    checkInterfaceName(checked.name);
    return checked;
  },
  create: (options) => new TunPort(options),
});
