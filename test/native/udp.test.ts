import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { COMMON_ACCOUNT, PacketFlag } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { createWorld, type Host, type World } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { slowSegments, superframe } from './superframes.ts';
import {
  addressBytes,
  expectSame,
  pattern,
  RETRY,
  setRow,
  TestPool,
  UdpEnd,
  type UdpEndOptions,
} from './support.ts';

let pool = new TestPool();
const open: UdpEnd[] = [];
afterEach(() => {
  for (const end of open.splice(0)) end.close();
  pool.detach();
  pool = new TestPool();
});

function end(options: UdpEndOptions = {}): UdpEnd {
  const made = new UdpEnd(pool, options);
  open.push(made);
  return made;
}

/** Row 0 of each is the other. */
function introduce(a: UdpEnd, addressA: string, b: UdpEnd, addressB: string): void {
  setRow(a.addresses, 0, addressB, b.handle.port);
  setRow(b.addresses, 0, addressA, a.handle.port);
  native().addressPin(a.id, 0);
  native().addressPin(b.id, 0);
}

function loopback(options: UdpEndOptions = {}) {
  const a = end(options);
  const b = end(options);
  introduce(a, '127.0.0.1', b, '127.0.0.1');
  return { a, b };
}

describe('UDP on loopback', () => {
  test.each([
    { gso: true, gro: true },
    { gso: false, gro: true },
    { gso: true, gro: false },
    { gso: false, gro: false },
  ])('datagrams of any mix of sizes arrive whole and in order: %o', async (options) => {
    const { a, b } = loopback(options);
    const sizes = [
      1200, 1200, 1200, 700, 0, 64, 64, 64, 1472, 1400, 1400, 20, 20, 20, 20, 19, 21, 9000, 65507, 1, 0, 0,
    ];
    const sent = sizes.map((size, i) => pattern(size, i));
    expect(a.send(sent.map((bytes) => a.to(0, bytes)))).toBe(sizes.length);
    expectSame(await b.collect(sizes.length), sent);
    const bytes = sizes.reduce((total, size) => total + size, 0);
    expect(a.counted).toMatchObject({ txPackets: sizes.length, txBytes: bytes, txBursts: 1 });
    expect(b.counted).toMatchObject({ rxPackets: sizes.length, rxBytes: bytes });
    expect(pool.live).toBe(0);
  });

  test('datagrams of a merged buffer that one call may not hand on come with the next calls', async () => {
    const { a, b } = loopback();
    const sent = Array.from({ length: 200 }, (_, i) => pattern(1000, i));
    for (let i = 0; i < 200; i += 50) a.send(sent.slice(i, i + 50).map((bytes) => a.to(0, bytes)));
    const found: Uint8Array[] = [];
    for (let i = 0; i < 100 && found.length < 200; i++) {
      const handles = b.receive(7);
      expect(handles.length).toBeLessThanOrEqual(7);
      for (const handle of handles) {
        found.push(pool.bytes(handle));
        // Whoever uses the room behind a packet must not hurt those that still wait.
        const at = pool.memory.offset[handle]!;
        pool.memory.slab.fill(0xee, at, at + 1920);
        pool.free(handle);
      }
    }
    expectSame(found, sent);
  });

  test('senders that are pinned arrive as their row, others in fresh rows of the ring', async () => {
    const { a, b } = loopback();
    const stranger = end();
    setRow(stranger.addresses, 0, '127.0.0.1', b.handle.port);
    a.send([a.to(0, pattern(10, 1)), a.to(0, pattern(10, 2))]);
    stranger.send([stranger.to(0, pattern(10, 3)), stranger.to(0, pattern(10, 4))]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const handles = b.receive();
    const peers = handles.map((handle) => pool.memory.peer[handle]!);
    expect(peers).toEqual([0, 0, 8, 9]);
    const row = b.addresses.rows.subarray(8 * 32, 9 * 32);
    expect([...row.subarray(0, 8)]).toEqual([
      4,
      0,
      stranger.handle.port >> 8,
      stranger.handle.port & 255,
      127,
      0,
      0,
      1,
    ]);
    expect(b.addresses.cursor[0]).toBe(2);
    // A row of the ring can be answered to as it is.
    b.send([b.to(8, pattern(12, 5))]);
    expectSame(await stranger.collect(1), [pattern(12, 5)]);
    native().addressUnpin(b.id, 0);
    a.send([a.to(0, pattern(10, 6))]);
    expect(b.receive().map((handle) => pool.memory.peer[handle])).toEqual([10]);
  });

  test('thousands of pins and unpins never lose a row', () => {
    const b = end();
    const ends = Array.from({ length: 8 }, () => end());
    ends.forEach((each, row) => {
      setRow(b.addresses, row, '127.0.0.1', each.handle.port);
      setRow(each.addresses, 0, '127.0.0.1', b.handle.port);
    });
    const pinned = new Set<number>();
    let random = 1;
    for (let i = 0; i < 4000; i++) {
      random = (Math.imul(random, 1103515245) + 12345) >>> 0;
      const row = (random >>> 16) % 8;
      if (pinned.delete(row)) native().addressUnpin(b.id, row);
      else native().addressPin(b.id, pinned.add(row) && row);
      if (i % 500 !== 0) continue;
      for (const each of ends) each.send([each.to(0, pattern(5, 1))]);
      const handles = b.receive();
      const peers = handles.map((handle) => pool.memory.peer[handle]!);
      handles.forEach((handle) => {
        pool.free(handle);
      });
      expect(peers.map((peer) => (peer < 8 ? peer : -1))).toEqual(
        ends.map((_, row) => (pinned.has(row) ? row : -1)),
      );
    }
  });

  test('the DS field goes out with each packet and arrives with it', async () => {
    for (const address of ['127.0.0.1', '::1']) {
      const a = end({ address });
      const b = end({ address });
      introduce(a, address, b, address);
      const classes = [0, 0xb8, 0xb8, 0x02, 0x01, 0, 0x03];
      a.send(
        classes.map((trafficClass) => {
          const handle = a.to(0, pattern(100, trafficClass));
          pool.memory.trafficClass[handle] = trafficClass;
          return handle;
        }),
      );
      const handles = b.receive();
      expect(handles.map((handle) => pool.memory.trafficClass[handle])).toEqual(classes);
    }
  });

  test('a dual-stack socket speaks to IPv4 peers as IPv4, DS field and pinned row included', async () => {
    const dual = end({ address: '::', dualStack: true });
    const four = end();
    const six = end({ address: '::1' });
    setRow(dual.addresses, 0, '127.0.0.1', four.handle.port);
    setRow(dual.addresses, 1, '::1', six.handle.port);
    native().addressPin(dual.id, 0);
    native().addressPin(dual.id, 1);
    setRow(four.addresses, 0, '127.0.0.1', dual.handle.port);
    setRow(six.addresses, 0, '::1', dual.handle.port);
    for (const [peer, row] of [
      [four, 0],
      [six, 1],
    ] as const) {
      const handle = dual.to(row, pattern(50, row));
      pool.memory.trafficClass[handle] = 0x2e;
      dual.send([handle]);
      const [received = -1] = peer.receive();
      expect(pool.bytes(received)).toEqual(pattern(50, row));
      expect(pool.memory.trafficClass[received]).toBe(0x2e);
      const answer = peer.to(0, pattern(51, row));
      pool.memory.trafficClass[answer] = 0x2d;
      peer.send([answer]);
      const [answered = -1] = dual.receive();
      expect([pool.memory.peer[answered], pool.memory.trafficClass[answered]]).toEqual([row, 0x2d]);
    }
    expect(dual.count('txInvalid')).toBe(0);
  });

  test('a superframe leaves as its wire packets, each with the bytes in front of its IP header and its prefix', async () => {
    const { a, b } = loopback();
    const m = pool.memory;
    for (const options of [
      { version: 4, protocol: 'tcp', payload: pattern(60000, 1), segmentSize: 1368 },
      { version: 6, protocol: 'tcp', payload: pattern(5000, 2), segmentSize: 1000, link: pattern(14, 9) },
      { version: 4, protocol: 'udp', payload: pattern(4000, 3), segmentSize: 40 },
    ] as const) {
      const frame = superframe(options);
      const handle = a.to(0, frame.bytes);
      m.l3Offset[handle] = frame.l3;
      m.segmentSize[handle] = frame.segmentSize;
      m.segments[handle] = frame.segments;
      m.gsoType[handle] = frame.gsoType;
      m.checksumStart[handle] = frame.checksumStart;
      m.checksumOffset[handle] = frame.checksumOffset;
      m.prefixLength[handle] = 5;
      m.slab.set([9, 8, 7, 6, 5], m.offset[handle]! - 5);
      const before = a.count('txPackets');
      expect(a.send([a.to(0, pattern(33, 1)), handle, a.to(0, pattern(34, 2))])).toBe(3);
      const expected = slowSegments(frame).map((bytes) => Uint8Array.from([9, 8, 7, 6, 5, ...bytes]));
      expectSame(await b.collect(expected.length + 2), [pattern(33, 1), ...expected, pattern(34, 2)]);
      expect(a.count('txPackets') - before).toBe(frame.segments + 2);
    }
    expect(a.count('txSuperframes')).toBe(3);
    expect(pool.live).toBe(0);
  });

  test('an open checksum is completed on the way out, also where the bytes belong to two packets', async () => {
    const { a, b } = loopback();
    const frame = superframe({ version: 4, protocol: 'udp', payload: pattern(500, 1), segmentSize: 500 });
    const first = a.to(0, frame.bytes);
    pool.memory.checksumStart[first] = frame.checksumStart;
    pool.memory.checksumOffset[first] = frame.checksumOffset;
    const second = pool.clone(first);
    a.send([first, second]);
    const [expected] = slowSegments(frame);
    expectSame(await b.collect(2), [expected, expected]);
  });

  test("what the socket could not take in is read back as the kernel's drops", async () => {
    const { a, b } = loopback({ buffer: 4096 });
    for (let i = 0; i < 20; i++) a.send(Array.from({ length: 10 }, () => a.to(0, pattern(1000, i))));
    native().portStatistics(b.id);
    const got = (await b.collect(1)).length;
    expect(b.count('kernelDrops')).toBeGreaterThan(0);
    expect(b.count('kernelDrops') + got).toBeLessThanOrEqual(200);
  });

  test('a datagram that fits no slot of this network is counted', async () => {
    const { a } = loopback();
    const small = new TestPool({ largeSlots: 0 });
    const b = new UdpEnd(small);
    open.push(b);
    setRow(a.addresses, 1, '127.0.0.1', b.handle.port);
    a.send([a.to(1, pattern(5000, 1)), a.to(1, pattern(100, 2))]);
    expectSame(await b.collect(1), [pattern(100, 2)]);
    expect(b.count('rxTruncated')).toBe(1);
  });

  test('packets without a peer, or with one of the other family, are counted and dropped', () => {
    const { a } = loopback();
    setRow(a.addresses, 1, '::1', 5);
    expect(
      a.send([
        a.to(-1, pattern(5, 1)),
        a.to(1, pattern(5, 1)),
        a.to(1 << 20, pattern(5, 1)),
        a.to(7, pattern(5, 1)),
      ]),
    ).toBe(4);
    expect(a.counted).toMatchObject({ txInvalid: 4 });
    expect(pool.live).toBe(0);
  });

  test('a port that is taken says so with its address, and a namespace that is none with its path', () => {
    const a = end();
    expect(() => end({ port: a.handle.port })).toThrow(
      expect.objectContaining({
        code: 'EADDRINUSE',
        syscall: 'bind',
        message: `EADDRINUSE: address already in use, bind "127.0.0.1:${a.handle.port}"`,
      }),
    );
    expect(() => end({ address: '203.0.113.77' })).toThrow(
      expect.objectContaining({ code: 'EADDRNOTAVAIL' }),
    );
    expect(() => end({ device: 'nosuch0' })).toThrow(
      /ENODEV: no such device, setsockopt\(SO_BINDTODEVICE\) "nosuch0"/,
    );
    const directory = mkdtempSync(join(tmpdir(), 'native-udp-'));
    try {
      const netns = join(directory, 'fifo');
      spawnSync('mkfifo', [netns]);
      expect(() => end({ netns })).toThrow(`EINVAL: invalid argument, setns "${netns}"`);
    } finally {
      rmSync(directory, { recursive: true });
    }
    expect(() => native().udpOpen({ ...end().handle, family: 5 } as never)).toThrow();
    expect(() => end({ address: '::1', port: 70000 })).toThrow(/port must be an integer from 0 to 65535/);
    expect(addressBytes('::1')[15]).toBe(1);
    expect(COMMON_ACCOUNT).toBe(0);
  });
});

describe.skipIf(needs('root', 'netns'))('UDP between two hosts', RETRY, () => {
  let world: World;
  let left: Host;
  let right: Host;
  beforeAll(async () => {
    world = await createWorld({ name: 'native-udp' });
    left = await world.host('left');
    right = await world.host('right');
    await world.wire(left, right, { a: ['10.1.0.1/24', 'fd01::1/64'], b: ['10.1.0.2/24', 'fd01::2/64'] });
  });
  afterAll(() => world.close());

  function ends(family: 4 | 6) {
    const [addressA, addressB] = family === 4 ? ['10.1.0.1', '10.1.0.2'] : ['fd01::1', 'fd01::2'];
    const a = end({ address: addressA, netns: left.path });
    const b = end({ address: addressB, netns: right.path });
    introduce(a, addressA!, b, addressB!);
    return { a, b };
  }

  test.each([4, 6] as const)('a train of equal packets crosses as one send over IPv%i', async (family) => {
    const { a, b } = ends(family);
    const sent = Array.from({ length: 100 }, (_, i) => pattern(1300, i));
    expect(a.send(sent.map((bytes) => a.to(0, bytes)))).toBe(100);
    expectSame(await b.collect(100), sent);
    expect(b.addresses.cursor[0]).toBe(0);
    expect(a.count('gsoFallbacks')).toBe(0);
  });

  test.each([4, 6] as const)(
    'on a path too narrow for a train the packets that fit still go, over IPv%i',
    async (family) => {
      const { a, b } = ends(family);
      await left.ip('link set eth0 mtu 1300');
      try {
        const sent = [...Array.from({ length: 5 }, (_, i) => pattern(1290, i)), pattern(200, 6)];
        expect(a.send(sent.map((bytes) => a.to(0, bytes)))).toBe(6);
        expectSame(await b.collect(1), [pattern(200, 6)]);
        expect(a.counted).toMatchObject({ gsoFallbacks: 1, txTooLong: 5, txPackets: 1 });
        expect([...a.addresses.tooLong.slice(0, 3)]).toEqual([5, 1290, 0]);
        // It was the path and not the segmentation: trains go on.
        const fitting = Array.from({ length: 5 }, (_, i) => pattern(1000, i));
        a.send(fitting.map((bytes) => a.to(0, bytes)));
        expectSame(await b.collect(5), fitting);
        expect(a.counted).toMatchObject({ gsoFallbacks: 1, txPackets: 6 });
      } finally {
        await left.ip('link set eth0 mtu 1500');
      }
    },
  );

  test.each([4, 6] as const)(
    'a packet over the MTU goes in fragments only where that is allowed, over IPv%i',
    async (family) => {
      const { a, b } = ends(family);
      const may = a.to(0, pattern(4000, 1));
      pool.memory.flags[may] = PacketFlag.MayFragment;
      expect(
        a.send([a.to(0, pattern(4000, 0)), may, a.to(0, pattern(4000, 2)), a.to(0, pattern(100, 3))]),
      ).toBe(4);
      expectSame(await b.collect(2), [pattern(4000, 1), pattern(100, 3)]);
      expect(a.counted).toMatchObject({ txTooLong: 2, txPackets: 2 });
      expect([...a.addresses.tooLong.slice(0, 3)]).toEqual([2, 4000, 0]);
    },
  );

  test('an address without a route is counted, and the packets behind it still go', async () => {
    const { a, b } = ends(4);
    setRow(a.addresses, 1, '192.0.2.1', 9);
    a.send([a.to(1, pattern(10, 0)), a.to(1, pattern(10, 1)), a.to(0, pattern(10, 2))]);
    expectSame(await b.collect(1), [pattern(10, 2)]);
    expect(a.counted).toMatchObject({ txUnreachable: 2, txPackets: 1 });
  });

  test('a full socket keeps what it cannot take, and the superframe it stopped in goes on where it was', async () => {
    const { a, b } = ends(4);
    // A queue that lets little through at a time makes the send buffer the limit.
    await left.exec(
      [
        'tc',
        'qdisc',
        'replace',
        'dev',
        'eth0',
        'root',
        'tbf',
        'rate',
        '10mbit',
        'burst',
        '3kb',
        'limit',
        '64mb',
      ],
      { check: true },
    );
    try {
      const narrow = end({ address: '10.1.0.1', netns: left.path, buffer: 1, gso: false });
      setRow(narrow.addresses, 0, '10.1.0.2', b.handle.port);
      const frame = superframe({
        version: 4,
        protocol: 'tcp',
        payload: pattern(60000, 7),
        segmentSize: 1200,
      });
      const handle = narrow.to(0, frame.bytes);
      const m = pool.memory;
      m.segmentSize[handle] = frame.segmentSize;
      m.segments[handle] = frame.segments;
      m.gsoType[handle] = frame.gsoType;
      m.checksumStart[handle] = frame.checksumStart;
      m.checksumOffset[handle] = frame.checksumOffset;
      const found: Uint8Array[] = [];
      let batch = [handle, narrow.to(0, pattern(77, 1))];
      for (const limit = performance.now() + 3000; batch.length > 0 && performance.now() < limit; ) {
        batch = batch.slice(narrow.send(batch));
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      found.push(...(await b.collect(frame.segments + 1)));
      expect(narrow.count('txAgain')).toBeGreaterThan(0);
      expectSame(found, [...slowSegments(frame), pattern(77, 1)]);
    } finally {
      await left.exec(['tc', 'qdisc', 'del', 'dev', 'eth0', 'root']);
    }
    expect(a.count('txAgain')).toBe(0);
  });
});
