import { describe, expect, it } from 'vitest';
import { join, pair } from './pair.ts';

const SECOND = 1e9;

describe('a minute at a round trip of 200 ms and 1 % loss', () => {
  it('is over in half a second', async () => {
    // Machines that do something else meanwhile get three tries.
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 3 && best > 500; i++) {
      await using world = await pair({ way: 'delay 100ms loss 1%', back: 'delay 100ms', keep: false });
      const { client, server } = join(world);
      client.send(1 << 30, false);
      const start = performance.now();
      world.runtime.advance('60s');
      best = Math.min(best, performance.now() - start);
      expect(server.received).toBeGreaterThan(1e6);
    }
    expect(best).toBeLessThan(500);
  });
});

describe('the Mathis curve', () => {
  for (const [ms, loss] of [
    [20, 0.02],
    [100, 0.01],
    [200, 0.01],
  ] as const) {
    it(`holds at ${ms} ms and ${loss}`, async () => {
      let bytes = 0;
      const seconds = 60;
      for (const seed of [1, 2, 3]) {
        const way = `delay ${ms / 2}ms loss ${loss * 100}%`;
        await using world = await pair({ way, back: `delay ${ms / 2}ms`, keep: false, seed });
        const { client, server } = join(world, { congestion: 'newreno' });
        client.send(2 ** 31, false);
        world.runtime.advance(seconds * SECOND);
        bytes += server.received;
      }
      const goodput = bytes / 3 / seconds;
      const expected = (0.93 * 1448) / ((ms / 1000) * Math.sqrt(loss));
      expect(goodput / expected).toBeGreaterThan(0.75);
      expect(goodput / expected).toBeLessThan(1.35);
    });
  }
});
