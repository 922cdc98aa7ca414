import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defineVnf } from '../../../src/chain/vnf/define.ts';
import type { VnfPacket } from '../../../src/chain/vnf/packet.ts';
import { slice } from '../../../src/engine/slice.ts';
import { icmpEcho, tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import { completeChecksum } from '../../../src/packet/segment.ts';
import { pseudoSum } from '../../../src/packet/transport.ts';
import { get16, put16 } from '../../../src/packet/word.ts';
import { inChain, vnfWorld, wrongs } from './world.ts';

type Edit = (packet: VnfPacket) => void;

const byte = fc.integer({ min: 0, max: 255 });
const word = fc.integer({ min: 0, max: 0xffff });
const some = fc.uint8Array({ maxLength: 300 });

const edits: fc.Arbitrary<Edit> = fc.oneof(
  fc.tuple(byte, byte, byte, byte, fc.boolean()).map(
    ([a, b, c, d, source]): Edit =>
      (packet) => {
        const address =
          packet.ip.version === 4
            ? `${a}.${b}.${c}.${d}`
            : `${(a * 256 + b).toString(16)}::${(c * 256 + d).toString(16)}`;
        if (source) packet.ip.source = address;
        else packet.ip.destination = address;
      },
  ),
  byte.map(
    (ttl): Edit =>
      ({ ip }) =>
        void (ip.ttl = ttl),
  ),
  byte.map(
    (dscp): Edit =>
      ({ ip }) =>
        void (ip.dscp = dscp & 63),
  ),
  byte.map(
    (ecn): Edit =>
      ({ ip }) =>
        void (ip.ecn = ecn & 3),
  ),
  fc.tuple(word, fc.boolean()).map(
    ([port, source]): Edit =>
      ({ tcp, udp }) => {
        const ports = tcp ?? udp;
        if (ports === undefined) return;
        if (source) ports.sourcePort = port;
        else ports.destinationPort = port;
      },
  ),
  fc.tuple(word, word, byte).map(
    ([a, b, flags]): Edit =>
      ({ tcp }) => {
        if (tcp === undefined) return;
        tcp.sequence = a * 65536 + b;
        tcp.acknowledgment = b * 65536 + a;
        tcp.flags = flags;
        tcp.window = a;
      },
  ),
  fc.tuple(word, word, byte).map(
    ([identifier, sequence, code]): Edit =>
      ({ icmp }) => {
        if (icmp === undefined) return;
        icmp.identifier = identifier;
        icmp.sequence = sequence;
        icmp.code = code;
      },
  ),
  fc.constant<Edit>((packet) => packet.swapEnds()),
  fc.tuple(word, byte).map(
    ([at, value]): Edit =>
      ({ payload }) => {
        if (payload.length > 0) payload.set(at % payload.length, value);
        if (payload.length > 4) payload.set32(at % (payload.length - 4), value * 0x1234567);
      },
  ),
  fc.tuple(word, some).map(
    ([at, bytes]): Edit =>
      ({ payload }) => {
        const fits = bytes.slice(0, payload.length);
        payload.write(at % (payload.length - fits.length + 1), fits);
      },
  ),
  fc.tuple(word, word, some).map(
    ([at, remove, bytes]): Edit =>
      ({ payload }) => {
        const offset = at % (payload.length + 1);
        payload.splice(offset, remove % (payload.length - offset + 1), bytes);
      },
  ),
  fc.integer({ min: 0, max: 3000 }).map(
    (length): Edit =>
      ({ payload }) =>
        void payload.resize(length),
  ),
);

const packets = fc
  .tuple(fc.constantFrom('tcp', 'udp', 'silent', 'icmp'), fc.boolean(), fc.uint8Array({ maxLength: 1400 }))
  .map(([kind, six, payload]) => {
    const to = six ? '[fd00::2]:53' : '10.0.0.2:53';
    if (kind === 'tcp') return tcpPacket({ to, payload, tcpOptions: { mss: 1460, sackPermitted: true } });
    if (kind === 'icmp') return icmpEcho({ to: six ? 'fd00::2' : '10.0.0.2', payload });
    return udpPacket({ to, payload, noChecksum: kind === 'silent' && !six });
  });

describe('whatever a function changes', () => {
  it('lengths and checksums are right afterwards, and the prefix is in front', async () => {
    let todo: readonly Edit[] = [];
    const app = defineVnf({
      name: 'editor',
      process: (packet) => {
        for (const edit of todo) edit(packet);
        return 'forward';
      },
    });
    await using world = await vnfWorld(app({}));
    fc.assert(
      fc.property(packets, fc.array(edits, { maxLength: 8 }), fc.boolean(), (bytes, list, shared) => {
        todo = list;
        const sent = { ...inChain(bytes), shared };
        const [came, ...more] = world.pass(sent);
        expect(more).toEqual([]);
        expect(wrongs(came.bytes)).toEqual([]);
        expect(came.prefix).toEqual(sent.prefix);
        // Who has the same bytes sees nothing of it.
        if (shared) expect(world.port.sharedBytes(world.net.pool)).toContainEqual(bytes);
        world.port.close();
      }),
      { seed: 11, numRuns: 800 },
    );
    expect(world.drops()).toEqual({});
    expect(world.events).toEqual([]);
  });

  it('a payload is what was written, removed and put in', async () => {
    const seen: string[] = [];
    const app = defineVnf({
      name: 'splicer',
      process: ({ payload }) => {
        payload.splice(6, 5, new TextEncoder().encode('chains, and functions'));
        payload.splice(0, 6, new Uint8Array());
        payload.write(0, new TextEncoder().encode('C'));
        seen.push(payload.text());
        payload.resize(6);
        return 'forward';
      },
    });
    await using world = await vnfWorld(app({}));
    const [came] = world.pass(inChain(udpPacket({ to: '10.0.0.2:53', payload: 'hello world' })));
    expect(seen).toEqual(['Chains, and functions']);
    expect(Buffer.from(came.bytes.slice(28)).toString()).toBe('Chains');
    expect(wrongs(came.bytes)).toEqual([]);
  });

  it('a packet grows out of its slot, up to what IP can have, and keeps what it is', async () => {
    let wanted = 0;
    const said: boolean[] = [];
    const app = defineVnf({
      name: 'grower',
      process: ({ payload }) => {
        said.push(payload.resize(wanted));
        return 'forward';
      },
    });
    await using world = await vnfWorld(app({}));
    for (wanted of [2100, 20_000, 65_507, 65_508]) {
      const sent = inChain(udpPacket({ to: '10.0.0.2:53', payload: 'x'.repeat(1400) }));
      const [came] = world.pass(sent);
      expect(came.prefix).toEqual(sent.prefix);
      expect(came.bytes.length).toBe(wanted === 65_508 ? 1428 : 28 + wanted);
      expect(wrongs(came.bytes)).toEqual([]);
    }
    expect(said).toEqual([true, true, true, false]);
  });

  it('a checksum that was wrong stays wrong', async () => {
    const app = defineVnf({
      name: 'editor',
      process: (packet) => {
        packet.ip.ttl = 3;
        packet.udp!.destinationPort = 54;
        packet.payload.splice(0, 1, new Uint8Array(4));
        return 'forward';
      },
    });
    await using world = await vnfWorld(app({}));
    const bytes = udpPacket({ to: '10.0.0.2:53', payload: 'hello' });
    bytes[30] ^= 4;
    bytes[8] ^= 1;
    expect(wrongs(world.pass(inChain(bytes))[0].bytes)).toEqual(['IP checksum', 'transport checksum']);
  });
});

/** A TCP superframe as a TUN hands it over: its checksum is open. */
function superframe(six: boolean, segments: number, size: number) {
  const bytes = tcpPacket({ to: six ? '[fd00::2]:80' : '10.0.0.2:80', payload: segments * size - 3 });
  const transport = six ? 40 : 20;
  put16(bytes, transport + 16, pseudoSum(bytes, 0, bytes.length, 6, bytes.length - transport));
  const meta = {
    segmentSize: size,
    segments,
    gsoType: six ? 4 : 1,
    checksumStart: transport,
    checksumOffset: 16,
  };
  return { ...inChain(bytes), ...meta };
}

describe('superframes', () => {
  const change = ({ ip, tcp, payload }: VnfPacket) => {
    ip.ttl = 9;
    if (ip.version === 4) ip.destination = '192.0.2.77';
    else ip.destination = '2001:db8::77';
    tcp!.destinationPort = 8080;
    payload.set(1, 0xaa);
  };

  it.each([false, true])('are asked for, whole, and right when they are cut (IPv6: %s)', async (six) => {
    const seen: number[] = [];
    const app = defineVnf({
      name: 'whole',
      superframes: true,
      process: (packet) => {
        seen.push(packet.segments, packet.wireBytes);
        change(packet);
        return packet.payload.resize(3) ? 'drop' : 'forward';
      },
    });
    await using world = await vnfWorld(app({}));
    const sent = superframe(six, 5, 1000);
    const whole: Uint8Array[] = [];
    world.port.onPacket = (pool, packet) => {
      for (let i = 0; i < 5; i++) {
        const part = slice(pool, packet, i, 1);
        whole.push(pool.copyOut(part));
        pool.free(part);
      }
      const copy = pool.copyOut(packet);
      expect(completeChecksum(copy, 0, copy.length, sent.checksumStart, 16)).toBe(true);
      expect(wrongs(copy)).toEqual([]);
    };
    const [came] = world.pass(sent);
    const headers = six ? 60 : 40;
    expect(seen).toEqual([5, 5 * 1000 - 3 + 5 * headers]);
    expect(came.prefix).toEqual(sent.prefix);
    expect(whole.map((bytes) => wrongs(bytes))).toEqual([[], [], [], [], []]);
    expect(whole.map((bytes) => get16(bytes, (six ? 40 : 20) + 2))).toEqual(Array(5).fill(8080));
  });

  it('a wire packet whose checksum is open stays right', async () => {
    const app = defineVnf({
      name: 'partial',
      superframes: true,
      process: (packet) => {
        change(packet);
        packet.payload.splice(2, 1, new Uint8Array(40));
        return 'forward';
      },
    });
    await using world = await vnfWorld(app({}));
    const { segmentSize: _, segments: __, gsoType: ___, ...sent } = superframe(false, 1, 500);
    const [came] = world.pass(sent);
    expect(came.checksumStart).toBe(20);
    completeChecksum(came.bytes, 0, came.bytes.length, 20, 16);
    expect(wrongs(came.bytes)).toEqual([]);
    expect(came.bytes.length).toBe(sent.bytes.length + 39);
  });
});

it('the first fragment of a datagram is changed so that the whole is right; a later one has no ports', async () => {
  const seen: unknown[] = [];
  const app = defineVnf({
    name: 'fragments',
    process: (packet) => {
      packet.ip.source = '192.0.2.1';
      if (packet.udp) packet.udp.sourcePort = 99;
      if (packet.payload.length > 3)
        seen.push(packet.udp !== undefined, packet.payload.set(3, 7), packet.payload.resize(1));
      return 'forward';
    },
  });
  await using world = await vnfWorld(app({}));
  const whole = udpPacket({ from: '10.0.0.1:5', to: '10.0.0.2:53', payload: 100 });
  const cut = (from: number, to: number, more: boolean) => {
    const bytes = Uint8Array.from([...whole.slice(0, 20), ...whole.slice(20 + from, 20 + to)]);
    put16(bytes, 2, bytes.length);
    put16(bytes, 6, (more ? 0x2000 : 0) | (from >> 3));
    put16(bytes, 10, 0);
    let sum = 0;
    for (let i = 0; i < 20; i += 2) sum += get16(bytes, i);
    put16(bytes, 10, ~((sum & 0xffff) + (sum >> 16)));
    return bytes;
  };
  const [first, second] = world.pass(inChain(cut(0, 64, true)), inChain(cut(64, 108, false)));
  expect(seen).toEqual([true, true, false, false, false, false]);
  const joined = Uint8Array.from([...first.bytes, ...second.bytes.slice(20)]);
  put16(joined, 2, joined.length);
  put16(joined, 6, 0);
  expect(wrongs(joined)).toEqual(['IP checksum']);
  expect([wrongs(first.bytes), wrongs(second.bytes)]).toEqual([[], []]);
});
