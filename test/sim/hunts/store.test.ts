/** Roulette's store under faults of its disk. More seeds: `npm run soak -- sim store`. */
import { expect, it } from 'vitest';
import { hunted } from './hunt.ts';
import { storeHunt } from './store-hunt.ts';

it('what was acknowledged is there, what was refused is not, and revisions grow', async () => {
  expect(await hunted(storeHunt, 150)).toEqual([]);
}, 3_600_000);
