import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { place, ReplicaSet } from '../../../src/chain/placement.ts';
import { AHEAD } from '../../../src/chain/tables/ahead.ts';
import { MAX_REVISIONS } from '../../../src/chain/tables/chains.ts';
import {
  ChainTables,
  type ChainUpdate,
  NO_ROW,
  ReplicaState,
  type ReplicaUpdate,
  SUSPICION,
  type TableUpdate,
} from '../../../src/chain/tables/index.ts';
import { AddressBook, MAX_PINNED } from '../../../src/engine/address-book.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { parseIp } from '../../../src/packet/address.ts';

const replica = (id: number, fields: Partial<ReplicaUpdate> = {}): ReplicaUpdate => ({
  id,
  function: 'fw',
  address: `10.0.${id >> 8}.${id & 255}`,
  port: 4790,
  weight: 1,
  state: 'ready',
  ...fields,
});
const chain = (spi: number, ...revisions: [number, ...string[]][]): ChainUpdate => ({
  spi,
  symmetric: true,
  ended: false,
  revisions: revisions.map(([revision, ...functions]) => ({ revision, functions })),
});

function tablesOf(...updates: TableUpdate[]) {
  const addresses = new AddressBook(8);
  const tables = new ChainTables();
  const apply = (update: TableUpdate) => tables.apply(update, addresses);
  for (const update of updates) apply(update);
  const rowOf = (address: string, port = 4790) => addresses.rowFor({ ...parseIp(address), port, scope: 0 });
  return { tables, apply, addresses, rowOf };
}
/** A second later, when nothing is under way any more from where replicas were. */
function later(tables: ChainTables): void {
  tables.tick(0);
  tables.tick(SECOND);
}
/** Those that take flows, by asking for many. */
const picked = (set: ReplicaSet) =>
  [...new Set(Array.from({ length: 300 }, (_, n) => set.pick(Math.imul(n, 0x9e3779b1), n)))].sort();

describe('chains', () => {
  it('are found by service path and revision, and new flows get the last of them', () => {
    const { tables, apply } = tablesOf({
      chains: [chain(7, [1, 'fw'], [5, 'fw', 'ids']), chain(8, [2, 'ids'])],
    });
    expect(tables.chain(7, 1)?.names).toEqual(['fw']);
    expect(tables.chain(7, 5)?.names).toEqual(['fw', 'ids']);
    expect(tables.newest(7)).toBe(tables.chain(7, 5));
    expect([tables.chain(7, 2), tables.chain(9, 1), tables.newest(9)]).toEqual([null, null, null]);
    apply({ chains: [chain(7, [5, 'fw', 'ids'])] });
    expect([tables.chain(7, 1), tables.chain(8, 2)?.names]).toEqual([null, ['ids']]);
    apply({ chains: [chain(7)] });
    expect([tables.chain(7, 5), tables.newest(7)]).toEqual([null, null]);
  });

  it('that have ended still carry packets, and get no new flows', () => {
    const { tables } = tablesOf({ chains: [{ ...chain(7, [1, 'fw']), ended: true }] });
    expect([tables.chain(7, 1)?.names, tables.newest(7)]).toEqual([['fw'], null]);
  });

  it('may be carried in revisions that are known, or newer than all of those', () => {
    const { tables } = tablesOf({ chains: [chain(7, [3, 'fw'], [5, 'fw']), chain(9, [8, 'fw'])] });
    const carried = [2, 3, 4, 5, 6, 8, 9].filter((revision) => tables.carries(7, revision));
    expect(carried).toEqual([3, 5, 9]);
    expect(tables.carries(8, 9)).toBe(false);
  });

  it('are not carried in a revision that is out of all proportion', () => {
    const { tables, apply } = tablesOf({ chains: [chain(7, [5, 'fw'])] });
    expect([5 + AHEAD, 6 + AHEAD, 0xffffffff].map((revision) => tables.carries(7, revision))).toEqual([
      true,
      false,
      false,
    ]);
    apply({ chains: [chain(7, [6, 'fw'])] });
    expect(tables.carries(7, 6 + AHEAD)).toBe(true);
  });

  it('are carried in a revision that Roulette does not tell of for ten seconds', () => {
    const { tables, apply } = tablesOf({ chains: [chain(7, [5, 'fw'])] });
    tables.tick(SECOND);
    expect(tables.carries(7, 7)).toBe(true);
    expect(tables.nextDeadline()).toBe(11 * SECOND);
    const { version } = tables;
    tables.tick(11 * SECOND - 1);
    expect([tables.carries(7, 7), tables.version]).toEqual([true, version]);
    tables.tick(11 * SECOND);
    expect([tables.carries(7, 7), tables.version]).toEqual([false, version + 1]);
    // Another has ten of its own, and what is made in earnest is known from then on.
    expect([tables.carries(7, 6), tables.nextDeadline()]).toEqual([true, 21 * SECOND]);
    apply({ chains: [chain(7, [5, 'fw'], [7, 'fw'])] });
    expect([tables.carries(7, 6), tables.carries(7, 7)]).toEqual([false, true]);
    expect(tables.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it('are carried in new revisions for as long as Roulette cannot be heard', () => {
    const { tables, apply } = tablesOf({ chains: [chain(7, [5, 'fw'])] });
    expect(tables.carries(7, 6)).toBe(true);
    apply({ watched: false });
    for (const second of [9, 100]) {
      tables.tick(second * SECOND);
      expect(tables.carries(7, 6)).toBe(true);
    }
    apply({ watched: true });
    tables.tick(109 * SECOND);
    expect(tables.carries(7, 6)).toBe(true);
    tables.tick(119 * SECOND);
    expect(tables.carries(7, 6)).toBe(false);
  });

  it('are all found among hundreds, with revisions of 32 bits, and others are not', () => {
    const chains = Array.from({ length: 400 }, (_, i) => chain(i + 1, [0xfffffe00 + i, 'a'], [i, 'b', 'c']));
    const { tables } = tablesOf({ chains });
    for (let i = 0; i < 400; i++) {
      expect(tables.chain(i + 1, 0xfffffe00 + i)?.names).toEqual(['a']);
      expect(tables.newest(i + 1)?.names).toEqual(['b', 'c']);
      expect(tables.chain(i + 1, i + 1)).toBe(null);
    }
  });

  it('have a bounded number of revisions, of bounded length', () => {
    const many = Array.from({ length: MAX_REVISIONS + 10 }, (_, i) => chain(i + 1, [1]));
    const { tables } = tablesOf({ chains: many });
    expect(tables.counts).toMatchObject({ revisions: MAX_REVISIONS, refused: 10 });
    const long = tablesOf({ chains: [chain(1, [1, ...Array(33).fill('fw')])] }).tables;
    expect([long.newest(1), long.counts.refused]).toEqual([null, 1]);
  });

  it('know the replicas of their functions, whichever came first, in both directions', () => {
    const { tables, apply } = tablesOf({ chains: [chain(7, [1, 'fw', 'ids', 'fw'])] });
    const found = tables.newest(7)!;
    expect(found.functions.map(({ ready }) => ready)).toEqual([0, 0, 0]);
    apply({ replicas: [replica(1), replica(2), replica(3, { function: 'ids' })] });
    expect(tables.newest(7)).toBe(found);
    expect(found.functions.map(({ ready }) => ready)).toEqual([2, 1, 2]);
    const path = new Uint16Array(3);
    place(found.functions, 1, 2, path);
    const back = new Uint16Array(3);
    place(found.backward, 1, 2, back);
    expect([...back]).toEqual([...path].reverse());
  });
});

describe('replicas', () => {
  it('have an address and a state until they are gone', () => {
    const { tables, apply, rowOf } = tablesOf({ replicas: [replica(1), replica(2)] });
    expect(tables.row(1)).toBe(rowOf('10.0.0.1'));
    expect([tables.state(1), tables.state(3), tables.row(3)]).toEqual([
      ReplicaState.Ready,
      ReplicaState.Unheard,
      NO_ROW,
    ]);
    apply({ replicas: [replica(1, { state: 'draining' })], gone: [2] });
    expect([tables.state(1), tables.state(2)]).toEqual([ReplicaState.Draining, ReplicaState.Gone]);
    expect(tables.row(2)).toBe(NO_ROW);
    expect([picked(tables.replicasOf('fw')), tables.replicasOf('fw').has(1)]).toEqual([[0], true]);
  });

  it('that drain get no new flows, and one that comes gets some', () => {
    const { tables, apply } = tablesOf({ replicas: [replica(1), replica(2)] });
    expect(picked(tables.replicasOf('fw'))).toEqual([1, 2]);
    apply({ replicas: [replica(2, { state: 'draining' }), replica(3)] });
    expect(picked(tables.replicasOf('fw'))).toEqual([1, 3]);
  });

  it('move with their address, to another function too', () => {
    const { tables, apply, rowOf } = tablesOf({ replicas: [replica(1)] });
    const before = tables.row(1);
    apply({ replicas: [replica(1, { address: 'fd00::1', function: 'ids' })] });
    expect(tables.row(1)).toBe(rowOf('fd00::1'));
    later(tables);
    expect([tables.isMember(before), tables.replicasOf('fw').ready]).toEqual([tables.row(1) === before, 0]);
    expect(tables.replicasOf('ids').ready).toBe(1);
  });

  it('of ingress and egress are at hand', () => {
    const { tables, apply } = tablesOf({
      replicas: [replica(1, { function: 'ingress' }), replica(2, { function: 'egress' })],
    });
    expect([tables.ingress.has(1), tables.egress.has(2), tables.egress.has(1)]).toEqual([true, true, false]);
    apply({ gone: [2] });
    expect([tables.egress.has(2), tables.egress.ready]).toEqual([false, 0]);
  });

  it('that find no room in the address book are counted, and the others are reached', () => {
    const { tables, addresses } = tablesOf();
    for (let i = 0; i < MAX_PINNED - 1; i++)
      addresses.pinAddress({ ...parseIp('192.0.2.1'), port: i + 1, scope: 0 });
    tables.apply({ replicas: [replica(1), replica(2), replica(3, { address: '10.0.0.1' })] }, addresses);
    expect([tables.row(1) >= 0, tables.row(2), tables.row(3)]).toEqual([true, NO_ROW, tables.row(1)]);
    expect(tables.unreachable).toBe(1);
  });

  it('of an update of everything are all there are, and addresses are given back', () => {
    const { tables, apply, addresses } = tablesOf(
      { own: { id: 9 }, chains: [chain(7, [1, 'fw'])], replicas: [replica(1), replica(2)] },
      { whole: true, own: { id: 9 }, replicas: [replica(2), replica(3)] },
    );
    expect([tables.row(1), tables.newest(7), tables.own]).toEqual([NO_ROW, null, 9]);
    expect(picked(tables.replicasOf('fw'))).toEqual([2, 3]);
    later(tables);
    expect(addresses.pinnedRoom).toBe(MAX_PINNED - 2);
    apply({ whole: true });
    later(tables);
    expect([addresses.pinnedRoom, tables.own]).toEqual([MAX_PINNED, 0]);
  });
});

describe('senders', () => {
  it('are members as long as a replica has their address and port', () => {
    const { tables, apply, rowOf } = tablesOf({ replicas: [replica(1)] });
    expect([tables.isMember(rowOf('10.0.0.1')), tables.replicaAt(rowOf('10.0.0.1'))]).toEqual([true, 1]);
    expect(tables.isMember(rowOf('10.0.0.1', 4791))).toBe(false);
    expect(tables.isMember(rowOf('10.0.0.2'))).toBe(false);
    expect(tables.isMember(NO_ROW)).toBe(false);
    const row = tables.row(1);
    apply({ gone: [1] });
    later(tables);
    expect([tables.isMember(row), tables.replicaAt(row)]).toEqual([false, 0]);
  });

  it('that have left are members for a second, for what is under way, and are sent nothing', () => {
    const { tables, apply, addresses } = tablesOf({ replicas: [replica(1)] });
    const row = tables.row(1);
    apply({ gone: [1] });
    expect([tables.isMember(row), tables.row(1), tables.replicaAt(row)]).toEqual([true, NO_ROW, 0]);
    tables.tick(5 * SECOND);
    expect(tables.nextDeadline()).toBe(6 * SECOND);
    tables.tick(6 * SECOND - 1);
    expect(tables.isMember(row)).toBe(true);
    tables.tick(6 * SECOND);
    expect(tables.isMember(row)).toBe(false);
    expect([addresses.pinnedRoom, tables.nextDeadline()]).toEqual([MAX_PINNED, Number.POSITIVE_INFINITY]);
  });

  it('that have left and are back stay members', () => {
    const { tables, apply } = tablesOf({ replicas: [replica(1)] });
    apply({ gone: [1] });
    apply({ replicas: [replica(2, { address: '10.0.0.1' })] });
    later(tables);
    expect([tables.isMember(tables.row(2)), tables.replicaAt(tables.row(2))]).toEqual([true, 2]);
  });

  it('are no members for being kept by somebody else', () => {
    const { tables, addresses } = tablesOf({ replicas: [replica(1)] });
    const row = addresses.pinAddress({ ...parseIp('192.0.2.1'), port: 55555, scope: 0 });
    expect(tables.isMember(row)).toBe(false);
  });

  it('that are two replicas stay members when one of them goes', () => {
    const { tables, apply } = tablesOf({ replicas: [replica(1), replica(2, { address: '10.0.0.1' })] });
    const row = tables.row(1);
    expect(tables.row(2)).toBe(row);
    apply({ gone: [2] });
    expect([tables.isMember(row), tables.replicaAt(row)]).toEqual([true, 1]);
    apply({ gone: [1] });
    later(tables);
    expect(tables.isMember(row)).toBe(false);
  });
});

describe('a replica that cannot be reached', () => {
  const both = { replicas: [replica(1), replica(2)] };

  it('gets no flows and has none until it answers', () => {
    const { tables } = tablesOf(both, { chains: [chain(7, [1, 'fw'])] });
    const { version } = tables;
    expect([tables.suspect(1, 0), tables.suspect(1, 5)]).toEqual([true, false]);
    expect(tables.version).toBeGreaterThan(version);
    const set = tables.newest(7)!.functions[0]!;
    expect([picked(set), set.has(1), tables.isSuspect(1)]).toEqual([[2], false, true]);
    tables.alive(1);
    expect([picked(tables.replicasOf('fw')), tables.isSuspect(1)]).toEqual([[1, 2], false]);
  });

  it('is tried again after five seconds, counted from the last time', () => {
    const { tables } = tablesOf(both);
    tables.suspect(1, 0);
    tables.suspect(2, 10);
    tables.suspect(1, 20);
    expect(tables.nextDeadline()).toBe(10 + SUSPICION);
    tables.tick(10 + SUSPICION);
    expect([tables.isSuspect(1), tables.isSuspect(2)]).toEqual([true, false]);
    tables.tick(20 + SUSPICION);
    expect([tables.counts.suspects, tables.nextDeadline()]).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  it('is tried again when it has registered anew, not when it is only listed', () => {
    const { tables, apply } = tablesOf(both);
    tables.suspect(1, 0);
    apply({ whole: true, ...both });
    expect(tables.isSuspect(1)).toBe(true);
    apply({ replicas: [replica(1)] });
    expect(tables.isSuspect(1)).toBe(false);
    tables.suspect(1, 0);
    apply({ whole: true, replicas: [replica(1, { port: 4791 }), replica(2)] });
    expect(tables.isSuspect(1)).toBe(false);
  });

  it('is still used where no other is ready', () => {
    const { tables, apply } = tablesOf(both);
    tables.suspect(1, 0);
    apply({ replicas: [replica(2, { state: 'draining' })] });
    expect(picked(tables.replicasOf('fw'))).toEqual([1]);
    expect(tables.suspect(77, 0)).toBe(false);
  });
});

describe('a replica that Roulette does not hear', () => {
  it('keeps its flows and gets no new ones, unless no other is ready', () => {
    const { tables, apply } = tablesOf({ replicas: [replica(1, { stale: true }), replica(2)] });
    expect([picked(tables.replicasOf('fw')), tables.replicasOf('fw').has(1)]).toEqual([[2], true]);
    apply({ replicas: [replica(2, { stale: true })] });
    expect(picked(tables.replicasOf('fw'))).toEqual([1, 2]);
    apply({ replicas: [replica(2, { state: 'draining' })] });
    expect(picked(tables.replicasOf('fw'))).toEqual([1]);
    apply({ replicas: [replica(1)] });
    expect(picked(tables.replicasOf('fw'))).toEqual([1]);
  });

  it('is better than one that cannot be reached, and stays suspected when it is both', () => {
    const { tables, apply } = tablesOf({ replicas: [replica(1), replica(2)] });
    tables.suspect(1, 0);
    apply({ replicas: [replica(2, { stale: true })] });
    expect(picked(tables.replicasOf('fw'))).toEqual([2]);
    apply({ replicas: [replica(1, { stale: true })] });
    expect([picked(tables.replicasOf('fw')), tables.isSuspect(1)]).toEqual([[2], true]);
  });
});

describe('tables in any order of updates', () => {
  it('have the replicas that a plain list of what is there has, and no address too many', () => {
    const one = fc.record({
      id: fc.integer({ min: 1, max: 6 }),
      function: fc.constantFrom('fw', 'ids'),
      address: fc.constantFrom('10.0.0.1', '10.0.0.2', 'fd00::1'),
      port: fc.constantFrom(1, 2),
      weight: fc.integer({ min: 1, max: 9 }),
      state: fc.constantFrom('ready' as const, 'draining' as const),
    });
    const step = fc.record({
      whole: fc.boolean(),
      replicas: fc.uniqueArray(one, { selector: ({ id }) => id, maxLength: 4 }),
      gone: fc.array(fc.integer({ min: 7, max: 8 })),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const { tables, apply, addresses } = tablesOf({ chains: [chain(7, [1, 'fw', 'ids'])] });
        const model = new Map<number, ReplicaUpdate>();
        for (const { whole, replicas, gone } of steps) {
          apply({ whole, chains: [chain(7, [1, 'fw', 'ids'])], replicas, gone });
          if (whole) model.clear();
          for (const each of replicas) model.set(each.id, each);
        }
        for (const name of ['fw', 'ids']) {
          const expected = new ReplicaSet([...model.values()].filter((each) => each.function === name));
          expect(picked(tables.replicasOf(name))).toEqual(picked(expected));
        }
        expect(tables.newest(7)!.functions).toEqual([tables.replicasOf('fw'), tables.replicasOf('ids')]);
        later(tables);
        const places = new Set([...model.values()].map(({ address, port }) => `${address} ${port}`));
        expect(addresses.pinnedRoom).toBe(MAX_PINNED - places.size);
        expect(tables.outer).toBe([...places].some((place) => place.includes('::')) ? 6 : 4);
        for (const { id, address, port } of model.values()) {
          expect(addresses.describe(tables.row(id))).toBe(
            address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
          );
          expect(tables.isMember(tables.row(id))).toBe(true);
        }
      }),
      { seed: 3, numRuns: 200 },
    );
  });
});
