import { describe, expect, it } from 'vitest';
import type { TcpOptions } from '../../../src/stack/index.ts';
import { join, pair } from './pair.ts';

const MB = 1 << 20;
const CASES: [string, number, TcpOptions][] = [
  ['0.1%', 20 * MB, {}],
  ['1%', 20 * MB, {}],
  ['5%', 4 * MB, {}],
  ['0.1%', 4 * MB, { sack: false }],
  ['1%', 4 * MB, { sack: false }],
  ['5%', MB, { sack: false }],
  ['1%', 4 * MB, { timestamps: false }],
  ['5%', MB, { timestamps: false, sack: false, windowScaling: false }],
  ['1%', 4 * MB, { congestion: 'newreno' }],
];

describe('what is lost, overtaken and doubled', () => {
  for (const [loss, bytes, options] of CASES) {
    it(`arrives whole and without a stall: ${bytes >> 20} MB, loss ${loss}, ${JSON.stringify(options)}`, async () => {
      const way = `delay 10ms 1ms reorder 5% gap 1 duplicate 1% loss ${loss}`;
      await using world = await pair({ way, back: 'delay 10ms loss 1%', keep: false });
      const { client, server } = join(world, options, options);
      client.send(bytes);
      let still = 0;
      for (let last = -1; server.events.at(-1) !== 'end' && still < 5; ) {
        world.runtime.advance('1s');
        still = server.received === last ? still + 1 : 0;
        last = server.received;
      }
      expect(server.received).toBe(bytes);
      expect(server.wrong).toBe(0);
      server.connection.end();
      world.runtime.advance('10s');
      expect(client.events).toEqual(['connected', 'end', 'closed']);
      expect(world.right.tcp).toMatchObject({ connections: 0, memory: 0 });
    });
  }

  it('a tail is probed for, and needs no timeout', async () => {
    await using world = await pair({ way: 'delay 50ms' });
    // Nine segments, and the tenth again.
    const { client, server } = join(world);
    world.runtime.advance('200ms');
    let last = 0;
    world.taps.left.judge = (packet) => packet.length === 0 || ++last !== 10;
    client.send(14_480, false);
    world.runtime.advance('700ms');
    expect(server.received).toBe(14_480);
    expect(client.connection.figures()).toMatchObject({ timeouts: 0, retransmissions: 1 });
  });

  it('where packets overtake others by the whole delay, few go again for nothing', async () => {
    // Both ways: the least round trip is none.
    const way = 'delay 5ms reorder 5% loss 0.1%';
    await using world = await pair({ way, back: way, keep: false });
    const { client, server } = join(world);
    client.send(20 * MB);
    world.runtime.advance('20s');
    expect(server.received).toBe(20 * MB);
    // 0.1 % of 14 500 are lost, and the first ones are not known to be late.
    expect(client.connection.figures().retransmissions).toBeLessThan(600);
  });

  it('reordering that no retransmission outruns takes no window', async () => {
    await using world = await pair({ way: 'delay 20ms reorder 10% gap 1', keep: false });
    const { client, server } = join(world);
    client.send(4 * MB);
    world.runtime.advance('20s');
    expect(server.received).toBe(4 * MB);
    const { recoveries, undone, timeouts } = client.connection.figures();
    expect(timeouts).toBe(0);
    expect(undone).toBeGreaterThanOrEqual(recoveries - 1);
  });
});
