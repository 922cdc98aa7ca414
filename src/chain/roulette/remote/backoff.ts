/** How long to wait before another try: longer each time, and never all at once. */
import type { RandomStream } from '../../../engine/random.ts';
import { MILLISECOND, SECOND } from '../../../engine/units.ts';

const FIRST = 100 * MILLISECOND;
const LONGEST = 2 * SECOND;

/** ns. @param failures so far, one after the other; none: no wait */
export function backoff(failures: number, random: RandomStream): number {
  if (failures === 0) return 0;
  const most = Math.min(FIRST * 2 ** (failures - 1), LONGEST);
  return Math.round((most / 2) * (1 + random.unit()));
}
