/** A whole chain under faults. More seeds: `npm run soak -- sim chain`. */
import { expect, it } from 'vitest';
import { chainHunt } from './chain-hunt.ts';
import { hunted } from './hunt.ts';

it('nobody who is not hurt loses anything, no packet is on a mixed path, and all agree when it is over', async () => {
  expect(await hunted(chainHunt, 12)).toEqual([]);
}, 3_600_000);

/** What the search found, and was mended. */
it('seed 39: a replica that Roulette has not heard for most of its lease keeps its flows when all is well again', async () => {
  const wrong = await chainHunt.run(39, [
    { at: 225e6, kind: 'part', who: 2, for: 1333e6 },
    { at: 444e6, kind: 'part', who: 'egress', for: 776e6 },
    { at: 790e6, kind: 'part', who: 0, for: 354e6 },
    { at: 916e6, kind: 'silent', replica: 3, for: 1038e6 },
    { at: 1652e6, kind: 'part', who: 'egress', for: 202e6 },
  ]);
  expect(wrong).toBeUndefined();
}, 60_000);
