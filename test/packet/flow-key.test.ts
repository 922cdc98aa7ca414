import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  equalKeys,
  flowFromKey,
  flowKey,
  flowOf,
  flowText,
  hashKey,
  icmp,
  icmpEcho,
  ipPacket,
  ipv4,
  KEY_CELLS,
  KeyCell,
  Protocol,
  parseIp,
  tcpPacket,
  timeExceeded,
  tooBig,
  udpPacket,
} from '../../src/packet/index.ts';

function keyOf(bytes: Uint8Array, seed = 0) {
  const key = new Int32Array(KEY_CELLS);
  const direction = flowKey(bytes, 0, bytes.length, key, seed);
  return { key, direction };
}
const text = (bytes: Uint8Array) => flowText(flowOf(bytes)!);
const ROUTER4 = parseIp('192.0.2.1').bytes;
const ROUTER6 = parseIp('2001:db8::1').bytes;

/** The ICMP error that a router sends about a packet. */
function errorAbout(bytes: Uint8Array, build: 'time' | 'big'): Uint8Array {
  const into = new Uint8Array(1280);
  const source = bytes[0] >> 4 === 4 ? ROUTER4 : ROUTER6;
  const length =
    build === 'time'
      ? timeExceeded(bytes, 0, bytes.length, source, 0, into, 0)
      : tooBig(bytes, 0, bytes.length, 1280, source, 0, into, 0);
  expect(length).toBeGreaterThan(0);
  return into.slice(0, length);
}

describe('flow keys', () => {
  const port = fc.nat(0xffff);
  const v4 = fc
    .tuple(fc.constant(10), fc.nat(255), fc.nat(1), fc.integer({ min: 1, max: 3 }))
    .map((a) => a.join('.'));
  const v6 = fc.nat(0xffff).map((n) => `[fd00::${n.toString(16)}:1]`);
  const pair = fc.oneof(fc.tuple(v4, v4), fc.tuple(v6, v6));

  it('are equal in both directions, with the direction bit turned', () => {
    fc.assert(
      fc.property(pair, port, port, fc.boolean(), ([a, b], p, q, overTcp) => {
        fc.pre(a !== b || p !== q);
        const build = overTcp ? tcpPacket : udpPacket;
        const there = keyOf(build({ from: `${a}:${p}`, to: `${b}:${q}`, payload: 5 }), 7);
        const back = keyOf(build({ from: `${b}:${q}`, to: `${a}:${p}`, payload: 9 }), 7);
        expect(back.key).toEqual(there.key);
        expect([there.direction, back.direction].sort()).toEqual([0, 1]);
        const flow = flowFromKey(there.key);
        const [from, to] = there.direction === 0 ? [flow.a, flow.b] : [flow.b, flow.a];
        expect([from.port, to.port]).toEqual([p, q]);
        expect(from.address).toEqual(parseIp(a.replace(/[[\]]/g, '')));
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it('differ when protocol, an address or a port differs', () => {
    const keys = [
      udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2' }),
      tcpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2' }),
      udpPacket({ from: '10.0.0.1:2', to: '10.0.0.2:1' }),
      udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:3' }),
      udpPacket({ from: '10.0.0.1:1', to: '10.0.0.3:2' }),
      udpPacket({ from: '[::a00:1]:1', to: '[::a00:2]:2' }),
    ].map((packet) => keyOf(packet).key);
    expect(new Set(keys.map(String)).size).toBe(keys.length);
    expect(new Set(keys.map((key) => key[KeyCell.hash])).size).toBe(keys.length);
  });

  it('read as people write flows', () => {
    expect(text(udpPacket({ from: '10.0.0.9:1000', to: '10.0.0.2:53' }))).toBe(
      'udp 10.0.0.2:53 <-> 10.0.0.9:1000',
    );
    expect(text(tcpPacket({ from: '[fd00::1]:80', to: '[fd00::2]:90' }))).toBe(
      'tcp [fd00::1]:80 <-> [fd00::2]:90',
    );
    expect(text(icmpEcho({ to: '10.0.0.2', identifier: 7 }))).toBe('icmp 10.0.0.1 <-> 10.0.0.2 id 7');
    // 200 is the higher address though its first bit is set.
    expect(text(udpPacket({ from: '200.0.0.1:1', to: '10.0.0.2:2' }))).toBe('udp 10.0.0.2:2 <-> 200.0.0.1:1');
  });

  it.each(['10.0.0.2', 'fd00::2'])('of an echo to %s join request and reply, and part identifiers', (to) => {
    const from = to.replace(/2$/, '1');
    const request = keyOf(icmpEcho({ from, to, identifier: 9, sequence: 1 }));
    const reply = keyOf(icmpEcho({ from: to, to: from, identifier: 9, sequence: 1, reply: true }));
    const other = keyOf(icmpEcho({ from, to, identifier: 10 }));
    expect(reply.key).toEqual(request.key);
    expect([request.direction, reply.direction]).toEqual([0, 1]);
    expect(other.key).not.toEqual(request.key);
  });

  it.each([
    ['UDP', udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 600 })],
    ['TCP over IPv6', tcpPacket({ from: '[fd00::9]:1000', to: '[fd00::2]:53', payload: 1300 })],
    ['an echo', icmpEcho({ to: '10.0.0.2', identifier: 9, payload: 100 })],
    ['an IPv6 echo', icmpEcho({ to: 'fd00::2', identifier: 9, payload: 100 })],
    [
      'a packet with IPv4 options',
      udpPacket({ to: '10.0.0.2:53', ipOptions: new Uint8Array(8).fill(1), payload: 900 }),
    ],
  ])('of an ICMP error about %s are those of the packet, on the way back', (_, packet) => {
    for (const kind of ['time', 'big'] as const) {
      const error = keyOf(errorAbout(packet, kind));
      const offender = keyOf(packet);
      expect(error.key).toEqual(offender.key);
      expect(error.direction).toBe(1 - offender.direction);
    }
  });

  it('of fragments know addresses alone, the first fragment too', () => {
    const packet = udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 64 });
    const first = packet.slice();
    ipv4.setFragment(first, 0, ipv4.MORE_FRAGMENTS);
    const later = packet.slice();
    ipv4.setFragment(later, 0, 5);
    expect(keyOf(first).key).toEqual(keyOf(later).key);
    expect(text(first)).toBe('udp 10.0.0.1 <-> 10.0.0.2');
  });

  it('look behind IPv6 extension headers, and take no fragment for a whole packet', () => {
    const options = { protocol: Protocol.DestinationOptions, bytes: new Uint8Array(8) };
    const fragment = (offset: number, more: number) => ({
      protocol: Protocol.Fragment,
      bytes: Uint8Array.of(0, 0, offset >> 8, (offset & 0xf8) | more, 0, 0, 0, 7),
    });
    const of = (...extensions: { protocol: number; bytes: Uint8Array }[]) =>
      text(udpPacket({ from: '[fd00::1]:5', to: '[fd00::2]:6', extensions }));
    expect(of(options)).toBe('udp [fd00::1]:5 <-> [fd00::2]:6');
    expect(of(options, fragment(0, 0))).toBe('udp [fd00::1]:5 <-> [fd00::2]:6');
    expect(of(fragment(0, 1))).toBe('udp fd00::1 <-> fd00::2');
    expect(of(fragment(64, 0), options)).toBe('protocol 60 fd00::1 <-> fd00::2');
  });

  it('of other protocols, and of ICMP without identifier, know addresses alone', () => {
    const of = (protocol: number, transport: Uint8Array) =>
      text(ipPacket({ from: parseIp('10.0.0.1'), to: parseIp('10.0.0.2'), protocol, transport }));
    expect(of(Protocol.Gre, new Uint8Array(3))).toBe('gre 10.0.0.1 <-> 10.0.0.2');
    expect(of(Protocol.Icmp, Uint8Array.of(9, 0, 0, 0, 1, 2, 3, 4))).toBe('icmp 10.0.0.1 <-> 10.0.0.2');
    expect(of(Protocol.Sctp, Uint8Array.of(0, 7, 0, 8))).toBe('sctp 10.0.0.1:7 <-> 10.0.0.2:8');
  });

  it('do not exist for what is malformed', () => {
    const packet = udpPacket({ to: '10.0.0.2:53' });
    expect(keyOf(packet.slice(0, 23)).direction).toBe(-1);
    expect(keyOf(packet.slice(0, 19)).direction).toBe(-1);
    expect(keyOf(new Uint8Array(0)).direction).toBe(-1);
    expect(keyOf(new Uint8Array(40).fill(0x55)).direction).toBe(-1);
    const header = packet.slice();
    header[0] = 0x44;
    expect(keyOf(header).direction).toBe(-1);
    const error = errorAbout(packet, 'time').slice(0, 40);
    ipv4.setTotalLength(error, 0, 40);
    expect(keyOf(error).direction).toBe(-1);
    expect(flowOf(error)).toBeUndefined();
  });

  it('of an error that quotes an error end there', () => {
    const inner = errorAbout(udpPacket({ to: '10.0.0.2:53' }), 'time');
    const outer = ipPacket({
      from: parseIp('192.0.2.9'),
      to: parseIp('192.0.2.1'),
      protocol: Protocol.Icmp,
      transport: Uint8Array.of(icmp.Type.TimeExceeded, 0, 0, 0, 0, 0, 0, 0, ...inner),
    });
    expect(text(outer)).toBe('icmp 10.0.0.1 <-> 192.0.2.1');
  });

  it('are compared where they lie in a table', () => {
    const { key } = keyOf(udpPacket({ to: '10.0.0.2:53' }));
    const table = new Int32Array(3 * KEY_CELLS);
    table.set(key, KEY_CELLS);
    expect(equalKeys(key, 0, table, KEY_CELLS)).toBe(true);
    expect(equalKeys(key, 0, table, 0)).toBe(false);
  });

  it('hash evenly, and differently with another seed', () => {
    const buckets = new Int32Array(64);
    const key = new Int32Array(KEY_CELLS);
    const flows = 64 * 256;
    for (let i = 0; i < flows; i++) {
      key[KeyCell.lower] = 0x0a000001;
      key[KeyCell.higher] = 0x0a000002 + (i >> 12);
      key[KeyCell.ports] = ((1024 + (i & 4095)) << 16) | 53;
      buckets[hashKey(key, 1) & 63]++;
    }
    // Chi-squared with 63 degrees of freedom: above 104 once in a thousand.
    const chi = buckets.reduce((total, n) => total + (n - 256) ** 2 / 256, 0);
    expect(chi).toBeLessThan(104);
    expect(hashKey(key, 1)).not.toBe(hashKey(key, 2));
    expect(keyOf(udpPacket({ to: '10.0.0.2:53' }), 5).key[KeyCell.hash]).toBe(
      hashKey(keyOf(udpPacket({ to: '10.0.0.2:53' })).key, 5),
    );
  });
});
