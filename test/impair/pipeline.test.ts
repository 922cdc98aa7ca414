import { describe, expect, it } from 'vitest';
import { impair } from '../../src/impair/impair.ts';
import { udpPacket } from '../../src/packet/build.ts';
import { impairedPair } from '../../src/testing/impaired-pair.ts';
import { testNetwork } from '../../src/testing/network.ts';

const packet = (port: number) =>
  udpPacket({ from: `10.0.0.1:${port}`, to: '10.0.0.2:53', payload: new Uint8Array(10) });

describe('a pipeline', () => {
  it('delays each packet by exactly its time, through ten stages as through one', async () => {
    const stages = Array.from({ length: 10 }, (_, i) => ({
      kind: 'delay' as const,
      name: `d${i}`,
      time: '10ms',
    }));
    await using world = await testNetwork().between(impair({ seed: 1, stages }));
    world.a.send(packet(1));
    world.runtime.advance('99.999999ms');
    expect(world.b.received).toHaveLength(0);
    world.runtime.advance('1ns');
    expect(world.b.received.map(({ time }) => time)).toEqual([100_000_000]);
  });

  it('counts how long packets took by when they came, not by when the link began', async () => {
    await using world = await impairedPair({ up: 'delay 20ms', seed: 1 });
    world.runtime.advance('1h');
    for (const port of [1, 2, 3]) world.a.send(packet(port));
    world.runtime.advance('1s');
    const { delay, pipelines } = world.inspect().up;
    expect(delay).toBe(3 * 20_000_000);
    expect(pipelines[0].delay).toBe(delay);
  });

  it('loses the share it was asked for', async () => {
    const stages = [{ kind: 'loss' as const, model: 'random' as const, probability: '10%' }];
    await using world = await testNetwork().between(impair({ seed: 1, stages }));
    for (let i = 0; i < 200; i++) {
      for (let n = 0; n < 100; n++) world.a.send(packet(n % 5));
      world.runtime.advance('1ms');
    }
    // 99.9 % of a binomial distribution: 3.29 standard deviations.
    expect(Math.abs(world.b.received.length - 18000)).toBeLessThan(3.29 * Math.sqrt(20000 * 0.1 * 0.9));
  });
});
