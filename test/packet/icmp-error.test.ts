import { describe, expect, it } from 'vitest';
import {
  buildErrorV6,
  describePacket,
  Ecn,
  formatIp,
  icmp,
  icmpEcho,
  icmpv6,
  ip,
  ipPacket,
  ipv4,
  ipv6,
  mayAnswerV4,
  mayAnswerV6,
  Protocol,
  parseIp,
  tcpPacket,
  timeExceeded,
  tooBig,
  UnreachableReason,
  udpPacket,
  unreachable,
  Verdict,
  verifyTransport,
} from '../../src/packet/index.ts';

const ROUTER4 = parseIp('192.0.2.1').bytes;
const ROUTER6 = parseIp('2001:db8::1').bytes;

type Build = (packet: Uint8Array, source: Uint8Array, into: Uint8Array, intoAt: number) => number;
const exceeded: Build = (packet, source, into, intoAt) =>
  timeExceeded(packet, 0, packet.length, source, 0, into, intoAt);
const big =
  (mtu: number): Build =>
  (packet, source, into, intoAt) =>
    tooBig(packet, 0, packet.length, mtu, source, 0, into, intoAt);
const unreachableFor =
  (reason: number): Build =>
  (packet, source, into, intoAt) =>
    unreachable(packet, 0, packet.length, reason, source, 0, into, intoAt);

/** The reply, checked as a whole packet, or undefined when none is sent. */
function reply(packet: Uint8Array, build: Build): Uint8Array | undefined {
  const into = new Uint8Array(1400).fill(0xee);
  const length = build(packet, packet[0] >> 4 === 4 ? ROUTER4 : ROUTER6, into, 11);
  expect(into.subarray(0, 11).every((byte) => byte === 0xee)).toBe(true);
  expect(into.subarray(11 + length).every((byte) => byte === 0xee)).toBe(true);
  if (length === 0) return undefined;
  const bytes = into.slice(11, 11 + length);
  expect(ip.check(bytes, 0, length)).toBe(0);
  expect(ip.totalLength(bytes, 0)).toBe(length);
  expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
  if (bytes[0] >> 4 === 4) expect(ipv4.checksumOk(bytes, 0)).toBe(true);
  // To whom the packet came from, from the address that was given.
  expect(ip.destination(bytes, 0)).toEqual(ip.source(packet, 0));
  expect(ip.source(bytes, 0).bytes).toEqual(bytes[0] >> 4 === 4 ? ROUTER4 : ROUTER6);
  return bytes;
}

const udp4 = (options = {}) =>
  udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 100, ...options });
const udp6 = (options = {}) =>
  udpPacket({ from: '[fd00::1]:1000', to: '[fd00::2]:53', payload: 100, ...options });

describe('ICMP errors', () => {
  it('say what happened', () => {
    expect(describePacket(reply(udp4(), exceeded)!)).toBe(
      'IP 192.0.2.1 > 10.0.0.1: ICMP time exceeded in-transit for 10.0.0.2, length 136',
    );
    expect(describePacket(reply(udp6(), exceeded)!)).toBe(
      'IP6 2001:db8::1 > fd00::1: ICMP6, time exceeded in-transit for fd00::2, length 156',
    );
    expect(describePacket(reply(udp4({ dontFragment: true }), big(1400))!)).toBe(
      'IP 192.0.2.1 > 10.0.0.1: ICMP need to frag (mtu 1400) for 10.0.0.2, length 136',
    );
    expect(describePacket(reply(udp6(), big(1280))!)).toBe(
      'IP6 2001:db8::1 > fd00::1: ICMP6, packet too big, mtu 1280 for fd00::2, length 156',
    );
  });

  it.each([
    [UnreachableReason.NoRoute, 0, 0],
    [UnreachableReason.Host, 1, 3],
    [UnreachableReason.Port, 3, 4],
    [UnreachableReason.Prohibited, 13, 1],
  ])('of reason %i have code %i in ICMP and %i in ICMPv6', (reason, v4, v6) => {
    const four = reply(udp4(), unreachableFor(reason))!;
    const six = reply(udp6(), unreachableFor(reason))!;
    expect([four[20], four[21]]).toEqual([3, v4]);
    expect([six[40], six[41]]).toEqual([1, v6]);
  });

  it('quote the packet, as much as fits into 576 and 1280 bytes', () => {
    for (const [packet, quoteAt, most] of [
      [udp4(), 28, 576],
      [udp4({ payload: 1400 }), 28, 576],
      [udp4({ payload: 519 }), 28, 576],
      [udp4({ payload: 520 }), 28, 576],
      [udp6(), 48, 1280],
      [udp6({ payload: 1400 }), 48, 1280],
    ] as const) {
      const error = reply(packet, exceeded)!;
      expect(error.length).toBe(Math.min(most, packet.length + quoteAt));
      expect(error.slice(quoteAt)).toEqual(packet.slice(0, error.length - quoteAt));
    }
  });

  it('quote no padding behind the packet', () => {
    const padded = new Uint8Array(300);
    const packet = udp4({ payload: 2 });
    padded.set(packet);
    expect(reply(padded, exceeded)!.length).toBe(28 + packet.length);
  });

  it('carry precedence 6, no ECN, and are not fragmented', () => {
    const error = ipv4.parse(reply(udp4({ ecn: Ecn.Ce, dscp: 46 }), exceeded)!)!;
    expect([error.dscp, error.ecn, error.dontFragment, error.ttl]).toEqual([48, 0, true, 64]);
    expect(ipv6.parse(reply(udp6({ ecn: Ecn.Ce }), exceeded)!)!).toMatchObject({ ecn: 0, hopLimit: 64 });
  });

  it('can be about a packet in the same array', () => {
    const slab = new Uint8Array(4096);
    const packet = udp4();
    slab.set(packet, 1000);
    const length = timeExceeded(slab, 1000, 1000 + packet.length, ROUTER4, 0, slab, 2000);
    expect(slab.slice(2028, 2000 + length)).toEqual(packet);
  });

  it.each([
    ['unspecified', '0.0.0.0'],
    ['this network', '0.1.2.3'],
    ['loopback', '127.0.0.1'],
    ['multicast', '224.0.0.1'],
    ['class E', '240.0.0.1'],
    ['broadcast', '255.255.255.255'],
  ])('go to no %s source (RFC 1812, 4.3.2.7)', (_, from) => {
    expect(reply(udp4({ from: `${from}:1000` }), exceeded)).toBeUndefined();
  });

  it.each(['224.0.0.1', '239.255.255.255', '255.255.255.255'])('answer nothing sent to %s', (to) => {
    expect(reply(udp4({ to: `${to}:53` }), exceeded)).toBeUndefined();
    expect(reply(udp4({ to: `${to}:53` }), big(576))).toBeUndefined();
  });

  it.each(['::', '::1', 'ff02::1'])('go to no source %s', (from) => {
    expect(reply(udp6({ from: `[${from}]:1000` }), exceeded)).toBeUndefined();
    expect(reply(udp6({ from: `[${from}]:1000` }), big(1280))).toBeUndefined();
  });

  it('about IPv6 multicast are packet too big and parameter problem 2 alone (RFC 4443, 2.4 e)', () => {
    const packet = udp6({ to: '[ff0e::1]:53' });
    expect(reply(packet, exceeded)).toBeUndefined();
    expect(reply(packet, unreachableFor(UnreachableReason.Port))).toBeUndefined();
    expect(reply(packet, big(1280))).toBeDefined();
    const parameter =
      (code: number): Build =>
      (bytes, source, into, at) =>
        buildErrorV6(bytes, 0, bytes.length, icmpv6.Type.ParameterProblem, code, 40, source, 0, into, at);
    expect(reply(packet, parameter(2))).toBeDefined();
    expect(reply(packet, parameter(1))).toBeUndefined();
  });

  it.each([3, 4, 5, 11, 12])('are not about ICMP type %i, an error', (type) => {
    const packet = ipPacket({
      from: parseIp('10.0.0.1'),
      to: parseIp('10.0.0.2'),
      protocol: Protocol.Icmp,
      transport: Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0),
    });
    expect(reply(packet, exceeded)).toBeUndefined();
  });

  it.each([1, 2, 3, 4, 100, 127, 137])('are not about ICMPv6 type %i, an error or redirect', (type) => {
    const packet = ipPacket({
      from: parseIp('fd00::1'),
      to: parseIp('fd00::2'),
      protocol: Protocol.Icmpv6,
      transport: Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0),
      extensions: [{ protocol: Protocol.DestinationOptions, bytes: new Uint8Array(8) }],
    });
    expect(reply(packet, exceeded)).toBeUndefined();
    expect(reply(packet, big(1280))).toBeUndefined();
  });

  it('are about an echo', () => {
    expect(reply(icmpEcho({ to: '10.0.0.2' }), exceeded)).toBeDefined();
    expect(reply(icmpEcho({ to: '10.0.0.2', reply: true }), exceeded)).toBeDefined();
    expect(reply(icmpEcho({ to: 'fd00::2' }), exceeded)).toBeDefined();
  });

  it('are about the first fragment, not about a later one', () => {
    const packet = udp4();
    ipv4.setFragment(packet, 0, ipv4.MORE_FRAGMENTS);
    expect(reply(packet, exceeded)).toBeDefined();
    ipv4.setFragment(packet, 0, ipv4.MORE_FRAGMENTS | 1);
    expect(reply(packet, exceeded)).toBeUndefined();
  });

  it('are not about an IPv6 fragment that may belong to an error', () => {
    const later = { protocol: Protocol.Fragment, bytes: Uint8Array.of(0, 0, 0, 64, 0, 0, 0, 1) };
    const about = (protocol: number) =>
      ipPacket({
        from: parseIp('fd00::1'),
        to: parseIp('fd00::2'),
        protocol,
        transport: new Uint8Array(8).fill(200),
        extensions: [later],
      });
    expect(reply(about(Protocol.Icmpv6), exceeded)).toBeUndefined();
    expect(reply(about(Protocol.Udp), exceeded)).toBeDefined();
  });

  it('are not about what is malformed', () => {
    for (const packet of [udp4(), udp6(), tcpPacket({ to: '[fd00::2]:80' })]) {
      expect(reply(packet.slice(0, -1), exceeded)).toBeUndefined();
      expect(reply(packet.slice(0, 10), exceeded)).toBeUndefined();
    }
    const chain = udp6();
    ipv6.setNextHeader(chain, 0, Protocol.HopByHop);
    chain[41] = 200;
    expect(reply(chain, exceeded)).toBeUndefined();
    expect(mayAnswerV4(udp6(), 0, 148)).toBe(false);
    expect(mayAnswerV6(udp4(), 0, 128)).toBe(false);
    const bare = ipPacket({
      ...{ from: parseIp('10.0.0.1'), to: parseIp('10.0.0.2') },
      ...{ protocol: Protocol.Icmp, transport: new Uint8Array(0) },
    });
    expect(reply(bare, exceeded)).toBeUndefined();
  });

  it('say so in every builder: the tooBig of an echo names its next hop', () => {
    const error = reply(icmpEcho({ to: '10.0.0.2', payload: 1000, dontFragment: true }), big(100_000))!;
    expect(icmp.nextHopMtu(error, 20)).toBe(0xffff);
    expect(formatIp(ip.destination(error, 0))).toBe('10.0.0.1');
  });
});
