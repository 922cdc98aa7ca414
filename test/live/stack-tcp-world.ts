/** A kernel and a stack at the two ends of a TUN, and what both do with TCP. */
import { createHash } from 'node:crypto';
import http from 'node:http';
import type { Readable } from 'node:stream';
import { liveRuntime, Network } from '../../src/engine/index.ts';
import { impairments, parseSpec } from '../../src/impair/index.ts';
import { Stack, StackServer, type StackServerOptions, type StackSocket } from '../../src/stack/index.ts';
import { createWorld, type Host } from '../../src/testing/namespaces.ts';
import { tun } from '../../src/tun/tun.ts';

export const KERNEL = { v4: '10.9.0.1', v6: 'fd00:9::1' };
export const OURS = { v4: '10.9.0.2', v6: 'fd00:9::2' };

export interface Facing extends AsyncDisposable {
  kernel: Host;
  host: Stack;
  net: Network;
  /** A server on the stack: what it does with each connection. */
  serve(port: number, onConnection: (socket: StackSocket) => void, options?: StackServerOptions): StackServer;
  /** Packets that the stack dropped, by reason. */
  drops(): Record<string, number>;
}

/** @param spec what lies between them, as `tunconnector impair` takes it: `up` is from the kernel to the stack */
export async function facing({ offload = true, mtu = 1500, spec = '' } = {}): Promise<Facing> {
  const world = await createWorld({ name: 'stack' });
  const kernel = await world.host('kernel');
  const net = new Network(liveRuntime());
  const addresses = [`${OURS.v4}/24`, `${OURS.v6}/64`];
  const host = new Stack({ interfaces: [{ name: 'eth0', addresses, mtu }] });
  net.app('port', tun({ name: 'st0', offload, netns: kernel.path })).app('host', host);
  if (spec) {
    const { up, down } = impairments(parseSpec(spec));
    net.app('up', up!).app('down', down!);
    net.link('port.out -> up.in').link('up.out -> host.eth0');
    net.link('host.eth0 -> down.in').link('down.out -> port.in');
  } else net.link('port.out -> host.eth0').link('host.eth0 -> port.in');
  await net.start();
  await kernel.ip([
    'link set lo up',
    `link set st0 mtu ${mtu} up`,
    `addr add ${KERNEL.v4}/24 dev st0`,
    `addr add ${KERNEL.v6}/64 dev st0 nodad`,
  ]);
  return {
    kernel,
    host,
    net,
    serve: (port, onConnection, options) => new StackServer(host, onConnection, options).listen(port),
    drops: () => net.report().apps.find(({ app }) => app === 'host')!.drops,
    async [Symbol.asyncDispose]() {
      await net.close();
      await world.close();
    },
  };
}

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** The hash of a stream. By events: an iterator would destroy it, and with it the other direction. */
export function hashOf(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  stream.on('data', (bytes) => hash.update(bytes));
  return new Promise((resolve, reject) => {
    stream.once('end', () => resolve(hash.digest('hex')));
    stream.once('error', reject);
  });
}

/** Serves `body` for GET, and the hash of what came for everything else. */
export function website({ serve }: Facing, body: Uint8Array, port = 80): StackServer {
  const web = http.createServer(async (request, response) => {
    if (request.method === 'GET') response.end(body);
    else response.end(await hashOf(request));
  });
  return serve(port, (socket) => web.emit('connection', socket));
}
