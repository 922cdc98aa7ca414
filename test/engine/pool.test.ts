import { describe, expect, it } from 'vitest';
import { Link } from '../../src/engine/link.ts';
import { Pool } from '../../src/engine/pool.ts';
import { MAX_REASONS, Reason } from '../../src/engine/reasons.ts';
import { HEADROOM, LARGE_SLOT, SMALL_SLOT } from '../../src/native/binding.ts';

const small = () => new Pool({ smallSlots: 8, largeSlots: 2 });

describe('a packet pool', () => {
  it('gives fresh packets with headroom and takes them back', () => {
    const pool = small();
    const packet = pool.alloc(0);
    expect(pool.length[packet]).toBe(0);
    expect(pool.segments[packet]).toBe(1);
    expect(pool.checksumStart[packet]).toBe(-1);
    expect(pool.headroom(packet)).toBe(HEADROOM);
    expect(pool.capacity(packet)).toBe(SMALL_SLOT - HEADROOM);
    expect(pool.live).toBe(1);
    pool.free(packet);
    expect(pool.live).toBe(0);
  });

  it('gives no more than there is, and the same amount again after all are freed', () => {
    const pool = small();
    for (let round = 0; round < 20; round++) {
      const packets: number[] = [];
      for (let p = pool.alloc(0); p >= 0; p = pool.alloc(0)) packets.push(p);
      for (let p = pool.allocLarge(0); p >= 0; p = pool.allocLarge(0)) packets.push(p);
      expect(packets).toHaveLength(10);
      for (const p of packets) pool.free(p);
    }
    expect(pool.live).toBe(0);
  });

  it('never lets two packets share bytes by accident', () => {
    const pool = small();
    const ranges: [number, number][] = [];
    for (let p = pool.alloc(0); p >= 0; p = pool.alloc(0))
      ranges.push([pool.offset[p] - HEADROOM, SMALL_SLOT]);
    for (let p = pool.allocLarge(0); p >= 0; p = pool.allocLarge(0)) {
      ranges.push([pool.offset[p] - HEADROOM, LARGE_SLOT]);
    }
    ranges.sort((a, b) => a[0] - b[0]);
    for (let i = 1; i < ranges.length; i++)
      expect(ranges[i][0]).toBeGreaterThanOrEqual(ranges[i - 1][0] + ranges[i - 1][1]);
    expect(ranges.at(-1)![0] + ranges.at(-1)![1]).toBeLessThanOrEqual(pool.slab.length);
  });

  it('picks the slot by the length asked for', () => {
    const pool = small();
    expect(pool.slot[pool.allocFor(1500, 0)]).toBeLessThan(8);
    expect(pool.slot[pool.allocFor(9000, 0)]).toBeGreaterThanOrEqual(8);
    expect(pool.allocFor(70_000, 0)).toBe(-1);
  });

  it('charges each account and stops it at its quota, whatever others use', () => {
    const pool = small();
    pool.quotaSmall[3] = 2;
    pool.quotaSmall[4] = 1;
    const a = pool.alloc(3);
    const b = pool.alloc(3);
    expect(pool.alloc(3)).toBe(-1);
    expect(pool.alloc(4)).toBeGreaterThanOrEqual(0);
    pool.free(a);
    expect(pool.alloc(3)).toBeGreaterThanOrEqual(0);
    pool.free(b);
    expect(pool.usedSmall[3]).toBe(1);
  });

  it('keeps shared bytes until the last clone is freed, and copies them for who wants to write', () => {
    const pool = small();
    const first = pool.copyIn(new Uint8Array([1, 2, 3]), 3);
    const second = pool.clone(first);
    expect(pool.offset[second]).toBe(pool.offset[first]);
    expect(pool.own(second)).toBe(true);
    expect(pool.offset[second]).not.toBe(pool.offset[first]);
    pool.slab[pool.offset[second]] = 9;
    expect([...pool.copyOut(first)]).toEqual([1, 2, 3]);
    expect([...pool.copyOut(second)]).toEqual([9, 2, 3]);
    pool.free(first);
    pool.free(second);
    expect(pool.usedSmall[0]).toBe(0);
  });

  it('lets the last owner write in place', () => {
    const pool = small();
    const first = pool.copyIn(new Uint8Array([1]), 3);
    const second = pool.clone(first);
    pool.free(first);
    const before = pool.offset[second];
    expect(pool.own(second)).toBe(true);
    expect(pool.offset[second]).toBe(before);
  });

  it('says so when there is no memory for a copy, and leaves the packet as it was', () => {
    const pool = small();
    const first = pool.copyIn(new Uint8Array([7]), 3);
    const second = pool.clone(first);
    while (pool.alloc(0) >= 0);
    expect(pool.own(second)).toBe(false);
    expect([...pool.copyOut(second)]).toEqual([7]);
  });

  it('counts drops by app and reason, a superframe as all its segments', () => {
    const pool = small();
    pool.actor = 5;
    const packet = pool.alloc(0);
    pool.segments[packet] = 40;
    pool.drop(packet, Reason.Malformed);
    expect(pool.drops[5 * MAX_REASONS + Reason.Malformed]).toBe(40);
  });
});

describe('a debug pool', () => {
  it('finds a double free', () => {
    const pool = small();
    const packet = pool.alloc(0);
    pool.free(packet);
    expect(() => pool.free(packet)).toThrow(/ERR_HANDLE|not live/);
  });

  it('finds a stale use even after the memory was given out again', () => {
    const pool = new Pool({ smallSlots: 1, largeSlots: 0 });
    const stale = pool.alloc(0);
    pool.free(stale);
    const fresh = pool.alloc(0);
    expect(fresh).not.toBe(stale);
    expect(() => pool.drop(stale, Reason.Malformed)).toThrow(/not live/);
    expect(() => pool.clone(stale)).toThrow(/not live/);
    expect(() => pool.own(stale)).toThrow(/not live/);
    expect(pool.length[stale]).toBe(-1);
  });

  it('finds a packet that is put on two links, or freed while it is on one', () => {
    const pool = small();
    const one = new Link('a.out -> b.in', pool, 4);
    const two = new Link('a.out -> c.in', pool, 4);
    const packet = pool.alloc(0);
    one.put(packet);
    expect(() => two.put(packet)).toThrow(/second link/);
    expect(() => pool.free(packet)).toThrow(/on a link/);
  });

  it('lists what leaked and who touched it last', () => {
    const pool = small();
    pool.actor = 7;
    const packet = pool.alloc(0);
    expect(pool.ledger!.leaks()).toEqual([{ handle: packet, actor: 7 }]);
  });
});

describe('a link', () => {
  it('keeps order, counts segments and bytes, and drops what does not fit', () => {
    const pool = small();
    const link = new Link('a.out -> b.in', pool, 4);
    const packets = [0, 1, 2, 3, 4].map((i) => pool.copyIn(new Uint8Array(10 + i), 3));
    for (const p of packets) link.put(p);
    expect(link.count).toBe(4);
    expect(link.dropped).toBe(1);
    expect(link.packets).toBe(4);
    expect(link.bytes).toBe(10 + 11 + 12 + 13);
    expect([link.take(), link.take(), link.take(), link.take()]).toEqual(packets.slice(0, 4));
    expect(pool.live).toBe(4);
  });

  it('does bursts like single puts and takes, over any number of wraps', () => {
    const pool = small();
    const link = new Link('a.out -> b.in', pool, 4);
    const burst = new Int32Array(8);
    for (let round = 0; round < 1000; round++) {
      const n = (round % 4) + 1;
      const sent: number[] = [];
      for (let i = 0; i < n; i++) sent.push((burst[i] = pool.alloc(0)));
      link.putBurst(burst, n);
      const got = new Int32Array(8);
      expect(link.takeBurst(got, 8)).toBe(n);
      expect([...got.slice(0, n)]).toEqual(sent);
      for (const p of sent) pool.free(p);
    }
    expect(pool.live).toBe(0);
  });

  it('offers no more than has room downstream, on every way at once', () => {
    const pool = new Pool({ smallSlots: 64, largeSlots: 0 });
    const link = new Link('a.out -> b.in', pool, 16);
    const wide = new Link('b.x -> c.in', pool, 8);
    const narrow = new Link('b.y -> d.in', pool, 4);
    link.downstream = [wide, narrow];
    for (let i = 0; i < 10; i++) link.put(pool.alloc(0));
    expect(link.waiting).toBe(4);
    narrow.put(pool.alloc(0));
    expect(link.waiting).toBe(3);
    link.expansion = 2;
    expect(link.waiting).toBe(1);
  });
});
