/** A tunnel and its packets under faults. More seeds: `npm run soak -- sim path`. */
import { expect, it } from 'vitest';
import { hunted } from './hunt.ts';
import { pathHunt } from './path-hunt.ts';

it('no packet arrives changed or oftener than its datagram, and all do 3 s after the last fault', async () => {
  expect(await hunted(pathHunt, 6)).toEqual([]);
}, 3_600_000);
