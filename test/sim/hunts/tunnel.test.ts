/** The tunnel's handshake under faults. More seeds: `npm run soak -- sim tunnel`. */
import { expect, it } from 'vitest';
import { hunted } from './hunt.ts';
import { tunnelHunt } from './tunnel-hunt.ts';

it('both ends are one session again within the documented time, and stay so', async () => {
  expect(await hunted(tunnelHunt, 150)).toEqual([]);
}, 3_600_000);
