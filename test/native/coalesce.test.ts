import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Coalesce, LARGE_SLOT } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { cutGroup, type Offered, type PacketOptions, slowGroups, wirePacket } from './coalesce-model.ts';
import { slowSum } from './superframes.ts';
import { expectSame, pattern, TestPool } from './support.ts';

const SEED = 20260102;

function merge(pool: TestPool, packets: readonly Offered[], framing: number): number[] {
  const m = pool.memory;
  const handles = Int32Array.from(packets, ({ bytes, peer, trafficClass }) => {
    const handle = pool.put(bytes);
    m.peer[handle] = peer;
    m.trafficClass[handle] = trafficClass;
    return handle;
  });
  const n = native().coalesce(pool.id, handles, handles.length, framing);
  expect(n).toBeGreaterThanOrEqual(0);
  return [...handles.subarray(0, n)];
}

/** The wire packets that a handle stands for; frees it. */
function cut(pool: TestPool, handle: number): Uint8Array[] {
  const m = pool.memory;
  if (m.segmentSize[handle] === 0) {
    const alone = pool.bytes(handle);
    pool.free(handle);
    return [alone];
  }
  const out = m.cut;
  const n = native().segment(pool.id, handle);
  expect(n).toBe(m.segments[handle]);
  const prefix = m.prefixLength[handle]!;
  const packets = [...out.subarray(0, n)].map((each) => {
    const at = m.offset[each]!;
    const bytes = m.slab.slice(at - prefix, at + m.length[each]!);
    pool.free(each);
    return bytes;
  });
  pool.free(handle);
  return packets;
}

/** A superframe's headers are those of one packet as long as the whole, with the checksum left open. */
function expectSealed(pool: TestPool, handle: number): void {
  const m = pool.memory;
  const bytes = pool.bytes(handle);
  const l3 = m.l3Offset[handle]!;
  const start = m.checksumStart[handle]!;
  const four = bytes[l3]! >> 4 === 4;
  const tcp = m.gsoType[handle] !== 5;
  expect(m.gsoType[handle]).toBe(tcp ? (four ? 1 : 4) : 5);
  expect(m.checksumOffset[handle]).toBe(tcp ? 16 : 6);
  expect(start - l3).toBe(four ? 20 : 40);
  const total = four ? bytes[l3 + 2]! * 256 + bytes[l3 + 3]! : bytes[l3 + 4]! * 256 + bytes[l3 + 5]! + 40;
  expect(total).toBe(bytes.length - l3);
  if (four) expect(slowSum(bytes.subarray(l3, start))).toBe(0xffff);
  const addresses = four ? bytes.subarray(l3 + 12, l3 + 20) : bytes.subarray(l3 + 8, l3 + 40);
  const field = start + m.checksumOffset[handle]!;
  const pseudo = slowSum(addresses, bytes.length - start + (tcp ? 6 : 17));
  expect(bytes[field]! * 256 + bytes[field + 1]!).toBe(pseudo);
}

// ── any stream

/** What happens to a flow's next packet on its way. */
const accidents = [
  ...new Array<'none'>(60).fill('none'),
  ...(['push', 'fin', 'cwr', 'ece', 'urgent', 'noAck', 'reserved'] as const),
  ...(['badSum', 'badIpSum', 'zeroSum', 'trailing', 'short', 'ipOptions', 'fragment'] as const),
  ...([
    'dsField',
    'ttl',
    'fragmentable',
    'identification',
    'flowLabel',
    'vlan',
    'peer',
    'outer',
    'prefix',
  ] as const),
  ...(['lost', 'repeated', 'early', 'acknowledges', 'window', 'options', 'empty'] as const),
] as const;
type Accident = (typeof accidents)[number];

interface Step {
  flow: number;
  size: number;
  accident: Accident;
  seed: number;
}

const steps = fc.array(
  fc.record({
    flow: fc.nat(3),
    size: fc.constantFrom(1, 99, 100, 100, 100, 100, 100, 101, 1300),
    accident: fc.constantFrom(...accidents),
    seed: fc.nat(1000),
  }),
  { minLength: 1, maxLength: 60 },
);
interface Flow {
  version: 4 | 6;
  protocol: 'tcp' | 'udp';
  idStep: number;
  tcpOptions: number;
  sequence: number;
  identification: number;
}
const flows: fc.Arbitrary<Flow[]> = fc.array(
  fc.record({
    version: fc.constantFrom(4 as const, 6 as const),
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    idStep: fc.constantFrom(0, 1),
    tcpOptions: fc.constantFrom(0, 12),
    sequence: fc.constantFrom(0, 0xfffffe00),
    identification: fc.constantFrom(0, 0xfffd),
  }),
  { minLength: 4, maxLength: 4 },
);

/** The stream that the steps describe; `link` bytes lie in front of each IP header. */
function stream(kinds: readonly Flow[], todo: readonly Step[], link: Uint8Array): Offered[] {
  const states = kinds.map(({ sequence, identification }) => ({ sequence, identification }));
  const held: Offered[] = [];
  const packets: Offered[] = [];
  for (const { flow, size, accident, seed } of todo) {
    const kind = kinds[flow]!;
    const state = states[flow]!;
    const payload = pattern(accident === 'empty' ? 0 : size, seed);
    const flags: Partial<Record<Accident, number>> = {
      push: 0x18,
      fin: 0x11,
      cwr: 0x90,
      ece: 0x50,
      urgent: 0x30,
      noAck: 0x00,
    };
    const options: PacketOptions = {
      version: kind.version,
      protocol: kind.protocol,
      payload,
      link: accident === 'vlan' && link.length === 18 ? link.map((b, i) => (i === 15 ? b ^ 1 : b)) : link,
      source: flow + 1,
      port: 4000 + flow,
      dsField: accident === 'dsField' ? 3 : 0,
      ttl: accident === 'ttl' ? 63 : 64,
      dontFragment: accident !== 'fragmentable',
      identification: (state.identification + (accident === 'identification' ? 9 : 0)) & 0xffff,
      flowLabel: accident === 'flowLabel' ? 5 : 0,
      sequence: state.sequence,
      acknowledgement: accident === 'acknowledges' ? 8 : 7,
      window: accident === 'window' ? 501 : 500,
      flags: flags[accident] ?? 0x10,
      tcpOptions: pattern(kind.tcpOptions, accident === 'options' ? 2 : 1),
    };
    let bytes = wirePacket(options);
    const l3 = link.length;
    const l4 = l3 + (kind.version === 4 ? 20 : 40);
    if (accident === 'badSum') bytes[bytes.length - 1]! ^= 1;
    if (accident === 'badIpSum' && kind.version === 4) bytes[l3 + 10]! ^= 1;
    if (accident === 'zeroSum' && kind.protocol === 'udp') bytes.fill(0, l4 + 6, l4 + 8);
    if (accident === 'trailing') bytes = Uint8Array.from([...bytes, 0, 0]);
    if (accident === 'short') bytes = bytes.slice(0, l3 + (seed % 30));
    if (accident === 'reserved' && kind.protocol === 'tcp') bytes[l4 + 12]! |= 1;
    if (accident === 'ipOptions' && kind.version === 4) {
      bytes = Uint8Array.from([...bytes.subarray(0, l4), 1, 1, 1, 1, ...bytes.subarray(l4)]);
      bytes[l3] = 0x46;
    }
    if (accident === 'fragment' && kind.version === 4) bytes[l3 + 6]! |= 0x20;
    const offered = {
      bytes,
      peer: accident === 'peer' ? 9 : 3,
      trafficClass: accident === 'outer' ? 1 : 0,
      prefix: accident === 'prefix' ? 1 : 0,
    };
    if (accident !== 'repeated') {
      state.sequence = (state.sequence + payload.length) >>> 0;
      state.identification = (state.identification + kind.idStep) & 0xffff;
    }
    if (accident === 'early') held.push(offered);
    else if (accident !== 'lost') packets.push(offered, ...held.splice(0));
  }
  return [...packets, ...held];
}

const ETHERIP = Uint8Array.of(0x30, 0x00);
const tagged = Uint8Array.from([...pattern(12, 5), 0x81, 0, 0, 7, 0, 0]);
const NONE = new Uint8Array(0);
const GPE = [0x0c, 0, 0, 4, 0, 0, 42, 0];
const GENEVE = [1, 0, 0x89, 0x4f, 0, 0, 42, 0, 1, 2, 3, 0];
/** NSH with metadata of type 2: service path 7, a flow and a path of one replica, at the generation given. */
const nsh = (outer: readonly number[], { bytes, prefix = 0 }: Offered) => [
  ...outer,
  ...[0x0f, 0xc8, 2, bytes[0]! >> 4 === 6 ? 2 : 1, 0, 0, 7, 255],
  ...[0xff, 0xf6, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8],
  ...[0xff, 0xf6, 2, 8, 0, 0, 0, 17, 0, prefix, 0, 3],
];
const framings = [
  { name: 'ip', framing: Coalesce.ip, link: NONE, prefixOf: () => NONE },
  { name: 'ethernet', framing: Coalesce.ethernet, link: pattern(14, 3), prefixOf: () => NONE },
  { name: 'etherip', framing: Coalesce.etherip, link: tagged, prefixOf: () => ETHERIP },
  { name: 'gpe', framing: Coalesce.gpe, link: NONE, prefixOf: (packet: Offered) => nsh(GPE, packet) },
  {
    name: 'geneve',
    framing: Coalesce.geneve,
    link: NONE,
    prefixOf: (packet: Offered) => nsh(GENEVE, packet),
  },
];

describe.each(framings)('coalesce, $name', ({ framing, link, prefixOf }) => {
  const l3Of = () => link.length;
  const variants = prefixOf({ bytes: pattern(40, 1), prefix: 0, peer: 0, trafficClass: 0 }).length > 2;
  const framed = (packet: Offered): Offered => ({
    ...packet,
    bytes: Uint8Array.from([...prefixOf(packet), ...packet.bytes]),
  });

  test('any stream is merged as the slow rule says, and cut again it is the stream', () => {
    const pool = new TestPool({ smallSlots: 512, largeSlots: 64 });
    let merged = 0;
    fc.assert(
      fc.property(flows, steps, (kinds, todo) => {
        const packets = stream(kinds, todo, link).map((each) => (variants ? each : { ...each, prefix: 0 }));
        const groups = slowGroups(packets, l3Of);
        const handles = merge(pool, packets.map(framed), framing);
        expect(handles.map((handle) => pool.memory.segments[handle])).toEqual(
          groups.map(({ members }) => members.length),
        );
        for (const [i, handle] of handles.entries()) {
          const { peer, trafficClass } = groups[i]!.members[0]!;
          expect([pool.memory.peer[handle], pool.memory.trafficClass[handle]]).toEqual([peer, trafficClass]);
          if (pool.memory.segments[handle]! > 1) {
            merged++;
            expectSealed(pool, handle);
          }
          const prefix = prefixOf(groups[i]!.members[0]!);
          const expected = cutGroup(groups[i]!, l3Of).map((bytes) => Uint8Array.from([...prefix, ...bytes]));
          expectSame(cut(pool, handle), expected);
        }
        expect(pool.live).toBe(0);
        expect([...pool.memory.usedSmall, ...pool.memory.usedLarge]).toEqual(new Array(8).fill(0));
      }),
      { seed: SEED, numRuns: 600 },
    );
    expect(merged).toBeGreaterThan(500);
    pool.detach();
  });

  test.each(['tcp', 'udp'] as const)('a long %s train is cut off at its limits, not before', (protocol) => {
    const pool = new TestPool({ smallSlots: 600, largeSlots: 16 });
    for (const size of [1, 10, 500, 1368]) {
      const packets = Array.from({ length: 300 }, (_, i) =>
        framed({
          bytes: wirePacket({
            version: 4,
            protocol,
            link,
            payload: pattern(size, i),
            sequence: i * size,
            identification: i,
          }),
          peer: 0,
          trafficClass: 0,
        }),
      );
      const headers = protocol === 'tcp' ? 40 : 28;
      const most = Math.min(protocol === 'tcp' ? 128 : 64, Math.floor((65535 - headers) / size));
      const handles = merge(pool, packets, framing);
      expect(handles.map((handle) => pool.memory.segments[handle])).toEqual([
        ...new Array(Math.floor(300 / most)).fill(most),
        ...(300 % most > 0 ? [300 % most] : []),
      ]);
      expectSame(
        handles.flatMap((handle) => cut(pool, handle)),
        packets.map(({ bytes }) => bytes),
      );
    }
    expect(pool.live).toBe(0);
    pool.detach();
  });
});

describe('coalesce', () => {
  const train = (n: number, size = 1000, source = 1): Offered[] =>
    Array.from({ length: n }, (_, i) => ({
      bytes: wirePacket({
        version: 6,
        protocol: 'tcp',
        payload: pattern(size, i),
        sequence: i * size,
        source,
      }),
      peer: 0,
      trafficClass: 0,
    }));

  test('small packets are merged in the slot of the first as long as they fit there', () => {
    const pool = new TestPool({ largeSlots: 1 });
    const handles = merge(pool, train(19, 100), Coalesce.ip);
    expect(handles).toHaveLength(1);
    expect(pool.memory.usedLarge[1]).toBe(0);
    pool.free(handles[0]!);
    const longer = merge(pool, train(20, 100), Coalesce.ip);
    expect(longer).toHaveLength(1);
    expect(pool.memory.usedLarge[1]).toBe(1);
    expect(pool.memory.usedSmall[1]).toBe(0);
    expect(pool.memory.slot[longer[0]!]).toBeGreaterThanOrEqual(pool.memory.smallSlots);
    expectSame(
      cut(pool, longer[0]!),
      train(20, 100).map(({ bytes }) => bytes),
    );
    pool.detach();
  });

  test('where no large slot is to be had the packets stay apart, all of them', () => {
    for (const quotaLarge of [0, 1]) {
      const pool = new TestPool({ largeSlots: 4, quotaLarge });
      const packets = [...train(5, 1000, 1), ...train(5, 1000, 2)];
      const handles = merge(pool, packets, Coalesce.ip);
      expect(handles).toHaveLength(quotaLarge === 0 ? 10 : 6);
      pool.memory.quotaLarge[1] = 4;
      expectSame(
        handles.flatMap((handle) => cut(pool, handle)),
        packets.map(({ bytes }) => bytes),
      );
      expect(pool.live).toBe(0);
      pool.detach();
    }
  });

  test('a thousand flows at once lose nothing and keep their order', () => {
    const pool = new TestPool({ smallSlots: 4096, largeSlots: 0 });
    const packets: Offered[] = [];
    for (let round = 0; round < 3; round++) {
      for (let port = 0; port < 1000; port++) {
        const payload = pattern(40, port * 3 + round);
        const bytes = wirePacket({ version: 4, protocol: 'udp', payload, port, identification: round });
        packets.push({ bytes, peer: 0, trafficClass: 0 });
      }
    }
    const handles = merge(pool, packets, Coalesce.ip);
    const byPort = (list: Uint8Array[]) =>
      list
        .map((bytes, i) => ({ bytes, i, port: bytes[20]! * 256 + bytes[21]! }))
        .sort((a, b) => a.port - b.port || a.i - b.i)
        .map(({ bytes }) => bytes);
    const found = byPort(handles.flatMap((handle) => cut(pool, handle)));
    expectSame(found, byPort(packets.map(({ bytes }) => bytes)));
    expect(pool.live).toBe(0);
    pool.detach();
  });

  test('packets whose bytes others share, whose checksum is open or that are superframes are left as they are', () => {
    const pool = new TestPool();
    const m = pool.memory;
    const handles = Int32Array.from(train(6, 500), ({ bytes }) => pool.put(bytes));
    const copy = pool.clone(handles[0]!);
    m.checksumStart[handles[2]!] = 40;
    m.checksumOffset[handles[2]!] = 16;
    const before = [0, 1, 2].map((i) => pool.bytes(handles[i]!));
    expect(native().coalesce(pool.id, handles, 6, Coalesce.ip)).toBe(4);
    expectSame(
      [0, 1, 2].map((i) => pool.bytes(handles[i]!)),
      before,
    );
    expect(m.segments[handles[3]!]).toBe(3);
    // Once more: nothing continues a superframe.
    expect(native().coalesce(pool.id, handles, 4, Coalesce.ip)).toBe(4);
    expect(m.segments[handles[3]!]).toBe(3);
    for (const handle of [...handles.subarray(0, 4), copy]) pool.free(handle);
    expect(pool.live).toBe(0);
    pool.detach();
  });

  test('what is no packet, no pool, no count or no framing is refused and nothing is changed', () => {
    const pool = new TestPool();
    const handles = Int32Array.of(...train(2).map(({ bytes }) => pool.put(bytes)), 77);
    expect(native().coalesce(pool.id, handles, 3, Coalesce.ip)).toBeLessThan(0);
    expect(native().coalesce(pool.id, handles, 4, Coalesce.ip)).toBeLessThan(0);
    expect(native().coalesce(pool.id, handles, -1, Coalesce.ip)).toBeLessThan(0);
    expect(native().coalesce(pool.id, handles, 2, 0)).toBeLessThan(0);
    expect(native().coalesce(pool.id, handles, 2, 6)).toBeLessThan(0);
    expect(native().coalesce(pool.id + 1, handles, 2, Coalesce.ip)).toBeLessThan(0);
    expect(pool.live).toBe(2);
    handles[1] = handles[0]!;
    expect(native().coalesce(pool.id, handles, 2, Coalesce.ip)).toBeLessThan(0);
    expect(pool.live).toBe(2);
    expect(LARGE_SLOT).toBeGreaterThan(65535 + 128);
    pool.detach();
  });
});
