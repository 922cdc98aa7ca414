import type { VnfApp } from '../../../src/chain/vnf/app.ts';
import type { FlowPrefix } from '../../../src/chain/wire/prefix.ts';
import type { App, AppContext, AppEvent, AppSpec, Layer, Ports } from '../../../src/engine/app.ts';
import { Network } from '../../../src/engine/network.ts';
import type { Pool } from '../../../src/engine/pool.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { get16 } from '../../../src/packet/word.ts';
import { prefixOf } from '../wire/samples.ts';

export interface Sent {
  prefix?: Uint8Array;
  bytes: Uint8Array;
  segmentSize?: number;
  segments?: number;
  gsoType?: number;
  checksumStart?: number;
  checksumOffset?: number;
  /** Another packet has the same bytes. */
  shared?: boolean;
}

export interface Came extends Sent {
  prefix: Uint8Array;
  time: number;
}

/** Where packets of a chain come from and go to: with their prefix in the headroom. */
export class ChainPort implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly paths = { in: [] };
  readonly superframes = true;
  readonly layers: Record<string, Layer> = { in: 'L3', out: 'L3' };
  readonly received: Came[] = [];
  /** Keep what comes; else it is only looked at by `onPacket`. */
  keep = true;
  onPacket: ((pool: Pool, packet: number) => void) | undefined;
  readonly #waiting: Sent[] = [];
  #context!: AppContext;
  #shared: number[] = [];

  send(...packets: Sent[]): void {
    this.#waiting.push(...packets);
    this.#context.wake();
  }

  open(context: AppContext): void {
    this.#context = context;
  }

  pull({ pool, output, now }: Ports, room: number): boolean {
    const n = Math.min(room, this.#waiting.length);
    for (const sent of this.#waiting.splice(0, n)) {
      const packet = pool.copyIn(sent.bytes, 3, this.#context.account);
      if (packet < 0) throw new Error('no memory');
      if (sent.prefix) {
        pool.slab.set(sent.prefix, pool.offset[packet] - sent.prefix.length);
        pool.prefixLength[packet] = sent.prefix.length;
      }
      pool.segmentSize[packet] = sent.segmentSize ?? 0;
      pool.segments[packet] = sent.segments ?? 1;
      pool.gsoType[packet] = sent.gsoType ?? 0;
      pool.checksumStart[packet] = sent.checksumStart ?? -1;
      pool.checksumOffset[packet] = sent.checksumOffset ?? 0;
      pool.arrived[pool.slot[packet]] = now;
      if (sent.shared) this.#shared.push(pool.clone(packet));
      output.out.put(packet);
    }
    return this.#waiting.length > 0;
  }

  push({ pool, input, now }: Ports): void {
    for (let n = input.in.count; n > 0; n--) {
      const packet = input.in.take();
      this.onPacket?.(pool, packet);
      if (this.keep) {
        const at = pool.offset[packet];
        this.received.push({
          time: now,
          prefix: pool.slab.slice(at - pool.prefixLength[packet], at),
          bytes: pool.copyOut(packet),
          segmentSize: pool.segmentSize[packet],
          segments: pool.segments[packet],
          checksumStart: pool.checksumStart[packet],
          checksumOffset: pool.checksumOffset[packet],
        });
      }
      pool.free(packet);
    }
  }

  /** The bytes that packets sent as `shared` have now. */
  sharedBytes(pool: Pool): Uint8Array[] {
    return this.#shared.map((packet) => pool.copyOut(packet));
  }

  close(): void {
    for (const packet of this.#shared.splice(0)) this.#context.pool.free(packet);
  }
}

export interface VnfWorld extends AsyncDisposable {
  net: Network;
  port: ChainPort;
  runtime: VirtualRuntime;
  events: AppEvent[];
  vnf: VnfApp;
  /** Sends and runs for 1 ms; what came out. */
  pass(...packets: Sent[]): Came[];
  drops(): Record<string, number>;
}

export async function vnfWorld(app: App | AppSpec, options: { seed?: number } = {}): Promise<VnfWorld> {
  const runtime = new VirtualRuntime({ seed: options.seed ?? 1 });
  const net = new Network(runtime);
  const port = new ChainPort();
  const events: AppEvent[] = [];
  net.on('event', (_app, event) => events.push(event));
  net.app('port', port).app('vnf', app).link('port.out -> vnf.in').link('vnf.out -> port.in');
  await net.start();
  return {
    net,
    port,
    runtime,
    events,
    vnf: net.get('vnf'),
    pass(...packets) {
      const before = port.received.length;
      port.send(...packets);
      runtime.advance('1ms');
      return port.received.slice(before);
    },
    drops: () => Object.assign({}, ...net.report().apps.map(({ drops }) => drops)) as Record<string, number>,
    [Symbol.asyncDispose]: () => net.close(),
  };
}

/** A packet with the prefix of a flow, by its number. */
export const inChain = (bytes: Uint8Array, flow = 1, fields: Partial<FlowPrefix> = {}): Sent => ({
  prefix: prefixOf({ flowHigh: 7, flowLow: flow, family: bytes[0] >> 4 === 4 ? 4 : 6, ...fields }),
  bytes,
});

/** A checksum as RFC 1071 has it, written down anew: one's complement of the sum of words, carries added one by one. */
export function plainChecksum(parts: readonly Uint8Array[]): number {
  const all = parts.flatMap((part) => [...part]);
  if (all.length % 2 === 1) all.push(0);
  let sum = 0;
  for (let i = 0; i < all.length; i += 2) {
    sum += all[i] * 256 + all[i + 1];
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

/** What is wrong with the lengths and checksums of an IP packet without options or extension headers; empty: nothing. */
export function wrongs(bytes: Uint8Array): string[] {
  const found: string[] = [];
  const four = bytes[0] >> 4 === 4;
  const header = four ? (bytes[0] & 15) * 4 : 40;
  const length = four ? get16(bytes, 2) : 40 + get16(bytes, 4);
  if (length !== bytes.length) found.push(`length ${length} of ${bytes.length}`);
  if (four && plainChecksum([bytes.slice(0, header)]) !== 0) found.push('IP checksum');
  if (four && (get16(bytes, 6) & 0x3fff) !== 0) return found;
  const protocol = bytes[four ? 9 : 6];
  const body = bytes.slice(header);
  const addresses = four ? bytes.slice(12, 20) : bytes.slice(8, 40);
  const pseudo = [addresses, Uint8Array.of(0, protocol, body.length >> 8, body.length & 255)];
  if (protocol === 17) {
    if (get16(body, 4) !== body.length) found.push(`UDP length ${get16(body, 4)} of ${body.length}`);
    if (get16(body, 6) === 0 && four) return found;
    if (get16(body, 6) === 0) found.push('no UDP checksum');
  }
  const covered = protocol === 1 ? [body] : [...pseudo, body];
  if ([1, 6, 17, 58].includes(protocol) && plainChecksum(covered) !== 0) found.push('transport checksum');
  return found;
}
