/**
 * A whole chain in virtual time: Roulette, ingress, egress and replicas of functions, each with both of its halves, and a client and a server
 * that exchange numbered packets all the time.
 */
import { type End, end } from '../../../src/chain/end/index.ts';
import { hop } from '../../../src/chain/hop/hop.ts';
import type { ChainControlled } from '../../../src/chain/member/control.ts';
import { Member } from '../../../src/chain/member/member.ts';
import { chooser } from '../../../src/chain/placement.ts';
import { type App, Network, type Ports, VirtualRuntime } from '../../../src/engine/index.ts';
import { type Allowance, USUAL } from '../../../src/engine/memory-plan.ts';
import { totalDrops } from '../../../src/engine/report.ts';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { serve } from '../../../src/sim/chain/roulette.ts';
import { MemoryPort } from '../../../src/tun/memory.ts';
import { packetOf } from '../end/ends-world.ts';
import { serialOf } from '../end/fabric.ts';
import { Fabric, FabricPort } from '../hop/fabric.ts';
import { ChannelConnection } from '../member/channel-connection.ts';
import { TENANT, World } from '../roulette/roulette-world.ts';

const ROULETTE = '10.0.0.1:4791';
const SPI = 7;
/** Behind a header of IPv4 without options. */
const CHECKSUM_OF_UDP = 20 + 6;
const hostOf = (endpoint: string) => endpoint.split(':')[0]!;

/** A function that lets everything through, and notes what comes. */
class Note implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  onPacket: (serial: number) => void = () => {};

  push({ pool, input, output }: Ports): void {
    for (let n = input.in!.waiting; n > 0; n--) {
      const packet = input.in!.take();
      const at = pool.offset[packet]!;
      this.onPacket(serialOf(pool.slab.subarray(at, at + pool.length[packet]!), 0, pool.length[packet]!));
      output.out!.put(packet);
    }
  }
}

export interface Replica {
  of: string;
  endpoint: string;
  member: Member;
  net: Network;
}

/** One packet: which flow, which way, when it was sent and came, and the functions that have seen it, by replica id. */
export interface Trip {
  flow: number;
  back: boolean;
  sent: number;
  came: number;
  way: { of: string; id: number }[];
}

/** How large a chain is: what takes the least time holds the least. */
export interface Size {
  seed?: number;
  /** Of each network: bytes of packets. */
  memory?: number;
  allowance?: Allowance;
  /** That an end may hold. */
  flows?: number;
  /** ns between two packets of a flow: whole milliseconds. */
  interval?: number;
}

export class WholeChain {
  readonly runtime: VirtualRuntime;
  readonly world: World;
  readonly fabric = new Fabric();
  readonly client = new MemoryPort();
  readonly server = new MemoryPort();
  readonly trips: Trip[] = [];
  readonly replicas: Replica[] = [];
  ingress!: Replica;
  egress!: Replica;
  readonly #nets: Network[] = [];
  readonly #size: Required<Size>;
  readonly #packets = new Map<number, Uint8Array>();
  #hosts = 1;

  private constructor(size: Required<Size>) {
    this.#size = size;
    this.runtime = new VirtualRuntime({
      seed: size.seed,
      outside: { delay: '200us', jitter: '1ms', patience: '400ms' },
      disk: { syncTime: '2ms', jitter: '3ms' },
    });
    const runtime = this.runtime;
    // The same choice as the ends make, and probes as they would go.
    const probe = (
      _tenant: number,
      { address, port }: { address: string; port: number },
      done: (alive: boolean) => void,
    ) => {
      const to = `${address}:${port}`;
      const alive = !this.fabric.refusing.has(to) && !this.fabric.silent.has(to);
      runtime.timer(runtime.now() + (alive ? MILLISECOND : 300 * MILLISECOND), () => done(alive));
    };
    this.world = new World({ choose: chooser(), probe, packetLifetime: 2 * SECOND }, runtime);
    serve(runtime, ROULETTE, () => this.world.roulette, 1 << 22);
  }

  /** @param functions of the chain, each with how many replicas */
  static async start(functions: Record<string, number>, size: Size = {}): Promise<WholeChain> {
    const usual = { seed: 1, memory: 24 << 20, allowance: USUAL, flows: 100_000, interval: 20 * MILLISECOND };
    const chain = new WholeChain({ ...usual, ...size });
    const { world, runtime } = chain;
    world.ask('tenant.put', {});
    for (const name of Object.keys(functions)) world.ask('function.put', { name });
    world.ask('chain.put', { spi: SPI, functions: Object.keys(functions) });
    world.ask('classifier.put', { rules: [{ name: 'all', match: {}, chain: SPI }] });
    for (const [name, count] of Object.entries(functions)) {
      for (let n = 0; n < count; n++) await chain.add(name);
    }
    chain.egress = await chain.#end('egress', chain.server);
    chain.ingress = await chain.#end('ingress', chain.client);
    runtime.advance('500ms');
    return chain;
  }

  /** One more replica of a function. */
  async add(of: string): Promise<Replica> {
    const note = new Note();
    const replica = await this.#member(of, 'hop', (net) =>
      net
        .app('hop', hop({ tenant: TENANT }))
        .app('function', note)
        .link('hop.function -> function.in')
        .link('function.out -> hop.function'),
    );
    note.onPacket = (serial) => this.trips[serial]!.way.push({ of, id: replica.member.id });
    this.replicas.push(replica);
    return replica;
  }

  /**
   * As `kill -9` leaves it: its port refuses, its lease runs out. Or it stands still, and says nothing.
   * @returns how it is there again, as it was
   */
  kill(replica: Replica, how: 'refusing' | 'silent' = 'refusing'): () => void {
    const { endpoint } = replica;
    this.fabric[how].add(endpoint);
    // To Roulette it says nothing either: its lease is not ended, and not kept.
    const heal = this.part(replica);
    return () => {
      this.fabric[how].delete(endpoint);
      heal();
    };
  }

  /** It and Roulette do not hear each other. @returns how they do again */
  part({ endpoint }: Replica): () => void {
    return this.runtime.outside.partition(hostOf(endpoint), hostOf(ROULETTE));
  }

  /** Roulette is not there any more. @returns how it comes back */
  stopRoulette(): () => void {
    this.world.roulette.close();
    this.world.store.close();
    this.runtime.outside.breakChannels();
    return () => this.world.start();
  }

  edit(...functions: string[]): void {
    this.world.send('chain.put', { spi: SPI, functions });
  }

  /** One packet of each flow, there and back, in every interval, evenly; what has become of them since the call. */
  run(flows: readonly number[], time: number, onStep?: (elapsed: number) => void): Trip[] {
    const first = this.trips.length;
    const slots = this.#size.interval / MILLISECOND;
    for (let elapsed = 0; elapsed < time; elapsed += MILLISECOND) {
      onStep?.(elapsed);
      const slot = (elapsed / MILLISECOND) % slots;
      for (let n = slot; n < flows.length; n += slots) {
        const flow = flows[n]!;
        this.#send(flow, false);
        // Replies need the flow to have come once.
        if (elapsed >= slots * MILLISECOND || this.#known.has(flow)) this.#send(flow, true);
      }
      this.runtime.advance(MILLISECOND);
      this.#collect();
    }
    this.runtime.advance('5ms');
    this.#collect();
    for (const flow of flows) this.#known.add(flow);
    return this.trips.slice(first);
  }

  get drops(): Record<string, number> {
    const sum: Record<string, number> = {};
    for (const net of this.#nets)
      for (const [reason, count] of Object.entries(totalDrops(net.report())))
        sum[reason] = (sum[reason] ?? 0) + count;
    return sum;
  }

  async close(): Promise<void> {
    for (const net of this.#nets) await net.close();
  }

  readonly #known = new Set<number>();

  #send(flow: number, back: boolean): void {
    const serial = this.trips.length;
    this.trips.push({ flow, back, sent: this.runtime.now(), came: Number.POSITIVE_INFINITY, way: [] });
    (back ? this.server : this.client).send(this.#packet(flow, serial, back));
  }

  /** Made once for each flow and direction: all the rest of a packet is the same. */
  #packet(flow: number, serial: number, back: boolean): Uint8Array {
    const key = flow * 2 + Number(back);
    let made = this.#packets.get(key);
    if (!made) this.#packets.set(key, (made = packetOf(flow, 0, back)));
    const packet = made.slice();
    const view = new DataView(packet.buffer);
    view.setUint32(packet.length - 4, serial);
    const checksum = CHECKSUM_OF_UDP;
    let sum = (~view.getUint16(checksum) & 0xffff) + (serial >>> 16) + (serial & 0xffff);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(checksum, ~sum & 0xffff);
    return packet;
  }

  #collect(): void {
    for (const port of [this.client, this.server])
      for (const { bytes, time } of port.received.splice(0))
        this.trips[serialOf(bytes, 0, bytes.length)]!.came = time;
  }

  #end(role: 'ingress' | 'egress', inside: MemoryPort): Promise<Replica> {
    return this.#member(role, 'end', (net) =>
      net
        .app('inside', inside)
        .app(
          'end',
          end({
            tenant: TENANT,
            secret: { high: 1, low: 2 },
            role,
            flows: this.#size.flows,
          }) as unknown as End,
        )
        .link('inside.out -> end.inside')
        .link('end.inside -> inside.in'),
    );
  }

  /** Both halves: a network with a port of the fabric, and the member that tells it what Roulette says. */
  async #member(of: string, app: 'hop' | 'end', build: (net: Network) => Network): Promise<Replica> {
    const { runtime } = this;
    const address = `10.0.0.${++this.#hosts}`;
    const endpoint = `${address}:4790`;
    const net = build(
      new Network(runtime, { memory: this.#size.memory, allowance: this.#size.allowance }).app(
        'udp',
        new FabricPort(this.fabric, endpoint),
      ),
    );
    net.link(`udp.out -> ${app}.outside`).link(`${app}.outside -> udp.in`);
    await net.start();
    this.#nets.push(net);
    const packets = net.get(app) as unknown as ChainControlled;
    const connection = new ChannelConnection(runtime, `${address}:0`, [ROULETTE]);
    const member = new Member(runtime, connection, {
      tenant: TENANT,
      replica: { function: of, address, port: 4790 },
      term: 2 * SECOND,
    });
    member.join({ update: (update) => packets.update(structuredClone(update)) });
    let isDue = false;
    packets.onNews = () => {
      if (isDue) return;
      isDue = true;
      runtime.timer(runtime.now(), () => {
        isDue = false;
        for (let news = packets.takeNews(); news; news = packets.takeNews())
          member.receive(structuredClone(news));
      });
    };
    runtime.advance('50ms');
    return { of, endpoint, member, net };
  }
}

export const wayOf = ({ way, back }: Trip): string => {
  const ids = way.map(({ id }) => id);
  return (back ? ids.reverse() : ids).join(' ');
};
export const lost = (trips: readonly Trip[]): Trip[] =>
  trips.filter(({ came }) => came === Number.POSITIVE_INFINITY);
export const range = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, n) => from + n);
