/** One end of a tunnel in this process, its devices in a host of the test. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type AppSpec, liveRuntime, Network } from '../../src/engine/index.ts';
import type { Host } from '../../src/testing/namespaces.ts';
import { configureInterface, type RouteSpec } from '../../src/tun/system/live-ip.ts';
import { tun } from '../../src/tun/tun.ts';
import { udp } from '../../src/tun/udp.ts';
import { type TunnelClientOptions, tunnelClient } from '../../src/tunnel/client.ts';
import type { TunnelNotice } from '../../src/tunnel/control-link.ts';
import { type TunnelServerOptions, tunnelServer } from '../../src/tunnel/server.ts';

export const PORT = 55555;

export interface DeviceOptions {
  name?: string;
  mode?: 'tun' | 'tap';
  mtu?: number;
  routes?: RouteSpec[];
  offload?: boolean;
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
    await this.net
      .app('tun', tun({ name, mode, netns, offload }))
      .app('udp', udp({ bind, netns, gso: offload, gro: offload }))
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
    const end = Date.now() + within;
    for (;;) {
      const found = this.events.slice(from).find((e) => e.type === type);
      if (found) return found;
      if (Date.now() > end) {
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
  const start = Date.now();
  for (;;) {
    const { code } = await host.exec(['ping', '-c', '1', '-W', '0.2', to], { check: false });
    if (code === 0) return Date.now() - start;
    if (Date.now() - start > within) throw new Error(`no answer from ${to} within ${within} ms`);
  }
}
