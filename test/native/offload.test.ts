import { constants } from 'node:os';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HEADROOM, LARGE_SLOT } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { sum } from '../../src/packet/checksum.ts';
import { emitSegment, PLAN_CELLS, planSegments, segmentLength } from '../../src/packet/segment.ts';
import { type Superframe, slowSegments, slowSum, superframe } from './superframes.ts';
import { ACCOUNT, expectSame, pattern, TestPool } from './support.ts';

const SEED = 20260101;

function putFrame(pool: TestPool, frame: Superframe): number {
  const handle = pool.put(frame.bytes);
  const m = pool.memory;
  m.layer[handle] = frame.l3 > 0 ? 2 : 3;
  m.l3Offset[handle] = frame.l3;
  m.gsoType[handle] = frame.gsoType;
  m.segmentSize[handle] = frame.segmentSize;
  m.segments[handle] = frame.segments;
  m.checksumStart[handle] = frame.checksumStart;
  m.checksumOffset[handle] = frame.checksumOffset;
  return handle;
}

const frames = fc
  .record({
    version: fc.constantFrom(4 as const, 6 as const),
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    length: fc.integer({ min: 1, max: 9000 }),
    segmentSize: fc.integer({ min: 100, max: 1800 }),
    link: fc.constantFrom(0, 14, 18),
    ipOptions: fc.constantFrom(0, 8, 24),
    tcpOptions: fc.constantFrom(0, 12, 40),
    flags: fc.integer({ min: 0, max: 255 }),
    sequence: fc.integer({ min: 0, max: 0xffffffff }),
    identification: fc.integer({ min: 0, max: 0xffff }),
    seed: fc.nat(),
  })
  .map(({ length, link, seed, ...rest }) =>
    superframe({ ...rest, payload: pattern(length, seed), link: pattern(link, seed + 1) }),
  );

describe('checksum', () => {
  test('equals the sum of RFC 1071 for any bytes, offset, length and start', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 4000 }),
        fc.nat(70),
        fc.integer({ min: 0, max: 0xffffffff }),
        (bytes, skip, initial) => {
          const offset = Math.min(skip, bytes.length);
          const length = bytes.length - offset;
          const got = native().checksum(bytes, offset, length, initial);
          expect(got).toBe(slowSum(bytes.subarray(offset), initial));
          expect(got).toBe(sum(bytes, offset, length, initial));
        },
      ),
      { seed: SEED, numRuns: 500 },
    );
  });

  test('carries are kept where every bit is set', () => {
    for (const length of [1, 2, 7, 8, 63, 64, 65, 1368, 65535, 1 << 20]) {
      const bytes = new Uint8Array(length).fill(0xff);
      expect(native().checksum(bytes, 0, length, 0xffff)).toBe(slowSum(bytes, 0xffff));
    }
  });

  test('a range outside the bytes is refused', () => {
    expect(() => native().checksum(new Uint8Array(4), 2, 3, 0)).toThrow(TypeError);
    expect(() => native().checksum(new Uint8Array(4), -1, 1, 0)).toThrow(TypeError);
    expect(() => native().checksum(new Uint8Array(4), 0, 1, -5)).toThrow(TypeError);
  });
});

describe('segment', () => {
  test('cuts any superframe into the packets that the slow way and the TypeScript twin make', () => {
    const pool = new TestPool({ smallSlots: 256, largeSlots: 16 });
    const out = pool.memory.cut;
    const plan = new Int32Array(PLAN_CELLS);
    fc.assert(
      fc.property(frames, (frame) => {
        const handle = putFrame(pool, frame);
        const n = native().segment(pool.id, handle);
        const expected = slowSegments(frame);
        expect(n).toBe(expected.length);
        expect(
          planSegments(frame.bytes, 0, frame.bytes.length, frame.l3, frame.gsoType, frame.segmentSize, plan),
        ).toBe(n);
        const made: Uint8Array[] = [];
        const twins: Uint8Array[] = [];
        for (let i = 0; i < n; i++) {
          const segment = out[i]!;
          made.push(pool.bytes(segment));
          const twin = new Uint8Array(segmentLength(plan, i));
          emitSegment(frame.bytes, 0, plan, i, twin, 0);
          twins.push(twin);
          pool.free(segment);
        }
        const after = pool.bytes(handle);
        pool.free(handle);
        expect(pool.live).toBe(0);
        expectSame(made, expected);
        expectSame(twins, expected);
        expectSame([after], [frame.bytes]);
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  test('with a routing header that has segments left the checksum is over the final destination', () => {
    const pool = new TestPool();
    const out = pool.memory.cut;
    const plan = new Int32Array(PLAN_CELLS);
    // Type, segments left, bytes of the header, where the final destination lies in it (-1: not in it).
    for (const [type, left, size, final] of [
      [0, 1, 40, 24],
      [0, 2, 48, 24], // a length that is no whole number of addresses
      [2, 1, 24, 8],
      [4, 1, 40, 8],
      [4, 1, 8, -1],
      [0, 0, 40, -1],
      [1, 1, 40, -1],
    ] as const) {
      for (const protocol of ['tcp', 'udp'] as const) {
        const frame = superframe({
          version: 6,
          protocol,
          payload: pattern(3000, type),
          segmentSize: 1000,
          link: pattern(14, 1),
          ipOptions: size,
        });
        const header = frame.l3 + 40;
        frame.bytes[frame.l3 + 6] = 43;
        frame.bytes.set(pattern(size - 4, left + 7), header + 4);
        frame.bytes.set([protocol === 'tcp' ? 6 : 17, size / 8 - 1, type, left], header);
        const handle = putFrame(pool, frame);
        expect(native().segment(pool.id, handle)).toBe(3);
        planSegments(frame.bytes, 0, frame.bytes.length, frame.l3, frame.gsoType, 1000, plan);
        for (let i = 0; i < 3; i++) {
          const made = pool.bytes(out[i]!);
          const twin = new Uint8Array(segmentLength(plan, i));
          emitSegment(frame.bytes, 0, plan, i, twin, 0);
          expectSame([made], [twin]);
          const at = final < 0 ? frame.l3 + 24 : header + final;
          const addresses = [...made.subarray(frame.l3 + 8, frame.l3 + 24), ...made.subarray(at, at + 16)];
          const covered = made.subarray(frame.l4);
          const pseudo = slowSum(Uint8Array.from(addresses), covered.length + (protocol === 'tcp' ? 6 : 17));
          expect(slowSum(covered, pseudo)).toBe(0xffff);
          pool.free(out[i]!);
        }
        pool.free(handle);
      }
    }
  });

  test('segments inherit what belongs to the packet, and the prefix in front of it', () => {
    const pool = new TestPool();
    const m = pool.memory;
    const handle = putFrame(
      pool,
      superframe({ version: 4, protocol: 'tcp', payload: pattern(3000, 1), segmentSize: 1000 }),
    );
    m.peer[handle] = 5;
    m.trafficClass[handle] = 0xb8;
    m.arrived[m.slot[handle]] = 123;
    m.prefixLength[handle] = 8;
    m.slab.set([1, 2, 3, 4, 5, 6, 7, 8], m.offset[handle]! - 8);
    const out = pool.memory.cut;
    expect(native().segment(pool.id, handle)).toBe(3);
    for (const segment of out.subarray(0, 3)) {
      expect([
        m.peer[segment],
        m.trafficClass[segment],
        m.arrived[m.slot[segment]],
        m.prefixLength[segment],
      ]).toEqual([5, 0xb8, 123, 8]);
      expect([
        m.segments[segment],
        m.segmentSize[segment],
        m.gsoType[segment],
        m.checksumStart[segment],
      ]).toEqual([1, 0, 0, -1]);
      expect([...m.slab.subarray(m.offset[segment]! - 8, m.offset[segment])]).toEqual([
        1, 2, 3, 4, 5, 6, 7, 8,
      ]);
      expect(m.owner[m.slot[segment]!]).toBe(ACCOUNT);
    }
  });

  test('segments over a small slot go into large ones', () => {
    const pool = new TestPool();
    const frame = superframe({ version: 6, protocol: 'udp', payload: pattern(20000, 3), segmentSize: 8000 });
    const out = pool.memory.cut;
    expect(native().segment(pool.id, putFrame(pool, frame))).toBe(3);
    expectSame(
      [...out.subarray(0, 3)].map((h) => pool.bytes(h)),
      slowSegments(frame),
    );
  });

  test('without room for all segments nothing is made', () => {
    const pool = new TestPool({ smallSlots: 16, quotaSmall: 4 });
    const frame = superframe({ version: 4, protocol: 'tcp', payload: pattern(9000, 1), segmentSize: 1000 });
    const handle = putFrame(pool, frame);
    expect(native().segment(pool.id, handle)).toBe(-constants.errno.ENOBUFS);
    expect(pool.memory.usedSmall[ACCOUNT]).toBe(0);
    expect(pool.live).toBe(1);
    const short = new TestPool({ cut: 3 });
    expect(native().segment(short.id, putFrame(short, frame))).toBe(-constants.errno.ERANGE);
  });

  test('segments longer than a fresh slot has room for are refused, and nothing is written behind one', () => {
    const pool = new TestPool({ smallSlots: 4, largeSlots: 3 });
    const m = pool.memory;
    // The frame fills its slot from the very start, headroom and all: with 4200 bytes in front of its IP header one
    // segment is longer than what is left of a slot behind the headroom.
    const frame = superframe({
      version: 4,
      protocol: 'tcp',
      payload: pattern(LARGE_SLOT - HEADROOM - 4240, 1),
      segmentSize: 65_300,
      link: pattern(4200, 2),
    });
    const handle = putFrame(pool, frame);
    m.slab.copyWithin(
      m.offset[handle]! - HEADROOM,
      m.offset[handle]!,
      m.offset[handle]! + frame.bytes.length,
    );
    m.offset[handle]! -= HEADROOM;
    m.length[handle] = LARGE_SLOT;
    const before = m.slab.slice();
    expect(native().segment(pool.id, handle)).toBe(-constants.errno.EINVAL);
    expect(Buffer.compare(m.slab, before)).toBe(0);
    expect(pool.live).toBe(1);
  });

  test('what is no superframe is refused', () => {
    const pool = new TestPool();
    const refused = (change: (handle: number) => void) => {
      const frame = superframe({ version: 4, protocol: 'tcp', payload: pattern(3000, 1), segmentSize: 1000 });
      const handle = putFrame(pool, frame);
      change(handle);
      const result = native().segment(pool.id, handle);
      pool.free(handle);
      return result === -constants.errno.EINVAL;
    };
    const m = pool.memory;
    expect(refused((h) => (m.segmentSize[h] = 0))).toBe(true);
    expect(refused((h) => (m.segmentSize[h] = -1))).toBe(true);
    expect(refused((h) => (m.segmentSize[h] = 1))).toBe(true);
    expect(refused((h) => (m.gsoType[h] = 4))).toBe(true);
    expect(refused((h) => (m.gsoType[h] = 3))).toBe(true);
    expect(refused((h) => (m.l3Offset[h] = 9999))).toBe(true);
    expect(refused((h) => (m.length[h] = 40))).toBe(true);
    expect(refused((h) => (m.slab[m.offset[h]!] = 0x44))).toBe(true);
    expect(refused((h) => (m.slab[m.offset[h]! + 6] = 0x20))).toBe(true);
    expect(refused((h) => (m.slab[m.offset[h]! + 32] = 0x10))).toBe(true);
    expect(refused(() => {})).toBe(false);
  });
});

describe('completeChecksum', () => {
  test('makes the checksum that the slow way makes', () => {
    const pool = new TestPool();
    fc.assert(
      fc.property(frames, (frame) => {
        const whole = { ...frame, segmentSize: frame.bytes.length };
        const handle = putFrame(pool, frame);
        pool.memory.segmentSize[handle] = 0;
        native().completeChecksum(pool.id, handle);
        // As one segment, with the flags left as they are, the bytes differ in nothing but the checksum.
        const field = frame.checksumStart + frame.checksumOffset;
        const expected = slowSegments(whole)[0]!.slice(field, field + 2);
        expect(
          pool
            .bytes(handle)
            .slice(field, field + 2)
            .join() === '255,255'
            ? '0,0'
            : pool
                .bytes(handle)
                .slice(field, field + 2)
                .join(),
        ).toBe(expected.join() === '255,255' ? '0,0' : expected.join());
        expect(pool.memory.checksumStart[handle]).toBe(-1);
        pool.free(handle);
      }),
      { seed: SEED, numRuns: 200 },
    );
  });

  test('a field outside the packet, a superframe, and a handle that is none are left alone', () => {
    const pool = new TestPool();
    const m = pool.memory;
    const frame = superframe({ version: 4, protocol: 'udp', payload: pattern(300, 1), segmentSize: 100 });
    const handle = putFrame(pool, frame);
    native().completeChecksum(pool.id, handle);
    m.segmentSize[handle] = 0;
    for (const [start, offset] of [
      [frame.bytes.length - 1, 0],
      [20, 2 ** 31 - 1],
      [2 ** 31 - 1, 2 ** 31 - 1],
      [20, -30],
    ] as const) {
      m.checksumStart[handle] = start;
      m.checksumOffset[handle] = offset;
      native().completeChecksum(pool.id, handle);
    }
    expect(pool.bytes(handle)).toEqual(frame.bytes);
    native().completeChecksum(pool.id, -5);
    native().completeChecksum(99, 0);
  });
});
