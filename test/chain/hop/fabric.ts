/**
 * Members of a chain in virtual time, each with a network of its own, and a fabric between them that carries datagrams to the
 * address that they are sent to, as UDP ports do: a superframe and its prefix stay what they are.
 */
import { Hop, hop } from '../../../src/chain/hop/hop.ts';
import type { TableUpdate } from '../../../src/chain/tables/update.ts';
import { emitPrefix, type FlowPrefix } from '../../../src/chain/wire/prefix.ts';
import type { OuterAddress } from '../../../src/engine/address-book.ts';
import type { App, AppContext, Layer, Ports } from '../../../src/engine/app.ts';
import { Network } from '../../../src/engine/network.ts';
import type { Pool } from '../../../src/engine/pool.ts';
import { totalDrops } from '../../../src/engine/report.ts';
import type { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { parseEndpoint } from '../../../src/packet/prefix.ts';

const COLUMNS = [
  'l3Offset',
  'segmentSize',
  'segments',
  'gsoType',
  'checksumStart',
  'checksumOffset',
] as const;
type Column = (typeof COLUMNS)[number];

export interface Datagram extends Partial<Record<Column, number>> {
  /** What stands in front of each segment of a superframe; of a single datagram it is part of its bytes. */
  prefix?: Uint8Array;
  bytes: Uint8Array;
  from: string;
  /** It comes twice, and both share their bytes. */
  twice?: boolean;
}

export class Fabric {
  readonly #ports = new Map<string, FabricPort>();
  /** Datagrams to these addresses come back: nobody listens. */
  readonly refusing = new Set<string>();
  /** Datagrams to these get lost. */
  readonly silent = new Set<string>();

  join(address: string, port: FabricPort): void {
    this.#ports.set(address, port);
  }

  carry(pool: Pool, packet: number, from: string): void {
    const to = pool.addresses.describe(pool.peer[packet]);
    if (this.refusing.has(to)) {
      pool.addresses.refused[0]++;
      pool.addresses.refused[1 + pool.peer[packet]]++;
    }
    if (this.refusing.has(to) || this.silent.has(to)) return;
    const at = pool.offset[packet];
    const prefix = pool.prefixLength[packet];
    const superframe = pool.segmentSize[packet] > 0;
    const datagram: Datagram = {
      from,
      bytes: pool.slab.slice(superframe ? at : at - prefix, at + pool.length[packet]),
    };
    if (superframe) {
      datagram.prefix = pool.slab.slice(at - prefix, at);
      for (const column of COLUMNS) datagram[column] = pool[column][packet];
    }
    this.#ports.get(to)?.arrive(datagram);
  }
}

/** In place of a UDP port. */
export class FabricPort implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly paths = { in: [] };
  readonly superframes = true;
  readonly layers: Readonly<Record<string, Layer>> = { in: 'datagram', out: 'datagram' };
  /** Where nobody is behind it: what came, instead of going into the network. */
  readonly received: Datagram[] = [];
  readonly #fabric: Fabric;
  readonly #address: string;
  readonly #peers = new Map<string, OuterAddress>();
  #waiting: Datagram[] = [];
  #context: AppContext | undefined;

  constructor(fabric: Fabric, address: string) {
    this.#fabric = fabric;
    this.#address = address;
    fabric.join(address, this);
  }

  open(context: AppContext): void {
    this.#context = context;
  }

  arrive(datagram: Datagram): void {
    if (!this.#context) {
      this.received.push(datagram);
      return;
    }
    this.#waiting.push(datagram);
    this.#context.wake();
  }

  /** Sends from here without a network. */
  send(to: FabricPort, datagram: Omit<Datagram, 'from'>): void {
    to.arrive({ ...datagram, from: this.#address });
  }

  pull({ pool, output }: Ports, room: number): boolean {
    for (const { prefix, bytes, from, twice, ...columns } of this.#waiting.splice(0, room)) {
      const packet = pool.copyIn(bytes, 0, this.#context!.account);
      for (const column of COLUMNS) if (columns[column] !== undefined) pool[column][packet] = columns[column];
      if (prefix) {
        pool.slab.set(prefix, pool.offset[packet] - prefix.length);
        pool.prefixLength[packet] = prefix.length;
      }
      pool.peer[packet] = pool.addresses.rowFor(this.#outer(from));
      if (twice) output.out.put(pool.clone(packet));
      output.out.put(packet);
    }
    return this.#waiting.length > 0;
  }

  #outer(endpoint: string): OuterAddress {
    let outer = this.#peers.get(endpoint);
    if (!outer) {
      const { address, port } = parseEndpoint(endpoint);
      outer = { family: address.family, bytes: address.bytes, port, scope: 0 };
      this.#peers.set(endpoint, outer);
    }
    return outer;
  }

  push({ pool, input }: Ports): void {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      this.#fabric.carry(pool, packet, this.#address);
      pool.free(packet);
    }
  }
}

export interface Member {
  id: number;
  address: string;
  port: FabricPort;
  hop: Hop;
  net: Network;
  drops(): Record<string, number>;
}

/** A function that lets pass what comes, or what `work` makes of it. */
export class Pass implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly superframes = true;
  /** Packets that came, by superframe: segments of each. */
  readonly seen: number[] = [];
  readonly #work: ((pool: Pool, packet: number) => void) | undefined;

  constructor(work?: (pool: Pool, packet: number) => void) {
    this.#work = work;
  }

  push({ pool, input, output }: Ports): void {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      this.seen.push(pool.segments[packet]);
      this.#work?.(pool, packet);
      output.out.put(packet);
    }
  }
}

export const addressOf = (id: number) => `10.9.${id >> 8}.${id & 255}:4790`;
export const TENANT = 42;
export const SPI = 7;
export const REVISION = 17;

export const replicaOf = (id: number, name: string, state: 'ready' | 'draining' = 'ready') => {
  const [address, port] = addressOf(id).split(':');
  return { id, function: name, address, port: Number(port), weight: 100, state };
};

export async function member(
  runtime: VirtualRuntime,
  fabric: Fabric,
  id: number,
  fn: App = new Pass(),
  options = {},
): Promise<Member> {
  const net = new Network(runtime, { memory: 24 << 20 });
  const port = new FabricPort(fabric, addressOf(id));
  const app = new Hop(hop.check({ tenant: TENANT, ...options }) as ConstructorParameters<typeof Hop>[0]);
  net.app('udp', port).app('hop', app).app('vnf', fn);
  net.link('udp.out -> hop.outside').link('hop.function -> vnf.in');
  net.link('vnf.out -> hop.function').link('hop.outside -> udp.in');
  await net.start();
  return { id, address: addressOf(id), port, hop: app, net, drops: () => totalDrops(net.report()) };
}

/** Everything there is, for one chain: ingress 1, egress 2, replica 16 * (k + 1) + r of function k. */
export function registry(replicas: readonly number[]): TableUpdate {
  const functions = replicas.map((_, k) => `f${k}`);
  return {
    whole: true,
    chains: [{ spi: SPI, symmetric: true, ended: false, revisions: [{ revision: REVISION, functions }] }],
    replicas: [
      replicaOf(1, 'ingress'),
      replicaOf(2, 'egress'),
      ...replicas.flatMap((count, k) =>
        Array.from({ length: count }, (_, r) => replicaOf(16 * (k + 1) + r, `f${k}`)),
      ),
    ],
  };
}

export function prefixOf(fields: Partial<FlowPrefix> & { replicas: ArrayLike<number> }): Uint8Array {
  const bytes = new Uint8Array(256);
  const defaults = {
    tenant: TENANT,
    servicePath: SPI,
    family: 4 as const,
    flowHigh: 0x0f1a2b3c,
    flowLow: 0x0d4e5f67,
  };
  const length = emitPrefix(
    { ...defaults, revision: REVISION, generation: 0, start: 1, end: 2, ...fields },
    bytes,
  );
  return bytes.slice(0, length);
}
