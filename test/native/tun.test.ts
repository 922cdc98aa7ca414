import { readdirSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../../src/native/load.ts';
import { createWorld, type Host, type World } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { slowSegments, slowSum, superframe } from './superframes.ts';
import {
  ACCOUNT,
  during,
  expectSame,
  Forwarder,
  pattern,
  RETRY,
  setRow,
  TestPool,
  type TestPort,
  TunEnd,
  type TunEndOptions,
  transfer,
  UdpEnd,
} from './support.ts';

let pool = new TestPool();
const open: TestPort[] = [];
const track = <T extends TestPort>(port: T): T => {
  open.push(port);
  return port;
};
afterEach(() => {
  for (const port of open.splice(0)) port.close();
  pool.detach();
  pool = new TestPool();
});

/**
 * A port that believes to be on a TUN, and reads what a UDP socket brings: whatever virtio header and frame the
 * test sends.
 */
function hostile(options: { layer?: 2 | 3; vnetHeader?: number; memory?: TestPool } = {}) {
  const { layer = 3, vnetHeader = 12, memory = pool } = options;
  const device = track(new UdpEnd(memory, { gro: false }));
  native().portClose(device.id);
  device.id = native().tunPort(memory.id, device.fd, { ...device.common, layer, vnetHeader, offloads: 15 });
  const from = track(new UdpEnd(new TestPool(), { gso: false }));
  setRow(from.addresses, 0, '127.0.0.1', device.handle.port);
  const write = (header: Partial<Header>, frame: Uint8Array) => {
    const bytes = new Uint8Array(vnetHeader + frame.length);
    const view = new DataView(bytes.buffer);
    const {
      flags = 0,
      gsoType = 0,
      headerLength = 0,
      segmentSize = 0,
      checksumStart = 0,
      checksumOffset = 0,
    } = header;
    bytes[0] = flags;
    bytes[1] = gsoType;
    for (const [i, value] of [headerLength, segmentSize, checksumStart, checksumOffset].entries()) {
      view.setUint16(2 + 2 * i, value, true);
    }
    bytes.set(frame, vnetHeader);
    from.send([from.to(0, bytes)]);
  };
  return { device, write };
}
interface Header {
  flags: number;
  gsoType: number;
  headerLength: number;
  segmentSize: number;
  checksumStart: number;
  checksumOffset: number;
}

const NEEDS_CHECKSUM = 1;
const DATA_VALID = 2;

describe('frames with a virtio header', () => {
  const frame = superframe({ version: 4, protocol: 'tcp', payload: pattern(10000, 1), segmentSize: 1400 });
  const honest = {
    flags: NEEDS_CHECKSUM,
    gsoType: 1,
    headerLength: 40,
    segmentSize: 1400,
    checksumStart: 20,
    checksumOffset: 16,
  };

  test('a superframe is taken in whole, with what it stands for', () => {
    const { device, write } = hostile();
    write({ ...honest, headerLength: 3 }, frame.bytes);
    const [handle = -1] = device.receive();
    const m = pool.memory;
    expect(pool.bytes(handle)).toEqual(frame.bytes);
    expect({
      layer: m.layer[handle],
      gsoType: m.gsoType[handle],
      segmentSize: m.segmentSize[handle],
      segments: m.segments[handle],
      start: m.checksumStart[handle],
      offset: m.checksumOffset[handle],
    }).toEqual({ layer: 3, gsoType: 1, segmentSize: 1400, segments: 8, start: 20, offset: 16 });
    expect(device.counted).toMatchObject({ rxPackets: 8, rxBytes: 10000 + 8 * 40, rxSuperframes: 1 });
    expect(m.usedLarge[ACCOUNT]).toBe(1);
    expect(m.usedSmall[ACCOUNT]).toBe(0);
  });

  test('one segment is no superframe, and an open checksum and a verified one are told', () => {
    const { device, write } = hostile();
    write({ ...honest, segmentSize: 60000 }, frame.bytes.subarray(0, 500));
    write({ flags: DATA_VALID }, frame.bytes.subarray(0, 500));
    const [open = -1, valid = -1] = device.receive();
    const m = pool.memory;
    expect([m.segments[open], m.segmentSize[open], m.gsoType[open], m.checksumStart[open]]).toEqual([
      1, 0, 0, 20,
    ]);
    expect([m.checksumStart[valid], m.flags[valid]]).toEqual([-1, 1]);
  });

  test.each<[string, Partial<Header>, Uint8Array?]>([
    ['checksum start behind the end', { flags: NEEDS_CHECKSUM, checksumStart: 65535 }],
    ['checksum field behind the end', { flags: NEEDS_CHECKSUM, checksumStart: 20, checksumOffset: 65535 }],
    ['checksum field across the end', { flags: NEEDS_CHECKSUM, checksumStart: 20, checksumOffset: 10019 }],
    ['segments of nothing', { ...honest, segmentSize: 0 }],
    ['thousands of segments', { ...honest, segmentSize: 1 }],
    ['a type that does not exist', { ...honest, gsoType: 77 }],
    ['the old UDP fragmentation', { ...honest, gsoType: 3 }],
    ['TCP over IPv6 in an IPv4 packet', { ...honest, gsoType: 4 }],
    ['UDP in a TCP packet', { ...honest, gsoType: 5, checksumOffset: 6 }],
    ['a superframe with a closed checksum', { ...honest, flags: 0 }],
    ['a checksum in another header', { ...honest, checksumStart: 24 }],
    ['a checksum in another field', { ...honest, checksumOffset: 14 }],
    ['a superframe without payload', honest, frame.bytes.subarray(0, 40)],
    [
      'a TCP header longer than the frame',
      honest,
      Uint8Array.from(frame.bytes.subarray(0, 50)).fill(0xf0, 32, 33),
    ],
    [
      'an IP header longer than the frame',
      honest,
      Uint8Array.from(frame.bytes.subarray(0, 30)).fill(0x4f, 0, 1),
    ],
    ['a fragment', honest, Uint8Array.from(frame.bytes).fill(0x20, 6, 7)],
    ['no IP at all', honest, new Uint8Array(3000)],
  ])('%s is counted as invalid and takes nothing', (_, header, bytes = frame.bytes) => {
    const { device, write } = hostile();
    write(header, bytes);
    write({}, frame.bytes.subarray(0, 100));
    const handles = device.receive();
    expect(handles.map((handle) => pool.memory.length[handle])).toEqual([100]);
    expect(device.counted).toMatchObject({ rxInvalid: 1, rxPackets: 1 });
    expect(pool.live).toBe(1);
    expect(pool.memory.usedLarge[ACCOUNT]).toBe(0);
    expect(pool.memory.freeSmall[0]).toBe(pool.memory.smallSlots - 1);
  });

  test('an empty frame and one shorter than its header are counted as invalid', () => {
    const { device, write } = hostile({ vnetHeader: 10 });
    write({}, new Uint8Array(0));
    expect(device.receive()).toEqual([]);
    expect(device.counted).toEqual({ rxInvalid: 1 });
    const ethernet = hostile({ layer: 2, vnetHeader: 0 });
    ethernet.write({}, new Uint8Array(13));
    expect(ethernet.device.receive()).toEqual([]);
    expect(ethernet.device.counted).toEqual({ rxInvalid: 1 });
  });

  test('VLAN tags are looked behind', () => {
    const { device, write } = hostile({ layer: 2 });
    const tags = [[], [0x81, 0, 0, 5], [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]];
    for (const tag of tags) {
      const link = Uint8Array.from([...new Array<number>(12).fill(2), ...tag, 0x08, 0x00]);
      const tagged = superframe({
        version: 4,
        protocol: 'tcp',
        payload: pattern(5000, 1),
        segmentSize: 1000,
        link,
      });
      write({ ...honest, segmentSize: 1000, checksumStart: tagged.l4 }, tagged.bytes);
    }
    const handles = device.receive();
    expect(handles.map((handle) => [pool.memory.l3Offset[handle], pool.memory.segments[handle]])).toEqual([
      [14, 5],
      [18, 5],
      [22, 5],
    ]);
  });

  test('a large frame waits while every large slot is taken, and small ones do not need one', () => {
    const memory = new TestPool({ largeSlots: 1 });
    const { device, write } = hostile({ memory });
    const second = superframe({ version: 4, protocol: 'tcp', payload: pattern(9000, 2), segmentSize: 1400 });
    write(honest, frame.bytes);
    write({}, pattern(100, 1));
    write(honest, second.bytes);
    write({}, pattern(200, 2));
    const first = device.receive();
    expect(first.map((handle) => memory.memory.length[handle])).toEqual([frame.bytes.length, 100]);
    expect(native().receive(device.id, 10)).toBe(-constants.errno.ENOBUFS);
    memory.free(first[0]!);
    const rest = device.receive();
    expectSame(
      rest.map((handle) => memory.bytes(handle)),
      [second.bytes, pattern(200, 2)],
    );
    expect(memory.memory.segments[rest[0]!]).toBe(7);
  });

  test('where there are no large slots at all a large frame is counted, and the next still comes', () => {
    const memory = new TestPool({ largeSlots: 0 });
    const { device, write } = hostile({ memory });
    write(honest, frame.bytes);
    write({}, pattern(100, 1));
    expectSame(
      device.receive().map((handle) => memory.bytes(handle)),
      [pattern(100, 1)],
    );
    expect(device.count('rxTruncated')).toBe(1);
  });
});

/** Turns an echo request at `ip` into its answer. False when it is none. */
function answerEcho(bytes: Uint8Array, ip: number): boolean {
  if (bytes[ip] !== 0x45 || bytes[ip + 9] !== 1 || bytes[ip + 20] !== 8) return false;
  const source = bytes.slice(ip + 12, ip + 16);
  bytes.copyWithin(ip + 12, ip + 16, ip + 20);
  bytes.set(source, ip + 16);
  bytes[ip + 20] = 0;
  bytes.set([0, 0], ip + 22);
  const sum = ~slowSum(bytes.subarray(ip + 20)) & 0xffff;
  bytes.set([sum >> 8, sum & 255], ip + 22);
  return true;
}

describe.skipIf(needs('root', 'netns', 'tun'))('TUN and TAP', RETRY, () => {
  let world: World;
  let left: Host;
  let right: Host;
  beforeAll(async () => {
    world = await createWorld({ name: 'native-tun' });
    left = await world.host('left');
    right = await world.host('right');
  });
  afterAll(() => world.close());

  async function tun(host: Host, address: string, options: TunEndOptions = {}): Promise<TunEnd> {
    const end = track(new TunEnd(pool, { netns: host.path, ...options }));
    await host.ip([`addr add ${address} dev ${end.handle.name}`, `link set ${end.handle.name} up`]);
    return end;
  }

  /** Answers echo requests; returns whether something came. */
  function answer(end: TunEnd): boolean {
    const handles = end.receive();
    const answers: number[] = [];
    for (const handle of handles) {
      const at = pool.memory.offset[handle]!;
      const bytes = pool.memory.slab.subarray(at, at + pool.memory.length[handle]!);
      const l3 = pool.memory.l3Offset[handle]!;
      if (answerEcho(bytes, l3)) {
        const source = bytes.slice(6, 12);
        if (l3 > 0) bytes.copyWithin(6, 0, 6);
        if (l3 > 0) bytes.set(source, 0);
        answers.push(handle);
      } else {
        pool.free(handle);
      }
    }
    if (answers.length > 0) expect(end.send(answers)).toBe(answers.length);
    return handles.length > 0;
  }

  test.each([{ offload: true }, { offload: false }])('ping crosses a TUN: %o', async (options) => {
    const end = await tun(left, '10.9.0.1/24', options);
    expect(end.handle.vnetHeader).toBe(options.offload ? 12 : 0);
    const ping = left.exec(['ping', '-c', '5', '-i', '0.01', '-s', '1400', '-W', '5', '10.9.0.2']);
    const result = await during(ping, () => answer(end));
    expect(result.stdout).toMatch(/5 received, 0% packet loss/);
    expect(end.count('txPackets')).toBe(5);
    expect(pool.live).toBe(0);
  });

  test('ping crosses a TAP', async () => {
    const end = track(new TunEnd(pool, { netns: left.path, mode: 'tap' }));
    const { name } = end.handle;
    await left.ip([
      `link set ${name} up`,
      `addr add 10.8.0.1/24 dev ${name}`,
      `neigh add 10.8.0.2 lladdr 02:00:00:00:00:09 dev ${name} nud permanent`,
    ]);
    const ping = left.exec(['ping', '-c', '3', '-i', '0.01', '-W', '5', '10.8.0.2']);
    const result = await during(ping, () => answer(end));
    expect(result.stdout).toMatch(/3 received, 0% packet loss/);
  });

  const v4 = ['10.7.0.1', '10.7.0.2', 32] as const;
  const v6 = ['fd07::1', 'fd07::2', 128] as const;
  test.each<[string, typeof v4 | typeof v6, TunEndOptions, TunEndOptions]>([
    ['whole, from a TUN to a TUN', v4, {}, {}],
    ['whole, over IPv6', v6, {}, {}],
    ['cut on the way out, where the device takes none', v4, {}, { offloads: 0 }],
    ['cut on the way out, over IPv6', v6, {}, { offloads: 0 }],
    ['cut and summed, where the device has no virtio header', v4, {}, { offload: false }],
  ])('TCP superframes go %s', async (_, [near, far, bits], optionsA, optionsB) => {
    const a = await tun(left, `${near}/${bits}`, optionsA);
    const b = await tun(right, `${far}/${bits}`, optionsB);
    await left.ip(`route add ${far} dev ${a.handle.name}`);
    await right.ip(`route add ${near} dev ${b.handle.name}`);
    const there = new Forwarder(a, b);
    const back = new Forwarder(b, a);
    const { sent, received } = await during(transfer(left, right, far, 4001, 20), () => {
      const moved = there.run();
      return back.run() || moved;
    });
    expect(received).toBe(sent);
    expect(there.most).toBeGreaterThan(10);
    expect(b.count('txSuperframes') > 0).toBe(optionsB.offload !== false && optionsB.offloads !== 0);
    expect(b.count('gsoFallbacks')).toBe(0);
    expect(b.count('txPackets')).toBe(a.count('rxPackets'));
    expect(b.count('txBytes')).toBe(a.count('rxBytes'));
  });

  test.each([
    ['over IPv4', v4],
    ['over IPv6', v6],
  ] as const)(
    'TCP packets that come one by one enter a TUN as superframes, %s',
    async (_, [near, far, bits]) => {
      const a = await tun(left, `${near}/${bits}`, { offload: false });
      const b = await tun(right, `${far}/${bits}`);
      await left.ip(`route add ${far} dev ${a.handle.name}`);
      await right.ip(`route add ${near} dev ${b.handle.name}`);
      const there = new Forwarder(a, b);
      const back = new Forwarder(b, a);
      const { sent, received } = await during(transfer(left, right, far, 4002, 20), () => {
        const moved = there.run();
        return back.run() || moved;
      });
      expect(received).toBe(sent);
      expect(there.most).toBe(1);
      expect(b.count('txSuperframes')).toBeGreaterThan(10);
      expect(b.count('gsoFallbacks')).toBe(0);
      expect(b.count('txPackets')).toBe(a.count('rxPackets'));
      expect(b.count('txBytes')).toBe(a.count('rxBytes'));
    },
  );

  test('a superframe enters a TUN as its wire packets for whoever looks', async () => {
    const b = await tun(right, '10.7.1.2/24', { offloads: 0 });
    const frame = superframe({
      version: 4,
      protocol: 'udp',
      payload: pattern(3000, 5),
      segmentSize: 1000,
      source: 1,
      destination: 2,
    });
    // Addressed to the TUN's own network; a packet socket sees what enters the host.
    frame.bytes.set([10, 7, 1, 1, 10, 7, 1, 2], 12);
    const handle = pool.put(frame.bytes);
    const m = pool.memory;
    m.segmentSize[handle] = 1000;
    m.segments[handle] = 3;
    m.gsoType[handle] = 5;
    m.checksumStart[handle] = 20;
    m.checksumOffset[handle] = 6;
    const server = new UdpEnd(pool, { address: '10.7.1.2', port: 5000, netns: right.path });
    track(server);
    expect(b.send([handle])).toBe(1);
    // The socket checks the checksums that were made.
    expectSame(
      await server.collect(3),
      slowSegments(frame).map((packet) => packet.slice(28)),
    );
  });

  test('a TUN that is down drops with a counter of its own', () => {
    const end = track(new TunEnd(pool, { netns: left.path }));
    const { bytes } = superframe({ version: 4, protocol: 'udp', payload: pattern(9, 1), segmentSize: 9 });
    expect(end.send([pool.put(bytes)])).toBe(1);
    expect(end.counted).toEqual({ txBursts: 1, txDown: 1 });
  });

  test('what is no IP packet is refused by the kernel and counted', async () => {
    const end = await tun(left, '10.9.1.1/24');
    expect(end.send([pool.put(new Uint8Array(60)), pool.put(new Uint8Array(0))])).toBe(2);
    expect(end.counted).toEqual({ txBursts: 1, txInvalid: 2 });
  });

  test('opening in another namespace leaves every thread of this process where it is', () => {
    const spaces = () =>
      readdirSync('/proc/self/task').map((task) => readlinkSync(`/proc/self/task/${task}/ns/net`));
    const here = readlinkSync('/proc/self/ns/net');
    const end = track(new TunEnd(pool, { netns: left.path, name: 'there0' }));
    track(new UdpEnd(pool, { netns: right.path }));
    expect(native().interfaceGet('there0', left.path).index).toBe(end.handle.index);
    expect(new Set(spaces())).toEqual(new Set([here]));
    expect(() => native().interfaceGet('there0', '')).toThrow(expect.objectContaining({ code: 'ENODEV' }));
    expect(() => native().interfaceGet('there0', right.path)).toThrow(
      /ENODEV: no such device, ioctl\(SIOCGIFINDEX\) "there0"/,
    );
  });

  test("names: exact, by pattern, the kernel's choice; errors say what was asked for", () => {
    const netns = left.path;
    const options = { mode: 'tun', offload: true, multiQueue: false, exclusive: true, netns } as const;
    const fds: number[] = [];
    const openTun = (name: string, more = {}) => {
      const handle = native().tunOpen({ ...options, name, ...more });
      fds.push(handle.fd);
      return handle;
    };
    try {
      expect(openTun('exact0').name).toBe('exact0');
      expect(openTun('pat%d').name).toBe('pat0');
      expect(openTun('pat%d').name).toBe('pat1');
      expect(openTun('').name).toBe('tun0');
      expect(openTun('a23456789012345').name).toHaveLength(15);
      expect(() => openTun('exact0')).toThrow(
        expect.objectContaining({
          code: 'EBUSY',
          errno: -constants.errno.EBUSY,
          syscall: 'ioctl(TUNSETIFF)',
          message: 'EBUSY: resource busy or locked, ioctl(TUNSETIFF) "exact0"',
        }),
      );
      expect(() => openTun('exact0', { exclusive: false })).toThrow(
        expect.objectContaining({ code: 'EBUSY' }),
      );
      expect(() => openTun('a234567890123456')).toThrow(expect.objectContaining({ code: 'ENAMETOOLONG' }));
      expect(() => openTun('no/slash')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
      expect(() => openTun('x', { netns: '/proc/1/nothing' })).toThrow(
        /ENOENT: .*, open "\/proc\/1\/nothing"/,
      );
      expect(() => openTun('x', { netns: '/proc/self/ns/uts' })).toThrow(/EINVAL: .*, setns/);
      expect(() => openTun('x', { mode: 'tux' })).toThrow(/EINVAL/);
    } finally {
      for (const fd of fds) native().close(fd);
    }
  });

  test('what nobody read in time is counted as the kernel dropped it, under whatever name the device has', async () => {
    const end = await tun(left, '10.5.0.1/24');
    const { name } = end.handle;
    await left.ip([`link set ${name} txqueuelen 10`]);
    await left.exec(['ping', '-f', '-w', '1', '10.5.0.2']);
    await left.ip([`link set ${name} down`]);
    const shown = await left.exec(['ip', '-j', '-s', 'link', 'show', 'dev', name]);
    const { dropped } = JSON.parse(shown.stdout)[0].stats64.tx;
    native().portStatistics(end.id);
    expect(dropped).toBeGreaterThan(0);
    expect(end.count('kernelDrops')).toBe(dropped);
    await left.ip([`link set ${name} name renamed5`]);
    end.counters.fill(0);
    native().portStatistics(end.id);
    expect(end.counted).toEqual({ kernelDrops: dropped });
  });

  test('several queues share one device', () => {
    const options = {
      name: 'mq0',
      mode: 'tun',
      offload: true,
      multiQueue: true,
      exclusive: false,
      netns: left.path,
    } as const;
    const first = native().tunOpen(options);
    const second = native().tunOpen(options);
    expect(second.index).toBe(first.index);
    native().close(first.fd);
    native().close(second.fd);
  });

  test('a persistent device outlives its descriptor, can be attached to, and ends when told', () => {
    const options = {
      name: 'keep0',
      mode: 'tun',
      offload: true,
      multiQueue: false,
      exclusive: false,
      netns: left.path,
    } as const;
    const first = native().tunOpen(options);
    native().tunPersist(first.fd, true);
    native().close(first.fd);
    expect(native().interfaceGet('keep0', left.path).index).toBe(first.index);
    const second = native().tunOpen(options);
    expect(second.index).toBe(first.index);
    native().tunPersist(second.fd, false);
    native().close(second.fd);
    expect(() => native().interfaceGet('keep0', left.path)).toThrow(/ENODEV/);
    expect(() => native().tunPersist(0, true)).toThrow(
      expect.objectContaining({ syscall: 'ioctl(TUNSETPERSIST)' }),
    );
  });

  test('an interface is set up and read back', () => {
    const end = track(new TunEnd(pool, { netns: left.path, name: 'set0', mode: 'tap' }));
    native().interfaceSet('set0', { mtu: 1234, up: true, txQueueLength: 77 }, left.path);
    const found = native().interfaceGet('set0', left.path);
    expect(found).toMatchObject({ index: end.handle.index, mtu: 1234, up: true, running: true });
    expect(found.mac).toHaveLength(6);
    native().interfaceSet('set0', { up: false }, left.path);
    expect(native().interfaceGet('set0', left.path)).toMatchObject({ mtu: 1234, up: false });
    expect(() => native().interfaceSet('set0', { mtu: 10 }, left.path)).toThrow(
      /EINVAL: .*, ioctl\(SIOCSIFMTU\) "set0"/,
    );
    expect(() => native().interfaceSet('set0', { mtu: 'x' as unknown as number }, left.path)).toThrow(
      /mtu must be/,
    );
  });
});
