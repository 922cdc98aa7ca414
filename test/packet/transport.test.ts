import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressBits,
  checksumField,
  fillTransport,
  icmpEcho,
  ip,
  ipPacket,
  ipv4,
  ipv6,
  Protocol,
  parseIp,
  put16,
  tcpPacket,
  udp,
  udpPacket,
  upperDistance,
  Verdict,
  verifyTransport,
} from '../../src/packet/index.ts';

/** RFC 768 and RFC 8200 by the letter: pseudo-header and transport written out in one array and added up. */
function slowChecksum(packet: Uint8Array, transport: number, protocol: number): number {
  const v4 = packet[0] >> 4 === 4;
  const body = packet.slice(transport);
  const addresses = v4 ? packet.slice(12, 20) : packet.slice(8, 40);
  const pseudo =
    protocol === Protocol.Icmp ? [] : [...addresses, 0, protocol, body.length >> 8, body.length & 255];
  const all = [...pseudo, ...body, 0];
  let total = 0;
  for (let i = 0; i + 1 < all.length; i += 2) total += all[i] * 256 + all[i + 1];
  return ~((total % 0xffff) + (total > 0 && total % 0xffff === 0 ? 0xffff : 0)) & 0xffff;
}

const payload = fc.uint8Array({ maxLength: 60 });
const target = fc.constantFrom('10.0.0.2', 'fd00::2');
const withPort = (to: string) => (to.includes(':') ? `[${to}]:53` : `${to}:53`);
const kinds = {
  udp: (to: string, data: Uint8Array) => udpPacket({ to: withPort(to), payload: data }),
  tcp: (to: string, data: Uint8Array) => tcpPacket({ to: withPort(to), payload: data }),
  icmp: (to: string, data: Uint8Array) => icmpEcho({ to, payload: data }),
};
const kind = fc.constantFrom('udp', 'tcp', 'icmp') as fc.Arbitrary<keyof typeof kinds>;

describe('transport checksums', () => {
  it('are those of the pseudo-header and the transport written out', () => {
    fc.assert(
      fc.property(kind, target, payload, (which, to, data) => {
        const packet = kinds[which](to, data);
        const protocol = packet[packet[0] >> 4 === 4 ? ipv4.PROTOCOL : ipv6.NEXT_HEADER];
        const transport = upperDistance(ip.upper(packet, 0));
        const field = transport + checksumField(protocol);
        expect(verifyTransport(packet, 0)).toBe(Verdict.Right);
        const written = (packet[field] << 8) | packet[field + 1];
        put16(packet, field, 0);
        const slow = slowChecksum(packet, transport, protocol);
        expect(written).toBe(slow === 0 && which === 'udp' ? 0xffff : slow);
      }),
      { seed: 1, numRuns: 1000 },
    );
  });

  it('find any single byte that was changed', () => {
    fc.assert(
      fc.property(
        kind,
        target,
        payload,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (which, to, data, n, flip) => {
          const packet = kinds[which](to, data);
          const transport = upperDistance(ip.upper(packet, 0));
          packet[transport + (n % (packet.length - transport))] ^= flip;
          // A UDP checksum that became zero says that there is none.
          const none = which === 'udp' && packet[0] >> 4 === 4 && udp.checksum(packet, transport) === 0;
          expect(verifyTransport(packet, 0)).toBe(none ? Verdict.None : Verdict.Wrong);
        },
      ),
      { seed: 2, numRuns: 1000 },
    );
  });

  it('of UDP that come out as zero are sent as all ones', () => {
    let met = 0;
    for (let word = 0; word <= 0xffff && met === 0; word++) {
      const packet = udpPacket({ to: '10.0.0.2:53', payload: Uint8Array.of(word >> 8, word & 255) });
      expect(udp.checksum(packet, 20)).not.toBe(0);
      if (udp.checksum(packet, 20) === 0xffff) {
        expect(verifyTransport(packet, 0)).toBe(Verdict.Right);
        met++;
      }
    }
    expect(met).toBe(1);
  });

  it('of UDP may be missing over IPv4 and must be there over IPv6', () => {
    const four = udpPacket({ to: '10.0.0.2:53', payload: 'x', noChecksum: true });
    const six = udpPacket({ to: '[fd00::2]:53', payload: 'x', noChecksum: true });
    expect(verifyTransport(four, 0)).toBe(Verdict.None);
    expect(verifyTransport(six, 0)).toBe(Verdict.Wrong);
    expect([fillTransport(four, 0), fillTransport(six, 0)]).toEqual([true, true]);
    expect([verifyTransport(four, 0), verifyTransport(six, 0)]).toEqual([Verdict.Right, Verdict.Right]);
  });

  it('of fragments and of protocols without one are left alone', () => {
    const fragment = udpPacket({ to: '10.0.0.2:53', payload: 'x' });
    ipv4.setFragment(fragment, 0, ipv4.MORE_FRAGMENTS);
    const gre = ipPacket({
      from: parseIp('10.0.0.1'),
      to: parseIp('10.0.0.2'),
      protocol: Protocol.Gre,
      transport: new Uint8Array(9),
    });
    for (const packet of [fragment, gre]) {
      const before = packet.slice();
      expect(verifyTransport(packet, 0)).toBe(Verdict.None);
      expect(fillTransport(packet, 0)).toBe(false);
      expect(packet).toEqual(before);
    }
  });

  it.each([
    ['TCP', Protocol.Tcp, 19],
    ['UDP', Protocol.Udp, 7],
    ['ICMP', Protocol.Icmp, 7],
  ])('of %s cut off within its header are wrong and cannot be filled', (_, protocol, length) => {
    const packet = ipPacket({
      ...{ from: parseIp('10.0.0.1'), to: parseIp('10.0.0.2') },
      ...{ protocol, transport: new Uint8Array(length).fill(1) },
    });
    expect(verifyTransport(packet, 0)).toBe(Verdict.Wrong);
    expect(fillTransport(packet, 0)).toBe(false);
  });

  it('of UDP cover what its own length says', () => {
    const packet = udpPacket({ to: '10.0.0.2:53', payload: 'hello' });
    const longer = new Uint8Array(packet.length + 4).fill(0x77);
    longer.set(packet);
    ipv4.setTotalLength(longer, 0, longer.length);
    expect(verifyTransport(longer, 0)).toBe(Verdict.Right);
    udp.setLength(longer, 20, 200);
    expect(verifyTransport(longer, 0)).toBe(Verdict.Wrong);
    expect(fillTransport(longer, 0)).toBe(false);
  });

  it('behind a routing header are made over the final destination', () => {
    const routing = (left: number) => ({
      protocol: Protocol.Routing,
      bytes: Uint8Array.of(0, 2, 2, left, 0, 0, 0, 0, ...parseIp('fd00::9').bytes),
    });
    const underway = udpPacket({ to: '[fd00::2]:53', payload: 'x', extensions: [routing(1)] });
    const arrived = udpPacket({ to: '[fd00::9]:53', payload: 'x', extensions: [routing(0)] });
    const checksumOf = (packet: Uint8Array) => udp.checksum(packet, 64);
    expect(checksumOf(underway)).toBe(checksumOf(arrived));
  });
});

describe('packet builders', () => {
  it('frame what they build when asked', () => {
    const ethernet = { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02', tags: [{ id: 9 }] };
    const bare = udpPacket({ to: '10.0.0.2:53', payload: 'x' });
    const framed = udpPacket({ to: '10.0.0.2:53', payload: 'x', ethernet });
    expect(framed.slice(18)).toEqual(bare);
    expect([...framed.slice(12, 18)]).toEqual([0x81, 0, 0, 9, 8, 0]);
  });

  it('take text, bytes and a number of bytes as payload', () => {
    const of = (data: string | Uint8Array | number) => [
      ...udpPacket({ to: '10.0.0.2:53', payload: data }).slice(28),
    ];
    expect(of('hé')).toEqual([0x68, 0xc3, 0xa9]);
    expect(of(Uint8Array.of(7, 8))).toEqual([7, 8]);
    expect(of(3)).toEqual([0, 1, 2]);
  });

  it('refuse addresses of two families', () => {
    expect(() => udpPacket({ from: '10.0.0.1:1', to: '[::1]:2' })).toThrow(
      'is not an IPv6 address like the other',
    );
    expect(addressBits(6)).toBe(128);
  });
});
