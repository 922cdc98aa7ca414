import { afterEach, describe, expect, test } from 'vitest';
import { Coalesce } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { wirePacket } from './coalesce-model.ts';
import { expectSame, pattern, setRow, TestPool, UdpEnd, type UdpEndOptions } from './support.ts';

let pool = new TestPool({ smallSlots: 1024, largeSlots: 64 });
const open: UdpEnd[] = [];
afterEach(() => {
  for (const end of open.splice(0)) end.close();
  expect(pool.live).toBe(0);
  pool.detach();
  pool = new TestPool({ smallSlots: 1024, largeSlots: 64 });
});

/** `a` is pinned in row 0 of `b`, which merges. */
function loopback(coalesce: number, options: UdpEndOptions = {}) {
  const a = new UdpEnd(pool, options);
  const b = new UdpEnd(pool, { ...options, coalesce });
  open.push(a, b);
  setRow(a.addresses, 0, '127.0.0.1', b.handle.port);
  setRow(b.addresses, 0, '127.0.0.1', a.handle.port);
  native().addressPin(b.id, 0);
  return { a, b };
}

interface TrainOptions {
  flow?: number;
  size?: number;
  from?: number;
  protocol?: 'tcp' | 'udp';
  link?: Uint8Array;
}

function train(n: number, options: TrainOptions = {}): Uint8Array[] {
  const { flow = 1, size = 1368, from = 0, protocol = 'tcp', link = new Uint8Array(0) } = options;
  return Array.from({ length: n }, (_, k) => {
    const i = k + from;
    const payload = pattern(size, flow * 1000 + i);
    const place = { source: flow, sequence: i * size, identification: i };
    return wirePacket({ version: 4, protocol, payload, link, ...place });
  });
}

/** The wire packets of all handles, with what lies in front of them; frees the handles. */
function cutAll(handles: readonly number[]): Uint8Array[] {
  const m = pool.memory;
  const out = m.cut;
  const found: Uint8Array[] = [];
  const take = (handle: number) => {
    const at = m.offset[handle]!;
    found.push(m.slab.slice(at - m.prefixLength[handle]!, at + m.length[handle]!));
    pool.free(handle);
  };
  for (const handle of handles) {
    if (m.segmentSize[handle] === 0) {
      take(handle);
      continue;
    }
    const n = native().segment(pool.id, handle);
    expect(n).toBe(m.segments[handle]);
    pool.free(handle);
    for (const each of out.subarray(0, n)) take(each);
  }
  return found;
}

const put = (end: UdpEnd, packets: readonly Uint8Array[]) => {
  for (let i = 0; i < packets.length; i += 200) {
    const some = packets.slice(i, i + 200).map((bytes) => end.to(0, bytes));
    expect(end.send(some)).toBe(some.length);
  }
};

/** Every other one of two lists, runs of three. */
const interleaved = (a: readonly Uint8Array[], b: readonly Uint8Array[]) =>
  a.flatMap((_, i) => (i % 3 === 0 ? [...a.slice(i, i + 3), ...b.slice(i, i + 3)] : []));

describe('a UDP port that merges', () => {
  test.each([
    { gso: true, gro: true },
    { gso: false, gro: true },
    { gso: true, gro: false },
    { gso: false, gro: false },
  ])('45 segments of a TCP flow come as one superframe, however the kernel brings them: %o', (options) => {
    const { a, b } = loopback(Coalesce.ip, options);
    const sent = train(45);
    put(a, sent);
    const handles = b.receive();
    expect(handles).toHaveLength(1);
    const [handle] = handles as [number];
    const m = pool.memory;
    expect([m.segments[handle], m.segmentSize[handle], m.layer[handle], m.peer[handle]]).toEqual([
      45, 1368, 0, 0,
    ]);
    expect([m.prefixLength[handle], m.l3Offset[handle], m.checksumStart[handle]]).toEqual([0, 0, 20]);
    expect(b.counted).toEqual({
      rxPackets: 45,
      rxBytes: 45 * 1408,
      rxBursts: 1,
      rxSuperframes: 1,
    });
    expectSame(cutAll(handles), sent);
    expect(pool.memory.usedLarge[1]).toBe(0);
  });

  test('interleaved flows, equal datagrams and what cannot be merged come out whole and in order', () => {
    const { a, b } = loopback(Coalesce.ip);
    const flows = [
      train(30, { flow: 1 }),
      train(30, { flow: 2 }),
      train(40, { flow: 3, protocol: 'udp', size: 64 }),
    ];
    const other = [Uint8Array.of(0, 1, 2, 3), pattern(700, 5).fill(0x50, 0, 1), new Uint8Array(0)];
    put(a, [...interleaved(flows[0]!, flows[1]!), other[0]!, ...flows[2]!, ...other.slice(1)]);
    const handles = b.receive();
    const m = pool.memory;
    expect(handles.map((handle) => m.segments[handle])).toEqual([30, 30, 1, 40, 1, 1]);
    expect(b.count('rxSuperframes')).toBe(3);
    expect(b.count('rxPackets')).toBe(103);
    expectSame(cutAll(handles), [flows[0]!, flows[1]!, [other[0]!], flows[2]!, other.slice(1)].flat());
  });

  test.each([
    { name: 'EtherIP', framing: Coalesce.etherip, prefix: [0x30, 0] },
    { name: 'Ethernet', framing: Coalesce.ethernet, prefix: [] },
  ])('of $name the frame is the packet, and what stood before it lies before it', ({ framing, prefix }) => {
    const { a, b } = loopback(framing);
    const link = Uint8Array.from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0, 0]);
    const arp = Uint8Array.from([...prefix, ...link.subarray(0, 12), 8, 6, ...pattern(28, 1)]);
    const frames = train(20, { link }).map((bytes) => Uint8Array.from([...prefix, ...bytes]));
    put(a, [...frames, arp]);
    const handles = b.receive();
    const m = pool.memory;
    expect(handles.map((handle) => m.segments[handle])).toEqual([20, 1]);
    const [merged, alone] = handles as [number, number];
    expect([m.prefixLength[merged], m.l3Offset[merged], m.checksumStart[merged]]).toEqual([
      prefix.length,
      14,
      34,
    ]);
    expect(m.layer[merged]).toBe(0);
    expect(m.prefixLength[alone]).toBe(0);
    expect([...pool.bytes(merged).subarray(0, 12)]).toEqual([...link.subarray(0, 12)]);
    expectSame(cutAll(handles), [...frames, arp]);
  });

  test.each([
    { name: 'VXLAN-GPE', framing: Coalesce.gpe, outer: [0x0c, 0, 0, 4, 0, 0, 42, 0] },
    { name: 'Geneve', framing: Coalesce.geneve, outer: [0, 0, 0x89, 0x4f, 0, 0, 42, 0] },
  ])(
    'packets behind equal NSH headers in $name are one superframe that is sent on with them',
    ({ framing, outer }) => {
      const { a, b } = loopback(framing);
      const behind = (packets: readonly Uint8Array[], index: number) =>
        packets.map((bytes) => Uint8Array.from([...outer, 0x0f, 0xc2, 2, 1, 0, 0, 7, index, ...bytes]));
      const first = behind(train(20), 255);
      const next = behind(train(10, { from: 20 }), 254);
      const probe = Uint8Array.from([...outer, 0x2f, 0xc2, 2, 0, 0, 0, 7, 255]);
      put(a, [...first, ...next, probe]);
      const handles = b.receive();
      const m = pool.memory;
      expect(handles.map((handle) => m.segments[handle])).toEqual([20, 10, 1]);
      expect(handles.map((handle) => m.prefixLength[handle])).toEqual([16, 16, 0]);
      expect(m.slab[m.offset[handles[0]!]!]).toBe(0x45);

      // The next hop: the header is edited in place, and stands in front of every segment again.
      const [superframe, ...rest] = handles as [number, ...number[]];
      for (const each of rest) pool.free(each);
      m.slab[m.offset[superframe]! - 1] = 253;
      m.peer[superframe] = 0;
      expect(b.send([superframe])).toBe(1);
      expectSame(cutAll(a.receive()), behind(train(20), 253));
    },
  );

  test.each([
    { length: 128, segments: [20] },
    { length: 132, segments: new Array(20).fill(1) },
  ])(
    'packets behind a prefix of $length bytes are merged if the headroom holds it',
    ({ length, segments }) => {
      const { a, b } = loopback(Coalesce.gpe);
      const metadata = length - 20;
      const prefix = [0x0c, 0, 0, 4, 0, 0, 42, 0, 0x0f, 0xc0 | ((length - 8) / 4), 2, 1, 0, 0, 7, 255];
      prefix.push(0xff, 0xf7, 1, metadata, ...pattern(metadata, 5));
      const sent = train(20).map((bytes) => Uint8Array.from([...prefix, ...bytes]));
      put(a, sent);
      const handles = b.receive();
      expect(handles.map((handle) => pool.memory.segments[handle])).toEqual(segments);
      expectSame(cutAll(handles), sent);
    },
  );

  test('another outer DS field, or another sender, does not join', () => {
    const { a, b } = loopback(Coalesce.ip);
    const c = new UdpEnd(pool);
    open.push(c);
    setRow(c.addresses, 0, '127.0.0.1', b.handle.port);
    const sent = train(12);
    put(a, sent.slice(0, 4));
    const marked = sent.slice(4, 8).map((bytes) => a.to(0, bytes));
    for (const handle of marked) pool.memory.trafficClass[handle] = 3;
    expect(a.send(marked)).toBe(4);
    put(c, sent.slice(8));
    const handles = b.receive();
    const m = pool.memory;
    expect(handles.map((handle) => m.segments[handle])).toEqual([4, 4, 4]);
    expect(handles.map((handle) => m.trafficClass[handle])).toEqual([0, 3, 0]);
    expect(m.peer[handles[0]!]).toBe(0);
    expect(m.peer[handles[2]!]).toBeGreaterThanOrEqual(8);
    expectSame(cutAll(handles), sent);
  });

  test('a call that may hand on little leaves the rest for the next', () => {
    const { a, b } = loopback(Coalesce.ip);
    const sent = interleaved(train(60, { flow: 1 }), train(60, { flow: 2 })).concat(train(30, { flow: 3 }));
    put(a, sent);
    const found: Uint8Array[] = [];
    for (let i = 0; i < 400 && found.length < sent.length; i++) {
      const handles = b.receive(1);
      expect(handles.length).toBeLessThanOrEqual(1);
      found.push(...cutAll(handles));
    }
    const of = (list: Uint8Array[], flow: number) => list.filter((bytes) => bytes[15] === flow);
    for (const flow of [1, 2, 3]) expectSame(of(found, flow), of(sent, flow));
    expect(b.receive()).toEqual([]);
  });

  test('without large slots, with few small ones, everything still comes, apart', () => {
    for (const limits of [{ quotaLarge: 0 }, { quotaLarge: 1 }, { quotaLarge: 0, quotaSmall: 3 }]) {
      const few = new TestPool({ smallSlots: 256, largeSlots: 8, ...limits });
      const { a, b } = loopback(Coalesce.ip);
      const sent = train(100);
      put(a, sent);
      native().portClose(b.id);
      b.id = native().udpPort(few.id, b.fd, {
        ...b.common,
        family: 4,
        gso: true,
        gro: true,
        coalesce: Coalesce.ip,
        addresses: b.addresses,
      });
      native().addressPin(b.id, 0);
      const found: Uint8Array[] = [];
      const out = few.memory.cut;
      for (let i = 0; i < 400 && found.length < sent.length; i++) {
        const n = native().receive(b.id, 256);
        for (const handle of b.batch.slice(0, Math.max(0, n))) {
          if (few.memory.segmentSize[handle]! > 0) {
            few.memory.quotaSmall[1] = 256;
            const cut = native().segment(few.id, handle);
            for (const each of out.subarray(0, cut)) {
              found.push(few.bytes(each));
              few.free(each);
            }
          } else {
            found.push(few.bytes(handle));
          }
          few.free(handle);
        }
      }
      expectSame(found, sent);
      expect(few.live).toBe(0);
      few.detach();
    }
  });
});
