import { describe, expect, it } from 'vitest';
import { FlowTable, NONE } from '../../src/chain/flow-table.ts';
import { hashKey, KEY_CELLS, KeyCell } from '../../src/packet/index.ts';

const SECOND = 1e9;
const secret = { high: 3, low: 4 };

function keyOf(n: number): Int32Array {
  const key = new Int32Array(KEY_CELLS);
  key[KeyCell.lower] = 0x0a000001;
  key[KeyCell.higher] = 0x0a000002 + (n >> 16);
  key[KeyCell.ports] = (n << 16) | 80;
  key[KeyCell.protocol] = 0x406;
  key[KeyCell.hash] = hashKey(key, 99);
  return key;
}

describe('the flows at an end of a chain', () => {
  it('are a key and a tenant: two tenants may have the same addresses', () => {
    const table = new FlowTable({ idle: SECOND, secret, flows: 8 });
    const [a, b] = [table.add(keyOf(0), 42, 0), table.add(keyOf(0), 43, 0)];
    expect([table.find(keyOf(0), 42, 1), table.find(keyOf(0), 43, 1), table.find(keyOf(0), 44, 1)]).toEqual([
      a,
      b,
      NONE,
    ]);
    expect([table.tenants[a], table.tenants[b]]).toEqual([42, 43]);
    expect([table.idHigh[a], table.idLow[a]]).not.toEqual([table.idHigh[b], table.idLow[b]]);
  });

  it('end in the order of their last packets, when they have been silent for the idle time', () => {
    const table = new FlowTable({ idle: 60 * SECOND, secret, flows: 8 });
    const rows = [0, 1, 2].map((n) => table.add(keyOf(n), 42, n * SECOND));
    expect(table.find(keyOf(0), 42, 10 * SECOND)).toBe(rows[0]);
    expect(table.nextDeadline()).toBe(61 * SECOND);
    expect(table.expire(61 * SECOND - 1)).toBe(NONE);
    expect([table.expire(62 * SECOND), table.expire(62 * SECOND), table.expire(62 * SECOND)]).toEqual([
      rows[1],
      rows[2],
      NONE,
    ]);
    expect(table.find(keyOf(1), 42, 62 * SECOND)).toBe(NONE);
    expect(table.find(keyOf(0), 42, 62 * SECOND)).toBe(rows[0]);
    expect([table.size, table.nextDeadline()]).toEqual([1, 122 * SECOND]);
  });

  it('are as many as the table holds: then the one silent longest ends early, and is counted', () => {
    const table = new FlowTable({ idle: SECOND, secret, flows: 4 });
    for (let n = 0; n < 6; n++) {
      const row = table.add(keyOf(n), 42, n);
      table.servicePath[row] = 7;
      table.prefixLength[row] = 44;
    }
    expect([table.size, table.evicted]).toEqual([4, 2]);
    expect([0, 1, 2].map((n) => table.find(keyOf(n), 42, 6) === NONE)).toEqual([true, true, false]);
    const fresh = table.add(keyOf(9), 42, 7);
    expect([table.servicePath[fresh], table.prefixLength[fresh]]).toEqual([0, 0]);
  });

  it('are 100 000 with ids of their own, in fewer than 200 bytes each', () => {
    const before = process.memoryUsage().arrayBuffers;
    const table = new FlowTable({ idle: SECOND, secret });
    const bytes = (process.memoryUsage().arrayBuffers - before) / table.limit;
    expect(table.stride).toBe(104);
    expect(bytes).toBeGreaterThan(table.stride);
    expect(bytes).toBeLessThan(200);
    const ids = new Set<string>();
    let lost = 0;
    for (let n = 0; n < table.limit; n++) {
      const row = table.add(keyOf(n), 42, n);
      ids.add(`${table.idHigh[row]}:${table.idLow[row]}`);
    }
    for (let n = 0; n < table.limit; n++) if (table.find(keyOf(n), 42, table.limit + n) === NONE) lost++;
    expect([table.size, table.evicted, lost, ids.size]).toEqual([100_000, 0, 0, 100_000]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(200 * table.limit);
  });
});
