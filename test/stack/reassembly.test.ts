import { describe, expect, it } from 'vitest';
import {
  describePacket,
  emitFragment,
  fragmentCount,
  icmpEcho,
  ipv4,
  Protocol,
  put16,
  put32,
  udpPacket,
} from '../../src/packet/index.ts';
import { type TestHost, testHost } from './hosts.ts';

const payload = Uint8Array.from({ length: 4000 }, (_, i) => i * 11);

/** An IPv4 packet in fragments of at most `mtu` bytes. */
function cut4(packet: Uint8Array, mtu = 1000): Uint8Array[] {
  return Array.from({ length: fragmentCount(packet, 0, packet.length, mtu) }, (_, i) => {
    const into = new Uint8Array(mtu);
    return into.slice(0, emitFragment(packet, 0, packet.length, mtu, i, into, 0));
  });
}

/** One fragment of an IPv6 packet: `length` bytes of what follows its header, from `start` on. */
function piece6(packet: Uint8Array, start: number, length: number, more: boolean, id = 7): Uint8Array {
  const bytes = new Uint8Array(48 + length);
  bytes.set(packet.subarray(0, 40));
  put16(bytes, 4, 8 + length);
  bytes[6] = Protocol.Fragment;
  bytes[40] = packet[6]!;
  put16(bytes, 42, start | (more ? 1 : 0));
  put32(bytes, 44, id);
  bytes.set(packet.subarray(40 + start, 40 + start + length), 48);
  return bytes;
}
function cut6(packet: Uint8Array, size = 1000): Uint8Array[] {
  const whole = packet.length - 40;
  return Array.from({ length: Math.ceil(whole / size) }, (_, i) => {
    const length = Math.min(size, whole - i * size);
    return piece6(packet, i * size, length, i * size + length < whole);
  });
}
const datagram4 = (identification = 9, from = '10.0.0.1:1') =>
  udpPacket({ from, to: '10.0.0.2:7', payload, identification });
const datagram6 = udpPacket({ from: '[fd00::1]:1', to: '[fd00::2]:7', payload });

/** What a socket at port 7 hears. */
function listen(host: TestHost): Uint8Array[] {
  const heard: Uint8Array[] = [];
  host.host.udp({ port: 7, onMessage: (bytes) => heard.push(bytes) });
  return heard;
}
const held = (host: TestHost) =>
  host.net.report().apps.find(({ app }) => app === 'host')!.report.fragmentsHeld;

describe('fragments', () => {
  const orders: [string, (pieces: Uint8Array[]) => Uint8Array[]][] = [
    ['in order', (pieces) => pieces],
    ['backwards', (pieces) => [...pieces].reverse()],
    ['with the last first', (pieces) => [pieces.at(-1)!, ...pieces.slice(0, -1)]],
    ['with the first last', (pieces) => [...pieces.slice(1), pieces[0]!]],
  ];
  it.each(orders)('become one datagram %s', async (_, order) => {
    await using host = await testHost();
    const heard = listen(host);
    host.exchange(...order(cut4(datagram4())));
    host.exchange(...order(cut6(datagram6)));
    expect(heard).toEqual([payload, payload]);
    expect(host.drops()).toEqual({});
    expect(host.net.report().memory.livePackets).toBe(0);
  });

  it('that come twice are dropped once', async () => {
    await using host = await testHost();
    const heard = listen(host);
    const [a, b, ...rest] = cut4(datagram4());
    const [x, y, ...more] = cut6(datagram6);
    host.exchange(a!, a!, b!, a!, ...rest, x!, y!, x!, y!, ...more);
    expect(heard).toEqual([payload, payload]);
    expect(host.drops()).toEqual({ 'fragment-again': 4 });
  });

  it('of two datagrams do not mix', async () => {
    await using host = await testHost();
    const heard = listen(host);
    const both = [cut4(datagram4(1)), cut4(datagram4(2)), cut4(datagram4(1, '10.0.0.3:1'))];
    host.exchange(...both[0]!.flatMap((_, i) => both.map((pieces) => pieces[i]!)));
    expect(heard).toEqual([payload, payload, payload]);
  });

  it('that overlap end their datagram, and those that follow too', async () => {
    await using host = await testHost();
    const heard = listen(host);
    const [a, b, ...rest] = cut6(datagram6);
    const overlap = piece6(datagram6, 992, 16, true);
    host.exchange(a!, overlap, b!, ...rest);
    expect(heard).toEqual([]);
    expect(host.drops()).toEqual({ 'fragment-overlap': 6 });
    expect(held(host)).toBe(0);
  });

  it.each<[string, Uint8Array[]]>([
    [
      'two ends',
      [
        piece6(datagram6, 0, 1000, true),
        piece6(datagram6, 2000, 96, false),
        piece6(datagram6, 1000, 96, false),
      ],
    ],
    ['data behind the end', [piece6(datagram6, 1000, 96, false), piece6(datagram6, 2000, 1000, true)]],
    ['an end before data', [piece6(datagram6, 2000, 1000, true), piece6(datagram6, 1000, 96, false)]],
  ])('that lie end their datagram: %s', async (_, pieces) => {
    await using host = await testHost();
    host.exchange(...pieces);
    expect(host.drops()).toEqual({ 'fragment-overlap': pieces.length });
  });

  it.each<[string, Uint8Array]>([
    ['a length that is no multiple of eight', piece6(datagram6, 0, 1001, true)],
    ['no data', piece6(datagram6, 0, 0, true)],
    ['an end behind 65535', piece6(datagram6, 65_528, 24, false)],
  ])('that cannot be are dropped: %s', async (_, piece) => {
    await using host = await testHost();
    host.exchange(piece);
    expect(host.drops()).toEqual({ 'fragment-malformed': 1 });
  });

  it('that are whole are none (RFC 6946)', async () => {
    await using host = await testHost();
    const heard = listen(host);
    host.exchange(piece6(datagram6, 0, 4008, false));
    expect(heard).toEqual([payload]);
    expect(held(host)).toBe(0);
  });

  it('wait 30 s (60 s in IPv6), and who sent the first is told', async () => {
    await using host = await testHost();
    const [a, b] = cut4(datagram4());
    const [, y] = cut6(datagram6);
    host.exchange(a!, b!, y!);
    expect(held(host)).toBe(3);
    host.runtime.advance('29990ms');
    expect(host.port.received).toEqual([]);
    host.runtime.advance('10ms');
    const [error, ...more] = host.port.received.map(({ bytes }) => bytes);
    expect(more).toEqual([]);
    expect(describePacket(error!, 0, error!.length)).toContain('time exceeded');
    expect([error![20], error![21]]).toEqual([11, 1]);
    host.runtime.advance('30s');
    expect(host.drops()).toEqual({ 'fragment-timeout': 3 });
    // Without its first fragment nobody is told.
    expect(host.port.received.length).toBe(1);
  });

  it('that are too many push out the datagram that has waited longest', async () => {
    await using host = await testHost({ fragments: 8 });
    const heard = listen(host);
    for (let id = 1; id <= 20; id++) host.exchange(...cut4(datagram4(id)).slice(0, 4));
    expect(held(host)).toBe(8);
    // The last one is still there.
    host.exchange(cut4(datagram4(20))[4]!);
    expect(heard).toEqual([payload]);
    expect(host.drops()['fragment-limit']).toBe(76);
  });

  it('of a flood are bounded, in time and memory', async () => {
    await using host = await testHost();
    const pieces = cut4(datagram4());
    let id = 0;
    for (let i = 0; i < 20; i++) {
      const flood = Array.from({ length: 500 }, (_, j) => {
        const piece = pieces[j % 5]!.slice();
        put16(piece, ipv4.IDENTIFICATION, id++);
        ipv4.fillChecksum(piece, 0);
        return piece;
      });
      host.exchange(...flood);
    }
    expect(Number(held(host))).toBeLessThanOrEqual(1024);
    host.runtime.advance('61s');
    expect(held(host)).toBe(0);
    expect(host.net.report().memory.livePackets).toBe(0);
  });

  it('keep congestion marks, and are not joined across who cannot say them (RFC 3168, 5.3)', async () => {
    await using host = await testHost();
    const echo = (ecn: number) => cut4(icmpEcho({ to: '10.0.0.2', payload: 1500, ecn, identification: ecn }));
    const mark = (pieces: Uint8Array[]) => {
      pieces[1]![1]! |= 3;
      ipv4.fillChecksum(pieces[1]!, 0);
      return pieces;
    };
    const replies = host.exchange(...mark(echo(2)), ...mark(echo(0)));
    expect(replies.map((packet) => ipv4.ecn(packet, 0))).toEqual([3, 3]);
    expect(host.drops()).toEqual({ 'fragment-malformed': 2 });
  });
});
