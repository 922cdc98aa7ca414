import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TunconnectorError } from '../../src/errors.ts';
import {
  compareIp,
  equalIp,
  formatIp,
  type IpAddress,
  isIp,
  isLimitedBroadcast,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isUnspecified,
  parseIp,
  parseIpv4,
  parseIpv6,
} from '../../src/packet/address.ts';
import {
  broadcastOf,
  contains,
  equalPrefix,
  formatEndpoint,
  formatMac,
  formatPrefix,
  hostAt,
  hostCount,
  networkOf,
  parseEndpoint,
  parseMac,
  parsePrefix,
  toEndpoint,
} from '../../src/packet/prefix.ts';

const roundTrip = (text: string) => formatIp(parseIp(text));

/** The error of a call that must fail. */
function failure(call: () => unknown): TunconnectorError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(TunconnectorError);
    return error as TunconnectorError;
  }
  throw new Error('it was accepted');
}

describe('IP addresses', () => {
  it('are read into bytes of network order', () => {
    expect([...parseIp('192.0.2.1').bytes]).toEqual([192, 0, 2, 1]);
    expect([...parseIp('2001:db8::ff00:42:8329').bytes]).toEqual([
      0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0x42, 0x83, 0x29,
    ]);
    expect([...parseIp('::ffff:192.0.2.128').bytes.slice(10)]).toEqual([255, 255, 192, 0, 2, 128]);
    expect(parseIp('fe80::1%eth0.100').zone).toBe('eth0.100');
    expect(parseIp('64:ff9b::192.0.2.33').bytes[12]).toBe(192);
    expect(parseIp('1:2:3:4:5:6:1.2.3.4').bytes[15]).toBe(4);
  });

  it.each([
    // RFC 5952: 4.1 leading zeros, 4.2.1 shorten as much, 4.2.2 no single group, 4.2.3 the longest, then the first run.
    ['2001:0db8::0001', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:DB8::ABCD', '2001:db8::abcd'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['1::2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['::ffff:c000:280', '::ffff:192.0.2.128'],
    ['FE80::1%wg0', 'fe80::1%wg0'],
    ['255.255.255.255', '255.255.255.255'],
  ])('%s is written %s', (text, expected) => {
    expect(roundTrip(text)).toBe(expected);
  });

  it.each([
    ...[
      '',
      ' ',
      '1',
      '1.2.3',
      '1.2.3.4.5',
      '1.2.3.',
      '.1.2.3',
      '1..2.3',
      '256.0.0.1',
      '1.2.3.1000',
      '01.2.3.4',
    ],
    ...[
      '1.2.3.04',
      '0x7f.0.0.1',
      '127.1',
      '2130706433',
      '1.2.3.4 ',
      ' 1.2.3.4',
      '1.2.3.4\n',
      '1.2.3.4/24',
      '-1.2.3.4',
    ],
    ...[
      '+1.2.3.4',
      '1.2.3.4%eth0',
      '1.2.3.1e1',
      '１.2.3.4',
      '1.2.3.4\0',
      'localhost',
      ':',
      ':::',
      '::1::',
      '1::2::3',
    ],
    ...[
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1:2:3:4:5:6:7::8',
      '::1:2:3:4:5:6:7:8',
      '12345::',
      'g::',
      '1:',
    ],
    ...[
      ':1',
      '1:2:3:4:5:6:7:',
      ':1:2:3:4:5:6:7',
      '::1 ',
      ' ::1',
      '[::1]',
      '::1/64',
      '::1.2.3',
      '::1.2.3.4.5',
    ],
    ...[
      '::01.2.3.4',
      '::256.1.1.1',
      '1.2.3.4::',
      '::1.2.3.4:5',
      '1:2:3:4:5:6:7:1.2.3.4',
      'fe80::1%',
      'fe80::1%a b',
    ],
    ...[
      'fe80::1%a/b',
      'fe80::1%a%b',
      'fe80::1%interface-name-16',
      'fe80::1%]',
      '%eth0',
      '::%\n',
      '0x1::',
      '::-1',
    ],
  ])('%j is refused with one line', (text) => {
    expect(isIp(text)).toBe(false);
    const error = failure(() => parseIp(text));
    expect(error.code).toBe('ERR_ADDRESS');
    expect(error.message).not.toContain('\n');
    expect(error.message).toContain('is not an IP address');
  });

  it.each([undefined, null, 7, {}, ['1.2.3.4']])('%j, which is not text, is refused', (value) => {
    expect(failure(() => parseIp(value as string)).code).toBe('ERR_ADDRESS');
    expect(failure(() => parseIpv4(value as string)).code).toBe('ERR_ADDRESS');
    expect(failure(() => parsePrefix(value as string)).code).toBe('ERR_ADDRESS');
    expect(failure(() => parseEndpoint(value as string)).code).toBe('ERR_ADDRESS');
    expect(failure(() => parseMac(value as string)).code).toBe('ERR_ADDRESS');
  });

  it('refusals say what was found and what was expected', () => {
    expect(failure(() => parseIp('10.0.0.010')).message).toBe(
      '"10.0.0.010" is not an IP address: part 4 is "010", not 0 to 255 without leading zeros',
    );
    expect(failure(() => parseIp('1:2:3')).message).toBe(
      '"1:2:3" is not an IP address: it has 3 groups, not eight',
    );
    expect(failure(() => parseIp('x'.repeat(5000))).message.length).toBeLessThan(200);
    expect(failure(() => parseIpv6('1.2.3.4')).message).toContain('it is an IPv4 address');
    expect(failure(() => parseIpv4('::1')).message).toContain('is not an IPv4 address');
  });

  it('survive the way through text', () => {
    const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
    // Many zero groups, or "::" would hardly be met.
    const group = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff }));
    const v6 = fc
      .array(group, { minLength: 8, maxLength: 8 })
      .map((groups) => Uint8Array.from(groups.flatMap((each) => [each >> 8, each & 255])));
    fc.assert(
      fc.property(fc.oneof(v4, v6), (bytes) => {
        const address: IpAddress = { family: bytes.length === 4 ? 4 : 6, bytes };
        const text = formatIp(address);
        expect(parseIp(text)).toEqual(address);
        expect(roundTrip(text)).toBe(text);
      }),
      { seed: 1, numRuns: 2000 },
    );
  });

  it('never come out of rubbish that reads otherwise', () => {
    const dirt = fc.string({ unit: fc.constantFrom(...'0123456789abfF:.%/ []x'), maxLength: 24 });
    fc.assert(
      fc.property(dirt, (text) => {
        if (!isIp(text)) return;
        expect(equalIp(parseIp(roundTrip(text)), parseIp(text))).toBe(true);
        if (!text.includes(':')) expect(roundTrip(text)).toBe(text);
      }),
      { seed: 2, numRuns: 20_000 },
    );
  });

  it('are compared by family, number and zone', () => {
    const sorted = ['0.0.0.0', '9.0.0.0', '10.0.0.0', '::', '::1', 'fe80::1', 'fe80::1%a', 'fe80::1%b'];
    const shuffled = [...sorted].reverse().map(parseIp).sort(compareIp).map(formatIp);
    expect(shuffled).toEqual(sorted);
    expect(equalIp(parseIp('::1'), parseIp('0::0:1'))).toBe(true);
    expect(equalIp(parseIp('fe80::1%a'), parseIp('fe80::1'))).toBe(false);
  });

  it.each([
    [isUnspecified, ['0.0.0.0', '::'], ['0.0.0.1', '::1', '1::']],
    [isLoopback, ['127.0.0.1', '127.255.0.9', '::1'], ['128.0.0.1', '::', '::2', '1::1']],
    [isMulticast, ['224.0.0.1', '239.255.255.255', 'ff02::1'], ['223.1.1.1', '240.0.0.1', 'fe80::1']],
    [isLinkLocal, ['169.254.0.1', 'fe80::1', 'febf::1'], ['169.253.0.1', 'fec0::1', '254.128.0.1']],
    [isLimitedBroadcast, ['255.255.255.255'], ['255.255.255.254', 'ffff::']],
  ])('belong to classes: %o', (belongs, inside, outside) => {
    expect(inside.filter((text) => !belongs(parseIp(text)))).toEqual([]);
    expect(outside.filter((text) => belongs(parseIp(text)))).toEqual([]);
  });
});

describe('prefixes', () => {
  it('are networks, and interface addresses when asked', () => {
    expect(formatPrefix(parsePrefix('10.0.0.0/24'))).toBe('10.0.0.0/24');
    expect(formatPrefix(parsePrefix('2001:DB8::/32'))).toBe('2001:db8::/32');
    expect(failure(() => parsePrefix('10.0.0.2/24')).message).toBe(
      '"10.0.0.2/24" is not a prefix like 10.0.0.0/24: it has host bits, the network is 10.0.0.0/24',
    );
    const own = parsePrefix('10.0.0.2/24', { hostBits: true });
    expect([formatPrefix(own), formatPrefix(networkOf(own)), formatIp(broadcastOf(own))]).toEqual([
      '10.0.0.2/24',
      '10.0.0.0/24',
      '10.0.0.255',
    ]);
    expect(formatPrefix(parsePrefix('0.0.0.0/0'))).toBe('0.0.0.0/0');
    expect(formatPrefix(parsePrefix('::/0'))).toBe('::/0');
  });

  it('without a length get the default that was allowed', () => {
    expect(parsePrefix('10.0.0.2', { hostBits: true, length: 24 }).length).toBe(24);
    expect(parsePrefix('10.0.0.2', { length: 'host' }).length).toBe(32);
    expect(parsePrefix('::2', { length: 'host' }).length).toBe(128);
    expect(failure(() => parsePrefix('10.0.0.0')).message).toContain('it has no length');
    expect(failure(() => parsePrefix('10.0.0.0', { length: 64 })).message).toContain('exceeds 32');
  });

  it.each([
    '/24',
    '10.0.0.0/',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/024',
    '10.0.0.0/24 ',
    '10.0.0.0/2x',
    '10.0.0.0/-1',
  ])('%j is refused', (text) => {
    expect(failure(() => parsePrefix(text, { hostBits: true })).code).toBe('ERR_ADDRESS');
  });

  it('contain what shares their bits', () => {
    const slow = (prefix: string, address: string) => {
      const bits = (text: string) =>
        [...parseIp(text).bytes].map((b) => b.toString(2).padStart(8, '0')).join('');
      const [network, length] = prefix.split('/');
      return bits(network).slice(0, Number(length)) === bits(address).slice(0, Number(length));
    };
    const octet = fc.constantFrom(0, 1, 2, 127, 128, 192, 255);
    const v4 = fc.tuple(octet, octet, octet, octet).map((parts) => parts.join('.'));
    fc.assert(
      fc.property(v4, v4, fc.integer({ min: 0, max: 32 }), (a, b, length) => {
        const prefix = parsePrefix(`${a}/${length}`, { hostBits: true });
        expect(contains(prefix, parseIp(b))).toBe(slow(`${a}/${length}`, b));
        expect(contains(networkOf(prefix), prefix)).toBe(true);
      }),
      { seed: 3, numRuns: 2000 },
    );
    expect(contains(parsePrefix('10.0.0.0/8'), parsePrefix('10.1.0.0/16'))).toBe(true);
    expect(contains(parsePrefix('10.1.0.0/16'), parsePrefix('10.0.0.0/8'))).toBe(false);
    expect(contains(parsePrefix('::/0'), parseIp('10.0.0.1'))).toBe(false);
    expect(contains(parsePrefix('2001:db8::/33'), parseIp('2001:db8:8000::1'))).toBe(false);
  });

  it('know how many hosts they have, and each by number', () => {
    const counts = ['10.0.0.0/24', '10.0.0.0/30', '10.0.0.0/31', '10.0.0.0/32', '::/64', '0.0.0.0/0'];
    expect(counts.map((text) => hostCount(parsePrefix(text)))).toEqual([254, 2, 2, 1, 2 ** 64, 2 ** 32 - 2]);
    expect(formatIp(hostAt(parsePrefix('10.0.0.0/16'), 257))).toBe('10.0.1.1');
    expect(formatIp(hostAt(parsePrefix('10.0.255.128/25'), 127))).toBe('10.0.255.255');
    expect(formatIp(hostAt(parsePrefix('2001:db8::/64'), 2 ** 33))).toBe('2001:db8::2:0:0');
    expect(failure(() => hostAt(parsePrefix('10.0.0.0/24'), 256)).code).toBe('ERR_ADDRESS');
    expect(failure(() => hostAt(parsePrefix('255.255.255.0/24'), 256)).code).toBe('ERR_ADDRESS');
    expect(failure(() => hostAt(parsePrefix('10.0.0.0/24'), -1)).code).toBe('ERR_ADDRESS');
    expect(equalPrefix(parsePrefix('::/0'), parsePrefix('::/1'))).toBe(false);
  });
});

describe('endpoints', () => {
  it('are an address and a port', () => {
    expect(formatEndpoint(parseEndpoint('10.0.0.1:53'))).toBe('10.0.0.1:53');
    expect(formatEndpoint(parseEndpoint('[2001:db8::1]:65535'))).toBe('[2001:db8::1]:65535');
    expect(formatEndpoint(parseEndpoint('[fe80::1%eth0]:0'))).toBe('[fe80::1%eth0]:0');
    expect(formatEndpoint(toEndpoint({ address: '::1', port: 7 }))).toBe('[::1]:7');
  });

  it.each([
    ...[
      '10.0.0.1',
      ':53',
      '10.0.0.1:',
      '10.0.0.1:65536',
      '10.0.0.1:053',
      '10.0.0.1:-1',
      '10.0.0.1:5 ',
      '::1:53',
    ],
    ...[
      '[::1]',
      '[::1]53',
      '[10.0.0.1]:53',
      '[::1]:53\n',
      '[[::1]]:53',
      '10.0.0.1:53:54',
      'host:53',
      '10.0.0:53',
    ],
  ])('%j is refused', (text) => {
    const error = failure(() => parseEndpoint(text));
    expect(error.code).toBe('ERR_ADDRESS');
    expect(error.message).toContain('is not an endpoint like 10.0.0.1:53 or [::1]:53');
  });

  it('say that an IPv6 address wants brackets', () => {
    expect(failure(() => parseEndpoint('2001:db8::1:53')).message).toContain('stands in brackets');
  });
});

describe('MAC addresses', () => {
  it('go through text', () => {
    expect([...parseMac('02:00:5E:00:53:ff')]).toEqual([2, 0, 0x5e, 0, 0x53, 255]);
    expect(formatMac(Uint8Array.of(9, 2, 0, 0x5e, 0, 0x53, 255), 1)).toBe('02:00:5e:00:53:ff');
  });

  it.each([
    '02:00:5e:00:53',
    '2:0:5e:0:53:1',
    '02-00-5e-00-53-01',
    '02:00:5e:00:53:01:',
    '02:00:5e:00:53:0g',
    '',
  ])('%j is refused', (text) => {
    expect(failure(() => parseMac(text)).code).toBe('ERR_ADDRESS');
  });
});
