import { constants } from 'node:os';
import { afterEach, describe, expect, test } from 'vitest';
import { HEADROOM, type PoolMemory, SMALL_SLOT } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { ACCOUNT, pattern, setRow, TestPool, UdpEnd } from './support.ts';

const { EBADF, ENOBUFS, EINVAL } = constants.errno;
const open: { close(): void }[] = [];
const track = <T extends { close(): void }>(item: T): T => {
  open.push(item);
  return item;
};
afterEach(() => {
  for (const item of open.splice(0)) item.close();
});

/** Two loopback sockets that know each other as row 0. */
function pair(pool: TestPool, receiving = pool) {
  const a = track(new UdpEnd(pool));
  const b = track(new UdpEnd(receiving));
  setRow(a.addresses, 0, '127.0.0.1', b.handle.port);
  setRow(b.addresses, 0, '127.0.0.1', a.handle.port);
  native().addressPin(b.id, 0);
  return { a, b };
}

describe('pool memory', () => {
  test.each([{ unshared: true }, { unshared: false }])(
    'works over shared and plain buffers: %o',
    (options) => {
      const pool = new TestPool(options);
      const { a, b } = pair(pool);
      expect(a.send([a.to(0, pattern(100, 1))])).toBe(1);
      const [handle] = b.receive();
      expect(pool.bytes(handle!)).toEqual(pattern(100, 1));
      pool.free(handle!);
      expect(pool.live).toBe(0);
      pool.detach();
    },
  );

  test('an array of the wrong type or too short is refused by name', () => {
    const good = new TestPool({ smallSlots: 16, largeSlots: 1 }).memory;
    const refused = (change: Partial<Record<keyof PoolMemory, unknown>>) => () =>
      native().poolAttach({ ...good, ...change } as PoolMemory);
    expect(refused({ slab: new Uint8Array(10) })).toThrow(/slab has 10 cells/);
    expect(refused({ descriptors: new Int32Array(3) })).toThrow(/descriptors has 3 cells/);
    expect(refused({ descriptors: new Int32Array(40) })).toThrow(/rows of 16 cells/);
    expect(refused({ descriptors: new Float64Array(34) })).toThrow(/descriptors must be Int32Array/);
    expect(refused({ arrived: new Float64Array(3) })).toThrow(/arrived has 3 cells/);
    expect(refused({ stride: 17 })).toThrow(/whole descriptors/);
    expect(refused({ references: new Int32Array(2) })).toThrow(/references/);
    expect(refused({ freeSmall: new Int32Array(4) })).toThrow(/freeSmall/);
    expect(refused({ quotaLarge: undefined })).toThrow(/quotaLarge must be Int32Array/);
    expect(refused({ smallSlots: 1.5 })).toThrow(/smallSlots must be an integer/);
    expect(refused({ smallSlots: -1 })).toThrow(/smallSlots/);
    expect(() => native().poolAttach(undefined as unknown as PoolMemory)).toThrow(TypeError);
  });

  test('a fresh packet starts behind its headroom with every column reset', () => {
    const pool = new TestPool();
    const { a, b } = pair(pool);
    const m = pool.memory;
    m.descriptors.fill(7);
    m.arrived.fill(7);
    const sent = a.to(0, pattern(10, 1));
    a.send([sent]);
    const [handle = -1] = b.receive();
    expect(m.offset[handle]! % SMALL_SLOT).toBe(HEADROOM);
    expect({
      layer: m.layer[handle],
      l3Offset: m.l3Offset[handle],
      prefixLength: m.prefixLength[handle],
      segmentSize: m.segmentSize[handle],
      segments: m.segments[handle],
      gsoType: m.gsoType[handle],
      checksumStart: m.checksumStart[handle],
      flags: m.flags[handle],
      state: m.state[handle],
      references: m.references[m.slot[handle]!],
      owner: m.owner[m.slot[handle]!],
    }).toEqual({
      layer: 0,
      l3Offset: 0,
      prefixLength: 0,
      segmentSize: 0,
      segments: 1,
      gsoType: 0,
      checksumStart: -1,
      flags: 0,
      state: 1,
      references: 1,
      owner: ACCOUNT,
    });
    pool.free(handle);
  });

  test('with generations a handle that was freed natively comes back as the next one', () => {
    const pool = new TestPool({ generations: true });
    const { a } = pair(pool);
    const sent = a.to(0, pattern(10, 1));
    a.send([sent]);
    expect(pool.memory.state[sent]).toBe(0);
    expect(pool.memory.length[sent]).toBe(-1);
    const top = pool.memory.freeDescriptors[0]!;
    expect(pool.memory.freeDescriptors[top]).toBe(sent + pool.memory.stride);
    // The stale number is nobody's, so that sending it once more is counted and nothing else.
    expect(a.send([sent])).toBe(1);
    expect(a.count('txInvalid')).toBe(1);
    expect(pool.live).toBe(0);
  });

  test('a slot that two packets share is free when the second is sent', () => {
    const pool = new TestPool();
    const { a } = pair(pool);
    const first = a.to(0, pattern(10, 1));
    const second = pool.clone(first);
    const slot = pool.memory.slot[first]!;
    const before = pool.memory.freeSmall[0]!;
    a.send([first]);
    expect(pool.memory.references[slot]).toBe(1);
    expect(pool.memory.freeSmall[0]).toBe(before);
    a.send([second]);
    expect(pool.memory.freeSmall[0]).toBe(before + 1);
    expect(pool.memory.usedSmall[ACCOUNT]).toBe(0);
  });

  test('an account takes in what its quota allows, and the rest when packets have been freed: nothing is lost', () => {
    const receiving = new TestPool({ smallSlots: 64, quotaSmall: 10 });
    const sending = new TestPool();
    const { a, b } = pair(sending, receiving);
    for (const size of [50, 100]) {
      // Of different sizes, so that both GRO buffers and single datagrams meet the limit.
      for (let i = 0; i < 25; i++) a.send([a.to(0, pattern(size + (i % 3), i))]);
      const found: Uint8Array[] = [];
      for (let round = 0; round < 10; round++) {
        const handles = b.receive();
        expect(handles.length).toBeLessThanOrEqual(10);
        if (handles.length === 10) expect(native().receive(b.id, 256)).toBe(-ENOBUFS);
        for (const handle of handles) {
          found.push(receiving.bytes(handle));
          receiving.free(handle);
        }
      }
      expect(found).toEqual(Array.from({ length: 25 }, (_, i) => pattern(size + (i % 3), i)));
    }
    expect(b.count('rxNoMemory')).toBeGreaterThan(0);
    expect(b.count('rxPackets')).toBe(50);
    expect(receiving.memory.usedSmall[ACCOUNT]).toBe(0);
    expect(receiving.memory.freeSmall[0]).toBe(64);
  });

  test('numbers that name nothing are refused and never followed', () => {
    const pool = new TestPool();
    const { a } = pair(pool);
    for (const port of [-1, 0, 12345678, 2 ** 31, 1.5, Number.NaN, '1' as unknown as number]) {
      expect(native().receive(port, 10)).toBe(-EBADF);
      expect(native().send(port, 1)).toBe(-EBADF);
    }
    expect(native().send(a.id, 257)).toBe(-EINVAL);
    expect(native().send(a.id, -1)).toBe(-EINVAL);
    expect(native().segment(99, 0)).toBe(-EBADF);
    expect(native().segment(pool.id, 1 << 30)).toBe(-EBADF);
    expect(() =>
      native().udpPort(4711, a.fd, {
        ...a.common,
        family: 4,
        gso: false,
        gro: false,
        addresses: a.addresses,
      }),
    ).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => native().addressPin(a.id, 1 << 20)).toThrow(RangeError);
    expect(() => native().close(987654)).toThrow(
      expect.objectContaining({ code: 'EBADF', syscall: 'close' }),
    );
  });

  test('a batch with handles that are no packets sends the good ones and counts the others', async () => {
    const pool = new TestPool();
    const { a, b } = pair(pool);
    const m = pool.memory;
    const outside = a.to(0, pattern(20, 1));
    m.offset[outside] = m.slab.length - 5;
    const negative = a.to(0, pattern(20, 2));
    m.length[negative] = -1;
    const intoNext = a.to(0, pattern(20, 3));
    m.length[intoNext] = SMALL_SLOT;
    const prefixed = a.to(0, pattern(20, 4));
    m.prefixLength[prefixed] = HEADROOM + 1;
    const slotless = a.to(0, pattern(20, 5));
    m.slot[slotless] = 1 << 20;
    const batch = [-1, a.to(0, pattern(30, 6)), 1 << 30, outside, negative, intoNext, prefixed, slotless];
    batch.push(a.to(0, pattern(31, 7)));
    expect(a.send(batch)).toBe(9);
    expect(a.counted).toMatchObject({ txPackets: 2, txInvalid: 7 });
    expect(await b.collect(2)).toEqual([pattern(30, 6), pattern(31, 7)]);
  });

  test('a handle that stands in a batch twice is freed once', async () => {
    const pool = new TestPool({ smallSlots: 8, largeSlots: 1 });
    const { a } = pair(pool);
    const twice = a.to(0, pattern(30, 1));
    expect(a.send([twice, twice, a.to(0, pattern(20, 2))])).toBe(3);
    expect(pool.live).toBe(0);
    expect(pool.memory.usedSmall[ACCOUNT]).toBe(0);
    for (const stack of [pool.memory.freeDescriptors, pool.memory.freeSmall]) {
      expect(new Set(stack.subarray(1)).size).toBe(stack.length - 1);
    }
  });

  test('a port outlives the detaching of its pool', () => {
    const pool = new TestPool();
    const { a, b } = pair(pool);
    pool.detach();
    a.send([a.to(0, pattern(10, 9))]);
    const [handle] = b.receive();
    expect(pool.bytes(handle!)).toEqual(pattern(10, 9));
  });

  test('also when an option is a getter that detaches it while the port is made', async () => {
    const pool = new TestPool();
    const { a, b } = pair(pool);
    const other = new TestPool();
    const options = {
      ...a.common,
      family: 4 as const,
      gso: false,
      gro: false,
      addresses: a.addresses,
      get batch() {
        other.detach();
        return a.batch;
      },
    };
    const late = native().udpPort(other.id, a.fd, options);
    const handle = other.put(pattern(10, 8));
    other.memory.peer[handle] = 0;
    a.batch[0] = handle;
    expect(native().send(late, 1)).toBe(1);
    native().portClose(late);
    expect(await b.collect(1)).toEqual([pattern(10, 8)]);
    expect(() => native().udpPort(other.id, a.fd, options)).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
  });
});
