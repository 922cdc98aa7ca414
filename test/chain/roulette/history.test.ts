import { describe, expect, it } from 'vitest';
import { History } from '../../../src/chain/roulette/history.ts';

describe('the last changes', () => {
  it('are found by the revision before them, and are no more than were asked for', () => {
    const history = new History<{ rev: number }>(5, 100);
    expect(history.after(100)).toBeUndefined();
    // Revisions have gaps: what one tenant does is none of another's.
    for (let n = 1; n <= 40; n++) {
      history.push({ rev: 100 + 3 * n });
      const newest = 100 + 3 * n;
      const oldest = 100 + 3 * Math.max(1, n - 4);
      expect(history.floor).toBe(n <= 5 ? 100 : oldest - 3);
      expect(history.after(history.floor)).toEqual({ rev: oldest });
      expect(history.after(history.floor - 1)).toBeUndefined();
      for (let rev = history.floor; rev < newest; rev++) {
        const next = 100 + 3 * (Math.floor((rev - 100) / 3) + 1);
        expect(history.after(rev)).toEqual({ rev: next });
      }
      expect(history.after(newest)).toBeUndefined();
      expect(history.after(newest + 7)).toBeUndefined();
    }
  });
});
