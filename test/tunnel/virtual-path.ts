/** Two ends of a tunnel in one network and in virtual time, with a path between them that a test can disturb. */
import { type App, type AppSpec, Network, type Ports, VirtualRuntime } from '../../src/engine/index.ts';
import type { RandomStream } from '../../src/engine/random.ts';
import { PacketFlag } from '../../src/native/binding.ts';
import { parseEndpoint } from '../../src/packet/prefix.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { type TunnelClientOptions, tunnelClient } from '../../src/tunnel/client.ts';
import type { TunnelNotice } from '../../src/tunnel/control-link.ts';
import { type TunnelServerOptions, tunnelServer } from '../../src/tunnel/server.ts';

/** Carries datagrams between end `a` and end `b`, each of which appears to the other under an address. */
export class Path implements App {
  readonly inputs = ['a', 'b'];
  readonly outputs = ['a', 'b'];
  readonly paths = { a: ['b'], b: ['a'] };
  readonly superframes = true;
  readonly layers = { a: 'datagram', b: 'datagram' } as const;
  addressOf = { a: '192.0.2.1:4000', b: '192.0.2.2:55555' };
  cut = false;
  /** Datagrams longer than this are lost, and nobody is told. */
  limit = 65_507;
  /** Datagrams longer than this are refused, as by the interface they would leave through. */
  mtu = 65_507;
  /** Every datagram that passes, when set. */
  record: Uint8Array[] | null = null;
  /** Share of datagrams that get a random byte changed. */
  mutate = 0;
  random: RandomStream | undefined;
  /** What the outer header of every datagram says on arrival. */
  trafficClass = -1;

  push({ pool, input, output }: Ports): void {
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      for (let n = input[from].waiting; n > 0; n--) {
        const packet = input[from].take();
        if (this.#refuses(pool, packet)) continue;
        const bytes = pool.copyOut(packet);
        this.record?.push(bytes);
        if (this.cut || pool.length[packet] + pool.prefixLength[packet] > this.limit) {
          pool.free(packet);
          continue;
        }
        // What a UDP socket does: the prefix is part of the datagram.
        pool.own(packet);
        pool.offset[packet] -= pool.prefixLength[packet];
        pool.length[packet] += pool.prefixLength[packet];
        pool.prefixLength[packet] = 0;
        pool.layer[packet] = 0;
        if (this.mutate > 0 && this.random!.unit() < this.mutate) {
          const at = pool.offset[packet] + this.random!.below(pool.length[packet]);
          pool.slab[at] = this.random!.u32();
        }
        pool.peer[packet] = this.row(pool, this.addressOf[from]);
        if (this.trafficClass >= 0) pool.trafficClass[packet] = this.trafficClass;
        output[to].put(packet);
      }
    }
  }

  #refuses(pool: Ports['pool'], packet: number): boolean {
    const length = pool.length[packet] + pool.prefixLength[packet];
    if (length <= this.mtu || pool.flags[packet] & PacketFlag.MayFragment) return false;
    const { tooLong } = pool.addresses;
    const row = 1 + pool.peer[packet];
    tooLong[0]++;
    tooLong[row] = Math.min(tooLong[row] || length, length);
    pool.free(packet);
    return true;
  }

  /** A passing row of the address table, or the pinned one when somebody keeps the address: as the addon does it. */
  row(pool: Ports['pool'], endpoint: string): number {
    const { address, port } = parseEndpoint(endpoint);
    const book = pool.addresses;
    return book.rowFor({ family: address.family, bytes: address.bytes, port, scope: 0 });
  }
}

export interface Ends {
  runtime: VirtualRuntime;
  net: Network;
  client: MemoryPort;
  server: MemoryPort;
  path: Path;
  events: { app: string; event: TunnelNotice }[];
}

export async function virtualTunnel(
  options: {
    seed?: number;
    client?: Partial<TunnelClientOptions>;
    server?: Partial<TunnelServerOptions>;
    extra?: (net: Network) => void;
  } = {},
): Promise<Ends> {
  const runtime = new VirtualRuntime({ seed: options.seed ?? 1 });
  const net = new Network(runtime, { memory: 48 << 20 });
  const layer = options.client?.layer ?? 'L3';
  const ends: Ends = {
    runtime,
    net,
    client: new MemoryPort({ layer }),
    server: new MemoryPort({ layer }),
    path: new Path(),
    events: [],
  };
  net.on('event', (app, event) => ends.events.push({ app, event: event as TunnelNotice }));
  const clientSpec: AppSpec = tunnelClient({
    addresses: ['10.0.0.3/24', 'fd00::3/64'],
    server: ends.path.addressOf.b,
    ...options.client,
  });
  const serverSpec = tunnelServer({ addresses: ['10.0.0.2/24', 'fd00::2/64'], ...options.server, layer });
  net
    .app('clientTun', ends.client)
    .app('serverTun', ends.server)
    .app('path', ends.path)
    .app('client', clientSpec)
    .app('server', serverSpec)
    .link('clientTun.out -> client.inside')
    .link('client.inside -> clientTun.in')
    .link('serverTun.out -> server.inside')
    .link('server.inside -> serverTun.in')
    .link('client.outside -> path.a')
    .link('path.a -> client.outside')
    .link('server.outside -> path.b')
    .link('path.b -> server.outside');
  options.extra?.(net);
  await net.start();
  return ends;
}
