import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatIp, parseIp } from '../../src/packet/address.ts';
import { icmpEcho, tcpPacket, udpPacket } from '../../src/packet/build.ts';
import { flowKey, KEY_CELLS, KeyCell, replaceEndpoint } from '../../src/packet/flow-key.ts';
import { timeExceeded, UnreachableReason, unreachable } from '../../src/packet/icmp-error.ts';
import * as ip from '../../src/packet/ip.ts';
import { emitFragment, fragmentCount } from '../../src/packet/ip-fragment.ts';
import * as ipv4 from '../../src/packet/ipv4.ts';
import { translate } from '../../src/packet/translate.ts';
import { pseudoSum, Verdict, verifyTransport } from '../../src/packet/transport.ts';
import { getInt32, put16 } from '../../src/packet/word.ts';

interface End {
  address: string;
  port: number;
}

const text = ({ address, port }: End) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
const wordsOf = (address: string) => {
  const { bytes } = parseIp(address);
  return Int32Array.from({ length: bytes.length / 4 }, (_, i) => getInt32(bytes, 4 * i));
};

const port = fc.integer({ min: 0, max: 65535 });
const address4 = fc.tuple(
  fc.constant(10),
  ...Array.from({ length: 3 }, () => fc.integer({ min: 0, max: 255 })),
);
const end4 = fc.record({ address: address4.map((bytes) => bytes.join('.')), port });
const end6 = fc.record({
  address: fc
    .uint8Array({ minLength: 15, maxLength: 15 })
    .map((bytes) => formatIp({ family: 6, bytes: Uint8Array.of(0xfd, ...bytes) })),
  port,
});
const cases = fc.constantFrom(end4, end6).chain((end) =>
  fc.record({
    inside: end as fc.Arbitrary<End>,
    outside: end as fc.Arbitrary<End>,
    remote: end as fc.Arbitrary<End>,
    udp: fc.boolean(),
    payload: fc.uint8Array({ maxLength: 64 }),
    source: fc.boolean(),
  }),
);
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

/** A packet that goes up from `own`, or comes down to it. */
const build = ({ udp, remote, payload, source }: Case, own: End) => {
  const [from, to] = (source ? [own, remote] : [remote, own]).map(text);
  return (udp ? udpPacket : tcpPacket)({ from, to, payload });
};

const change = (bytes: Uint8Array, source: boolean, to: End, open = false) =>
  translate(bytes, 0, bytes.length, source, wordsOf(to.address), 0, to.port, open);

/** Bytes with the transport checksum at `at` not zero but all ones, which is the same sum. */
const settled = (bytes: Uint8Array, at: number) => {
  const copy = bytes.slice();
  if (copy[at] === 0 && copy[at + 1] === 0) put16(copy, at, 0xffff);
  return copy;
};

const cut = (bytes: Uint8Array, mtu: number) =>
  Array.from({ length: fragmentCount(bytes, 0, bytes.length, mtu) }, (_, i) => {
    const into = new Uint8Array(mtu);
    return into.slice(0, emitFragment(bytes, 0, bytes.length, mtu, i, into, 0));
  });

const checksumAt = ({ remote, udp }: Case, from = 0) =>
  from + (remote.address.includes(':') ? 40 : 20) + (udp ? 6 : 16);

describe('a translated packet', () => {
  it('is the packet that the other endpoint would have sent or got', () => {
    fc.assert(
      fc.property(cases, (each) => {
        const bytes = build(each, each.inside);
        expect(change(bytes, each.source, each.outside)).toBe(true);
        const at = checksumAt(each);
        expect(settled(bytes, at)).toEqual(settled(build(each, each.outside), at));
        expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it('keeps a checksum open that is to be filled in later', () => {
    fc.assert(
      fc.property(cases, (each) => {
        const opened = (own: End) => {
          const bytes = build(each, own);
          const transport = checksumAt(each) - (each.udp ? 6 : 16);
          const length = bytes.length - transport;
          put16(bytes, checksumAt(each), pseudoSum(bytes, 0, bytes.length, each.udp ? 17 : 6, length));
          return bytes;
        };
        const bytes = opened(each.inside);
        expect(change(bytes, each.source, each.outside, true)).toBe(true);
        expect(settled(bytes, checksumAt(each))).toEqual(settled(opened(each.outside), checksumAt(each)));
      }),
      { seed: 2, numRuns: 300 },
    );
  });

  it('has a wrong checksum when it had one, and none when it had none', () => {
    const wrong = udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2', payload: 'x' });
    wrong[wrong.length - 1] ^= 1;
    change(wrong, true, { address: '10.0.0.9', port: 9 });
    expect(verifyTransport(wrong, 0)).toBe(Verdict.Wrong);
    expect(ipv4.checksumOk(wrong, 0)).toBe(true);
    const none = udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2', payload: 'x', noChecksum: true });
    change(none, true, { address: '10.0.0.9', port: 9 });
    expect(verifyTransport(none, 0)).toBe(Verdict.None);
  });

  it('has the key that its flow is said to have then', () => {
    fc.assert(
      fc.property(cases, (each) => {
        const key = new Int32Array(KEY_CELLS);
        const bytes = build(each, each.inside);
        const up = flowKey(bytes, 0, bytes.length, key, 5);
        const lower = (up === 0) === each.source;
        const below = replaceEndpoint(key, lower, wordsOf(each.outside.address), 0, each.outside.port, 5);
        change(bytes, each.source, each.outside);
        const after = new Int32Array(KEY_CELLS);
        const direction = flowKey(bytes, 0, bytes.length, after, 5);
        fc.pre(text(each.outside) !== text(each.remote));
        expect(key).toEqual(after);
        expect(below).toBe((direction === 0) === each.source);
        expect(after[KeyCell.hash]).not.toBe(0);
      }),
      { seed: 3, numRuns: 300 },
    );
  });
});

describe('a translated ICMP error', () => {
  it.each(['from its other end', 'from a router'])(
    'is that about the packet as its sender knows it, %s',
    (by) => {
      fc.assert(
        fc.property(cases, (each) => {
          /** About a packet between `own` and the remote end, to whoever sent it. */
          const about = (own: End) => {
            const offender = build({ ...each, source: !each.source }, own);
            const into = new Uint8Array(1280);
            // What goes up is about a packet that came down to its own end, which may be who complains.
            const complainer =
              by === 'from a router'
                ? each.source
                  ? each.remote
                  : each.outside
                : each.source
                  ? own
                  : each.remote;
            const { bytes } = parseIp(complainer.address);
            const length =
              by === 'from a router'
                ? timeExceeded(offender, 0, offender.length, bytes, 0, into, 0)
                : unreachable(offender, 0, offender.length, UnreachableReason.Port, bytes, 0, into, 0);
            return into.slice(0, length);
          };
          const bytes = about(each.inside);
          fc.pre(bytes.length > 0 && about(each.outside).length > 0);
          fc.pre(each.inside.address !== each.remote.address && each.inside.address !== each.outside.address);
          expect(change(bytes, each.source, each.outside)).toBe(true);
          expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
          const quoted = checksumAt(each, bytes[0] >> 4 === 4 ? 28 : 48);
          const outer = bytes[0] >> 4 === 4 ? 22 : 42;
          const plain = (packet: Uint8Array) => {
            const copy = settled(packet, quoted);
            // Of the ICMP checksum it is enough that it is right.
            put16(copy, outer, 0);
            return copy;
          };
          expect(plain(bytes)).toEqual(plain(about(each.outside)));
        }),
        { seed: 4, numRuns: 400 },
      );
    },
  );
});

describe('a translated ping', () => {
  it.each(['10.0.0.2', 'fd00::2'])(
    'to %s has the identifier and the checksum that belong to its new name',
    (to) => {
      const four = !to.includes(':');
      const from = four ? '10.0.0.1' : 'fd00::1';
      const outer = four ? '192.0.2.9' : '2001:db8::9';
      for (const source of [true, false]) {
        const echo = (own: string, identifier: number) =>
          icmpEcho({
            from: source ? own : to,
            to: source ? to : own,
            reply: !source,
            identifier,
            payload: 'x',
          });
        const bytes = echo(from, 7);
        expect(change(bytes, source, { address: outer, port: 4711 })).toBe(true);
        expect(bytes).toEqual(echo(outer, 4711));
      }
    },
  );
});

describe('a translated fragment', () => {
  it('of a datagram gives the datagram that the outside knows', () => {
    const own = { from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 3000, identification: 9 };
    const pieces = cut(udpPacket(own), 1500);
    for (const piece of pieces) expect(change(piece, true, { address: '192.0.2.9', port: 4711 })).toBe(true);
    expect(pieces).toEqual(cut(udpPacket({ ...own, from: '192.0.2.9:4711' }), 1500));
    for (const piece of pieces) expect(ipv4.checksumOk(piece, 0)).toBe(true);
  });
});

it('an error that goes out is spoken by the outer address also when a router inside sent it', () => {
  const offender = udpPacket({ from: '198.51.100.1:53', to: '10.0.0.7:1000' });
  const bytes = new Uint8Array(576);
  const router = parseIp('10.0.0.254').bytes;
  const length = timeExceeded(offender, 0, offender.length, router, 0, bytes, 0);
  const outer = wordsOf('192.0.2.9');
  expect(translate(bytes, 0, length, true, outer, 0, 4711, false, true)).toBe(true);
  expect(formatIp(ip.source(bytes, 0))).toBe('192.0.2.9');
  expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
});

it('leaves alone what it cannot translate: other protocols, quotes without ports', () => {
  const to = { address: '10.9.9.9', port: 9 };
  const gre = udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2', payload: 64 });
  gre[9] = 47;
  const short = new Uint8Array(576);
  const offender = udpPacket({ from: '10.0.0.2:2', to: '10.0.0.1:1' });
  const complainer = parseIp('10.0.0.1').bytes;
  unreachable(offender, 0, offender.length, UnreachableReason.Port, complainer, 0, short, 0);
  short[3] = 20 + 8 + 22;
  for (const bytes of [gre, short.slice(0, 50)]) {
    const before = bytes.slice();
    expect(change(bytes, true, to)).toBe(false);
    expect(bytes).toEqual(before);
  }
});
