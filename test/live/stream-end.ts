/** Both kinds of ends of a stream tunnel, with devices in a host of the test: ours, and the C peer. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { liveRuntime, Network } from '../../src/engine/index.ts';
import type { Host } from '../../src/testing/namespaces.ts';
import type { HostProcess } from '../../src/testing/process.ts';
import { runCommand } from '../../src/tun/system/live-command.ts';
import { configureInterface } from '../../src/tun/system/live-ip.ts';
import { tun } from '../../src/tun/tun.ts';
import { type StreamNotice, type StreamTunnelOptions, streamTunnel } from '../../src/tunnel/stream/stream.ts';

export class StreamEnd implements AsyncDisposable {
  readonly net = new Network(liveRuntime(), { memory: 48 << 20 });
  readonly events: StreamNotice[] = [];
  readonly host: Host;

  constructor(host: Host) {
    this.host = host;
    this.net.on('event', (app, event) => {
      if (app === 'tunnel') this.events.push(event as StreamNotice);
    });
  }

  async start(options: StreamTunnelOptions, addresses: string[], offload = true): Promise<this> {
    const netns = this.host.path;
    const mode = options.layer === 'L2' ? 'tap' : 'tun';
    await this.net
      .app('tun', tun({ name: 'tun0', mode, netns, offload }))
      .app('tunnel', streamTunnel({ ...options, netns }))
      .link('tun.out -> tunnel.inside')
      .link('tunnel.inside -> tun.in')
      .start();
    await configureInterface({ name: 'tun0', netns, addresses, mtu: 1500, up: true });
    return this;
  }

  /** The first event of a type from the `from`-th event on. */
  async event(type: StreamNotice['type'], within = 5000, from = 0): Promise<StreamNotice> {
    const end = performance.now() + within;
    for (;;) {
      const found = this.events.slice(from).find((e) => e.type === type);
      if (found) return found;
      if (performance.now() > end) {
        const seen = this.events.map((e) => `${e.type} ${e.reason}`).join(', ');
        throw new Error(`no event "${type}" within ${within} ms; saw ${seen || 'none'}`);
      }
      await sleep(5);
    }
  }

  #status() {
    return this.net.report().apps.find((a) => a.app === 'tunnel');
  }

  drops(): Record<string, number> {
    return this.#status()?.drops ?? {};
  }

  report(): Record<string, number | string | boolean> {
    return this.#status()?.report ?? {};
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.net.close();
  }
}

/** The C peer, compiled in a folder of its own. */
export class PeerProgram implements AsyncDisposable {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  static async compile(): Promise<PeerProgram> {
    const folder = await mkdtemp(join(tmpdir(), 'simpletun-peer-'));
    const source = new URL('../peers/simpletun-peer.c', import.meta.url).pathname;
    const argv = [
      'gcc',
      '-std=gnu11',
      '-O2',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-o',
      join(folder, 'peer'),
      source,
    ];
    const { code, stderr } = await runCommand(argv, { timeout: 30_000 });
    if (code !== 0) throw new Error(`the C peer does not compile: ${stderr}`);
    return new PeerProgram(folder);
  }

  /** Starts it and gives its interface an address. */
  async start(host: Host, args: string[], addresses: string[]): Promise<HostProcess> {
    const peer = host.spawn([join(this.#folder, 'peer'), '-i', 'tun0', ...args]);
    await peer.waitFor('interface');
    await configureInterface({ name: 'tun0', netns: host.path, addresses, mtu: 1500, up: true });
    return peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true });
  }
}

/** Sends bytes from one host to a listening socat on another and compares hashes. */
export async function transfer(from: Host, to: Host, address: string, bytes: number): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'transfer-'));
  try {
    const [sent, received] = [join(folder, 'sent'), join(folder, 'received')];
    const data = randomBytes(bytes);
    await writeFile(sent, data);
    const listener = to.spawn([
      'socat',
      '-d',
      '-d',
      '-u',
      'TCP4-LISTEN:7000,reuseaddr',
      `CREATE:${received}`,
    ]);
    await listener.waitFor(/listening on/);
    const sender = ['socat', '-u', `FILE:${sent}`, `TCP4:${address}:7000`];
    await from.exec(sender, { check: true, timeout: 60_000 });
    await listener.ended;
    const hash = (content: Uint8Array) => createHash('sha256').update(content).digest('hex');
    return hash(await readFile(received)) === hash(data);
  } finally {
    await rm(folder, { recursive: true });
  }
}
