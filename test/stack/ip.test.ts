import { describe, expect, it } from 'vitest';
import {
  describePacket,
  icmpEcho,
  ipPacket,
  ipv4,
  ipv6,
  Protocol,
  parseIp,
  put16,
  udpPacket,
  Verdict,
  verifyTransport,
} from '../../src/packet/index.ts';
import { testHost } from './hosts.ts';

const text = (packets: Uint8Array[]) => packets.map((packet) => describePacket(packet, 0, packet.length));

/** A packet that was changed after its checksums were made; the IPv4 header's is made anew. */
function changed(packet: Uint8Array, change: (bytes: Uint8Array) => void): Uint8Array {
  const bytes = packet.slice();
  change(bytes);
  if (bytes[0]! >> 4 === 4 && (bytes[0]! & 15) >= 5) ipv4.fillChecksum(bytes, 0);
  return bytes;
}
const echo4 = icmpEcho({ from: '10.0.0.1', to: '10.0.0.2', payload: 'hello' });
const echo6 = icmpEcho({ from: 'fd00::1', to: 'fd00::2', payload: 'hello' });

describe('a stack answers echo requests', () => {
  it.each([
    ['IPv4', '10.0.0.1', '10.0.0.2'],
    ['IPv6', 'fd00::1', 'fd00::2'],
  ])('of %s, with the same data and right checksums', async (_, from, to) => {
    await using host = await testHost();
    const request = icmpEcho({ from, to, identifier: 7, sequence: 9, payload: 1000, ttl: 3 });
    const [reply, ...more] = host.exchange(request);
    expect(more).toEqual([]);
    const wanted = icmpEcho({ from: to, to: from, identifier: 7, sequence: 9, payload: 1000, reply: true });
    if (from.includes('.')) {
      ipv4.setIdentification(wanted, 0, ipv4.identification(reply!, 0));
      ipv4.fillChecksum(wanted, 0);
    }
    expect(reply).toEqual(wanted);
    expect(host.drops()).toEqual({});
  });

  it('from loopback addresses, too, when it asks itself', async () => {
    await using host = await testHost();
    const results: string[] = [];
    for (const address of ['127.0.0.1', '::1', '10.0.0.2', 'fd00::2'])
      void host.host.ping(address, { size: 9000 }).then(({ result }) => results.push(result));
    host.runtime.advance('10ms');
    await Promise.resolve();
    expect(results).toEqual(['reply', 'reply', 'reply', 'reply']);
    expect(host.port.received).toEqual([]);
  });

  it('not when it is told not to', async () => {
    await using host = await testHost({ echo: false });
    expect(host.exchange(echo4, echo6)).toEqual([]);
    expect(host.drops()).toEqual({ 'icmp-unwanted': 2 });
  });

  it('not to everybody and to groups', async () => {
    await using host = await testHost();
    const to = ['10.0.0.255', '255.255.255.255', '224.0.0.1'];
    expect(host.exchange(...to.map((each) => icmpEcho({ from: '10.0.0.1', to: each })))).toEqual([]);
    expect(host.drops()).toEqual({ 'icmp-unwanted': 3 });
  });
});

describe('what cannot be is dropped for a reason of its own', () => {
  const martian = (from: string, to: string) => udpPacket({ from: `${from}:1`, to: `${to}:2` });
  it.each<[string, Uint8Array, string]>([
    ['an unknown version', changed(echo4, (b) => (b[0] = 0x55)), 'ip-version'],
    ['no bytes', new Uint8Array(0), 'ip-version'],
    ['half a header', echo4.slice(0, 12), 'ip-length'],
    ['half an IPv6 header', echo6.slice(0, 39), 'ip-length'],
    ['a header length below five words', changed(echo4, (b) => (b[0] = 0x44)), 'ip-length'],
    ['more length than bytes', changed(echo4, (b) => put16(b, 2, echo4.length + 1)), 'ip-length'],
    ['more IPv6 length than bytes', changed(echo6, (b) => put16(b, 4, echo6.length - 39)), 'ip-length'],
    ['less length than header', changed(echo4, (b) => put16(b, 2, 19)), 'ip-length'],
    ['a wrong header checksum', Object.assign(echo4.slice(), { 8: 1 }), 'ip-checksum'],
    [
      'an option over the end',
      icmpEcho({ to: '10.0.0.2', ipOptions: Uint8Array.of(7, 9, 4, 0) }),
      'ip-options',
    ],
    [
      'a source route',
      icmpEcho({ to: '10.0.0.2', ipOptions: Uint8Array.of(131, 7, 4, 10, 0, 0, 9, 0) }),
      'ip-options',
    ],
    ['a loopback source', martian('127.0.0.1', '10.0.0.2'), 'ip-martian'],
    ['a loopback destination', martian('10.0.0.1', '127.0.0.1'), 'ip-martian'],
    ['a group as source', martian('224.0.0.5', '10.0.0.2'), 'ip-martian'],
    ['everybody as source', martian('255.255.255.255', '10.0.0.2'), 'ip-martian'],
    ['the broadcast address of the link as source', martian('10.0.0.255', '10.0.0.2'), 'ip-martian'],
    ['its own source', martian('10.0.0.2', '10.0.0.2'), 'ip-martian'],
    ['no source', martian('0.0.0.0', '10.0.0.2'), 'ip-martian'],
    ['no destination', martian('10.0.0.1', '0.0.0.0'), 'ip-martian'],
    ['class E', martian('10.0.0.1', '250.0.0.1'), 'ip-martian'],
    ['an IPv6 group as source', udpPacket({ from: '[ff02::1]:1', to: '[fd00::2]:2' }), 'ip-martian'],
    ['::1 as source', udpPacket({ from: '[::1]:1', to: '[fd00::2]:2' }), 'ip-martian'],
    ['::1 as destination', udpPacket({ from: '[fd00::1]:1', to: '[::1]:2' }), 'ip-martian'],
    ['its own IPv6 source', udpPacket({ from: '[fd00::2]:1', to: '[fd00::2]:2' }), 'ip-martian'],
    ['IPv4 in IPv6 as source', udpPacket({ from: '[::ffff:10.0.0.1]:1', to: '[fd00::2]:2' }), 'ip-martian'],
    ['IPv4 in IPv6', udpPacket({ from: '[fd00::1]:1', to: '[::ffff:10.0.0.2]:2' }), 'ip-martian'],
    ['another host', martian('10.0.0.1', '10.0.0.3'), 'ip-not-mine'],
    ['another IPv6 host', udpPacket({ from: '[fd00::1]:1', to: '[fd00::3]:2' }), 'ip-not-mine'],
    ['a group it is not in', udpPacket({ from: '[fd00::1]:1', to: '[ff02::2]:2' }), 'ip-not-mine'],
    ['a wrong ICMP checksum', changed(echo4, (b) => (b[28]! ^= 1)), 'icmp-malformed'],
    ['a wrong ICMPv6 checksum', changed(echo6, (b) => (b[48]! ^= 1)), 'icmp-malformed'],
    ['an echo reply without request', icmpEcho({ to: '10.0.0.2', reply: true }), 'icmp-unwanted'],
    ['a wrong UDP checksum', changed(martian('10.0.0.1', '10.0.0.2'), (b) => (b[27]! ^= 1)), 'udp-malformed'],
    [
      'IPv6 UDP without checksum',
      changed(udpPacket({ to: '[fd00::2]:2' }), (b) => put16(b, 46, 0)),
      'udp-malformed',
    ],
  ])('%s', async (_, packet, reason) => {
    await using host = await testHost();
    expect(text(host.exchange(packet))).toEqual([]);
    expect(host.drops()).toEqual({ [reason]: 1 });
  });
});

describe('ICMP errors', () => {
  const port = (from = '10.0.0.1:1000') => udpPacket({ from, to: '10.0.0.2:7', payload: 'x' });

  it('say that nobody listens at a port, quoting the datagram', async () => {
    await using host = await testHost();
    const datagram = port();
    const [error] = host.exchange(datagram);
    expect(text([error!])).toEqual(['IP 10.0.0.2 > 10.0.0.1: ICMP port unreachable for 10.0.0.2, length 37']);
    expect(error!.slice(28)).toEqual(datagram);
    expect(verifyTransport(error!, 0)).toBe(Verdict.Right);
    expect(host.drops()).toEqual({ 'udp-no-socket': 1 });
  });

  it('say so in IPv6', async () => {
    await using host = await testHost();
    const [error] = host.exchange(udpPacket({ from: '[fd00::1]:1', to: '[fd00::2]:7', payload: 2000 }));
    expect(error!.length).toBe(1280);
    expect([error![6], error![40], error![41]]).toEqual([Protocol.Icmpv6, 1, 4]);
    expect(verifyTransport(error!, 0)).toBe(Verdict.Right);
  });

  it('say that a protocol is unknown', async () => {
    await using host = await testHost();
    const packet = (from: string, to: string) =>
      ipPacket({ from: parseIp(from), to: parseIp(to), protocol: 200, transport: new Uint8Array(20) });
    const [four, six] = host.exchange(packet('10.0.0.1', '10.0.0.2'), packet('fd00::1', 'fd00::2'));
    expect([four![20], four![21]]).toEqual([3, 2]);
    // Parameter problem, unrecognized next header, at byte 6.
    expect([six![40], six![41], ...six!.slice(44, 48)]).toEqual([4, 1, 0, 0, 0, 6]);
    expect(host.drops()).toEqual({ 'ip-protocol': 2 });
  });

  it('never answer errors, groups, and what has no single sender', async () => {
    await using host = await testHost();
    const replies = host.exchange(
      ...['10.0.0.255', '224.0.0.1', '255.255.255.255'].map((to) =>
        udpPacket({ from: '10.0.0.1:1', to: `${to}:7` }),
      ),
      udpPacket({ from: '[fd00::1]:1', to: '[ff02::1]:7' }),
      udpPacket({ from: '0.0.0.0:1', to: '255.255.255.255:7' }),
    );
    expect(text(replies)).toEqual([]);
    expect(host.drops()).toEqual({ 'udp-no-socket': 5 });
  });

  it('are 20 at once and 100 a second for each address', async () => {
    await using host = await testHost();
    const flood = (from: string) => Array.from({ length: 500 }, () => port(from));
    expect(host.exchange(...flood('10.0.0.1:1')).length).toBe(20);
    expect(host.exchange(...flood('10.0.0.7:1')).length).toBe(20);
    host.runtime.advance('99ms');
    expect(host.exchange(...flood('10.0.0.1:1')).length).toBe(10);
    expect(host.net.report().apps.find(({ app }) => app === 'host')!.report.errorsSuppressed).toBe(1450);
  });

  it('do not come without a route back', async () => {
    await using host = await testHost();
    expect(host.exchange(port('192.0.2.1:9'))).toEqual([]);
  });
});

describe('extension headers of IPv6', () => {
  const destination = (...options: number[]) => ({
    protocol: Protocol.DestinationOptions,
    bytes: Uint8Array.of(0, 0, ...options),
  });
  const hopByHop = (...options: number[]) => ({
    protocol: Protocol.HopByHop,
    bytes: Uint8Array.of(0, 0, ...options),
  });
  const routing = (left: number) => ({
    protocol: Protocol.Routing,
    bytes: Uint8Array.of(0, 0, 99, left, 0, 0, 0, 0),
  });
  const ask = (...extensions: ipv6.Extension[]) => icmpEcho({ from: 'fd00::1', to: 'fd00::2', extensions });

  it('that ask for nothing are passed over', async () => {
    await using host = await testHost();
    const [reply] = host.exchange(
      ask(hopByHop(5, 2, 0, 0, 1, 0), destination(0x1e, 4, 1, 2, 3, 4), routing(0)),
    );
    expect(text([reply!])[0]).toContain('ICMP6, echo reply');
    expect(ipv6.nextHeader(reply!, 0)).toBe(Protocol.Icmpv6);
  });

  it.each<[string, ipv6.Extension[], number[]]>([
    ['an unknown option that must be understood', [destination(0x80, 4, 0, 0, 0, 0)], [4, 2, 42]],
    ['the same behind another header', [routing(0), hopByHop(1, 4, 0, 0, 0, 0)], [4, 1, 40]],
    ['a routing header with segments left', [routing(1)], [4, 0, 42]],
  ])('are answered: %s', async (_, extensions, [type, code, pointer]) => {
    await using host = await testHost();
    const [error] = host.exchange(ask(...extensions));
    expect([error![40], error![41], ...error!.slice(44, 48)]).toEqual([type, code, 0, 0, 0, pointer]);
    expect(host.drops()).toEqual({ 'ip-options': 1 });
  });

  it.each<[string, ipv6.Extension[]]>([
    ['an unknown option that says drop', [destination(0x40, 4, 0, 0, 0, 0)]],
    ['an option over the end', [destination(1, 9, 0, 0, 0, 0)]],
    ['nine headers', Array.from({ length: 9 }, () => destination(1, 4, 0, 0, 0, 0))],
  ])('are dropped without a word: %s', async (_, extensions) => {
    await using host = await testHost();
    expect(host.exchange(ask(...extensions))).toEqual([]);
    expect(host.drops()).toEqual({ 'ip-options': 1 });
  });
});
