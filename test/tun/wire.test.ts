/** Two networks of one thread, and a wire between them. */
import { describe, expect, it } from 'vitest';
import { Network, VirtualRuntime } from '../../src/engine/index.ts';
import { impair } from '../../src/impair/index.ts';
import { udpPacket } from '../../src/packet/index.ts';
import { MemoryPort, type WireOptions, wire } from '../../src/tun/index.ts';

const packet = (n: number) => udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2', payload: Uint8Array.of(n) });

async function twoNetworks(options?: WireOptions) {
  const runtime = new VirtualRuntime();
  const [left, right] = wire(options);
  const a = new MemoryPort();
  const b = new MemoryPort();
  const near = new Network(runtime).app('a', a).app('wire', left);
  const far = new Network(runtime)
    .app('b', b)
    .app('wire', right)
    .app('slow', impair({ stages: 'delay 5ms' }));
  await near.link('a.out -> wire.in').link('wire.out -> a.in').start();
  await far.link('wire.out -> slow.in').link('slow.out -> b.in').link('b.out -> wire.in').start();
  return { runtime, near, far, a, b, left, right };
}

describe('a wire between two networks', () => {
  it('takes packets both ways, whole and in order, and costs no time', async () => {
    const { runtime, near, far, a, b } = await twoNetworks();
    for (let n = 0; n < 100; n++) a.send(packet(n));
    runtime.advance('5ms');
    expect(b.received.map(({ bytes }) => bytes)).toEqual(Array.from({ length: 100 }, (_, n) => packet(n)));
    expect(b.received.map(({ time }) => time)).toEqual(Array(100).fill(5e6));
    b.send(packet(7));
    runtime.advance(0);
    expect(a.received).toEqual([{ bytes: packet(7), time: 5e6 }]);
    await near.close();
    await far.close();
  });

  it('refuses what its far end has no room for: drops that its sender counts', async () => {
    const { runtime, near, far, a, b, left, right } = await twoNetworks({ limit: 10 });
    for (let n = 0; n < 25; n++) a.send(packet(n));
    runtime.advance('5ms');
    expect(b.received).toHaveLength(10);
    expect(near.report().apps.find(({ app }) => app === 'wire')!.drops).toEqual({ 'link-full': 15 });
    expect(right.report()).toEqual({ arrived: 10, refused: 15, waiting: 0, cut: false });
    expect(left.report()).toMatchObject({ arrived: 0 });
    await near.close();
    await far.close();
  });

  it('that is cut lets nothing through either way, and goes on when it is whole again', async () => {
    const { runtime, near, far, a, b, right } = await twoNetworks();
    right.cut = true;
    a.send(packet(1));
    b.send(packet(2));
    runtime.advance('5ms');
    expect([a.received, b.received]).toEqual([[], []]);
    expect(near.report().apps.find(({ app }) => app === 'wire')!.drops).toEqual({ unlinked: 1 });
    right.cut = false;
    a.send(packet(3));
    runtime.advance('5ms');
    expect(b.received).toHaveLength(1);
    await near.close();
    await far.close();
  });

  it('whose far end is gone drops, and gives back what waited there', async () => {
    const { runtime, near, far, a } = await twoNetworks();
    await far.close();
    a.send(packet(1));
    runtime.advance('5ms');
    expect(near.report().apps.find(({ app }) => app === 'wire')!.drops).toEqual({ unlinked: 1 });
    await near.close();
  });
});
