import { describe, expect, it } from 'vitest';
import type { App, AppContext, AppSpec, Ports } from '../../src/engine/index.ts';
import { Reason, randomStream, totalDrops } from '../../src/engine/index.ts';
import { icmpEcho, udpPacket } from '../../src/packet/build.ts';
import * as ipv4 from '../../src/packet/ipv4.ts';
import { describePacket } from '../../src/packet/summary.ts';
import { type TunnelClientOptions, tunnelClient } from '../../src/tunnel/client.ts';
import { virtualTunnel } from './virtual-path.ts';

const toServer = (size = 100) =>
  udpPacket({ from: '10.0.0.3:1000', to: '10.0.0.2:2000', payload: new Uint8Array(size - 28) });
const toClient = (size = 100) =>
  udpPacket({ from: '10.0.0.2:2000', to: '10.0.0.3:1000', payload: new Uint8Array(size - 28) });

describe('a tunnel in virtual time', () => {
  it('comes up, carries packets both ways, and says goodbye at the end', async () => {
    const t = await virtualTunnel();
    t.runtime.advance('1s');
    expect(t.events.map((e) => `${e.app} ${e.event.type}`)).toEqual(
      expect.arrayContaining(['server up', 'client up', 'client pmtu', 'server pmtu']),
    );
    t.client.send(toServer());
    t.server.send(toClient());
    t.runtime.advance(0);
    expect(t.server.received.map((r) => [...r.bytes])).toEqual([[...toServer()]]);
    expect(t.client.received.map((r) => [...r.bytes])).toEqual([[...toClient()]]);
    t.path.record = [];
    await t.net.close();
    // Type 7, goodbye, of either end.
    expect(t.path.record.some((m) => m[0] === 0 && m[5] === 7)).toBe(true);
  });

  it.each(['client', 'server'])('a removed %s says goodbye, and its peer knows at once', async (app) => {
    const t = await virtualTunnel();
    t.runtime.advance('1s');
    t.net.remove(app);
    await t.net.commit();
    t.runtime.advance(0);
    const [type, reason] = app === 'client' ? ['gone', 'goodbye'] : ['silent', 'goodbye'];
    expect(t.events.map(({ event }) => event)).toContainEqual(expect.objectContaining({ type, reason }));
    await t.net.close();
  });

  it('gives the same bytes on the wire for the same seed', async () => {
    const run = async () => {
      const t = await virtualTunnel({ seed: 42 });
      t.path.record = [];
      t.runtime.advance('5s');
      const bytes = t.path.record.map((m) => Buffer.from(m).toString('hex')).join('\n');
      await t.net.close();
      return bytes;
    };
    const first = await run();
    expect(first.length).toBeGreaterThan(1000);
    expect(await run()).toBe(first);
  });

  it('drops, counted, what comes from inner addresses that are not the client’s', async () => {
    const t = await virtualTunnel();
    t.runtime.advance('1s');
    t.client.send(udpPacket({ from: '10.0.0.99:1', to: '10.0.0.2:2', payload: new Uint8Array(8) }));
    t.runtime.advance(0);
    expect(t.server.received).toHaveLength(0);
    expect(totalDrops(t.net.report())['inner-source-not-owned']).toBe(1);
    await t.net.close();
  });

  it('drops what nobody owns, and tells its sender', async () => {
    const t = await virtualTunnel();
    t.runtime.advance('1s');
    t.server.send(udpPacket({ from: '10.0.0.2:1', to: '10.0.0.77:2', payload: new Uint8Array(8) }));
    t.runtime.advance(0);
    expect(totalDrops(t.net.report())['no-route']).toBe(1);
    expect(describePacket(t.server.received[0].bytes, 0, t.server.received[0].bytes.length, 3)).toMatch(
      /unreachable/,
    );
    await t.net.close();
  });

  it('carries routed networks behind a client that the server allows', async () => {
    const t = await virtualTunnel({
      client: { announce: ['172.30.0.0/16'] },
      server: { routes: ['172.30.0.0/16'] },
    });
    t.runtime.advance('1s');
    t.client.send(udpPacket({ from: '172.30.1.1:1', to: '10.0.0.2:2', payload: new Uint8Array(8) }));
    t.server.send(udpPacket({ from: '10.0.0.2:1', to: '172.30.7.7:2', payload: new Uint8Array(8) }));
    t.runtime.advance(0);
    expect(t.server.received).toHaveLength(1);
    expect(t.client.received).toHaveLength(1);
    await t.net.close();
  });

  it('takes over congestion marks from the outer header, and drops what cannot say so', async () => {
    const t = await virtualTunnel();
    t.runtime.advance('1s');
    t.path.trafficClass = 3;
    const capable = toServer();
    ipv4.setTrafficClass(capable, 0, 2);
    ipv4.fillChecksum(capable, 0);
    t.client.send(capable);
    t.client.send(toServer());
    t.runtime.advance(0);
    expect(t.server.received).toHaveLength(1);
    expect(ipv4.ecn(t.server.received[0].bytes, 0)).toBe(3);
    expect(ipv4.checksumOk(t.server.received[0].bytes, 0)).toBe(true);
    expect(totalDrops(t.net.report())['outer-congestion-not-ect']).toBe(1);
    await t.net.close();
  });

  it('sends the inner ECN field in the outer header', async () => {
    const t = await virtualTunnel();
    t.runtime.advance('1s');
    const capable = toServer();
    ipv4.setTrafficClass(capable, 0, 1);
    ipv4.fillChecksum(capable, 0);
    let seen = -1;
    const link = t.net.links().find((l) => l.link.name === 'client.outside -> path.a')!.link;
    link.witness = (packet) => {
      seen = t.net.pool.trafficClass[packet];
    };
    t.client.send(capable);
    t.runtime.advance(0);
    expect(seen).toBe(1);
    await t.net.close();
  });

  it('finds the size of the path, fragments what may be, and answers what may not', async () => {
    const t = await virtualTunnel();
    t.path.limit = 1300;
    t.runtime.advance('10s');
    const size = t.events.filter((e) => e.event.type === 'pmtu' && e.app === 'client').at(-1)!.event.datagram;
    expect(size).toBeGreaterThan(1292);
    expect(size).toBeLessThanOrEqual(1300);
    const may = toServer(1472);
    ipv4.setFragment(may, 0, 0);
    ipv4.fillChecksum(may, 0);
    t.client.send(may);
    t.runtime.advance(0);
    expect(t.server.received.map((r) => r.bytes.length).reduce((a, b) => a + b)).toBe(1472 + 20);
    const mayNot = toServer(1472);
    ipv4.setFragment(mayNot, 0, ipv4.DONT_FRAGMENT);
    ipv4.fillChecksum(mayNot, 0);
    t.client.send(mayNot);
    t.runtime.advance(0);
    const [answer] = t.client.received;
    expect(describePacket(answer.bytes, 0, answer.bytes.length, 3)).toMatch(/need/i);
    expect((answer.bytes[26] << 8) | answer.bytes[27]).toBe(size);
    // An IPv6 packet of 1280 bytes always passes, in fragments of the outer packet where it must.
    await t.net.close();
  });

  it.each([1300, 1000])(
    'searches anew as soon as an interface refuses what the path carried: %i',
    async (mtu) => {
      const t = await virtualTunnel();
      t.runtime.advance('2s');
      t.path.mtu = mtu;
      const told = t.events.length;
      for (const [port, packet] of [
        [t.client, toServer],
        [t.server, toClient],
      ] as const) {
        port.send(packet(1400));
        t.runtime.advance(0);
        // The first is lost. Sent again it arrives, in fragments of one kind or the other.
        port.send(packet(1400));
      }
      t.runtime.advance(0);
      for (const { received } of [t.client, t.server]) {
        expect(received.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeGreaterThanOrEqual(1400);
      }
      t.runtime.advance('1500ms');
      for (const app of ['client', 'server']) {
        const sizes = t.events.slice(told).filter((e) => e.app === app && e.event.type === 'pmtu');
        const { datagram } = sizes.at(-1)!.event;
        expect(datagram).toBeLessThanOrEqual(mtu);
        expect(datagram).toBeGreaterThan(mtu - 8);
      }
      await t.net.close();
    },
  );

  it('switches Ethernet between clients and floods what it does not know', async () => {
    const t = await virtualTunnel({ client: { layer: 'L2' } });
    t.runtime.advance('1s');
    const frame = (to: number, from: number) => {
      const bytes = new Uint8Array(60);
      bytes.set([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5]);
      return bytes;
    };
    t.client.send(frame(9, 1));
    t.runtime.advance(0);
    expect([...t.server.received[0].bytes]).toEqual([...frame(9, 1)]);
    t.server.send(frame(1, 9));
    t.runtime.advance(0);
    expect([...t.client.received[0].bytes]).toEqual([...frame(1, 9)]);
    await t.net.close();
  });

  it('refuses another server address that cannot be, and goes on with the one it has', async () => {
    const t = await virtualTunnel();
    t.runtime.advance('1s');
    const running = t.net.config.apps.client as AppSpec;
    const options = running.options as TunnelClientOptions;
    t.net.app('client', tunnelClient({ ...options, server: '[fe80::1%no-such-if]:55555' }));
    await expect(t.net.commit()).rejects.toThrow(/no-such-if/);
    t.client.send(toServer());
    t.runtime.advance(0);
    expect(t.server.received).toHaveLength(1);
    expect(t.events.filter((e) => e.event.type === 'gone')).toHaveLength(0);
    await t.net.close();
  });

  it('heals within 3 s after any cut', async () => {
    const random = randomStream(3, 'cuts');
    const t = await virtualTunnel();
    t.runtime.advance('2s');
    for (let i = 0; i < 50; i++) {
      t.path.cut = true;
      t.runtime.advance(random.below(2_000_000_000) * 10);
      t.path.cut = false;
      t.runtime.advance('3s');
      t.client.received.length = 0;
      t.server.send(toClient());
      t.runtime.advance(0);
      expect(t.client.received).toHaveLength(1);
    }
    await t.net.close();
  });

  for (const [layer, what] of [
    ['L3', 'datagrams'],
    ['L2', 'datagrams with Ethernet frames'],
  ] as const) {
    const framed = (packet: Uint8Array) =>
      layer === 'L3' ? packet : Uint8Array.of(2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0, ...packet);
    it(`survives a million mutated ${what}: nothing throws, nothing grows, every drop is counted`, {
      timeout: 120_000,
    }, async () => {
      const attacker = new Attacker();
      const t = await virtualTunnel({
        client: { layer },
        extra: (net) => {
          // Joined to the server's outside, before the tunnel sees it.
          net
            .unlink('path.b -> server.outside')
            .app('attacker', attacker)
            .app('join', new JoinTwo())
            .link('path.b -> join.a')
            .link('attacker.out -> join.b')
            .link('join.out -> server.outside');
        },
      });
      t.path.record = [];
      t.client.send(framed(icmpEcho({ from: '10.0.0.3', to: '10.0.0.2' })));
      t.runtime.advance('4s');
      attacker.samples = t.path.record.filter((m) => m.length < 400);
      t.path.record = null;
      const before = t.net.report();
      const used = before.memory.livePackets;
      for (let round = 0; round < 100; round++) {
        attacker.left = 10_000;
        attacker.wake();
        t.runtime.advance('100ms');
        t.server.received.length = 0;
        t.client.received.length = 0;
      }
      const report = t.net.report();
      expect(attacker.sent).toBe(1_000_000);
      expect(report.memory.livePackets).toBe(used);
      const dropped = Object.values(totalDrops(report)).reduce((x, y) => x + y, 0);
      expect(dropped).toBeGreaterThan(900_000);
      // The session that was there is there still, and works.
      expect(t.events.filter((e) => e.event.type === 'gone')).toHaveLength(0);
      t.client.send(framed(toServer()));
      t.runtime.advance('10ms');
      expect(t.server.received.some((r) => r.bytes.length === framed(toServer()).length)).toBe(true);
      await t.net.close();
    });
  }
});

class JoinTwo implements App {
  readonly inputs = ['a', 'b'];
  readonly outputs = ['out'];
  push({ input, output }: Ports): void {
    for (const name of this.inputs)
      for (let n = input[name].waiting; n > 0; n--) output.out.put(input[name].take());
  }
}

/** Sends recorded datagrams with random changes, from many addresses. */
class Attacker implements App {
  readonly inputs = [];
  readonly outputs = ['out'];
  readonly layers = { out: 'datagram' } as const;
  samples: Uint8Array[] = [];
  left = 0;
  sent = 0;
  readonly #random = randomStream(99, 'attacker');
  #context: AppContext | undefined;

  open(context: AppContext): void {
    this.#context = context;
  }

  wake(): void {
    this.#context!.wake();
  }

  pull({ pool, output }: Ports, room: number): boolean {
    const random = this.#random;
    for (let i = 0; i < room && this.left > 0; i++) {
      const bytes = this.samples[random.below(this.samples.length)].slice();
      for (let n = 1 + random.below(4); n > 0; n--) bytes[random.below(bytes.length)] = random.u32();
      const length = random.below(4) === 0 ? random.below(bytes.length + 1) : bytes.length;
      const packet = pool.copyIn(bytes.subarray(0, length), 0, this.#context!.account);
      if (packet < 0) {
        pool.countDrops(Reason.NoMemory, 1);
        break;
      }
      const address = {
        family: 4 as const,
        bytes: new Uint8Array(4),
        port: 1 + random.below(65535),
        scope: 0,
      };
      random.fill(address.bytes);
      pool.peer[packet] = pool.addresses.rowFor(address);
      output.out.put(packet);
      this.left--;
      this.sent++;
    }
    return this.left > 0;
  }
}
