import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../../src/native/load.ts';
import { createWorld, type Host, type World } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { slowSegments, superframe } from './superframes.ts';
import {
  addressBytes,
  during,
  expectSame,
  Forwarder,
  PacketEnd,
  pattern,
  RETRY,
  TestPool,
  type TestPort,
  TunEnd,
  transfer,
} from './support.ts';

describe.skipIf(needs('root', 'netns', 'tun'))('packet sockets', RETRY, () => {
  let world: World;
  let left: Host;
  let middle: Host;
  let right: Host;
  let pool = new TestPool();
  const open: TestPort[] = [];
  const track = <T extends TestPort>(port: T): T => {
    open.push(port);
    return port;
  };
  beforeAll(async () => {
    world = await createWorld({ name: 'native-packet' });
    left = await world.host('left');
    middle = await world.host('middle');
    right = await world.host('right');
    await world.wire(left, middle, { a: '10.2.0.1/24' });
    await world.wire(middle, right, { b: '10.2.0.2/24' });
  });
  afterAll(() => world.close());
  afterEach(() => {
    for (const port of open.splice(0)) port.close();
    pool.detach();
    pool = new TestPool();
  });

  /** Frames of our own, told from the rest by an EtherType for experiments (IEEE 802, 0x88b5). */
  const frame = (length: number, seed: number) => {
    const bytes = pattern(length, seed);
    bytes.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    return bytes;
  };
  const ours = (bytes: Uint8Array) => bytes[12] === 0x88 && bytes[13] === 0xb5;

  test.each([true, false])(
    'frames cross a wire whole and in order, with virtio header: %s',
    async (vnetHeader) => {
      const a = track(new PacketEnd(pool, 'eth0', { netns: left.path, vnetHeader }));
      const b = track(new PacketEnd(pool, 'eth0', { netns: middle.path, vnetHeader }));
      expect(a.vnetHeader).toBe(vnetHeader ? 10 : 0);
      const sent = Array.from({ length: 150 }, (_, i) => frame(60 + i * 9, i));
      expect(a.send(sent.map((bytes) => pool.put(bytes)))).toBe(150);
      const found = (await b.collect(150)).filter(ours);
      expectSame(found, sent);
      expect(a.counted).toMatchObject({ txPackets: 150, txBursts: 1 });
      expect(b.count('rxPackets')).toBeGreaterThanOrEqual(150);
      // What this host sends itself is not seen by its own socket.
      expect((await a.collect(0)).filter(ours)).toEqual([]);
    },
  );

  test('a capture also sees what its own host sends', async () => {
    const a = track(new PacketEnd(pool, 'eth0', { netns: left.path }));
    const capture = track(new PacketEnd(pool, 'eth0', { netns: left.path, outgoing: true }));
    a.send([pool.put(frame(100, 1))]);
    expectSame((await capture.collect(1)).filter(ours), [frame(100, 1)]);
  });

  test('TCP crosses a bridge of two packet sockets as superframes, and arrives unharmed', async () => {
    const a = track(new PacketEnd(pool, 'eth0', { netns: middle.path }));
    const b = track(new PacketEnd(pool, 'eth1', { netns: middle.path }));
    const there = new Forwarder(a, b);
    const back = new Forwarder(b, a);
    const { sent, received } = await during(transfer(left, right, '10.2.0.2', 4002, 20), () => {
      const moved = there.run();
      return back.run() || moved;
    });
    expect(received).toBe(sent);
    expect(there.most).toBeGreaterThan(10);
    expect(b.count('txSuperframes')).toBeGreaterThan(0);
    expect(b.count('gsoFallbacks')).toBe(0);
    expect(pool.live).toBe(0);
  });

  test('one receive call brings 512 KiB of superframes and leaves the rest for the next', async () => {
    const roomy = new TestPool({ largeSlots: 32 });
    const a = track(new PacketEnd(roomy, 'eth0', { netns: left.path }));
    const b = track(new PacketEnd(roomy, 'eth0', { netns: middle.path }));
    const m = roomy.memory;
    const sent = Array.from({ length: 20 }, (_, seed) => {
      const link = frame(14, 0);
      link.set([0x08, 0x00], 12);
      return superframe({
        ...{ version: 4, protocol: 'tcp', payload: pattern(64000, seed), segmentSize: 1000, link },
      });
    });
    const large = (handles: readonly number[]) => handles.filter((each) => m.segmentSize[each] > 0);
    const found: Uint8Array[] = [];
    const calls: number[] = [];
    for (let from = 0; from < sent.length; from += 10) {
      const handles = sent.slice(from, from + 10).map((each) => {
        const handle = roomy.put(each.bytes);
        m.l3Offset[handle] = each.l3;
        m.segmentSize[handle] = each.segmentSize;
        m.segments[handle] = each.segments;
        m.gsoType[handle] = each.gsoType;
        m.checksumStart[handle] = each.checksumStart;
        m.checksumOffset[handle] = each.checksumOffset;
        return handle;
      });
      expect(a.send(handles)).toBe(10);
    }
    for (let i = 0; i < 100 && found.length < sent.length; i++) {
      const handles = b.receive();
      calls.push(large(handles).length);
      for (const each of large(handles)) found.push(roomy.bytes(each));
      for (const each of handles) roomy.free(each);
    }
    // Eight of 67 456 bytes on the wire reach it; with a small frame of the kernel's among the first it is one call later.
    expect(Math.max(...calls)).toBeGreaterThanOrEqual(8);
    expect(Math.max(...calls)).toBeLessThan(16);
    expectSame(
      found,
      sent.map(({ bytes }) => bytes),
    );
    expect(roomy.live).toBe(0);
  });

  test('without a virtio header superframes are cut on the way out', async () => {
    const a = track(new PacketEnd(pool, 'eth0', { netns: left.path, vnetHeader: false }));
    const b = track(new PacketEnd(pool, 'eth0', { netns: middle.path, vnetHeader: false }));
    const link = frame(14, 0);
    link.set([0x08, 0x00], 12);
    // Two frames before it and one after, so that order shows.
    const cut = superframe({
      version: 4,
      protocol: 'tcp',
      payload: pattern(30000, 3),
      segmentSize: 1000,
      link,
    });
    const handle = pool.put(cut.bytes);
    const m = pool.memory;
    m.l3Offset[handle] = cut.l3;
    m.segmentSize[handle] = cut.segmentSize;
    m.segments[handle] = cut.segments;
    m.gsoType[handle] = cut.gsoType;
    m.checksumStart[handle] = cut.checksumStart;
    m.checksumOffset[handle] = cut.checksumOffset;
    expect(a.send([pool.put(frame(80, 1)), handle, pool.put(frame(90, 2))])).toBe(3);
    const found = await b.collect(cut.segments + 2);
    const known = found.filter((bytes) => ours(bytes) || bytes[14 + 9] === 6);
    expectSame(known, [frame(80, 1), ...slowSegments(cut), frame(90, 2)]);
    expect(a.counted).toMatchObject({ txPackets: cut.segments + 2 });
  });

  test('VLAN tags that the kernel took out are back in the frame, and open checksums behind them found', async () => {
    const tap = track(new TunEnd(pool, { netns: left.path, mode: 'tap', name: 'vlan%d' }));
    native().interfaceSet(tap.handle.name, { up: true }, left.path);
    for (const vnetHeader of [true, false]) {
      const capture = track(new PacketEnd(pool, tap.handle.name, { netns: left.path, vnetHeader }));
      const link = Uint8Array.from([
        ...new Array<number>(6).fill(0xff),
        2,
        0,
        0,
        0,
        0,
        1,
        0x81,
        0x00,
        0x20,
        0x07,
        0x08,
        0x00,
      ]);
      const packet = superframe({
        version: 4,
        protocol: 'udp',
        payload: pattern(300, 1),
        segmentSize: 300,
        link,
      });
      const handle = pool.put(packet.bytes);
      pool.memory.checksumStart[handle] = packet.checksumStart;
      pool.memory.checksumOffset[handle] = packet.checksumOffset;
      tap.send([handle]);
      await new Promise((resolve) => setTimeout(resolve, 10));
      const handles = capture.receive();
      const found = handles.find((each) => pool.memory.length[each] === packet.bytes.length) ?? -1;
      expectSame([pool.bytes(found)], [packet.bytes]);
      expect({
        l3: pool.memory.l3Offset[found],
        start: pool.memory.checksumStart[found],
        offset: pool.memory.checksumOffset[found],
      }).toEqual({ l3: 18, start: packet.checksumStart, offset: 6 });
      for (const each of handles) pool.free(each);
    }
  });

  test('a frame over the MTU is counted, and the ones around it still go', async () => {
    const a = track(new PacketEnd(pool, 'eth0', { netns: left.path }));
    const b = track(new PacketEnd(pool, 'eth0', { netns: middle.path }));
    a.send([pool.put(frame(100, 1)), pool.put(frame(1800, 2)), pool.put(frame(101, 3)), -1]);
    expectSame((await b.collect(2)).filter(ours), [frame(100, 1), frame(101, 3)]);
    expect(a.counted).toMatchObject({ txTooLong: 1, txInvalid: 1, txPackets: 2 });
  });

  test("what the socket had no room for is read back once, as the kernel's drops", async () => {
    const a = track(new PacketEnd(pool, 'eth0', { netns: left.path }));
    const b = track(new PacketEnd(pool, 'eth0', { netns: middle.path, buffer: 8192 }));
    for (let i = 0; i < 10; i++) a.send(Array.from({ length: 20 }, () => pool.put(frame(1000, i))));
    native().portStatistics(b.id);
    const drops = b.count('kernelDrops');
    expect(drops).toBeGreaterThan(100);
    native().portStatistics(b.id);
    expect(b.count('kernelDrops')).toBe(drops);
  });

  test('frames wait while the account is full, large ones for large slots', async () => {
    const narrow = new TestPool({ smallSlots: 32, quotaSmall: 4, largeSlots: 1 });
    const a = track(new PacketEnd(pool, 'eth0', { netns: left.path, vnetHeader: false }));
    const b = track(new PacketEnd(narrow, 'eth0', { netns: middle.path, vnetHeader: false }));
    await left.ip('link set eth0 mtu 9000');
    await middle.ip('link set eth0 mtu 9000');
    try {
      const sizes = [100, 5000, 200, 6000, 300, 400, 500, 600, 7000, 700];
      a.send(sizes.map((size, i) => pool.put(frame(size, i))));
      const found: Uint8Array[] = [];
      for (let i = 0; i < 100 && found.length < sizes.length; i++) {
        for (const handle of b.receive()) {
          const bytes = narrow.bytes(handle);
          if (ours(bytes)) found.push(bytes);
          narrow.free(handle);
        }
      }
      expectSame(
        found,
        sizes.map((size, i) => frame(size, i)),
      );
      expect(narrow.memory.freeSmall[0]).toBe(32);
      expect(narrow.memory.freeLarge[0]).toBe(1);
    } finally {
      await left.ip('link set eth0 mtu 1500');
      await middle.ip('link set eth0 mtu 1500');
    }
  });

  test('an interface that does not exist, or a name too long, is said by name', () => {
    expect(() => new PacketEnd(pool, 'nosuch0', { netns: left.path })).toThrow(
      expect.objectContaining({
        code: 'ENODEV',
        message: 'ENODEV: no such device, ioctl(SIOCGIFINDEX) "nosuch0"',
      }),
    );
    expect(() => new PacketEnd(pool, 'a234567890123456')).toThrow(
      expect.objectContaining({ code: 'ENAMETOOLONG' }),
    );
  });
});

describe.skipIf(needs('root', 'netns'))('TCP streams', RETRY, () => {
  test('a listener in another namespace takes a connection, bytes go both ways, and the end is seen', async () => {
    await using world = await createWorld({ name: 'native-tcp' });
    const a = await world.host('a');
    const b = await world.host('b');
    await world.wire(a, b, { a: ['10.4.0.1/24', 'fd04::1/64'], b: ['10.4.0.2/24', 'fd04::2/64'] });
    const ready = new Int32Array(8);
    const poller = native().pollerOpen(ready);
    const until = (fd: number, events: number) => {
      native().pollerAdd(poller, fd, fd, events);
      const n = native().pollerWait(poller, native().now() + 2e9);
      native().pollerRemove(poller, fd);
      expect([n, ready[0]]).toEqual([1, fd]);
    };
    for (const [family, address] of [
      [4, '10.4.0.2'],
      [6, 'fd04::2'],
      // A listener on :: takes IPv4 too.
      [4, '::'],
    ] as const) {
      const listening = native().tcpListen({
        family: address.includes(':') ? 6 : 4,
        address: addressBytes(address),
        scope: 0,
        port: 0,
        netns: b.path,
      });
      const target = address === '::' ? '10.4.0.2' : address;
      const client = native().tcpConnect({
        family,
        address: addressBytes(target),
        scope: 0,
        port: listening.port,
        netns: a.path,
      });
      until(client, 2);
      expect(native().tcpError(client)).toBe(0);
      const row = new Uint8Array(32);
      until(listening.fd, 1);
      const server = native().tcpAccept(listening.fd, row);
      expect(server).toBeGreaterThan(0);
      expect(row[0]).toBe(family);
      expect([...row.subarray(4, 4 + (family === 4 ? 4 : 16))]).toEqual([
        ...addressBytes(family === 4 ? '10.4.0.1' : 'fd04::1').subarray(0, family === 4 ? 4 : 16),
      ]);
      expect(native().tcpAccept(listening.fd, row)).toBeLessThan(0);

      const out = pattern(5000, 1);
      expect(native().write(client, out, 100, 4000)).toBe(4000);
      native().shutdown(client);
      const back = new Uint8Array(8000);
      let got = 0;
      while (got < 4000) {
        until(server, 1);
        got += native().read(server, back, got, 8000 - got);
      }
      expectSame([back.subarray(0, 4000)], [out.subarray(100, 4100)]);
      until(server, 1);
      expect(native().read(server, back, 0, 10)).toBe(0);
      expect(native().read(server, back, 7999, 2)).toBeLessThan(0);
      expect(native().write(server, back, -1, 2)).toBeLessThan(0);
      for (const fd of [client, server, listening.fd]) native().close(fd);
    }
    const refused = native().tcpConnect({
      family: 4,
      address: addressBytes('10.4.0.2'),
      scope: 0,
      port: 9,
      netns: a.path,
    });
    until(refused, 2);
    expect(native().tcpError(refused)).toBe(111);
    native().close(refused);
    native().pollerClose(poller);
  });
});
