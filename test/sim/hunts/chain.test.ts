/** A whole chain under faults. More seeds: `npm run soak -- sim chain`. */
import { expect, it } from 'vitest';
import { chainHunt } from './chain-hunt.ts';
import { hunted } from './hunt.ts';

it('nobody who is not hurt loses anything, no packet is on a mixed path, and all agree when it is over', async () => {
  expect(await hunted(chainHunt, 8)).toEqual([]);
}, 3_600_000);
