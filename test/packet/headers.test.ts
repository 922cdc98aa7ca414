import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  arp,
  EtherType,
  ethernet,
  formatIp,
  icmp,
  icmpv6,
  ip,
  ipv4,
  ipv6,
  isFragment,
  isLaterFragment,
  Problem,
  Protocol,
  parseIp,
  parseMac,
  problemText,
  udp,
  upperDistance,
  upperProtocol,
} from '../../src/packet/index.ts';

const bytesOf = (hex: string) =>
  Uint8Array.from(hex.replace(/\s/g, '').match(/../g)!, (each) => parseInt(each, 16));
const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ({ family: 4 as const, bytes }));
const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => ({ family: 6 as const, bytes }));
const u16 = fc.nat(0xffff);

describe('IPv4', () => {
  // 115 bytes of UDP from 192.168.0.1 to 192.168.0.199; the checksum was worked out by hand.
  const vector = bytesOf('4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7');
  const packet = new Uint8Array(115);
  packet.set(vector);

  it('is read as it is on the wire', () => {
    expect(ipv4.check(packet, 0, 115)).toBe(Problem.None);
    expect(ipv4.checksumOk(packet, 0)).toBe(true);
    expect(ipv4.headerChecksum(packet, 0)).toBe(0xb861);
    expect(ipv4.parse(packet)).toEqual({
      source: parseIp('192.168.0.1'),
      destination: parseIp('192.168.0.199'),
      protocol: Protocol.Udp,
      payloadLength: 95,
      dscp: 0,
      ecn: 0,
      identification: 0,
      dontFragment: true,
      moreFragments: false,
      fragmentOffset: 0,
      ttl: 64,
      options: new Uint8Array(0),
    });
  });

  it('is written as it is on the wire', () => {
    const bytes = new Uint8Array(20).fill(0xee);
    const header = { protocol: 17, payloadLength: 95, dontFragment: true };
    expect(ipv4.emit({ ...header, source: '192.168.0.1', destination: '192.168.0.199' }, bytes)).toBe(20);
    expect(bytes).toEqual(vector);
  });

  it('survives emit and parse', () => {
    const headers = fc.record({
      source: v4,
      destination: v4,
      protocol: fc.nat(255),
      payloadLength: fc.nat(200),
      dscp: fc.nat(63),
      ecn: fc.nat(3),
      identification: u16,
      dontFragment: fc.boolean(),
      moreFragments: fc.boolean(),
      fragmentOffset: fc.nat(0x1fff).map((units) => units * 8),
      ttl: fc.nat(255),
      options: fc.nat(10).chain((words) => fc.uint8Array({ minLength: 4 * words, maxLength: 4 * words })),
    });
    fc.assert(
      fc.property(headers, fc.nat(9), (header, at) => {
        const bytes = new Uint8Array(at + ipv4.emitLength(header) + header.payloadLength);
        ipv4.emit(header, bytes, at);
        expect(ipv4.parse(bytes, at)).toEqual(header);
        expect(ipv4.checksumOk(bytes, at)).toBe(true);
        expect(ipv4.isFragment(bytes, at)).toBe(header.moreFragments || header.fragmentOffset > 0);
        const upper = ip.upper(bytes, at);
        expect([upperProtocol(upper), upperDistance(upper)]).toEqual([
          header.protocol,
          ipv4.emitLength(header),
        ]);
        expect(isLaterFragment(upper)).toBe(header.fragmentOffset > 0);
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it('takes no address of the other family', () => {
    const header = { protocol: 17, payloadLength: 0, source: '10.0.0.1', destination: '::1' };
    expect(() => ipv4.emit(header, new Uint8Array(20))).toThrow('"::1" is not an IPv4 address');
    expect(() => ipv6.emit({ ...header, nextHeader: 17 }, new Uint8Array(40))).toThrow('not an IPv6 address');
  });

  it.each([
    ['shorter than a header', 0, 0x45, 19, Problem.Truncated],
    ['of another version', 0, 0x55, 115, Problem.Version],
    ['with a header below 20 bytes', 0, 0x44, 115, Problem.HeaderLength],
    ['with a total length below its header', 3, 19, 115, Problem.Length],
    ['with a total length beyond the frame', 3, 116, 115, Problem.Length],
  ])('is refused when %s', (_, offset, value, end, problem) => {
    const bytes = packet.slice();
    bytes[offset] = value;
    expect(ipv4.check(bytes, 0, end)).toBe(problem);
    expect(ip.check(bytes, 0, end)).toBe(problem);
    expect(ipv4.parse(bytes, 0, end)).toBeUndefined();
    expect(problemText(problem)).not.toContain('no problem');
  });

  it('may have padding behind it, as short Ethernet frames have', () => {
    const padded = new Uint8Array(200);
    padded.set(packet);
    expect(ipv4.check(padded, 0, 200)).toBe(Problem.None);
    expect(ipv4.packetEnd(padded, 0)).toBe(115);
  });

  it('has options that must end inside the header', () => {
    const check = (...options: number[]) => {
      const bytes = new Uint8Array(60);
      ipv4.emit(
        {
          source: '10.0.0.2',
          destination: '10.0.0.1',
          protocol: 1,
          payloadLength: 0,
          options: Uint8Array.from(options),
        },
        bytes,
      );
      return ipv4.checkOptions(bytes, 0);
    };
    expect(check(7, 7, 4, 0, 0, 0, 0, 0)).toBe(Problem.None);
    expect(check(1, 1, 1, 1)).toBe(Problem.None);
    expect(check(0, 9, 9, 9)).toBe(Problem.None);
    expect(check(7, 8, 4, 0)).toBe(Problem.Options);
    expect(check(7, 1, 4, 0)).toBe(Problem.Options);
    expect(check(1, 1, 1, 7)).toBe(Problem.Options);
  });
});

describe('IPv6', () => {
  const headers = fc.record({
    source: v6,
    destination: v6,
    nextHeader: fc.constantFrom(6, 17, 58, 59),
    payloadLength: fc.nat(100),
    dscp: fc.nat(63),
    ecn: fc.nat(3),
    flowLabel: fc.nat(0xfffff),
    hopLimit: fc.nat(255),
  });

  it('is read and written as it is on the wire', () => {
    const vector = bytesOf(`6b8a bcde 0010 3a40
      2001 0db8 0000 0000 0000 0000 0000 0001  fe80 0000 0000 0000 0000 0000 0000 00ff`);
    const packet = new Uint8Array(56);
    packet.set(vector);
    const header = {
      source: parseIp('2001:db8::1'),
      destination: parseIp('fe80::ff'),
      nextHeader: 58,
      payloadLength: 16,
      dscp: 0x2e,
      ecn: 0,
      flowLabel: 0xabcde,
      hopLimit: 64,
    };
    expect(ipv6.parse(packet)).toEqual(header);
    const bytes = new Uint8Array(40).fill(0xee);
    expect(ipv6.emit(header, bytes)).toBe(40);
    expect(bytes).toEqual(vector);
  });

  it('survives emit and parse', () => {
    fc.assert(
      fc.property(headers, fc.nat(9), (header, at) => {
        const bytes = new Uint8Array(at + 40 + header.payloadLength);
        ipv6.emit(header, bytes, at);
        expect(ipv6.parse(bytes, at)).toEqual(header);
        const upper = ip.upper(bytes, at);
        expect([upperProtocol(upper), upperDistance(upper)]).toEqual([header.nextHeader, 40]);
        ipv6.setTrafficClass(bytes, at, 0xa5);
        ipv6.setFlowLabel(bytes, at, 0x12345);
        expect([ipv6.trafficClass(bytes, at), ipv6.flowLabel(bytes, at)]).toEqual([0xa5, 0x12345]);
        expect(ip.version(bytes, at)).toBe(6);
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it('is refused when truncated, of another version, or longer than its frame', () => {
    const bytes = new Uint8Array(60);
    ipv6.emit({ source: '::1', destination: '::2', nextHeader: 59, payloadLength: 20 }, bytes);
    expect(ip.check(bytes, 0, 60)).toBe(Problem.None);
    expect(ip.check(bytes, 0, 39)).toBe(Problem.Truncated);
    expect(ip.check(bytes, 0, 59)).toBe(Problem.Length);
    expect(ip.check(bytes, 0, 61)).toBe(Problem.Truncated);
    expect(ip.check(bytes, 60, 60)).toBe(Problem.Truncated);
    bytes[0] = 0x70;
    expect(ip.check(bytes, 0, 60)).toBe(Problem.Version);
  });

  /** A packet with these extension headers in front of 8 bytes of an upper layer. */
  function chain(
    extensions: [protocol: number, bytes: number[]][],
    upper = Protocol.Udp as number,
  ): Uint8Array {
    const length = extensions.reduce((total, [, bytes]) => total + bytes.length, 8);
    const packet = new Uint8Array(40 + length);
    ipv6.emit(
      { source: '::1', destination: '::2', nextHeader: extensions[0]?.[0] ?? upper, payloadLength: length },
      packet,
    );
    let at = 40;
    extensions.forEach(([, bytes], i) => {
      packet.set(bytes, at);
      packet[at] = extensions[i + 1]?.[0] ?? upper;
      at += bytes.length;
    });
    return packet;
  }
  const walk = (packet: Uint8Array) => {
    const upper = ip.upper(packet, 0);
    return upper < 0
      ? upper
      : [upperProtocol(upper), upperDistance(upper), isFragment(upper), isLaterFragment(upper)];
  };
  const OPTIONS8 = [0, 0, 1, 4, 0, 0, 0, 0];
  const OPTIONS16 = [0, 1, 1, 12, ...new Array<number>(12).fill(0)];
  const AH = [0, 4, ...new Array<number>(22).fill(7)];
  const fragment = (offset: number, more: number) => [
    0,
    0,
    offset >> 8,
    (offset & 0xf8) | more,
    0,
    0,
    0x12,
    0x34,
  ];

  it('is walked to its upper layer past every kind of extension header', () => {
    expect(walk(chain([]))).toEqual([17, 40, false, false]);
    expect(walk(chain([[0, OPTIONS8]]))).toEqual([17, 48, false, false]);
    expect(walk(chain([[51, AH]], 6))).toEqual([6, 64, false, false]);
    expect(
      walk(
        chain(
          [
            [0, OPTIONS8],
            [60, OPTIONS16],
            [43, OPTIONS8],
            [44, fragment(0, 1)],
            [51, AH],
            [60, OPTIONS8],
          ],
          58,
        ),
      ),
    ).toEqual([58, 40 + 8 + 16 + 8 + 8 + 24 + 8, true, false]);
    expect(walk(chain([[60, OPTIONS8]], Protocol.NoNextHeader))).toEqual([59, 48, false, false]);
    expect(walk(chain([[60, OPTIONS8]], Protocol.Esp))).toEqual([50, 48, false, false]);
  });

  it('tells whole packets, first fragments and later fragments apart', () => {
    expect(walk(chain([[44, fragment(0, 0)]]))).toEqual([17, 48, false, false]);
    expect(walk(chain([[44, fragment(0, 1)]]))).toEqual([17, 48, true, false]);
    // Behind a later fragment's header there is payload, whatever it looks like.
    expect(
      walk(
        chain([
          [44, fragment(1480, 1)],
          [60, OPTIONS8],
        ]),
      ),
    ).toEqual([60, 48, true, true]);
    const later = chain([
      [60, OPTIONS8],
      [44, fragment(1480, 1)],
    ]);
    const header = ipv6.findExtension(later, 0, later.length, Protocol.Fragment);
    expect(header).toBe(48);
    expect(ipv6.fragmentOffset(later, header)).toBe(1480);
    expect(ipv6.moreFragments(later, header)).toBe(true);
    expect(ipv6.fragmentIdentification(later, header)).toBe(0x1234);
    expect(ipv6.isFragment(later, 0, later.length)).toBe(true);
    expect(ipv6.findExtension(later, 0, later.length, Protocol.Ah)).toBe(-1);
  });

  it('is refused when an extension header runs over the end of the packet, not of the frame', () => {
    const packet = chain([[60, OPTIONS8]]);
    packet[41] = 1;
    expect(walk(packet)).toEqual([17, 56, false, false]);
    packet[41] = 2;
    expect(walk(packet)).toBe(-Problem.Options);
    const padded = new Uint8Array(200);
    padded.set(packet);
    expect(walk(padded)).toBe(-Problem.Options);
    expect(ipv6.extensions(packet)).toBeUndefined();
  });

  it('lists its extension headers as values', () => {
    const packet = chain([
      [0, OPTIONS8],
      [44, fragment(0, 0)],
      [51, AH],
    ]);
    const found = ipv6.extensions(packet)!;
    expect(found.map(({ protocol, bytes }) => [protocol, bytes.length])).toEqual([
      [0, 8],
      [44, 8],
      [51, 24],
    ]);
  });

  it('has its checksums made over the final destination of a routing header (RFC 8200, 8.1)', () => {
    const addresses = [...parseIp('2001:db8::a').bytes, ...parseIp('2001:db8::b').bytes];
    const routing = (type: number, left: number) =>
      chain([[43, [0, 4, type, left, 0, 0, 0, 0, ...addresses]]]);
    const final = (packet: Uint8Array) => {
      const at = ipv6.finalDestination(packet, 0, packet.length);
      return formatIp({ family: 6, bytes: packet.slice(at, at + 16) });
    };
    expect(final(routing(2, 0))).toBe('::2');
    expect(final(routing(0, 1))).toBe('2001:db8::b');
    expect(final(routing(2, 1))).toBe('2001:db8::b');
    expect(final(routing(4, 1))).toBe('2001:db8::a');
    expect(final(chain([[43, [0, 0, 2, 1, 0, 0, 0, 0]]]))).toBe('::2');
  });
});

describe('Ethernet', () => {
  const hosts = { destination: '02:00:00:00:00:02', source: '02:00:00:00:00:01' };

  it('is read and written as it is on the wire', () => {
    const vector = bytesOf('0200 0000 0002 0200 0000 0001 88a8 3005 8100 b064 0800');
    const header = {
      ...hosts,
      type: EtherType.Ipv4,
      tags: [
        { id: 5, priority: 1, dropEligible: true, type: EtherType.ServiceVlan },
        { id: 100, priority: 5, dropEligible: true, type: EtherType.Vlan },
      ],
    };
    expect(ethernet.parse(vector)).toEqual(header);
    const bytes = new Uint8Array(22);
    expect(ethernet.emit(header, bytes)).toBe(22);
    expect(bytes).toEqual(vector);
    expect(ethernet.payloadDistance(ethernet.payload(vector, 0, 22))).toBe(22);
    expect(ethernet.vlanId(vector, 0, 1)).toBe(100);
  });

  it('is refused when it or a tag is cut off', () => {
    const vector = bytesOf('0200 0000 0002 0200 0000 0001 8100 b064 0800');
    expect(ethernet.check(vector, 0, 13)).toBe(Problem.Truncated);
    expect(ethernet.payload(vector, 0, 17)).toBe(-Problem.Truncated);
    expect(ethernet.parse(vector, 0, 17)).toBeUndefined();
    expect(ethernet.tagCount(vector, 0, 17)).toBe(0);
  });

  it('knows groups and everybody', () => {
    const to = (mac: string) => {
      const bytes = new Uint8Array(14);
      bytes.set(parseMac(mac));
      return [ethernet.isMulticast(bytes, 0), ethernet.isBroadcast(bytes, 0)];
    };
    expect(to('ff:ff:ff:ff:ff:ff')).toEqual([true, true]);
    expect(to('33:33:00:00:00:01')).toEqual([true, false]);
    expect(to('02:00:00:00:00:01')).toEqual([false, false]);
  });

  it('gets and loses tags in place', () => {
    const bytes = new Uint8Array(22).fill(0xee);
    ethernet.emit({ ...hosts, type: EtherType.Ipv6 }, bytes, 8);
    const tagged = ethernet.pushTag(
      bytes,
      ethernet.pushTag(bytes, 8, EtherType.Vlan, 7, 2),
      EtherType.ServiceVlan,
      9,
    );
    expect(tagged).toBe(0);
    expect(ethernet.parse(bytes)).toEqual({
      ...hosts,
      type: EtherType.Ipv6,
      tags: [
        { id: 9, priority: 0, dropEligible: false, type: EtherType.ServiceVlan },
        { id: 7, priority: 2, dropEligible: false, type: EtherType.Vlan },
      ],
    });
    const bare = ethernet.popTag(bytes, ethernet.popTag(bytes, tagged));
    expect(bare).toBe(8);
    expect(ethernet.parse(bytes, bare)).toEqual({ ...hosts, type: EtherType.Ipv6, tags: [] });
  });
});

describe('ARP', () => {
  const vector = bytesOf('0001 0800 0604 0001 0200 0000 0001 0a00 0001 0000 0000 0000 0a00 0002');

  it('is read and written as it is on the wire', () => {
    const packet = {
      operation: arp.Operation.Request,
      senderMac: '02:00:00:00:00:01',
      senderIp: parseIp('10.0.0.1'),
      targetMac: '00:00:00:00:00:00',
      targetIp: parseIp('10.0.0.2'),
    };
    expect(arp.parse(vector)).toEqual(packet);
    const bytes = new Uint8Array(30);
    expect(arp.emit(packet, bytes, 2)).toBe(28);
    expect(bytes.slice(2)).toEqual(vector);
  });

  it.each([0, 2, 4, 5])('of another kind (byte %i) is refused', (offset) => {
    const other = vector.slice();
    other[offset] ^= 8;
    expect(arp.check(other, 0, 28)).toBe(Problem.Protocol);
    expect(arp.parse(other)).toBeUndefined();
    expect(arp.check(vector, 0, 27)).toBe(Problem.Truncated);
  });
});

describe('UDP', () => {
  it('survives emit and parse, and is refused when its length does not fit', () => {
    fc.assert(
      fc.property(u16, u16, fc.nat(50), (sourcePort, destinationPort, payloadLength) => {
        const bytes = new Uint8Array(8 + payloadLength);
        const header = { sourcePort, destinationPort, payloadLength };
        expect(udp.emit(header, bytes)).toBe(8);
        expect(udp.parse(bytes)).toEqual(header);
        expect(udp.check(bytes, 0, bytes.length - 1)).toBe(
          payloadLength === 0 ? Problem.Truncated : Problem.Length,
        );
        udp.setLength(bytes, 0, 7);
        expect(udp.check(bytes, 0, bytes.length)).toBe(Problem.Length);
      }),
      { seed: 1, numRuns: 200 },
    );
  });
});

describe('ICMP', () => {
  it('survives emit and parse with a right checksum', () => {
    const message = fc.record({
      type: fc.nat(255),
      code: fc.nat(255),
      rest: fc.nat(0xffffffff),
      body: fc.uint8Array({ maxLength: 40 }),
    });
    fc.assert(
      fc.property(message, (value) => {
        const bytes = new Uint8Array(8 + value.body.length);
        expect(icmp.emit(value, bytes)).toBe(bytes.length);
        expect(icmp.parse(bytes)).toEqual(value);
        fc.pre(bytes.some((byte) => byte !== 0));
        expect(icmp.checksumOk(bytes, 0, bytes.length)).toBe(true);
        expect(icmp.check(bytes, 0, 7)).toBe(Problem.Truncated);
      }),
      { seed: 1, numRuns: 300 },
    );
  });
});

describe('ICMPv6', () => {
  it('reads the messages of Neighbor Discovery', () => {
    const target = [...parseIp('fe80::2').bytes];
    const mac = [2, 0, 0, 0, 0, 1];
    const parse = (...bytes: number[]) => icmpv6.parseNd(Uint8Array.from(bytes));
    expect(parse(133, 0, 0, 0, 0, 0, 0, 0, 1, 1, ...mac)).toEqual({
      type: 133,
      linkAddress: Uint8Array.from(mac),
    });
    expect(parse(134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 0, 5, 0xdc)).toEqual({
      type: 134,
      hopLimit: 64,
      lifetime: 0x708,
      mtu: 1500,
    });
    expect(parse(135, 0, 0, 0, 0, 0, 0, 0, ...target)).toEqual({ type: 135, target: parseIp('fe80::2') });
    expect(parse(136, 0, 0, 0, 0x60, 0, 0, 0, ...target, 2, 1, ...mac)).toEqual({
      type: 136,
      target: parseIp('fe80::2'),
      router: false,
      solicited: true,
      override: true,
      linkAddress: Uint8Array.from(mac),
    });
    expect(parse(128, 0, 0, 0, 0, 1, 0, 1)).toBeUndefined();
  });

  it.each([
    ['cut off', [135, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]],
    ['with an option of length zero', [133, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]],
    ['with an option over the end', [133, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0]],
    ['with a piece of an option', [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]],
  ])('refuses one that is %s', (_, bytes) => {
    expect(icmpv6.check(Uint8Array.from(bytes), 0, bytes.length)).not.toBe(Problem.None);
    expect(icmpv6.parseNd(Uint8Array.from(bytes))).toBeUndefined();
  });

  it('writes solicitations and advertisements that it reads', () => {
    const bytes = new Uint8Array(32);
    const linkAddress = parseMac('02:00:00:00:00:01');
    const advertisement = {
      type: icmpv6.Type.NeighborAdvertisement,
      target: parseIp('fe80::2'),
      router: true,
      solicited: false,
      override: true,
      linkAddress,
    };
    expect(icmpv6.emitNeighbor(advertisement, bytes)).toBe(32);
    expect(icmpv6.parseNd(bytes)).toEqual(advertisement);
    const solicitation = { type: icmpv6.Type.NeighborSolicitation, target: 'fe80::2' };
    expect(icmpv6.emitNeighbor(solicitation, bytes)).toBe(24);
    expect(icmpv6.parseNd(bytes, 0, 24)).toEqual({ type: 135, target: parseIp('fe80::2') });
    expect(icmpv6.ndOption(bytes, 0, 24, icmpv6.NdOption.SourceLinkAddress)).toBe(-1);
  });

  it('survives emit and parse', () => {
    const bytes = new Uint8Array(12);
    const message = { type: 2, code: 0, rest: 0xfffffff0, body: Uint8Array.of(1, 2, 3, 4) };
    expect(icmpv6.emit(message, bytes)).toBe(12);
    expect(icmpv6.parse(bytes)).toEqual(message);
    expect(icmpv6.mtu(bytes, 0)).toBe(0xfffffff0);
  });
});
