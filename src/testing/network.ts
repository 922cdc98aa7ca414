/** A network in virtual time with a memory port at either end: for tests of apps, without root and without waiting. */
import type { App, AppSpec, Layer } from '../engine/app.ts';
import { Network } from '../engine/network.ts';
import { VirtualRuntime } from '../engine/virtual-runtime.ts';
import { MemoryPort } from '../tun/memory.ts';

export interface TestNetworkOptions {
  /** Seed of every random stream (default 1): the same seed, the same run. */
  seed?: number;
  /** What the two ports carry (default `L3`). */
  layer?: Layer;
}

export interface TestNetwork extends AsyncDisposable {
  net: Network;
  /** Packets enter with `a.send(bytes)` and arrive in `b.received`; the other way likewise. */
  a: MemoryPort;
  b: MemoryPort;
  /** Time stands still until `runtime.advance('60ms')`. */
  runtime: VirtualRuntime;
}

/**
 * @example
 * const { a, b, runtime } = await testNetwork({ seed: 7 }).between(new DropOdd());
 * a.send(udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:53' }));
 * runtime.advance('1ms');
 * expect(b.received).toHaveLength(1);
 */
export function testNetwork(options: TestNetworkOptions = {}): {
  /** From a to b through the apps in their order (each with input `in` and output `out`), and straight back. */
  between(...apps: (App | AppSpec)[]): Promise<TestNetwork>;
} {
  return { between: (...apps) => build(options, apps) };
}

async function build(
  { seed = 1, layer = 'L3' }: TestNetworkOptions,
  apps: (App | AppSpec)[],
): Promise<TestNetwork> {
  const runtime = new VirtualRuntime({ seed });
  const net = new Network(runtime, { memory: 256 << 20 });
  const a = new MemoryPort({ layer });
  const b = new MemoryPort({ layer });
  net.app('a', a).app('b', b).link('b.out -> a.in');
  let last = 'a';
  for (const [i, app] of apps.entries()) {
    net.app(`app${i}`, app).link(`${last}.out -> app${i}.in`);
    last = `app${i}`;
  }
  await net.link(`${last}.out -> b.in`).start();
  return { net, a, b, runtime, [Symbol.asyncDispose]: () => net.close() };
}
