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

/** At a time. */
function at(table: FlowTable, now: number): FlowTable {
  table.now = now;
  return table;
}

describe('the flows at an end of a chain', () => {
  it('are a key and a tenant: two tenants may have the same addresses', () => {
    const table = new FlowTable({ idle: SECOND, secret, flows: 8 });
    const [a, b] = [at(table, 0).add(keyOf(0), 42), at(table, 0).add(keyOf(0), 43)];
    expect([
      at(table, 1).find(keyOf(0), 42),
      at(table, 1).find(keyOf(0), 43),
      at(table, 1).find(keyOf(0), 44),
    ]).toEqual([a, b, NONE]);
    expect([table.tenants[a], table.tenants[b]]).toEqual([42, 43]);
    expect([table.idHigh[a], table.idLow[a]]).not.toEqual([table.idHigh[b], table.idLow[b]]);
  });

  it('end in the order of their last packets, when they have been silent for the idle time', () => {
    const table = new FlowTable({ idle: 60 * SECOND, secret, flows: 8 });
    const rows = [0, 1, 2].map((n) => at(table, n * SECOND).add(keyOf(n), 42));
    expect(at(table, 10 * SECOND).find(keyOf(0), 42)).toBe(rows[0]);
    expect(table.nextDeadline()).toBe(61 * SECOND);
    expect(at(table, 61 * SECOND - 1).expire()).toBe(NONE);
    expect([
      at(table, 62 * SECOND).expire(),
      at(table, 62 * SECOND).expire(),
      at(table, 62 * SECOND).expire(),
    ]).toEqual([rows[1], rows[2], NONE]);
    expect(at(table, 62 * SECOND).find(keyOf(1), 42)).toBe(NONE);
    expect(at(table, 62 * SECOND).find(keyOf(0), 42)).toBe(rows[0]);
    expect([table.size, table.nextDeadline()]).toEqual([1, 122 * SECOND]);
  });

  it('are as many as the table holds: then the one silent longest ends early, and is counted', () => {
    const table = new FlowTable({ idle: SECOND, secret, flows: 4 });
    for (let n = 0; n < 6; n++) {
      const row = at(table, n).add(keyOf(n), 42);
      table.servicePath[row] = 7;
      table.prefixLength[row] = 44;
    }
    expect([table.size, table.evicted]).toEqual([4, 2]);
    expect([0, 1, 2].map((n) => at(table, 6).find(keyOf(n), 42) === NONE)).toEqual([true, true, false]);
    const fresh = at(table, 7).add(keyOf(9), 42);
    expect([table.servicePath[fresh], table.prefixLength[fresh]]).toEqual([0, 0]);
  });

  it('are found by their id as well, all of them, until they end', () => {
    const table = new FlowTable({ idle: SECOND, secret, flows: 64 });
    const byId = (row: number) => table.findId(table.idHigh[row]!, table.idLow[row]!);
    const rows = Array.from({ length: 60 }, (_, n) => at(table, n).add(keyOf(n), 42));
    for (const row of rows) expect(byId(row)).toBe(row);
    for (let n = 0; n < 30; n++) table.remove(rows[n]!);
    for (const [n, row] of rows.entries()) expect(byId(row)).toBe(n < 30 ? NONE : row);
    const [a, b] = [table.addKnown(keyOf(70), 42, 5, 6), table.addKnown(keyOf(71), 42, 5, 6)];
    expect([table.findId(5, 6), table.findId(5, 6, b), table.findId(5, 6, a)]).toEqual([b, a, NONE]);
    for (let n = 100; n < 200; n++) at(table, n).add(keyOf(n), 42);
    expect([table.findId(5, 6), table.size]).toEqual([NONE, 64]);
  });

  it('are 100 000 with ids of their own, in fewer than 210 bytes each', () => {
    const before = process.memoryUsage().arrayBuffers;
    const table = new FlowTable({ idle: SECOND, secret });
    const bytes = (process.memoryUsage().arrayBuffers - before) / table.limit;
    expect(table.stride).toBe(108);
    expect(bytes).toBeGreaterThan(table.stride);
    expect(bytes).toBeLessThan(210);
    const ids = new Set<string>();
    let lost = 0;
    for (let n = 0; n < table.limit; n++) {
      const row = at(table, n).add(keyOf(n), 42);
      ids.add(`${table.idHigh[row]}:${table.idLow[row]}`);
    }
    for (let n = 0; n < table.limit; n++) if (at(table, table.limit + n).find(keyOf(n), 42) === NONE) lost++;
    expect([table.size, table.evicted, lost, ids.size]).toEqual([100_000, 0, 0, 100_000]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(210 * table.limit);
  });
});
