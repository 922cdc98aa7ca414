/** The tunnel's handshake under faults. More seeds: `npm run soak -- sim tunnel`. */
import { expect, it } from 'vitest';
import { MS, SECOND } from '../../tunnel/control-world.ts';
import { hunted } from './hunt.ts';
import { tunnelHunt, tunnelWith } from './tunnel-hunt.ts';

it('both ends are one session again within the documented time, and stay so', async () => {
  expect(await hunted(tunnelHunt, 150)).toEqual([]);
}, 3_600_000);

/** What the search found, and was mended. */
it('seed 124: a HELLO whose sequence was damaged makes the server deaf to the client for seconds, not for two minutes', () => {
  const tunnel = tunnelWith(124, [
    { at: 3 * SECOND, kind: 'jitter', for: 5390 * MS, most: 73 * MS },
    { at: 6738 * MS, kind: 'jump', end: 'client', by: 4280 * MS },
    { at: 10 * SECOND, kind: 'garble', for: 3533 * MS, share: 0.33 },
    { at: 12 * SECOND, kind: 'restart', end: 'server' },
  ]);
  tunnel.world.run(20 * SECOND);
  expect(tunnel.client.state).toBe('up');
  expect(tunnel.server.count).toBe(1);
  tunnel.world.run(60 * SECOND);
  expect(tunnel.client.state).toBe('up');
});
