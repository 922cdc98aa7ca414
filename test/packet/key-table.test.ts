import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashKey, KEY_CELLS, KeyCell, KeyTable } from '../../src/packet/index.ts';

function keyOf(name: number): Int32Array {
  const key = new Int32Array(KEY_CELLS);
  key[KeyCell.lower] = name;
  // Few hashes, so that buckets are shared.
  key[KeyCell.hash] = hashKey(key) & 3;
  return key;
}

describe('a table of keys', () => {
  it('does what a map in the order of use does', () => {
    const step = fc.tuple(fc.constantFrom('use', 'use', 'use', 'remove'), fc.nat(20));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 2, max: 9 }), (steps, limit) => {
        const table = new KeyTable(limit, 1);
        /** From the key silent longest to the one heard of last. */
        const rows = new Map<number, number>();
        let evicted = 0;
        for (const [what, name] of steps) {
          const key = keyOf(name);
          const row = table.find(key, name & 1);
          expect(row).toBe(rows.get(name) ?? -1);
          expect(table.find(key, 2)).toBe(-1);
          if (what === 'remove') {
            if (row >= 0) table.remove(row);
            rows.delete(name);
          } else if (row >= 0) {
            table.touch(row);
            rows.delete(name);
            rows.set(name, row);
          } else {
            if (rows.size === limit - 1) {
              const [oldest, itsRow] = rows.entries().next().value!;
              expect(table.oldest).toBe(itsRow);
              rows.delete(oldest);
              evicted++;
            }
            const fresh = table.insert(key, name & 1);
            expect(fresh).toBeGreaterThan(0);
            expect([...rows.values()]).not.toContain(fresh);
            rows.set(name, fresh);
          }
          expect([...table]).toEqual([...rows.values()].reverse());
          expect([table.size, table.evicted]).toEqual([rows.size, evicted]);
        }
      }),
      { seed: 1, numRuns: 300 },
    );
  });
});
