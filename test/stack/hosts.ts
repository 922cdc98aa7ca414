/** Stacks in virtual time, with memory ports at their interfaces, or joined to one another. */
import { Network, type NetworkReport, totalDrops, VirtualRuntime } from '../../src/engine/index.ts';
import { Stack, type StackOptions } from '../../src/stack/index.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

export interface TestHost extends AsyncDisposable {
  net: Network;
  runtime: VirtualRuntime;
  host: Stack;
  /** By interface: what the other end of its link sends and gets. */
  ports: Record<string, MemoryPort>;
  /** The first of them. */
  port: MemoryPort;
  /** Sends packets to the first interface, and gives what came back within a millisecond. */
  exchange(...packets: Uint8Array[]): Uint8Array[];
  /** Packets dropped so far, by reason. */
  drops(): Record<string, number>;
}

export const ADDRESSES = ['10.0.0.2/24', 'fd00::2/64'];

/** One stack; `eth0` with both families unless told otherwise. */
export async function testHost(options: Partial<StackOptions> = {}, seed = 1): Promise<TestHost> {
  const runtime = new VirtualRuntime({ seed });
  const net = new Network(runtime, { memory: 256 << 20 });
  const interfaces = options.interfaces ?? [{ name: 'eth0', addresses: ADDRESSES }];
  const host = new Stack({ ...options, interfaces });
  net.app('host', host);
  const ports: Record<string, MemoryPort> = {};
  for (const { name } of interfaces) {
    ports[name] = new MemoryPort();
    net.app(name, ports[name]).link(`${name}.out -> host.${name}`).link(`host.${name} -> ${name}.in`);
  }
  await net.start();
  runtime.advance('1ms');
  const port = ports[interfaces[0]!.name]!;
  return {
    net,
    runtime,
    host,
    ports,
    port,
    exchange(...packets) {
      port.received.length = 0;
      for (const packet of packets) port.send(packet);
      runtime.advance('1ms');
      return port.received.map(({ bytes }) => bytes);
    },
    drops: () => dropsOf(net.report()),
    [Symbol.asyncDispose]: () => net.close(),
  };
}

export const dropsOf = (report: NetworkReport): Record<string, number> => totalDrops(report);
