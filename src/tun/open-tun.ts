/**
 * A TUN or TAP in Node, for programs that read and write packets and want to know nothing else:
 *
 *     const tun = await openTun({ addresses: ['10.0.0.1/24'] });
 *     for await (const packet of tun) console.log(packet.length);
 *
 * Behind it stands a network of two apps, the TUN and the program, on the event loop of the thread it is opened in.
 */
import { z } from 'zod';
import { type Between, betweenSchema, linksThrough, memoryWith } from '../engine/between.ts';
import { liveRuntime } from '../engine/live-runtime.ts';
import { Network } from '../engine/network.ts';
import { checkOptions } from '../engine/options.ts';
import { TunconnectorError } from '../errors.ts';
import { native } from '../native/load.ts';
import { ProgramPort } from './open-tun-app.ts';
import { runCommand } from './system/live-command.ts';
import { configureInterface, type RouteSpec } from './system/live-ip.ts';
import { type TunPort, tun as tunSpec } from './tun.ts';

/** Enough for what is on its way in both directions, whatever `queue` is, where nothing is between. */
const MEMORY = 32 << 20;
/** Breaths that `close` gives to packets which were written just before. */
const LAST_BREATHS = 32;
const EBADFD = 77;

export interface OpenTunOptions {
  /** Exact name or a pattern (default `tun%d`, for a TAP `tap%d`), at most 15 bytes. */
  name?: string;
  /** `tun` (default) for IP packets, `tap` for Ethernet frames. */
  mode?: 'tun' | 'tap';
  /** With prefix length: `'10.0.0.1/24'`, `'fd00::1/64'`. Routes to these prefixes come with them. */
  addresses?: readonly string[];
  /** Bytes (default 1500). */
  mtu?: number;
  /** Further prefixes that lead into the interface: `'10.20.0.0/16'`, or with `via`, `metric`, ... */
  routes?: readonly (string | RouteSpec)[];
  /** Closes the interface when it fires, and ends the iteration. */
  signal?: AbortSignal;
  /** Path of a network namespace to make it in: `/run/netns/x`, `/proc/PID/ns/net`. */
  netns?: string;
  /** Packets the program may leave unread before no more are read, and unsent before `write` lets it wait (default 512). */
  queue?: number;
  /** Apps between the interface and the program: `up` gets what the kernel sends, `down` what the program writes. */
  between?: Between;
}

export interface TunStats {
  /** Packets that the kernel sent into the interface and the program got or will get, and their bytes. */
  received: number;
  receivedBytes: number;
  /** Packets that the program wrote and the kernel took. */
  sent: number;
  sentBytes: number;
  /** Packets that wait for the program to read them. */
  unread: number;
  /** Packets that wait for the kernel to take them. */
  unsent: number;
  /** Written packets that were dropped: too many at once without waiting, or longer than any packet. */
  dropped: number;
  /** Written packets that the kernel refused: not IP (on a TUN), or the interface was down. */
  refused: number;
  /** Packets for the program that the kernel dropped, because it did not read in time. */
  kernelDropped: number;
}

const schema = z.strictObject({
  name: z.string().optional(),
  mode: z.enum(['tun', 'tap']).default('tun'),
  addresses: z.array(z.string()).default([]),
  mtu: z.number().int().min(68).max(65_521).optional(),
  routes: z
    .array(z.union([z.string(), z.custom<RouteSpec>((v) => typeof v === 'object' && v !== null)]))
    .default([]),
  signal: z.custom<AbortSignal>((v) => v instanceof AbortSignal, 'expected an AbortSignal').optional(),
  netns: z.string().default(''),
  queue: z.number().int().min(1).max(65_536).default(512),
  between: betweenSchema.default({}),
});

/**
 * Makes a TUN or TAP interface, gives it its addresses and routes, and brings it up. It disappears with `close()`, or
 * with the process.
 *
 * @throws ERR_CONFIG for options that make no sense, ERR_ADDRESS, ERR_PERMISSION without CAP_NET_ADMIN, ERR_TUN_OPEN
 *   without /dev/net/tun or when the name is taken, ERR_INTERFACE for settings that the kernel refuses, ERR_NATIVE,
 *   ERR_PLATFORM off Linux, ERR_ABORTED
 */
export async function openTun(options: OpenTunOptions = {}): Promise<Tun> {
  const checked = checkOptions(schema, options);
  const { mode, addresses, mtu, signal, queue, between } = checked;
  const netns = checked.netns || undefined;
  const throwIfAborted = () => {
    if (!signal?.aborted) return;
    throw new TunconnectorError('ERR_ABORTED', 'openTun: aborted', { cause: signal.reason });
  };
  throwIfAborted();
  const spec = tunSpec({ name: checked.name ?? `${mode}%d`, mode, netns: checked.netns });
  const device = tunSpec.create(spec.options) as TunPort;
  const program = new ProgramPort(mode === 'tap' ? 'L2' : 'L3', queue);
  const memory = await memoryWith(between, MEMORY);
  const network = new Network(liveRuntime(), { memory }).app('tun', device).app('program', program);
  if (between.up) network.app('up', between.up);
  if (between.down) network.app('down', between.down);
  for (const link of linksThrough(between, 'up', 'tun.out', 'program.in')) network.link(link);
  for (const link of linksThrough(between, 'down', 'program.out', 'tun.in')) network.link(link);
  for (const link of between.links ?? []) network.link(link);
  const tun = new Tun(network, device, program, netns);
  try {
    await network.start();
    throwIfAborted();
    await configureInterface({
      name: device.name,
      netns,
      addresses,
      mtu,
      up: true,
      addressGeneration: mode === 'tun' ? 'none' : undefined,
      routes: checked.routes.map((route) => (typeof route === 'string' ? { prefix: route } : route)),
    });
    throwIfAborted();
  } catch (error) {
    await tun.close();
    throw error;
  }
  if (signal) tun.closeOn(signal);
  return tun;
}

/** An open interface. `for await` reads it; `write` writes to it; `close`, or the end of an `await using` block, ends it. */
export class Tun implements AsyncIterable<Uint8Array>, AsyncDisposable {
  readonly #network: Network;
  readonly #device: TunPort;
  readonly #program: ProgramPort;
  readonly #netns: string | undefined;
  #closing: Promise<void> | undefined;
  #failure: unknown;
  #forget: () => void = () => {};

  /** Use `openTun`. */
  constructor(network: Network, device: TunPort, program: ProgramPort, netns: string | undefined) {
    this.#network = network;
    this.#device = device;
    this.#program = program;
    this.#netns = netns;
    network.on('error', (error) => this.#fail(error));
    network.on('event', (_app, event) => {
      if (event.type !== 'port-failed' || event.errno !== EBADFD) return;
      this.#fail(
        new TunconnectorError('ERR_INTERFACE', `the interface "${this.name}" was removed`, {
          errno: 'EBADFD',
          remedy: 'open another one',
        }),
      );
    });
  }

  /** The interface's name. */
  get name(): string {
    return this.#device.name;
  }

  /** The interface's index. */
  get index(): number {
    return this.#device.index;
  }

  get mode(): 'tun' | 'tap' {
    return this.#device.options.mode;
  }

  /** Bytes, as it is now. Throws ERR_CLOSED. */
  get mtu(): number {
    this.#check();
    return native().interfaceGet(this.name, this.#netns ?? '').mtu;
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * The packets that the kernel sends into the interface, one by one as they would be on a wire, checksums complete;
   * each is the program's own. Several loops share them. `break` leaves the interface open. Ends with `close()` and
   * when the signal fires; throws when the interface fails.
   */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return { next: () => this.#program.read() };
  }

  /** The next packet, or undefined when the interface is closed. */
  async read(): Promise<Uint8Array | undefined> {
    return (await this.#program.read()).value;
  }

  /**
   * Gives a packet to the kernel, as if it had arrived at the interface. The bytes are copied.
   *
   * Returns true while the queue has room. When it is full, the packet is taken still, and a promise comes back
   * that resolves when there is room (or, to false, when the interface is closed): `await tun.write(packet)` is all that is
   * needed. A program that does not wait loses what goes beyond twice the queue; that, and a packet no interface could
   * carry, is false and counted. Throws ERR_CLOSED after `close()`, and what made the interface fail.
   */
  write(packet: Uint8Array): boolean | Promise<boolean> {
    this.#check();
    return this.#program.write(packet);
  }

  /** What went through, and what did not. Asks the kernel, so not for every packet. */
  async stats(): Promise<TunStats> {
    this.#check();
    const { received, receivedBytes, sent, sentBytes, unread, unsent, dropped } = this.#program;
    const report = this.#device.report();
    const argv = ['ip', '-s', '-j', 'link', 'show', 'dev', this.name];
    const { stdout } = await runCommand(argv, { netns: this.#netns });
    const [link] = JSON.parse(stdout || '[]') as { stats64?: { tx: { dropped: number } } }[];
    return {
      received,
      receivedBytes,
      sent,
      sentBytes,
      unread,
      unsent,
      dropped,
      refused: Number(report.txInvalid) + Number(report.txDown) + Number(report.txTooLong),
      kernelDropped: link?.stats64?.tx.dropped ?? 0,
    };
  }

  /** Lets what was written leave, and removes the interface. Unread packets are gone. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  closeOn(signal: AbortSignal): void {
    const abort = () => void this.close();
    signal.addEventListener('abort', abort, { once: true });
    this.#forget = () => signal.removeEventListener('abort', abort);
  }

  async #close(): Promise<void> {
    this.#forget();
    // Writing to a TUN waits for nobody: a few breaths empty the queue.
    if (this.#failure === undefined) {
      for (let n = 0; n < LAST_BREATHS && this.#program.unsent > 0; n++) this.#network.breathe();
    }
    this.#program.end(this.#failure);
    await this.#network.close();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    void this.close();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closing) throw new TunconnectorError('ERR_CLOSED', `the interface "${this.name}" is closed`);
  }
}
