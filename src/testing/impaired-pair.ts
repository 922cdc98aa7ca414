/** Two memory ports with an impaired link between them, in virtual time: a bad network in a test, exact and at once. */
import type { Layer } from '../engine/app.ts';
import { Network } from '../engine/network.ts';
import { VirtualRuntime } from '../engine/virtual-runtime.ts';
import { type Impair, impair } from '../impair/impair.ts';
import type { ImpairInspection } from '../impair/inspect.ts';
import { compileSpec, type ImpairSpec } from '../impair/spec/spec.ts';
import { MemoryPort } from '../tun/memory.ts';
import type { TestNetwork } from './network.ts';

export interface ImpairedPairOptions {
  /** What the two ports carry (default `L3`). */
  layer?: Layer;
  /** Bytes of packet memory (default 256 MiB). Links that hold few packets start faster with less. */
  memory?: number;
}

/** What each direction did. */
export interface BothWays {
  up: ImpairInspection;
  down: ImpairInspection;
}

export interface ImpairedPair extends TestNetwork {
  /** New options, for what comes from now on. What is on its way keeps its time. */
  change(spec: ImpairSpec): Promise<void>;
  /** What each rule and stage did. */
  inspect(): BothWays;
}

/**
 * `up` is from `a` to `b`, `down` from `b` to `a`. Without a seed the draws are the same every time as well: those of
 * seed 1.
 *
 * @throws ERR_CONFIG with what is wrong in the spec
 * @example
 * const { a, b, runtime } = await impairedPair({ up: 'delay 50ms loss 1%', seed: 7 });
 * a.send(udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:53' }));
 * runtime.advance('50ms');
 * expect(b.received.map(({ time }) => time)).toEqual([50_000_000]);
 */
export async function impairedPair(
  spec: ImpairSpec,
  { layer = 'L3', memory = 256 << 20 }: ImpairedPairOptions = {},
): Promise<ImpairedPair> {
  const compiled = compileSpec(spec);
  const runtime = new VirtualRuntime({ seed: compiled.up.seed ?? 1 });
  const net = new Network(runtime, { memory });
  const seed = { seed: 1 };
  const a = new MemoryPort({ layer });
  const b = new MemoryPort({ layer });
  net.app('a', a).app('b', b);
  net.app('up', impair({ ...seed, ...compiled.up })).app('down', impair({ ...seed, ...compiled.down }));
  net.link('a.out -> up.in').link('up.out -> b.in').link('b.out -> down.in').link('down.out -> a.in');
  net.link('up.back -> down.answers').link('down.back -> up.answers');
  await net.start();
  return {
    net,
    a,
    b,
    runtime,
    change: async (next) => {
      const { up, down } = compileSpec(next);
      net.app('up', impair({ ...seed, ...up })).app('down', impair({ ...seed, ...down }));
      await net.commit();
    },
    inspect: () => ({ up: net.get<Impair>('up').inspect(), down: net.get<Impair>('down').inspect() }),
    [Symbol.asyncDispose]: () => net.close(),
  };
}
