import { describe, expect, it } from 'vitest';
import { join, pair } from './pair.ts';

const SECOND = 1e9;

describe('a minute at a round trip of 200 ms and 1 % loss', () => {
  it('is over in a moment', async () => {
    // Processor time, with room for what else the process compiles and collects: the bar of 0.5 s is in `npm run bench -- sim`.
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 4 && best > 1500; i++) {
      await using world = await pair({ way: 'delay 100ms loss 1%', back: 'delay 100ms', keep: false });
      const { client, server } = join(world);
      client.send(1 << 30, false);
      const start = process.cpuUsage();
      world.runtime.advance('60s');
      const { user, system } = process.cpuUsage(start);
      best = Math.min(best, (user + system) / 1000);
      expect(server.received).toBeGreaterThan(1e6);
    }
    expect(best).toBeLessThan(1500);
  });
});

/**
 * Mathis, Semke, Mahdavi, Ott (1997): MSS / RTT * C / sqrt(p) with C = sqrt(3/2), where every ACK opens the window by what it acknowledges
 * (RFC 3465). With one segment for each delayed ACK C is 0.93. The start is left out: until the first loss the window doubles every round trip,
 * and in a minute at 0.1 % that is a tenth of all bytes.
 */
describe('the Mathis curve', () => {
  const START = 30;
  const MEASURED = 60;
  for (const [ms, loss] of [
    [20, 0.02],
    [50, 0.001],
    [100, 0.0005],
    [100, 0.01],
    [200, 0.01],
  ] as const) {
    it(`holds at ${ms} ms and ${loss}`, { timeout: 60_000 }, async () => {
      let bytes = 0;
      for (const seed of [1, 2, 3]) {
        const way = `delay ${ms / 2}ms loss ${loss * 100}%`;
        await using world = await pair({ way, back: `delay ${ms / 2}ms`, keep: false, seed });
        const { client, server } = join(world, { congestion: 'newreno' });
        client.send(2 ** 31, false);
        world.runtime.advance(START * SECOND);
        const before = server.received;
        world.runtime.advance(MEASURED * SECOND);
        bytes += server.received - before;
      }
      const goodput = bytes / 3 / MEASURED;
      const expected = (Math.sqrt(3 / 2) * 1448) / ((ms / 1000) * Math.sqrt(loss));
      // Timeouts take from it at high losses; at low ones there are some dozen losses in a run.
      expect(goodput / expected).toBeGreaterThan(0.75);
      expect(goodput / expected).toBeLessThan(1.15);
    });
  }
});
