/** What does not fit, what comes in pieces, what comes back as an error, and what is not let in. */
import { afterEach, describe, expect, it } from 'vitest';
import { emitProbe, PROBE_LENGTH } from '../../../src/chain/wire/prefix.ts';
import type { App, Ports } from '../../../src/engine/index.ts';
import {
  emitFragment,
  fragmentCount,
  icmpEcho,
  ip,
  ipv4,
  nsh,
  parseIp,
  tcpPacket,
  timeExceeded,
  tooBig,
  udpPacket,
} from '../../../src/packet/index.ts';
import { Gso } from '../../../src/packet/segment.ts';
import { EndsWorld, flows, packetOf, replicaOf, tcpOf, V4 } from './ends-world.ts';

let world: EndsWorld;
afterEach(() => world.net.close());
const ttlOf = (packet: Uint8Array) => packet[8]!;
const got = (port: { received: { bytes: Uint8Array }[] }) =>
  port.received.splice(0).map(({ bytes }) => bytes);

/** Two functions over IPv4: 48 of prefix, 28 outside. */
const MTU = 1424;
const big = (length: number, dontFragment: boolean, from: string = V4(1)[0]) =>
  udpPacket({ from, to: '192.0.2.1:80', payload: length - 28, dontFragment });

describe('a packet', () => {
  it('of the MTU passes, and the sender of a longer one is told what fits', async () => {
    world = await new EndsWorld().start();
    world.client.send(big(MTU, true));
    world.client.send(big(MTU + 1, true));
    world.pass();
    expect(got(world.server).map((bytes) => bytes.length)).toEqual([MTU]);
    const [error] = got(world.client);
    expect([error![9], error![20], error![21], (error![26]! << 8) | error![27]!]).toEqual([1, 3, 4, MTU]);
    expect(world.drops).toEqual({ 'too-big-for-path': 1 });
  });

  it('over IPv6 that is longer gets "packet too big", and 1280 bytes always pass', async () => {
    world = await new EndsWorld({ mtu: 1300 }).start();
    const send = (length: number) =>
      world.client.send(udpPacket({ from: '[fd00::9]:1', to: '[2001:db8::1]:2', payload: length - 48 }));
    send(1280);
    send(1281);
    world.pass();
    expect(got(world.server).map((bytes) => bytes.length)).toEqual([1280]);
    const [error] = got(world.client);
    expect([error![6], error![40], (error![46]! << 8) | error![47]!]).toEqual([58, 2, 1280]);
  });

  it('that may be fragmented is, each piece with the prefix, and the pieces take one way', async () => {
    world = await new EndsWorld().start();
    world.client.send(big(3000, false));
    world.pass();
    const pieces = got(world.server);
    expect(pieces.map((bytes) => bytes.length)).toEqual([1420, 1420, 200]);
    expect(world.report('ingress').flows).toBe(1);
    // Back in pieces made elsewhere.
    const reply = udpPacket({ from: V4(1)[1], to: V4(1)[0], payload: 2000, dontFragment: false });
    for (const piece of fragments(reply, 1000)) world.server.send(piece);
    world.pass();
    expect(got(world.client)).toHaveLength(3);
    expect(world.drops).toEqual({});
  });

  it('of a member with an IPv6 address is told of 20 bytes less', async () => {
    world = await new EndsWorld().start();
    world.tell({ replicas: [replicaOf(14, 'fw', { address: 'fd00::14' })] });
    world.client.send(big(MTU - 20, true));
    world.client.send(big(MTU - 19, true));
    world.pass();
    expect(got(world.client).map((error) => (error[26]! << 8) | error[27]!)).toEqual([MTU - 20]);
  });

  it('whose TTL ends at an end is answered from there', async () => {
    world = await new EndsWorld().start();
    const of = (ttl: number) => udpPacket({ from: V4(1)[0], to: V4(1)[1], payload: 8, ttl });
    for (const ttl of [1, 2, 3]) world.client.send(of(ttl));
    world.pass();
    expect(got(world.server).map(ttlOf)).toEqual([1]);
    const errors = got(world.client);
    expect(errors.map((error) => [error[9], error[20]])).toEqual([
      [1, 11],
      [1, 11],
    ]);
    expect(errors.map((error) => ip.source(error, 0))).toEqual([
      parseIp('10.255.0.1'),
      parseIp('10.255.0.2'),
    ]);
    expect(world.drops).toEqual({ 'ttl-expired': 2 });
  });
});

describe('a ping, and an ICMP error', () => {
  it('take the way of their flow, each way', async () => {
    world = await new EndsWorld().start();
    world.client.send(icmpEcho({ from: '10.0.0.1', to: '192.0.2.1', identifier: 5 }));
    world.pass();
    world.server.send(icmpEcho({ from: '192.0.2.1', to: '10.0.0.1', identifier: 5, reply: true }));
    world.pass();
    expect(got(world.client)).toHaveLength(1);
    const sent = packetOf(3, 9);
    world.client.send(sent);
    world.pass();
    const into = new Uint8Array(600);
    const about = (build: typeof timeExceeded) =>
      into.slice(0, build(sent, 0, sent.length, parseIp('198.51.100.7').bytes, 0, into, 0));
    world.server.send(about(timeExceeded));
    const length = tooBig(sent, 0, sent.length, 1000, parseIp('198.51.100.7').bytes, 0, into, 0);
    world.server.send(into.slice(0, length));
    world.pass();
    expect(got(world.client)).toHaveLength(2);
    expect([world.report('egress').flows, world.drops]).toEqual([2, {}]);
  });
});

describe('fragments', () => {
  it('that overtake their first wait for it, and leave behind it', async () => {
    world = await new EndsWorld().start();
    const [first, second, third] = fragments(big(2000, false), 800);
    for (const piece of [second!, third!]) world.client.send(piece);
    world.pass();
    expect([got(world.server).length, world.report('ingress').fragmentsHeld]).toEqual([0, 2]);
    world.client.send(first!);
    world.pass();
    expect(got(world.server).map((bytes) => ipv4.fragmentOffset(bytes, 0))).toEqual([0, 776, 1552]);
    expect(world.report('ingress').flows).toBe(1);
  });

  it('whose first never comes are dropped after 100 ms, and no more than 64 wait', async () => {
    world = await new EndsWorld().start();
    for (let n = 0; n < 70; n++) {
      const packet = udpPacket({
        from: V4(n)[0],
        to: V4(n)[1],
        payload: 1000,
        dontFragment: false,
        identification: n,
      });
      world.client.send(fragments(packet, 600)[1]!);
    }
    world.pass();
    expect(world.drops).toEqual({ 'fragment-alone': 6 });
    world.pass('100ms');
    expect([world.drops, world.report('ingress').fragmentsHeld]).toEqual([{ 'fragment-alone': 70 }, 0]);
  });

  it('that wait are given back when the network ends', async () => {
    world = await new EndsWorld().start();
    world.client.send(fragments(big(2000, false), 800)[1]!);
    world.pass();
    expect(world.net.report().memory.livePackets).toBe(1);
    await world.net.close();
    expect(world.net.report().memory.livePackets).toBe(0);
  });
});

function fragments(packet: Uint8Array, mtu: number): Uint8Array[] {
  const count = fragmentCount(packet, 0, packet.length, mtu);
  return Array.from({ length: count }, (_, i) => {
    const into = new Uint8Array(mtu);
    return into.slice(0, emitFragment(packet, 0, packet.length, mtu, i, into, 0));
  });
}

/** Puts a superframe of TCP into the network, and tells what superframes come out. */
class Superframes implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly superframes = true;
  readonly layers = { in: 'L3', out: 'L3' } as const;
  readonly seen: { segments: number; length: number; prefix: number }[] = [];
  next: { packet: Uint8Array; size: number } | undefined;
  #wake: (() => void) | undefined;

  open({ wake }: { wake(): void }): void {
    this.#wake = wake;
  }

  send(packet: Uint8Array, size: number): void {
    this.next = { packet, size };
    this.#wake!();
  }

  push({ pool, input, output }: Ports): void {
    for (let n = input.in!.waiting; n > 0; n--) {
      const packet = input.in!.take();
      this.seen.push({
        segments: pool.segments[packet]!,
        length: pool.length[packet]!,
        prefix: pool.prefixLength[packet]!,
      });
      pool.free(packet);
    }
    if (!this.next) return;
    const { packet: bytes, size } = this.next;
    this.next = undefined;
    const packet = pool.copyIn(bytes, 3);
    pool.segmentSize[packet] = size;
    pool.segments[packet] = Math.ceil((bytes.length - 40) / size);
    pool.gsoType[packet] = Gso.TcpV4;
    pool.checksumStart[packet] = 20;
    pool.checksumOffset[packet] = 16;
    output.out!.put(packet);
  }
}

/** As TCP sends it: not to be fragmented. */
const stream = (payload: number) => tcpPacket({ from: V4(1)[0], to: V4(1)[1], payload, dontFragment: true });

describe('a superframe', () => {
  it('stays whole when its segments fit, and is told of when they do not', async () => {
    world = new EndsWorld();
    const source = new Superframes();
    const sink = new Superframes();
    world.net
      .app('source', source)
      .app('sink', sink)
      .unlink('client.out -> ingress.inside')
      .unlink('egress.inside -> server.in')
      .link('source.out -> ingress.inside')
      .link('egress.inside -> sink.in');
    await world.start();
    world.fabric.apart = true;
    source.send(stream(13_840), 1384);
    world.pass();
    expect(sink.seen).toEqual([{ segments: 10, length: 13_880, prefix: 0 }]);
    source.send(stream(13_840), 1385);
    world.pass();
    expect([sink.seen.length, world.drops]).toEqual([1, { 'too-big-for-path': 10 }]);
    const [error] = got(world.client);
    expect((error![26]! << 8) | error![27]!).toBe(MTU);
    expect(world.report('ingress')['chain.7.packetsIn']).toBe(20);
  });
});

describe('limits of a tenant', () => {
  it('are so many flows, and the one silent longest gives way', async () => {
    world = await new EndsWorld({ flows: 100 }).start();
    world.send(flows(150));
    expect([world.report('ingress').flows, world.report('ingress').flowsEvicted]).toEqual([100, 50]);
    world.send(flows(150), true);
    expect(world.drops).toEqual({ 'no-flow': 50 });
  });

  it('are so many new flows a second; flows that are there do not count', async () => {
    world = await new EndsWorld({ newFlows: 100, newFlowsBurst: 10 }).start();
    world.send(flows(20));
    expect(world.drops).toEqual({ 'flow-rate': 10 });
    for (let n = 0; n < 30; n++) world.send(flows(10));
    expect(world.drops).toEqual({ 'flow-rate': 10 });
    world.pass('1s');
    world.send(flows(10, 10));
    expect([world.drops, world.report('ingress').flows]).toEqual([{ 'flow-rate': 10 }, 20]);
  });
});

describe('a classifier', () => {
  const rules = [
    { name: 'web', match: '192.0.2.0/24:udp:80', chain: 7 },
    { name: 'dns', match: { port: 53, protocol: 'udp' }, chain: null },
  ];

  it('sends what no rule is for, and what no chain is for, past the chain or nowhere', async () => {
    world = await new EndsWorld().start(undefined, { rules });
    const dns = udpPacket({ from: V4(1)[0], to: '192.0.2.1:53', payload: 4 });
    world.client.send(dns);
    world.send([1]);
    world.client.send(tcpPacket({ from: '10.0.0.1:1', to: '198.51.100.1:443' }));
    world.pass();
    expect([got(world.server).length, world.drops]).toEqual([1, { 'no-chain': 2 }]);
    await world.net.close();
    world = new EndsWorld();
    const past = new Superframes();
    world.net.app('past', past).link('ingress.bypass -> past.in').link('past.out -> ingress.bypass');
    await world.start(undefined, { rules });
    world.client.send(dns);
    world.pass();
    expect(past.seen).toEqual([{ segments: 1, length: dns.length, prefix: 0 }]);
    past.send(tcpOf(1, 1, true, 100), 100);
    world.pass();
    expect(got(world.client)).toHaveLength(1);
    expect(world.drops).toEqual({});
  });

  it('whose rule leads to a chain that is not known sends nothing there', async () => {
    world = await new EndsWorld().start(undefined, { rules: [{ name: 'x', match: '*', chain: 8 }] });
    world.send([1]);
    expect(world.drops).toEqual({ 'chain-unknown': 1 });
  });
});

describe('datagrams from outside', () => {
  it('from an address where no replica is registered are dropped, whatever is in them', async () => {
    world = await new EndsWorld().start();
    world.fabric.disguise = '10.9.0.77:4790';
    world.send(flows(5));
    expect([got(world.server).length, world.drops]).toEqual([0, { 'chain-stranger': 5 }]);
    world.fabric.disguise = '10.9.0.11:4791';
    world.send(flows(5));
    expect([got(world.server).length, world.drops]).toEqual([0, { 'chain-stranger': 10 }]);
  });

  it('of another tenant, to another end, on the wrong way or half way are dropped', async () => {
    world = await new EndsWorld().start();
    const spoilt = (at: number, value: number) => {
      world.fabric.spoil = (pool, packet) => {
        pool.slab[pool.offset[packet]! + at] = value;
      };
      world.send([1]);
      return world.drops;
    };
    expect(spoilt(6, 43)).toEqual({ 'chain-unknown': 1 });
    // End of the path, the direction, and the service index.
    expect(spoilt(45, 3)).toEqual({ 'chain-unknown': 1, 'chain-misdirected': 1 });
    expect(spoilt(12, 0x80)).toEqual({ 'chain-unknown': 1, 'chain-misdirected': 2 });
    expect(spoilt(15, 254)).toEqual({ 'chain-unknown': 1, 'chain-misdirected': 3 });
    expect(spoilt(14, 8)).toEqual({ 'chain-unknown': 2, 'chain-misdirected': 3 });
    expect(spoilt(11, 2)).toEqual({ 'chain-unknown': 2, 'chain-misdirected': 3, 'inner-malformed': 1 });
    expect(got(world.server)).toEqual([]);
  });

  it('without a path that ask whether it lives come back to whoever asks, so many a second', async () => {
    world = await new EndsWorld().start();
    const probe = new Uint8Array(PROBE_LENGTH);
    emitProbe({ tenant: 42, servicePath: 7 }, probe);
    world.fabric.record = [];
    world.fabric.spoil = (pool, packet) => {
      pool.slab.set(probe, pool.offset[packet]);
      pool.length[packet] = probe.length;
    };
    world.fabric.disguise = '10.9.0.77:1234';
    world.send([1]);
    // But for the TTL, which may say that it is an answer.
    const isAnswer = (bytes: Uint8Array) => {
      nsh.setTtl(bytes, 8, nsh.DEFAULT_TTL);
      return Buffer.compare(bytes, probe) === 0;
    };
    expect(world.fabric.record.filter(isAnswer)).toHaveLength(1);
    for (let n = 0; n < 800; n++) world.client.send(packetOf(1, n));
    world.pass();
    expect(world.drops['chain-probe']).toBeGreaterThan(250);
  });
});
