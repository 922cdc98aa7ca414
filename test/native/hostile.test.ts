import * as fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { LARGE_SLOT, SMALL_SLOT } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { superframe } from './superframes.ts';
import { pattern, setRow, TestPool, type TestPort, UdpEnd } from './support.ts';

const SEED = 20260102;
/** Memory of the other ends. */
const honest = new TestPool();
const open: TestPort[] = [];
const track = <T extends TestPort>(port: T): T => {
  open.push(port);
  return port;
};
afterEach(() => {
  for (const port of open.splice(0)) port.close();
});

/** Numbers around every limit there is. */
const edges = [
  -(2 ** 31),
  -129,
  -128,
  -1,
  0,
  1,
  2,
  19,
  20,
  28,
  40,
  64,
  127,
  128,
  129,
  1919,
  1920,
  1921,
  2047,
  2048,
];
edges.push(2049, 65507, 65508, 65535, 65536, LARGE_SLOT - 128, LARGE_SLOT - 127, LARGE_SLOT, LARGE_SLOT + 1);
edges.push(2 ** 31 - 2, 2 ** 31 - 1);
const number = fc.oneof(fc.constantFrom(...edges), fc.integer({ min: -300, max: 3000 }));

/** Columns that a program may set on its packets, right or wrong. */
const columns = [
  'slot',
  'offset',
  'length',
  'layer',
  'l3Offset',
  'prefixLength',
  'segmentSize',
  'segments',
  'gsoType',
  'checksumStart',
  'checksumOffset',
  'peer',
  'trafficClass',
  'flags',
  'state',
] as const;
const damage = fc.record({
  packet: fc.nat(7),
  column: fc.constantFrom(...columns),
  value: number,
  /** Add to what stands there instead of replacing it. */
  relative: fc.boolean(),
});

const superframes = [4, 6].flatMap((version) =>
  ['tcp', 'udp'].map((protocol) =>
    superframe({
      version: version as 4 | 6,
      protocol: protocol as 'tcp' | 'udp',
      payload: pattern(5000, version),
      segmentSize: 700,
    }),
  ),
);

/** Eight packets, half of them superframes, with the damage done to them. */
function build(
  pool: TestPool,
  wrong: { packet: number; column: string; value: number; relative: boolean }[],
) {
  const m = pool.memory;
  const handles: number[] = [];
  for (let i = 0; i < 8; i++) {
    const frame = i % 2 === 0 ? superframes[i / 2]! : undefined;
    const handle = pool.put(frame?.bytes ?? pattern(100 + 300 * i, i));
    m.peer[handle] = 0;
    if (frame) {
      m.gsoType[handle] = frame.gsoType;
      m.segmentSize[handle] = frame.segmentSize;
      m.segments[handle] = frame.segments;
      m.checksumStart[handle] = frame.checksumStart;
      m.checksumOffset[handle] = frame.checksumOffset;
    } else {
      m.checksumStart[handle] = 10;
      m.checksumOffset[handle] = 6;
    }
    handles.push(handle);
  }
  for (const { packet, column, value, relative } of wrong) {
    const cells = m[column as (typeof columns)[number]];
    const handle = handles[packet]!;
    cells[handle] = relative ? cells[handle]! + value : value;
  }
  return handles;
}

/** Makes a port of one kind on a UDP socket, which refuses what a TUN or a packet socket would take. */
const kinds: Record<string, (pool: TestPool, sink: UdpEnd) => TestPort> = {
  udp: (pool, sink) => {
    const end = track(new UdpEnd(pool));
    setRow(end.addresses, 0, '127.0.0.1', sink.handle.port);
    return end;
  },
  'udp without segmentation': (pool, sink) => {
    const end = track(new UdpEnd(pool, { gso: false, gro: false }));
    native().portClose(end.id);
    const options = { ...end.common, family: 4 as const, gso: false, gro: false, addresses: end.addresses };
    end.id = native().udpPort(pool.id, end.fd, options);
    setRow(end.addresses, 0, '127.0.0.1', sink.handle.port);
    return end;
  },
  ...Object.fromEntries(
    (
      [
        [0, 0],
        [10, 0],
        [12, 0],
        [12, 15],
      ] as const
    ).map(([vnetHeader, offloads]) => [
      `tun with a header of ${vnetHeader}${offloads > 0 ? ' that merges' : ''}`,
      (pool: TestPool) => {
        const end = track(new UdpEnd(pool));
        native().portClose(end.id);
        const options = { ...end.common, layer: 3 as const, vnetHeader, offloads };
        end.id = native().tunPort(pool.id, end.fd, options);
        return end;
      },
    ]),
  ),
  ...Object.fromEntries(
    ([0, 10] as const).map((vnetHeader) => [
      `packet socket with a header of ${vnetHeader}`,
      (pool: TestPool) => {
        const end = track(new UdpEnd(pool));
        native().portClose(end.id);
        const options = { ...end.common, layer: 2 as const, vnetHeader, offloads: 0 };
        end.id = native().packetPort(pool.id, end.fd, options);
        return end;
      },
    ]),
  ),
};

describe('packets whose columns lie', () => {
  // Under ASan the slab's ends are guarded; the slots between are compared here.
  test.each(Object.entries(kinds))('%s: no byte outside a slot of the packets changes', (_, make) => {
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 12 }), (wrong) => {
        const pool = new TestPool({ smallSlots: 16, largeSlots: 6, unshared: true });
        const m = pool.memory;
        const sink = track(new UdpEnd(honest));
        const port = make(pool, sink);
        const handles = build(pool, wrong);
        // A slot is anybody's who names it and is alive; all others belong to nobody here.
        const named = new Set(handles.map((handle) => m.slot[handle]!));
        const before = m.slab.slice();
        const done = port.send(handles);
        expect(done).toBeGreaterThanOrEqual(0);
        expect(done).toBeLessThanOrEqual(handles.length);
        for (const handle of handles) {
          native().completeChecksum(pool.id, handle);
          native().segment(pool.id, handle);
        }
        for (let slot = 0; slot < 22; slot++) {
          if (named.has(slot)) continue;
          const small = slot < 16;
          const start = small ? slot * SMALL_SLOT : 16 * SMALL_SLOT + (slot - 16) * LARGE_SLOT;
          const end = start + (small ? SMALL_SLOT : LARGE_SLOT);
          if (Buffer.compare(m.slab.subarray(start, end), before.subarray(start, end)) !== 0) {
            expect(`slot ${slot} was written to`).toBe('untouched');
          }
        }
        for (const stack of [m.freeDescriptors, m.freeSmall, m.freeLarge]) {
          const free = stack.subarray(1, stack[0] + 1);
          expect(new Set(free).size).toBe(free.length);
        }
        for (const item of open.splice(0)) item.close();
        pool.detach();
      }),
      { seed: SEED, numRuns: 60 },
    );
  });

  test('segment: what is made lies inside its slots, whatever is claimed', () => {
    fc.assert(
      fc.property(
        fc.array(damage, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 40 }),
        (wrong, room) => {
          const pool = new TestPool({ smallSlots: 32, largeSlots: 8, unshared: true, cut: room });
          const m = pool.memory;
          const handles = build(pool, wrong);
          for (const handle of handles) {
            const out = m.cut;
            const live = pool.live;
            const n = native().segment(pool.id, handle);
            expect(pool.live).toBe(n > 0 ? live + n : live);
            for (const made of out.subarray(0, Math.max(n, 0))) {
              const slot = m.slot[made]!;
              const small = slot < 32;
              const start = small ? slot * SMALL_SLOT : 32 * SMALL_SLOT + (slot - 32) * LARGE_SLOT;
              expect(m.offset[made]! - m.prefixLength[made]!).toBeGreaterThanOrEqual(start);
              expect(m.offset[made]! + m.length[made]!).toBeLessThanOrEqual(
                start + (small ? SMALL_SLOT : LARGE_SLOT),
              );
              pool.free(made);
            }
          }
          pool.detach();
        },
      ),
      { seed: SEED, numRuns: 300 },
    );
  });
});

describe('stacks and quotas that lie', () => {
  test('receiving takes only slots and rows that there are', () => {
    const stack = fc.constantFrom(
      'freeDescriptors',
      'freeSmall',
      'freeLarge',
      'quotaSmall',
      'usedSmall',
      'quotaLarge',
      'usedLarge',
    );
    const writes = fc.array(fc.record({ name: stack, cell: fc.nat(40), value: number }), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(writes, fc.boolean(), (wrong, gro) => {
        const pool = new TestPool({ smallSlots: 16, largeSlots: 2, unshared: true });
        const end = track(new UdpEnd(pool, { gro }));
        const from = track(new UdpEnd(honest));
        setRow(from.addresses, 0, '127.0.0.1', end.handle.port);
        for (const { name, cell, value } of wrong) {
          const cells = pool.memory[name as 'freeSmall'];
          cells[cell % cells.length] = value;
        }
        from.send([
          ...Array.from({ length: 6 }, (_, i) => from.to(0, pattern(1000, i))),
          from.to(0, pattern(9000, 7)),
        ]);
        for (let i = 0; i < 4; i++) {
          for (const handle of end.receive(3)) {
            expect(handle).toBeGreaterThanOrEqual(0);
            expect(handle).toBeLessThan(pool.memory.descriptors.length);
          }
        }
        for (const item of open.splice(0)) item.close();
        pool.detach();
      }),
      { seed: SEED, numRuns: 200 },
    );
  });
});

test('a port reads each of its arrays once: a getter cannot have it keep another', () => {
  const pool = new TestPool();
  const end = track(new UdpEnd(pool));
  native().portClose(end.id);
  const reads: string[] = [];
  const watched = <T extends object>(object: T): T =>
    new Proxy(object, {
      get: (target, name) => {
        reads.push(String(name));
        return Reflect.get(target, name);
      },
    });
  const options = { ...end.common, family: 4 as const, gso: false, gro: false };
  end.id = native().udpPort(pool.id, end.fd, watched({ ...options, addresses: watched(end.addresses) }));
  for (const name of ['batch', 'counters', 'addresses', 'rows', 'cursor', 'tooLong']) {
    expect(reads.filter((read) => read === name)).toEqual([name]);
  }
});
