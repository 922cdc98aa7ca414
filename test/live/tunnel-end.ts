/** One end of a tunnel in this process, its devices in a host of the test. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type AppSpec, liveRuntime, Network } from '../../src/engine/index.ts';
import { createWorld, type Host, type World } from '../../src/testing/namespaces.ts';
import { configureInterface, type RouteSpec } from '../../src/tun/system/live-ip.ts';
import { tun } from '../../src/tun/tun.ts';
import { type UdpOptions, udp } from '../../src/tun/udp.ts';
import { type TunnelClientOptions, tunnelClient } from '../../src/tunnel/client.ts';
import type { TunnelNotice } from '../../src/tunnel/control-link.ts';
import { type TunnelServerOptions, tunnelServer } from '../../src/tunnel/server.ts';

export const PORT = 55555;

export interface DeviceOptions {
  name?: string;
  mode?: 'tun' | 'tap';
  mtu?: number;
  routes?: RouteSpec[];
  /** All of them, unless said otherwise of one. */
  offload?: boolean;
  gso?: boolean;
  gro?: boolean;
  vnetHeader?: boolean;
  /** What the datagrams are, for those that arrive to be merged. Default: by the mode, where the interface takes superframes. */
  coalesce?: UdpOptions['coalesce'];
}

export class TunnelEnd implements AsyncDisposable {
  readonly net = new Network(liveRuntime(), { memory: 48 << 20 });
  readonly events: TunnelNotice[] = [];
  readonly host: Host;

  constructor(host: Host) {
    this.host = host;
    this.net.on('event', (app, event) => {
      if (app === 'tunnel') this.events.push(event as TunnelNotice);
    });
  }

  async start(tunnel: AppSpec, bind: string, addresses: string[], device: DeviceOptions = {}): Promise<this> {
    const netns = this.host.path;
    const { name = 'tun0', mode = 'tun', mtu = 1472, routes = [], offload = true } = device;
    const { gso = offload, gro = offload, vnetHeader = offload } = device;
    const { coalesce = vnetHeader ? (mode === 'tap' ? 'etherip' : 'ip') : 'none' } = device;
    await this.net
      .app('tun', tun({ name, mode, netns, offload: vnetHeader }))
      .app('udp', udp({ bind, netns, gso, gro, coalesce }))
      .app('tunnel', tunnel)
      .link('tun.out -> tunnel.inside')
      .link('tunnel.inside -> tun.in')
      .link('udp.out -> tunnel.outside')
      .link('tunnel.outside -> udp.in')
      .start();
    await configureInterface({ name, netns, addresses, mtu, up: true, routes });
    return this;
  }

  server(options: TunnelServerOptions, device: DeviceOptions = {}, bind = `0.0.0.0:${PORT}`): Promise<this> {
    const mode = options.layer === 'L2' ? 'tap' : 'tun';
    return this.start(tunnelServer(options), bind, options.addresses ?? [], { mode, ...device });
  }

  client(options: TunnelClientOptions, device: DeviceOptions = {}): Promise<this> {
    const mode = options.layer === 'L2' ? 'tap' : 'tun';
    const bind = options.server.startsWith('[') ? '[::]:0' : '0.0.0.0:0';
    return this.start(tunnelClient(options), bind, options.addresses ?? [], { mode, ...device });
  }

  /** The first event of a type from the `from`-th event on. */
  async event(type: TunnelNotice['type'], within = 5000, from = 0): Promise<TunnelNotice> {
    const end = performance.now() + within;
    for (;;) {
      const found = this.events.slice(from).find((e) => e.type === type);
      if (found) return found;
      if (performance.now() > end) {
        const seen = this.events.map((e) => `${e.type}${e.reason ? `(${e.reason})` : ''}`).join(', ');
        throw new Error(`no event "${type}" within ${within} ms; saw ${seen || 'none'}`);
      }
      await sleep(5);
    }
  }

  drops(): Record<string, number> {
    return this.net.report().apps.find((a) => a.app === 'tunnel')?.drops ?? {};
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.net.close();
  }
}

/** How many of `count` echo requests came back. */
export async function ping(host: Host, to: string, count = 3, ...more: string[]): Promise<number> {
  const argv = ['ping', '-c', `${count}`, '-i', '0.05', '-W', '3', ...more, to];
  const { stdout } = await host.exec(argv, { check: false });
  return Number(/(\d+) received/.exec(stdout)?.[1] ?? 0);
}

/** Milliseconds until an echo request comes back; throws after `within`. */
export async function untilPing(host: Host, to: string, within: number): Promise<number> {
  const start = performance.now();
  for (;;) {
    const { code } = await host.exec(['ping', '-c', '1', '-W', '0.2', to], { check: false });
    if (code === 0) return performance.now() - start;
    if (performance.now() - start > within) throw new Error(`no answer from ${to} within ${within} ms`);
  }
}

export interface JoinedOptions {
  layer?: 'L2' | 'L3';
  /** Of the wire. Default 1500. */
  wireMtu?: number;
  device?: DeviceOptions;
}

/** A client's host and a server's host on one wire, their tunnel's ends in this process; the path's size is found. */
export class Joined implements AsyncDisposable {
  readonly addresses = {
    4: { server: '10.0.0.2', client: '10.0.0.3' },
    6: { server: 'fd00::2', client: 'fd00::3' },
  } as const;
  readonly a: Host;
  readonly b: Host;
  readonly client: TunnelEnd;
  readonly server: TunnelEnd;
  /** Of both interfaces. */
  readonly mtu: number;
  readonly #world: World;

  constructor(world: World, [a, b]: [Host, Host], mtu: number) {
    this.#world = world;
    [this.a, this.b] = [a, b];
    [this.client, this.server] = [new TunnelEnd(a), new TunnelEnd(b)];
    this.mtu = mtu;
  }

  static async open({ layer = 'L3', wireMtu = 1500, device = {} }: JoinedOptions = {}): Promise<Joined> {
    const world = await createWorld({ name: 'joined' });
    const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
    await world.wire(a, b, { a: '192.168.6.8/24', b: '192.168.6.9/24', mtu: wireMtu });
    // 28 of the outer headers, 16 of EtherIP and Ethernet; the next multiple of 8.
    const maxDatagram = Math.min(wireMtu - 28, 65_507);
    const mtu = layer === 'L2' ? (maxDatagram - 16) & ~7 : maxDatagram;
    const joined = new Joined(world, [a, b], mtu);
    try {
      const { 4: four, 6: six } = joined.addresses;
      const common = { layer, maxDatagram };
      await joined.server.server(
        { ...common, addresses: [`${four.server}/24`, `${six.server}/64`] },
        { mtu, ...device },
      );
      await joined.client.client(
        { ...common, addresses: [`${four.client}/24`, `${six.client}/64`], server: `192.168.6.9:${PORT}` },
        { mtu, ...device },
      );
      await joined.client.event('pmtu', 8000);
    } catch (error) {
      await joined[Symbol.asyncDispose]();
      throw error;
    }
    return joined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.net.close();
    await this.server.net.close();
    await this.#world.close();
  }
}
