/** Ends of a chain in one network and in virtual time, the fabric between them, and a registry that says what it is told to say. */
import { type End, type EndOptions, end } from '../../../src/chain/end/index.ts';
import type { MemberNews } from '../../../src/chain/member/control.ts';
import type { ReplicaUpdate, TableUpdate } from '../../../src/chain/tables/index.ts';
import { Network, VirtualRuntime } from '../../../src/engine/index.ts';
import { totalDrops } from '../../../src/engine/report.ts';
import { ip, tcpPacket, udpPacket } from '../../../src/packet/index.ts';
import { MemoryPort } from '../../../src/tun/memory.ts';
import { addressOf, Fabric, serialOf } from './fabric.ts';

export const SPI = 7;
export const INGRESS = 1;
export const EGRESS = 2;
/** Of a world with a second ingress. */
export const INGRESS2 = 3;

export const replicaOf = (id: number, name: string, fields: Partial<ReplicaUpdate> = {}): ReplicaUpdate => ({
  id,
  function: name,
  address: addressOf(id).split(':')[0]!,
  port: 4790,
  weight: 1,
  state: 'ready',
  ...fields,
});

export const chainOf = (revisions: [number, string[]][], fields: object = {}) => ({
  spi: SPI,
  symmetric: true,
  ended: false,
  revisions: revisions.map(([revision, functions]) => ({ revision, functions })),
  ...fields,
});

/** fw 11 to 13, ids 21 and 22. */
const REPLICAS = [
  replicaOf(INGRESS, 'ingress'),
  replicaOf(EGRESS, 'egress'),
  ...[11, 12, 13].map((id) => replicaOf(id, 'fw')),
  ...[21, 22].map((id) => replicaOf(id, 'ids')),
];

const words = (n: number) => Uint8Array.of(n >>> 24, n >>> 16, n >>> 8, n);
export const V4 = (flow: number) => [`10.0.${flow >> 8}.${flow & 255}:1000`, '192.0.2.1:80'] as const;

/** A packet of a flow, with a number. */
export function packetOf(flow: number, serial: number, back = false): Uint8Array {
  const [client, server] = V4(flow);
  return udpPacket({ from: back ? server : client, to: back ? client : server, payload: words(serial) });
}
export function tcpOf(flow: number, serial: number, back = false, payload = 4): Uint8Array {
  const [client, server] = V4(flow);
  const bytes = new Uint8Array(payload);
  bytes.set(words(serial), payload - 4);
  return tcpPacket({ from: back ? server : client, to: back ? client : server, payload: bytes });
}

export class EndsWorld {
  readonly runtime = new VirtualRuntime({ seed: 5 });
  readonly net: Network;
  readonly fabric: Fabric;
  readonly client = new MemoryPort();
  readonly client2 = new MemoryPort();
  readonly server = new MemoryPort();
  readonly news: { ingress: MemberNews[]; egress: MemberNews[] } = { ingress: [], egress: [] };
  #serial = 0;

  constructor(options: Partial<EndOptions> = {}, memory = 48 << 20, hasSecond = false) {
    const ends = { [INGRESS]: 'ingress', [EGRESS]: 'egress' };
    this.fabric = new Fabric(hasSecond ? { ...ends, [INGRESS2]: 'ingress2' } : ends);
    this.net = new Network(this.runtime, { memory });
    // Probes would be answered by nobody here.
    const common = { tenant: 42, secret: { high: 1, low: 2 }, probes: false, ...options };
    this.net
      .app('client', this.client)
      .app('server', this.server)
      .app('fabric', this.fabric)
      .app('ingress', end({ addresses: ['10.255.0.1', 'fd00::1'], ...common, role: 'ingress' }))
      .app('egress', end({ addresses: ['10.255.0.2', 'fd00::2'], ...common, role: 'egress' }))
      .link('client.out -> ingress.inside')
      .link('ingress.inside -> client.in')
      .link('server.out -> egress.inside')
      .link('egress.inside -> server.in')
      .link('ingress.outside -> fabric.ingress')
      .link('fabric.ingress -> ingress.outside')
      .link('egress.outside -> fabric.egress')
      .link('fabric.egress -> egress.outside');
    if (!hasSecond) return;
    this.net
      .app('client2', this.client2)
      .app('ingress2', end({ ...common, role: 'ingress' }))
      .link('client2.out -> ingress2.inside')
      .link('ingress2.inside -> client2.in')
      .link('ingress2.outside -> fabric.ingress2')
      .link('fabric.ingress2 -> ingress2.outside');
  }

  get ingress(): End {
    return this.net.get('ingress') as unknown as End;
  }

  get ingress2(): End {
    return this.net.get('ingress2') as unknown as End;
  }

  get egress(): End {
    return this.net.get('egress') as unknown as End;
  }

  /** Runs, with a chain through fw and ids for everything. */
  async start(functions = ['fw', 'ids'], more: TableUpdate = {}): Promise<this> {
    await this.net.start();
    this.tell({
      whole: true,
      chains: [chainOf([[1, functions]])],
      replicas: REPLICAS,
      rules: [{ name: 'all', match: '*', chain: SPI }],
      ...more,
    });
    this.pass();
    return this;
  }

  /** Both ends hear of a change. */
  tell(update: TableUpdate): void {
    this.tellOne('ingress', update);
    this.tellOne('egress', update);
  }

  tellOne(name: 'ingress' | 'egress', update: TableUpdate): void {
    const own = update.whole ? { own: { id: name === 'ingress' ? INGRESS : EGRESS } } : {};
    this[name].update(structuredClone({ ...own, ...update }));
  }

  pass(time: string | number = '1ms'): void {
    this.runtime.advance(time);
  }

  /** A packet of each flow into the ingress, or back. Returns their numbers. */
  send(flows: Iterable<number>, back = false, make = packetOf): number[] {
    const serials: number[] = [];
    const port = back ? this.server : this.client;
    let waiting = 0;
    for (const flow of flows) {
      const serial = ++this.#serial;
      serials.push(serial);
      port.send(make(flow, serial, back));
      if (++waiting % 200 === 0) this.pass();
    }
    this.pass();
    return serials;
  }

  /** Replicas that the packet with this number went through. */
  way(serial: number): number[] {
    return (this.fabric.visits.get(serial) ?? []).map(({ replica }) => replica);
  }

  /** Numbers of what has arrived since it was asked last. */
  arrived(port: MemoryPort): number[] {
    return port.received.splice(0).map(({ bytes }) => serialOf(bytes, 0, ip.totalLength(bytes, 0)));
  }

  get drops(): Record<string, number> {
    return totalDrops(this.net.report());
  }

  report(name: 'ingress' | 'egress') {
    return this.net.report().apps.find(({ app }) => app === name)!.report;
  }

  takeNews(): void {
    for (const name of ['ingress', 'egress'] as const)
      for (let news = this[name].takeNews(); news; news = this[name].takeNews()) this.news[name].push(news);
  }
}

export const flows = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);
