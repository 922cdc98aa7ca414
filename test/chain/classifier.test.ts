import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Classifier, NO_RULE, UNTAGGED } from '../../src/chain/classifier/classifier.ts';
import {
  type ClassifierRule,
  classifierSchema,
  type FlowMatch,
  writtenMatchSchema,
} from '../../src/chain/classifier/match.ts';
import { checkOptions } from '../../src/engine/options.ts';
import { hasPorts } from '../../src/packet/flow-key.ts';
import {
  contains,
  datagramKey,
  icmpEcho,
  KEY_CELLS,
  Protocol,
  parseIp,
  tcpPacket,
  udpPacket,
} from '../../src/packet/index.ts';

const rulesOf = (...matches: unknown[]): ClassifierRule[] =>
  checkOptions(
    classifierSchema,
    matches.map((match, i) => ({ match, chain: i + 1 })),
  );

interface Asked {
  tenant?: number;
  dscp?: number;
  vlan?: number;
}
const key = new Int32Array(KEY_CELLS);
function find(
  classifier: Classifier,
  packet: Uint8Array,
  { tenant = 0, dscp = 0, vlan = UNTAGGED }: Asked = {},
) {
  const direction = datagramKey(packet, 0, packet.length, key);
  return classifier.find(key, 0, tenant, direction as 0 | 1, dscp, vlan);
}

describe('a classifier', () => {
  const classifier = new Classifier(
    rulesOf(
      '10.0.0.2:tcp:80-90',
      '10.1.0.0/16 -> *:udp:53',
      '[fd00::]:tcp',
      { to: '10.0.0.0/8', dscp: 'ef' },
      { from: '192.0.2.0/24', fromPort: 1000 },
      { tenant: 42 },
      { vlan: 7 },
      '*:icmp',
      '10.0.0.0/8',
    ),
  );

  it.each([
    [0, tcpPacket({ to: '10.0.0.2:85' })],
    [8, tcpPacket({ to: '10.0.0.2:91' })],
    [8, udpPacket({ to: '10.0.0.2:85' })],
    [1, udpPacket({ from: '10.1.2.3:5', to: '203.0.113.9:53' })],
    [NO_RULE, udpPacket({ from: '203.0.113.9:53', to: '11.1.2.3:5' })],
    [2, tcpPacket({ to: '[fd00::]:5' })],
    [NO_RULE, tcpPacket({ to: '[fd00::1]:5' })],
    [4, udpPacket({ from: '192.0.2.9:1000', to: '203.0.113.9:1' })],
    [NO_RULE, udpPacket({ from: '203.0.113.9:1', to: '192.0.2.9:1000' })],
    [7, icmpEcho({ to: '203.0.113.9', from: '203.0.113.1' })],
    [7, icmpEcho({ to: 'fd00::9' })],
  ])('finds rule %i', (rule, packet) => {
    expect(find(classifier, packet)).toBe(rule);
  });

  it('looks at DSCP, tenant and VLAN of the packet that opens the flow', () => {
    const packet = udpPacket({ to: '10.0.0.2:85' });
    expect(find(classifier, packet, { dscp: 46 })).toBe(3);
    expect(find(classifier, packet, { tenant: 42 })).toBe(5);
    expect(find(classifier, packet, { vlan: 7 })).toBe(6);
    expect(find(classifier, packet, { tenant: 43, vlan: 8, dscp: 45 })).toBe(8);
    expect(classifier.chain(8)).toBe(9);
  });

  it('without rules finds none', () => {
    expect(find(new Classifier([]), udpPacket({ to: '10.0.0.2:85' }))).toBe(NO_RULE);
  });
});

/** Rule by rule, as the page says. */
function slowly(rules: ClassifierRule[], packet: Packet): number {
  const [from, to] = [packet.from, packet.to].map((text) => parseIp(text));
  const ported = hasPorts(packet.protocol);
  return rules.findIndex(({ match }) => {
    const icmp = from!.family === 4 ? Protocol.Icmp : Protocol.Icmpv6;
    if (match.tenant !== undefined && match.tenant !== packet.tenant) return false;
    if (match.vlan !== undefined && match.vlan !== packet.vlan) return false;
    if (match.dscp !== undefined && match.dscp !== packet.dscp) return false;
    if (
      match.protocol !== undefined &&
      (match.protocol === 'icmp' ? icmp : match.protocol) !== packet.protocol
    )
      return false;
    if (match.from && !contains(match.from, from!)) return false;
    if (match.to && !contains(match.to, to!)) return false;
    const outside = (range: FlowMatch['port'], port: number) =>
      range !== undefined && (!ported || port < range.min || port > range.max);
    return !outside(match.fromPort, packet.fromPort) && !outside(match.port, packet.port);
  });
}

interface Packet {
  from: string;
  to: string;
  fromPort: number;
  port: number;
  protocol: number;
  tenant: number;
  vlan: number;
  dscp: number;
}

describe('the first of many rules', () => {
  const octet = fc.nat(2);
  const four = fc.tuple(octet, octet).map(([a, b]) => `10.${a}.0.${b}`);
  const six = fc.tuple(octet, octet).map(([a, b]) => `fd00:${a}::${b}`);
  const network = fc
    .oneof(
      fc.tuple(four, fc.constantFrom(0, 8, 14, 16, 31, 32)),
      fc.tuple(six, fc.constantFrom(0, 16, 30, 32, 127, 128)),
    )
    .map(([text, length]) => {
      const address = parseIp(text);
      const bytes = address.bytes.map(
        (byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))),
      );
      return { address: { ...address, bytes }, length };
    });
  const range = fc
    .tuple(fc.nat(9), fc.nat(9))
    .map(([a, b]) => ({ min: Math.min(a, b), max: Math.max(a, b) }));
  const sometimes = <T>(some: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: some });
  const rule = fc
    .record({
      tenant: sometimes(fc.nat(2)),
      from: sometimes(network),
      to: sometimes(network),
      protocol: sometimes(fc.constantFrom<number | 'icmp'>('icmp', 1, 6, 17, 47, 58)),
      fromPort: sometimes(range),
      port: sometimes(range),
      dscp: sometimes(fc.nat(2)),
      vlan: sometimes(fc.nat(2)),
    })
    .map((match): ClassifierRule => ({ match, chain: 1 }));
  const packet = fc
    .record({
      ends: fc.oneof(fc.tuple(four, four), fc.tuple(six, six)),
      fromPort: fc.nat(10),
      port: fc.nat(10),
      transport: fc.constantFrom('tcp', 'udp', 'echo'),
      tenant: fc.nat(3),
      vlan: fc.integer({ min: -1, max: 3 }),
      dscp: fc.nat(3),
    })
    .map(({ ends: [from, to], transport, ...rest }) => {
      const point = (text: string, port: number) =>
        text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`;
      const ends = { from: point(from, rest.fromPort), to: point(to, rest.port) };
      const icmp = from.includes(':') ? Protocol.Icmpv6 : Protocol.Icmp;
      const protocol = { tcp: Protocol.Tcp, udp: Protocol.Udp, echo: icmp }[transport]!;
      const bytes =
        transport === 'tcp'
          ? tcpPacket(ends)
          : transport === 'udp'
            ? udpPacket(ends)
            : icmpEcho({ from, to });
      return { bytes, fields: { ...rest, from, to, protocol } as Packet };
    });

  it('is what a walk over them finds', () => {
    let found = 0;
    fc.assert(
      fc.property(
        fc.array(rule, { maxLength: 70 }),
        fc.array(packet, { minLength: 20, maxLength: 20 }),
        (rules, packets) => {
          const classifier = new Classifier(rules);
          for (const { bytes, fields } of packets) {
            const expected = slowly(rules, fields);
            expect(find(classifier, bytes, fields)).toBe(expected);
            if (expected > 0) found++;
          }
        },
      ),
      { seed: 1, numRuns: 150 },
    );
    expect(found).toBeGreaterThan(500);
  });
});

describe('rules as text', () => {
  it('are short for rules with names', () => {
    const [short, both, six, all] = rulesOf(
      '10.0.0.0/8:tcp:80-90',
      '10.1.0.0/16 -> *:udp:53',
      '[fd00::/8]:tcp',
      '*',
    );
    expect(short!.match).toEqual(rulesOf({ to: '10.0.0.0/8', protocol: 'tcp', port: '80-90' })[0]!.match);
    expect(both!.match).toEqual(rulesOf({ from: '10.1.0.0/16', protocol: 17, port: 53 })[0]!.match);
    expect(six!.match).toEqual(rulesOf({ to: 'fd00::/8', protocol: 6 })[0]!.match);
    expect(all!.match).toEqual({});
  });

  it.each([
    ['10.0.0.0/8:tcp:80:90', '0.match: found "10.0.0.0/8:tcp:80:90", expected [from -> ]addr[:protocol'],
    ['10.0.0.1:tcp -> *', '0.match: found "10.0.0.1:tcp -> *", expected [from -> ]addr'],
    [
      '10.0.0.1 -> [fd00::1]',
      '0.match.to: found "10.0.0.1 -> [fd00::1]", expected the address family of "from"',
    ],
    [{ to: '10.0.0.1/8' }, '0.match.to: found "10.0.0.1/8", expected an address or a prefix'],
    [{ protocol: 'icmp', port: 5 }, '0.match.port: found 5, expected none: the protocol has no ports'],
    [{ tenant: 2 ** 24 }, '0.match.tenant: found 16777216, expected a virtual network'],
    [{ vlan: 4096 }, '0.match.vlan: found 4096, expected a vlan from 0 to 4095'],
    [{ colour: 'red' }, '0.match: found the unknown key "colour"'],
  ])('are refused when they are wrong: %j', (match, message) => {
    expect(() => rulesOf(match)).toThrow(message);
  });

  it('name a chain from 1 to 8388607, or null for none, and are up to 2048', () => {
    const check = (chain: unknown, count = 1) =>
      checkOptions(classifierSchema, Array(count).fill({ match: '*', chain }));
    expect(new Classifier(check(null)).chain(0)).toBeNull();
    for (const wrong of [0, 0x800000, '7'])
      expect(() => check(wrong)).toThrow('expected a service path from 1 to 8388607, or null');
    expect(check(1, 2048)).toHaveLength(2048);
    expect(() => check(1, 2049)).toThrow('up to 2048 rules');
  });

  it('are kept as they were written by those who store them, when they are right', () => {
    const written = { to: '10.0.0.0/8', protocol: 'tcp' };
    expect(checkOptions(writtenMatchSchema, written)).toEqual(written);
    expect(checkOptions(writtenMatchSchema, '10.0.0.1')).toBe('10.0.0.1');
    expect(() => checkOptions(writtenMatchSchema, { to: 'x' })).toThrow('to: found "x", expected an address');
    expect(() => checkOptions(writtenMatchSchema, { colour: 1 })).toThrow('the unknown key "colour"');
  });
});
