/**
 * The load of `tunconnector bench`, run inside its throw-away hosts so that no other program has to be installed:
 *
 *   load.js tcp-source PORT                       sends as fast as it can to whoever connects
 *   load.js tcp-sink ADDRESS PORT SECONDS         connects, reads, writes `LoadResult` as JSON
 *   load.js udp-source ADDRESS PORT SECONDS       sends small datagrams as fast as it can
 *   load.js udp-sink PORT SECONDS                 counts them, writes `LoadResult` as JSON
 */
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { App, AppContext, Ports } from '../../engine/app.ts';
import { sink } from '../../engine/basic.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { Network } from '../../engine/network.ts';
import { parseEndpoint } from '../../packet/prefix.ts';
import { udp } from '../../tun/udp.ts';
import { reportError } from '../exit.ts';

export interface LoadResult {
  seconds: number;
  /** TCP. */
  bytes: number;
  /** UDP. */
  packets: number;
}

/** Payload of the small datagrams, bytes. */
export const SMALL = 64;
/** Written and read at once. Larger ones do not move more. */
const CHUNK = 1 << 20;
/** Not counted: slow start, and caches that are cold, ms. */
const WARM_UP = 300;
/** How long a UDP sink waits for the first datagram, ms. */
const PATIENCE = 5000;
const MEMORY = 64 << 20;

function tcpSource(port: number): void {
  const chunk = Buffer.alloc(CHUNK, 'tunconnector');
  const server = createServer((socket) => {
    const pump = () => {
      while (socket.write(chunk));
    };
    socket.on('drain', pump);
    socket.on('error', () => {});
    pump();
  });
  server.listen(port, '0.0.0.0', () => process.stdout.write('ready\n'));
}

async function tcpSink(host: string, port: number, seconds: number): Promise<LoadResult> {
  let bytes = 0;
  // One buffer for all that comes: Node makes one for each read otherwise.
  const callback = (n: number) => {
    bytes += n;
    return true;
  };
  const onread = { buffer: Buffer.alloc(CHUNK), callback };
  const socket = connect({ host, port, onread });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  await sleep(WARM_UP);
  process.stdout.write('counting\n');
  const [before, start] = [bytes, performance.now()];
  await sleep(seconds * 1000);
  const result = { bytes: bytes - before, seconds: (performance.now() - start) / 1000, packets: 0 };
  socket.destroy();
  return result;
}

/** Fills whatever room there is with equal datagrams to one peer. */
class SmallDatagrams implements App {
  readonly inputs = [];
  readonly layers = { out: 'datagram' } as const;
  readonly #to: string;
  readonly #bytes = new Uint8Array(SMALL).fill(0x55);
  #account = 0;
  #peer = -1;

  constructor(to: string) {
    this.#to = to;
  }

  open({ pool, account }: AppContext): void {
    const { address, port } = parseEndpoint(this.#to);
    this.#account = account;
    this.#peer = pool.addresses.pinAddress({ family: address.family, bytes: address.bytes, port, scope: 0 });
  }

  pull({ pool, output }: Ports, room: number): boolean {
    for (let n = room; n > 0; n--) {
      const packet = pool.copyIn(this.#bytes, 0, this.#account);
      if (packet < 0) break;
      pool.peer[packet] = this.#peer;
      output.out!.put(packet);
    }
    return true;
  }
}

async function udpSource(host: string, port: number, seconds: number): Promise<void> {
  // One by one, as programs send them: merged by the kernel they would be a test of something else.
  const network = new Network(liveRuntime(), { memory: MEMORY })
    .app('source', new SmallDatagrams(`${host}:${port}`))
    .app('udp', udp({ bind: '0.0.0.0:0', gso: false, gro: false }))
    .app('nobody', sink({}))
    .link('source.out -> udp.in')
    .link('udp.out -> nobody.in');
  await network.start();
  await sleep(seconds * 1000);
  await network.close();
}

async function udpSink(port: number, seconds: number): Promise<LoadResult> {
  const network = new Network(liveRuntime(), { memory: MEMORY })
    .app('udp', udp({ bind: `0.0.0.0:${port}` }))
    .app('sink', sink({}))
    .link('udp.out -> sink.in');
  await network.start();
  process.stdout.write('ready\n');
  const count = () => Number(network.report().apps.find(({ app }) => app === 'sink')!.report.packets);
  for (const limit = performance.now() + PATIENCE; count() === 0 && performance.now() < limit; )
    await sleep(10);
  await sleep(WARM_UP);
  const [before, start] = [count(), performance.now()];
  await sleep(seconds * 1000);
  const result = { packets: count() - before, seconds: (performance.now() - start) / 1000, bytes: 0 };
  await network.close();
  return result;
}

async function run([job, ...rest]: string[]): Promise<void> {
  const show = (result: LoadResult) => process.stdout.write(`${JSON.stringify(result)}\n`);
  switch (job) {
    case 'tcp-source':
      return tcpSource(Number(rest[0]));
    case 'tcp-sink':
      return void show(await tcpSink(rest[0]!, Number(rest[1]), Number(rest[2])));
    case 'udp-source':
      return udpSource(rest[0]!, Number(rest[1]), Number(rest[2]));
    case 'udp-sink':
      return void show(await udpSink(Number(rest[0]), Number(rest[1])));
    default:
      throw new Error(`load: no job "${job}"`);
  }
}

if (process.argv[1] === import.meta.filename) {
  await run(process.argv.slice(2)).catch((error: unknown) => {
    process.exitCode = reportError(error);
  });
}
