import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FlowIds } from '../../src/chain/flow-id.ts';
import { FlowKeys, UNKNOWN_DATAGRAM } from '../../src/chain/flow-keys.ts';
import { Fragments } from '../../src/chain/fragments.ts';
import {
  emitFragment,
  fragmentCount,
  icmpEcho,
  ip,
  ipv6,
  Problem,
  Protocol,
  parseIp,
  tcpPacket,
  timeExceeded,
  udpPacket,
} from '../../src/packet/index.ts';

const TENANT = 42;
const MS = 1_000_000;

function finder(options = {}) {
  const fragments = new Fragments(options);
  const keys = new FlowKeys(fragments, 7);
  const ids = new FlowIds({ high: 1, low: 2 });
  /** Direction and flow id of a packet. */
  const of = (packet: Uint8Array, tenant = TENANT, now = 0) => {
    const direction = keys.of(packet, 0, packet.length, tenant, now);
    if (direction < 0) return { direction, id: '' };
    ids.of(keys.key, 0, tenant);
    return { direction, id: `${ids.high >>> 0}:${ids.low >>> 0}` };
  };
  return { fragments, keys, of };
}

describe('fragments that wait', () => {
  it('have none to give back when none waits, at whatever time', () => {
    const { fragments } = finder();
    expect(fragments.expire(Number.POSITIVE_INFINITY)).toBe(-1);
    expect(fragments.waiting).toBe(0);
  });
});

/** The IPv4 fragments of a packet. */
function pieces(packet: Uint8Array, mtu = 600): Uint8Array[] {
  const count = fragmentCount(packet, 0, packet.length, mtu);
  return Array.from({ length: count }, (_, i) => {
    const into = new Uint8Array(mtu);
    return into.slice(0, emitFragment(packet, 0, packet.length, mtu, i, into, 0));
  });
}

const fragment6 = (offset: number, more: number, options: object) =>
  udpPacket({
    from: '[2001:db8::9]:5000',
    to: '[2001:db8::1]:53',
    payload: 64,
    extensions: [
      {
        protocol: Protocol.Fragment,
        bytes: Uint8Array.of(0, 0, offset >> 8, (offset & 0xf8) | more, 0, 0, 0, 7),
      },
    ],
    ...options,
  });

function errorAbout(packet: Uint8Array): Uint8Array {
  const into = new Uint8Array(1280);
  const router = parseIp(packet[0]! >> 4 === 4 ? '192.0.2.1' : '2001:db8::fe').bytes;
  return into.slice(0, timeExceeded(packet, 0, packet.length, router, 0, into, 0));
}

describe('the flow of a packet', () => {
  const { of } = finder();

  it.each([
    ['TCP', tcpPacket, '10.0.0.1:1000', '10.0.0.2:80'],
    ['UDP over IPv6', udpPacket, '[fd00::1]:1000', '[fd00::2]:53'],
  ])('has one id in both directions: %s', (_, build, from, to) => {
    const there = of(build({ from, to }));
    const back = of(build({ from: to, to: from, payload: 9 }));
    expect(back.id).toBe(there.id);
    expect([there.direction, back.direction].sort()).toEqual([0, 1]);
    expect(of(build({ from, to: to.replace(/\d+$/, '99') })).id).not.toBe(there.id);
  });

  it.each(['10.0.0.2', 'fd00::2'])('of a ping to %s goes by its identifier, both ways', (to) => {
    const from = to.replace(/2$/, '1');
    const request = of(icmpEcho({ from, to, identifier: 9 }));
    expect(of(icmpEcho({ from: to, to: from, identifier: 9, reply: true })).id).toBe(request.id);
    expect(of(icmpEcho({ from, to, identifier: 10 })).id).not.toBe(request.id);
  });

  it.each([
    ['10.0.0.2:53', udpPacket({ to: '10.0.0.2:53' })],
    ['[fd00::2]:53', udpPacket({ to: '[fd00::2]:53' })],
  ])('of an ICMP error is that of the packet it quotes, on the way back: %s', (_, packet) => {
    const offender = of(packet);
    expect(of(errorAbout(packet))).toEqual({ ...offender, direction: 1 - offender.direction });
  });

  it('is another for another tenant, and has another id with another secret', () => {
    const packet = udpPacket({ to: '10.0.0.2:53' });
    expect(of(packet, 43).id).not.toBe(of(packet, 42).id);
    const [a, b] = [new FlowIds({ high: 1, low: 2 }), new FlowIds({ high: 1, low: 3 })];
    const { keys } = finder();
    keys.of(packet, 0, packet.length, TENANT, 0);
    a.of(keys.key, 0, TENANT);
    b.of(keys.key, 0, TENANT);
    expect([a.high, a.low]).not.toEqual([b.high, b.low]);
  });

  it('has the same id on every machine, that of the page', () => {
    const page = readFileSync(new URL('../../docs/chain/wire.md', import.meta.url), 'utf8');
    const { id } = of(udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53' }));
    // A figure that was computed once: ingresses of different versions must agree.
    expect(id).toBe('986199520:3221619701');
    const hex = id.split(':').map((half) => Number(half).toString(16).padStart(8, '0'));
    expect(page).toContain(`\`${hex.join('')}\``);
  });
});

describe('fragments', () => {
  it('go with their datagram, in both directions, also the ICMP errors about them', () => {
    const { of } = finder();
    const packet = udpPacket({ from: '10.0.0.9:5000', to: '10.0.0.1:53', payload: 2000, identification: 77 });
    const whole = of(packet);
    const found = pieces(packet).map((piece) => of(piece));
    expect(found.length).toBe(4);
    expect(found).toEqual(found.map(() => whole));
    expect(of(errorAbout(pieces(packet)[0]!))).toEqual({ ...whole, direction: 1 - whole.direction });
  });

  it('of IPv6 go with their datagram too', () => {
    const { of } = finder();
    const whole = of(udpPacket({ from: '[2001:db8::9]:5000', to: '[2001:db8::1]:53', payload: 64 }));
    const first = fragment6(0, 1, {});
    const later = fragment6(64, 0, {});
    expect([of(later).direction, of(first), of(later)]).toEqual([UNKNOWN_DATAGRAM, whole, whole]);
    expect(ipv6.findExtension(later, 0, later.length, Protocol.Fragment)).toBe(40);
  });

  it('of another datagram, host or tenant are unknown, and so is one after its lifetime', () => {
    const { of } = finder({ lifetime: 1000 * MS });
    const make = (options: object) =>
      pieces(
        udpPacket({ from: '10.0.0.9:5000', to: '10.0.0.1:53', payload: 1000, identification: 1, ...options }),
      );
    const [first, later] = make({}) as [Uint8Array, Uint8Array];
    of(first);
    expect(of(later).direction).toBeGreaterThanOrEqual(0);
    expect(of(later, 43).direction).toBe(UNKNOWN_DATAGRAM);
    expect(of(make({ identification: 2 })[1]!).direction).toBe(UNKNOWN_DATAGRAM);
    expect(of(make({ from: '10.0.0.8:5000' })[1]!).direction).toBe(UNKNOWN_DATAGRAM);
    expect(of(later, TENANT, 999 * MS).direction).toBeGreaterThanOrEqual(0);
    expect(of(later, TENANT, 1000 * MS).direction).toBe(UNKNOWN_DATAGRAM);
  });

  it('take the flow of the last first fragment when an identification comes again', () => {
    const { of } = finder();
    const make = (port: number) =>
      pieces(udpPacket({ from: `10.0.0.9:${port}`, to: '10.0.0.1:53', payload: 1000, identification: 1 }));
    of(make(5000)[0]!);
    const second = of(make(5001)[0]!);
    expect(of(make(5001)[1]!)).toEqual(second);
  });

  it('that overtook their first are held, in order, and given back when it comes', () => {
    const { fragments, keys, of } = finder();
    const make = (identification: number) =>
      pieces(udpPacket({ from: '10.0.0.9:5000', to: '10.0.0.1:53', payload: 2000, identification }));
    const [one, two] = [make(1), make(2)];
    for (const [i, packet] of [one[2]!, two[1]!, one[1]!].entries()) {
      expect(keys.of(packet, 0, packet.length, TENANT, 0)).toBe(UNKNOWN_DATAGRAM);
      expect(fragments.hold(packet, 0, TENANT, 100 + i, i * MS)).toBe(true);
    }
    expect(fragments.release(3 * MS)).toBe(-1);
    of(one[0]!, TENANT, 3 * MS);
    expect([1, 2, 3].map(() => fragments.release(3 * MS))).toEqual([100, 102, -1]);
    expect(fragments.waiting).toBe(1);
    expect(fragments.nextDeadline()).toBe(101 * MS);
    expect([fragments.expire(100 * MS), fragments.expire(101 * MS)]).toEqual([-1, 101]);
    expect([fragments.waiting, fragments.nextDeadline()]).toEqual([0, Infinity]);
  });

  it('are bounded: what finds no room in the hold is refused, and a full table forgets the oldest', () => {
    const { fragments, of } = finder({ held: 2, datagrams: 4 });
    const make = (identification: number) =>
      pieces(udpPacket({ from: '10.0.0.9:5000', to: '10.0.0.1:53', payload: 1000, identification }));
    const held = [1, 2, 3].map((id) => fragments.hold(make(id)[1]!, 0, TENANT, id, 0));
    expect(held).toEqual([true, true, false]);
    for (let id = 1; id <= 5; id++) of(make(id)[0]!, TENANT, id * MS);
    expect(of(make(1)[1]!, TENANT, 6 * MS).direction).toBe(UNKNOWN_DATAGRAM);
    for (const id of [2, 3, 4, 5])
      expect(of(make(id)[1]!, TENANT, 6 * MS).direction).toBeGreaterThanOrEqual(0);
    expect(() => new Fragments({ datagrams: 100 })).toThrow('a power of two');
  });

  it('that are cut off before their ports have no flow', () => {
    const { of } = finder();
    const [first] = pieces(udpPacket({ to: '10.0.0.1:53', payload: 1000 })) as [Uint8Array];
    const tiny = first.slice(0, 22);
    tiny[2] = 0;
    tiny[3] = 22;
    expect(of(tiny).direction).toBe(-1);
  });
});

describe('200 000 mutated packets and fragments', () => {
  it('have a flow, none, or one that is unknown yet, and never an exception', () => {
    const { fragments, keys } = finder({ datagrams: 64, held: 8 });
    let state = 0x1b873593;
    const random = (below: number) => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
    const whole = udpPacket({ from: '10.0.0.9:5000', to: '10.0.0.1:53', payload: 100, identification: 7 });
    const corpus = [
      ...pieces(whole, 68),
      errorAbout(whole),
      icmpEcho({ to: 'fd00::2', payload: 20 }),
      fragment6(0, 1, {}),
      fragment6(64, 0, {}),
    ];
    const found = new Map<number, number>();
    for (let n = 0; n < 200_000; n++) {
      const packet = corpus[random(corpus.length)]!.slice();
      for (let flips = random(4); flips > 0; flips--) packet[random(packet.length)]! ^= 1 << random(8);
      if (ip.check(packet, 0, packet.length) !== Problem.None) continue;
      const direction = keys.of(packet, 0, packet.length, TENANT, n * MS);
      found.set(direction, (found.get(direction) ?? 0) + 1);
      if (direction === UNKNOWN_DATAGRAM) fragments.hold(packet, 0, TENANT, n, n * MS);
      while (fragments.release(n * MS) >= 0);
      while (fragments.expire(n * MS) >= 0);
    }
    expect([...found.keys()].sort((a, b) => a - b)).toEqual([-2, -1, 0, 1]);
    expect(fragments.waiting).toBeLessThanOrEqual(8);
  }, 60_000);
});
