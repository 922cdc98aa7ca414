import { describe, expect, it } from 'vitest';
import {
  describePacket,
  icmpEcho,
  ipv4,
  parseIp,
  tooBig,
  udpPacket,
  Verdict,
  verifyTransport,
} from '../../src/packet/index.ts';
import type { StackOptions } from '../../src/stack/index.ts';
import { testHost } from './hosts.ts';

const ROUTER: Partial<StackOptions> = {
  forward: true,
  interfaces: [
    { name: 'eth0', addresses: ['10.0.0.1/24', 'fd00::1/64', 'fe80::1/64'] },
    { name: 'eth1', addresses: ['10.1.0.1/24', 'fd01::1/64'], mtu: 1280 },
    { name: 'eth2', addresses: ['10.2.0.1/24'] },
  ],
  routes: [
    { to: '192.0.2.0/24', via: '10.2.0.9' },
    { to: '192.0.2.128/25', via: '10.1.0.9' },
    { to: '192.0.2.200', interface: 'eth0' },
    { to: '2001:db8::/32', via: 'fd01::9' },
  ],
};
const text = (packet: Uint8Array) => describePacket(packet, 0, packet.length);

describe('a router', () => {
  it.each([
    ['10.1.0.5', 'eth1'],
    ['10.2.0.5', 'eth2'],
    ['192.0.2.1', 'eth2'],
    ['192.0.2.129', 'eth1'],
    ['192.0.2.200', 'eth0'],
    ['fd01::5', 'eth1'],
    ['2001:db8::1', 'eth1'],
  ])('sends a packet for %s on through %s: the longest prefix says', async (to, way) => {
    await using host = await testHost(ROUTER);
    const isV4 = to.includes('.');
    const packet = icmpEcho({ from: isV4 ? '10.0.0.7' : 'fd00::7', to, ttl: 9, payload: 'x' });
    host.exchange(packet);
    const gone = Object.entries(host.ports).flatMap(([name, port]) =>
      port.received.map(({ bytes }) => [name, bytes]),
    );
    const wanted = icmpEcho({ from: isV4 ? '10.0.0.7' : 'fd00::7', to, ttl: 8, payload: 'x' });
    expect(gone).toEqual([[way, wanted]]);
    expect(host.drops()).toEqual({});
  });

  it.each([
    ['10.0.0.7', '10.1.0.5', '10.0.0.1'],
    ['fd00::7', 'fd01::5', 'fd00::1'],
  ])('says that a TTL ended, from its address on the way back (%s)', async (from, to, own) => {
    await using host = await testHost(ROUTER);
    const [error] = host.exchange(icmpEcho({ from, to, ttl: 1 }));
    expect(text(error!)).toContain('time exceeded in-transit');
    expect(text(error!)).toContain(`${own} > ${from}`);
    expect(host.drops()).toEqual({ 'ip-expired': 1 });
  });

  it('says that there is no route', async () => {
    await using host = await testHost(ROUTER);
    const errors = host.exchange(
      icmpEcho({ from: '10.0.0.7', to: '198.51.100.1' }),
      icmpEcho({ from: 'fd00::7', to: '2001:db9::1' }),
    );
    expect(errors.map((error) => [...error.slice(error[0]! >> 4 === 4 ? 20 : 40)].slice(0, 2))).toEqual([
      [3, 0],
      [1, 0],
    ]);
    expect(host.drops()).toEqual({ 'ip-no-route': 2 });
  });

  it('cuts what may be cut, and says that the rest is too big', async () => {
    await using host = await testHost(ROUTER);
    const from = '10.0.0.7:1';
    const errors = host.exchange(
      udpPacket({ from, to: '10.1.0.5:2', payload: 1400 }),
      udpPacket({ from, to: '10.1.0.5:2', payload: 1400, dontFragment: true }),
      udpPacket({ from: '[fd00::7]:1', to: '[fd01::5]:2', payload: 1400 }),
    );
    expect(host.ports.eth1!.received.map(({ bytes }) => bytes.length)).toEqual([1276, 172]);
    const [four, six] = errors;
    expect([four![20], four![21], four![26]! * 256 + four![27]!]).toEqual([3, 4, 1280]);
    expect([six![40], six![41], six![46]! * 256 + six![47]!]).toEqual([2, 0, 1280]);
  });

  it('sends nothing on that is for one link alone', async () => {
    await using host = await testHost(ROUTER);
    const replies = host.exchange(
      icmpEcho({ from: '10.0.0.7', to: '10.1.0.255' }),
      icmpEcho({ from: '10.0.0.7', to: '224.0.1.1' }),
      icmpEcho({ from: '169.254.0.7', to: '10.1.0.5' }),
      icmpEcho({ from: 'fe80::7', to: 'fd01::5' }),
      icmpEcho({ from: 'fd00::7', to: 'ff05::1' }),
      icmpEcho({ from: '10.0.0.7', to: '127.0.0.1' }),
    );
    expect(replies).toEqual([]);
    expect(host.ports.eth1!.received).toEqual([]);
    expect(host.drops()).toEqual({ 'icmp-unwanted': 1, 'ip-not-mine': 4, 'ip-martian': 1 });
  });

  it('answers at all of its addresses, from everywhere', async () => {
    await using host = await testHost(ROUTER);
    const replies = host.exchange(
      icmpEcho({ from: '10.0.0.7', to: '10.2.0.1' }),
      icmpEcho({ from: 'fd00::7', to: 'fd01::1' }),
      icmpEcho({ from: 'fe80::7', to: 'fe80::1' }),
    );
    expect(replies.map((packet) => verifyTransport(packet, 0))).toEqual(Array(3).fill(Verdict.Right));
  });

  it('finds new routes and addresses while it runs', async () => {
    await using host = await testHost(ROUTER);
    host.host.setRoutes([{ to: '0.0.0.0/0', via: '10.2.0.9' }]);
    host.exchange(icmpEcho({ from: '10.0.0.7', to: '192.0.2.129' }));
    expect(host.ports.eth2!.received.length).toBe(1);
    host.host.setAddresses('eth0', ['10.0.9.1/24']);
    expect(host.exchange(icmpEcho({ from: '10.0.9.7', to: '10.0.9.1' })).length).toBe(1);
    host.exchange(icmpEcho({ from: '10.0.9.7', to: '10.0.0.1' }));
    expect(host.ports.eth2!.received.length).toBe(2);
  });
});

describe('routes and addresses', () => {
  const check = (options: Partial<StackOptions>) => testHost({ ...ROUTER, ...options });
  it.each<[string, Partial<StackOptions>, RegExp]>([
    ['a route to nowhere', { routes: [{ to: '0.0.0.0/0' }] }, /routes\.0: expected an interface/],
    [
      'a gateway of another family',
      { routes: [{ to: '::/0', via: '10.0.0.9' }] },
      /expected an IPv6 address/,
    ],
    [
      'an unknown interface',
      { routes: [{ to: '::/0', interface: 'x' }] },
      /expected the name of an interface/,
    ],
    ['host bits', { routes: [{ to: '10.0.0.1/8', interface: 'eth0' }] }, /has host bits/],
    [
      'a group as address',
      { interfaces: [{ name: 'a', addresses: ['224.0.0.1/4'] }] },
      /that a host's interface can have/,
    ],
    ['one name twice', { interfaces: [{ name: 'a' }, { name: 'a' }], routes: [] }, /found "a" twice/],
    [
      'a small MTU with IPv6',
      { interfaces: [{ name: 'a', mtu: 1000, addresses: ['fd00::1/64'] }] },
      /at least 1280/,
    ],
    ['an unknown key', { mtu: 9 } as never, /unknown key "mtu"/],
  ])('that cannot be are refused: %s', async (_, options, message) => {
    await expect(check(options)).rejects.toThrow(message);
  });
});

describe('a path that is narrower than its first link', () => {
  /** What a router says whose next link has this MTU. */
  const narrow = (about: Uint8Array, mtu: number): Uint8Array => {
    const into = new Uint8Array(576);
    const router = parseIp('10.0.0.9').bytes;
    return into.slice(0, tooBig(about, 0, about.length, mtu, router, 0, into, 0));
  };

  it('is learnt from who saw a packet, and forgotten after ten minutes', async () => {
    await using host = await testHost({ routes: [{ to: '0.0.0.0/0', via: '10.0.0.1' }] });
    const socket = host.host.udp();
    const send = () => {
      socket.send(new Uint8Array(1400), '192.0.2.1:5');
      return host.exchange();
    };
    const [whole] = send();
    expect([whole!.length, ipv4.dontFragment(whole!, 0)]).toEqual([1428, true]);
    // About a packet that went elsewhere, it is not believed.
    const other = whole!.slice();
    other[19] = 77;
    ipv4.fillChecksum(other, 0);
    host.exchange(narrow(other, 1000));
    expect(send().length).toBe(1);
    host.exchange(narrow(whole!, 1000));
    const pieces = send();
    expect(pieces.map(({ length }) => length)).toEqual([996, 452]);
    // Below 552 nobody is believed, and DF is off.
    host.exchange(narrow(whole!, 68));
    expect(send().every((packet) => packet.length <= 552 && !ipv4.dontFragment(packet, 0))).toBe(true);
    host.runtime.advance('601s');
    expect(send().map(({ length }) => length)).toEqual([1428]);
  });
});
