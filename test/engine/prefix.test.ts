import { describe, expect, it } from 'vitest';
import { Pool } from '../../src/engine/pool.ts';
import { cutSuperframe, MAX_SEGMENTS } from '../../src/engine/segmenter.ts';
import { slice } from '../../src/engine/slice.ts';
import { HEADROOM } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { tcpPacket } from '../../src/packet/build.ts';
import { Gso } from '../../src/packet/segment.ts';
import { TestPool } from '../native/support.ts';

const SEGMENT = 1000;
const bytesOf = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 0xff);

interface Columns {
  slab: Uint8Array;
  offset: Int32Array;
  prefixLength: Int32Array;
}
const prefixOf = ({ slab, offset, prefixLength }: Columns, packet: number) =>
  slab.slice(offset[packet] - prefixLength[packet], offset[packet]);

const payload = bytesOf(9 * SEGMENT + 500, 3);
const frame = tcpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:2000', payload });

/** A superframe of ten segments with `prefix` in front of it. */
function superframe(pool: Pool, prefix: Uint8Array): number {
  const packet = pool.copyIn(frame, 3);
  pool.segmentSize[packet] = SEGMENT;
  pool.segments[packet] = 10;
  pool.gsoType[packet] = Gso.TcpV4;
  pool.checksumStart[packet] = 20;
  pool.checksumOffset[packet] = 16;
  pool.slab.set(prefix, pool.offset[packet] - prefix.length);
  pool.prefixLength[packet] = prefix.length;
  return packet;
}

describe.each([0, 4, 48, HEADROOM])('a prefix of %i bytes', (length) => {
  const prefix = bytesOf(length, 7);
  const pool = new Pool({ smallSlots: 64, largeSlots: 8 });

  it('stands in front of each wire packet that its superframe is cut into', () => {
    const into = new Int32Array(MAX_SEGMENTS);
    const n = cutSuperframe(pool, superframe(pool, prefix), into);
    expect(n).toBe(10);
    const ends = new Set<number>();
    for (let i = 0; i < n; i++) {
      expect(prefixOf(pool, into[i])).toEqual(prefix);
      ends.add(pool.offset[into[i]]);
      // Its own: written to, the others' stays.
      if (length > 0) pool.slab[pool.offset[into[i]] - 1] ^= 0xff;
    }
    expect(ends.size).toBe(10);
    for (let i = 0; i < n; i++) pool.free(into[i]);
    expect(pool.live).toBe(0);
  });

  it('stands in front of a slice', () => {
    const packet = superframe(pool, prefix);
    for (const [first, count] of [
      [0, 1],
      [3, 4],
      [9, 1],
    ]) {
      const part = slice(pool, packet, first, count);
      expect(prefixOf(pool, part)).toEqual(prefix);
      if (length > 0) pool.slab[pool.offset[part] - 1] ^= 0xff;
      pool.free(part);
      expect(prefixOf(pool, packet)).toEqual(prefix);
    }
    pool.free(packet);
    expect(pool.live).toBe(0);
  });

  it('belongs to a copy, and to a clone once it owns its bytes', () => {
    const packet = superframe(pool, prefix);
    for (const other of [pool.copy(packet), pool.clone(packet)]) {
      expect(pool.own(other)).toBe(true);
      expect(prefixOf(pool, other)).toEqual(prefix);
      if (length > 0) pool.slab[pool.offset[other] - 1] ^= 0xff;
      expect(prefixOf(pool, packet)).toEqual(prefix);
      pool.free(other);
    }
    pool.free(packet);
    expect(pool.live).toBe(0);
  });

  it('is kept by native code as well: cut, copied one by one and in bursts', () => {
    const small = new TestPool({ smallSlots: 256, largeSlots: 8 });
    const m = small.memory;
    const make = (bytes: Uint8Array) => {
      const packet = small.put(bytes);
      m.slab.set(prefix, m.offset[packet] - length);
      m.prefixLength[packet] = length;
      return packet;
    };
    const large = make(frame);
    m.segmentSize[large] = SEGMENT;
    m.segments[large] = 10;
    m.gsoType[large] = Gso.TcpV4;
    m.checksumStart[large] = 20;
    m.checksumOffset[large] = 16;
    expect(native().segment(small.id, large)).toBe(10);
    for (let i = 0; i < 10; i++) expect(prefixOf(m, m.cut[i])).toEqual(prefix);

    const from = Int32Array.from([large, ...Array.from({ length: 40 }, () => make(bytesOf(100, 1)))]);
    const into = new Int32Array(from.length);
    expect(native().poolCopy(small.id, from, from.length, into)).toBe(from.length);
    for (const copy of into) expect(prefixOf(m, copy)).toEqual(prefix);
    expect(native().poolStamp(small.id, from[1], into, 30)).toBe(30);
    for (let i = 0; i < 30; i++) expect(prefixOf(m, into[i])).toEqual(prefix);
    small.detach();
  });
});

describe('a prefix longer than the headroom', () => {
  it('is not kept by halves: what would need a copy of it is refused', () => {
    const pool = new Pool({ smallSlots: 64, largeSlots: 8 });
    const packet = superframe(pool, bytesOf(HEADROOM, 1));
    // As when the packet was received behind it: the prefix begins at the headroom's end.
    pool.slab.copyWithin(pool.offset[packet] + 4, pool.offset[packet], pool.offset[packet] + frame.length);
    pool.offset[packet] += 4;
    pool.prefixLength[packet] = HEADROOM + 4;
    expect(slice(pool, packet, 0, 1)).toBe(-1);
    const other = pool.clone(packet);
    expect(pool.own(other)).toBe(false);
    pool.free(other);
    expect(cutSuperframe(pool, packet, new Int32Array(MAX_SEGMENTS))).toBe(0);
    expect(pool.live).toBe(0);
  });
});
