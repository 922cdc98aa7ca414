import { constants } from 'node:os';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Network } from '../../src/engine/network.ts';
import { tcpPacket, udpPacket } from '../../src/packet/index.ts';
import { Gso } from '../../src/packet/segment.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import {
  type StreamNotice,
  StreamTunnel,
  type StreamTunnelOptions,
  streamTunnel,
} from '../../src/tunnel/stream/stream.ts';
import { SocketRuntime, type TestPeer } from './stream-world.ts';

const LISTEN = { listen: '0.0.0.0:5555' };
const CONNECT = { connect: '192.0.2.9:5555' };
const MS = 1_000_000;
const { ETIMEDOUT } = constants.errno;

const packet = (payload: number) => udpPacket({ to: '10.0.0.2:53', payload });
const join = (parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const record = (bytes: Uint8Array) => join([Uint8Array.of(bytes.length >> 8, bytes.length & 255), bytes]);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** The packets in a stream, the slow way. */
function split(stream: Uint8Array): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (let at = 0; at < stream.length; ) {
    const length = stream[at]! * 256 + stream[at + 1]!;
    packets.push(stream.slice(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return packets;
}

class Scene implements AsyncDisposable {
  readonly runtime = new SocketRuntime({ seed: 3 });
  readonly world = this.runtime.world;
  readonly net = new Network(this.runtime, { memory: 32 << 20 });
  readonly inside = new MemoryPort();
  readonly events: StreamNotice[] = [];
  readonly times: number[] = [];

  async start(options: StreamTunnelOptions): Promise<this> {
    this.net.on('event', (_, event) => {
      this.events.push(event as StreamNotice);
      this.times.push(this.runtime.now());
    });
    const checked = streamTunnel.check(options) as ConstructorParameters<typeof StreamTunnel>[0];
    await this.net
      .app('inside', this.inside)
      .app('tunnel', new StreamTunnel(checked, () => this.world))
      .link('inside.out -> tunnel.inside')
      .link('tunnel.inside -> inside.in')
      .start();
    this.run(0);
    return this;
  }

  /** Lets `ms` milliseconds pass; the world answers attempts each of them. */
  run(ms: number): void {
    for (let i = 0; i <= ms; i++) {
      this.runtime.advance(i === 0 ? 0 : MS);
      this.world.settle();
      this.runtime.advance(0);
    }
  }

  status() {
    return this.net.report().apps.find((a) => a.app === 'tunnel')!;
  }

  said(): string[] {
    return this.events.map((e) => (e.reason ? `${e.type} ${e.reason}` : e.type));
  }

  received(): string[] {
    return this.inside.received.map((each) => hex(each.bytes));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.net.close();
    // Nothing stays open, whatever happened.
    expect(this.world.open).toBe(0);
  }
}

const scene = (options: StreamTunnelOptions) => new Scene().start(options);

describe('the options of a stream tunnel', () => {
  it('name exactly one of listen and connect, with an address and a port', () => {
    const error = (options: unknown) => {
      try {
        streamTunnel.check(options);
        return 'taken';
      } catch (thrown) {
        return (thrown as Error).message;
      }
    };
    expect(error(LISTEN)).toBe('taken');
    expect(error(CONNECT)).toBe('taken');
    expect(error({})).toMatch(/neither listen nor connect/);
    expect(error({ ...LISTEN, ...CONNECT })).toMatch(/both listen and connect/);
    expect(error({ connect: '192.0.2.9:0' })).toMatch(/connect: found port 0/);
    expect(error({ connect: '192.0.2.9' })).toMatch(/192\.0\.2\.9/);
    expect(error({ ...LISTEN, colour: 'red' })).toMatch(/unknown key "colour"/);
    expect(error({ ...LISTEN, mtu: 1 })).toMatch(/mtu: found 1/);
  });
});

describe('a stream server', () => {
  it('carries packets both ways', async () => {
    await using s = await scene(LISTEN);
    const peer = s.world.connect();
    peer.send(join([record(packet(10)), record(packet(1400))]));
    s.inside.send(packet(20));
    s.run(0);
    expect(s.received()).toEqual([packet(10), packet(1400)].map(hex));
    expect(hex(peer.take())).toBe(hex(record(packet(20))));
    expect(s.events).toEqual([{ type: 'up', outer: '192.0.2.1:40000', reason: '', text: '' }]);
  });

  it('brings the same packets whatever pieces they come in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 40 }),
        fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1, maxLength: 5 }),
        async (sizes, pieces) => {
          await using s = await scene(LISTEN);
          const peer = s.world.connect();
          const stream = join(sizes.map((size) => record(packet(size))));
          for (let at = 0, i = 0; at < stream.length; i++) {
            const n = pieces[i % pieces.length]!;
            peer.send(stream.subarray(at, at + n));
            at += n;
            s.run(0);
          }
          expect(s.received()).toEqual(sizes.map((size) => hex(packet(size))));
        },
      ),
      { seed: 4, numRuns: 20 },
    );
  });

  it('goes on where the kernel stopped taking bytes, and loses nothing meanwhile', async () => {
    await using s = await scene(LISTEN);
    s.world.sendCapacity = 1000;
    s.world.writeLimit = 333;
    const peer = s.world.connect();
    s.run(0);
    const sizes = Array.from({ length: 2000 }, (_, i) => (i * 7) % 1400);
    for (const size of sizes) s.inside.send(packet(size));
    s.run(0);
    // What nobody reads waits where it came from: one buffer, one link.
    expect(s.net.report().links.find((l) => l.link.endsWith('tunnel.inside'))!.waiting).toBe(1024);
    expect(s.inside.report().waiting).toBeGreaterThan(0);
    const parts: Uint8Array[] = [];
    for (let n = 1; n > 0; ) {
      parts.push(peer.take());
      n = parts.at(-1)!.length;
      s.run(0);
    }
    expect(split(join(parts)).map(hex)).toEqual(sizes.map((size) => hex(packet(size))));
    expect(s.status().drops).toEqual({});
  });

  it('takes no more from TCP than there is room for inside, and then the rest', async () => {
    await using s = await scene(LISTEN);
    const peer = s.world.connect();
    const all = Array.from({ length: 5000 }, (_, i) => packet(i % 50));
    peer.send(join(all.map(record)));
    s.run(0);
    expect(s.received()).toEqual(all.map(hex));
  });

  it('finds the good packets behind a flood of empty records', async () => {
    await using s = await scene(LISTEN);
    const peer = s.world.connect();
    peer.send(join([new Uint8Array(2_000_000), record(packet(5))]));
    s.run(0);
    expect(s.received()).toEqual([hex(packet(5))]);
    expect(s.status().drops).toEqual({ 'record-too-short': 1_000_000 });
  });

  it('cuts superframes into wire packets with their checksums, one record each', async () => {
    const runtime = new SocketRuntime({ seed: 3 });
    const net = new Network(runtime, { memory: 32 << 20 });
    const payload = Uint8Array.from({ length: 60_000 }, (_, i) => i * 31);
    const big = tcpPacket({ from: '10.0.0.3:1000', to: '10.0.0.2:80', payload, sequence: 5000 });
    let wanted = 3;
    const source = {
      inputs: ['in'],
      outputs: ['out'],
      paths: { in: [] },
      superframes: true,
      layers: { in: 'L3', out: 'L3' } as const,
      pull({ pool, output }: import('../../src/engine/app.ts').Ports): boolean {
        if (wanted === 0) return false;
        const handle = pool.copyIn(big, 3);
        pool.segmentSize[handle] = 1000;
        pool.segments[handle] = 60;
        pool.gsoType[handle] = Gso.TcpV4;
        output.out.put(handle);
        return --wanted > 0;
      },
    };
    const tunnel = new StreamTunnel(streamTunnel.check(LISTEN) as never, () => runtime.world);
    await net
      .app('source', source)
      .app('tunnel', tunnel)
      .link('source.out -> tunnel.inside')
      .link('tunnel.inside -> source.in')
      .commit();
    const peer = runtime.world.connect();
    runtime.advance(0);
    await net.start();
    runtime.advance(0);
    const packets = split(peer.take());
    expect(packets).toHaveLength(180);
    for (const [i, bytes] of packets.entries()) {
      const at = (i % 60) * 1000;
      const last = i % 60 === 59;
      const expected = tcpPacket({
        from: '10.0.0.3:1000',
        to: '10.0.0.2:80',
        payload: payload.slice(at, at + 1000),
        sequence: 5000 + at,
        identification: i % 60,
      });
      expect(hex(bytes), `segment ${i}${last ? ', the last' : ''}`).toBe(hex(expected));
    }
    await net.close();
  });

  it('drops what comes from inside while nobody is connected, and counts it', async () => {
    await using s = await scene(LISTEN);
    s.inside.send(packet(1));
    s.run(0);
    expect(s.status().drops).toEqual({ 'not-connected': 1 });
  });

  it('drops packets over the MTU in both directions', async () => {
    await using s = await scene({ ...LISTEN, mtu: 1000 });
    const peer = s.world.connect();
    peer.send(join([record(packet(1000)), record(packet(900))]));
    s.run(0);
    s.inside.send(packet(1000));
    s.inside.send(packet(900));
    s.run(0);
    expect(s.received()).toEqual([hex(packet(900))]);
    expect(split(peer.take()).map(hex)).toEqual([hex(packet(900))]);
    expect(s.status().drops).toEqual({ 'record-too-long': 2 });
  });

  it('keeps its peer when somebody else merely connects, and lets them in when it goes', async () => {
    await using s = await scene(LISTEN);
    const first = s.world.connect();
    s.run(0);
    const second = s.world.connect();
    s.run(5000);
    s.inside.send(packet(1));
    s.run(0);
    expect(split(first.take())).toHaveLength(1);
    expect(second.take()).toHaveLength(0);
    first.close();
    s.run(0);
    s.inside.send(packet(2));
    s.run(0);
    expect(split(second.take()).map(hex)).toEqual([hex(packet(2))]);
    expect(s.said()).toEqual(['up', 'gone closed', 'up']);
  });

  it('follows a newer connection at its first good packet', async () => {
    await using s = await scene(LISTEN);
    const first = s.world.connect();
    s.run(0);
    const second = s.world.connect();
    second.send(record(packet(7)).subarray(0, 20));
    s.run(0);
    expect(first.ended).toBe(false);
    second.send(record(packet(7)).subarray(20));
    s.run(0);
    expect(first.ended).toBe(true);
    expect(s.received()).toEqual([hex(packet(7))]);
    expect(s.said()).toEqual(['up', 'moved']);
    expect(s.events[1]!.outer).toBe('192.0.2.1:40001');
  });

  it('is not disturbed by a hundred connections that say nothing, or nonsense', async () => {
    await using s = await scene(LISTEN);
    const first = s.world.connect();
    s.run(0);
    const others: TestPeer[] = [];
    for (let i = 0; i < 100; i++) {
      others.push(s.world.connect());
      if (i % 2) others[i]!.send(new Uint8Array(300_000).fill(0xff));
      if (i % 10 === 0) s.run(0);
    }
    s.run(0);
    first.send(record(packet(1)));
    s.run(0);
    expect(s.received()).toEqual([hex(packet(1))]);
    expect(s.said()).toEqual(['up']);
    // The peer, the listener, and at most one that waits.
    expect(s.world.open).toBeLessThanOrEqual(3);
    expect(others.filter((each) => !each.ended).length).toBeLessThanOrEqual(1);
  });

  it('ends a stream that is out of step, says so, and serves the next', async () => {
    await using s = await scene(LISTEN);
    const first = s.world.connect();
    first.send(new Uint8Array(300_000).fill(0xff));
    s.run(0);
    expect(first.ended).toBe(true);
    expect(s.said()).toEqual(['up', 'gone out-of-step']);
    expect(s.status().drops).toEqual({ 'record-not-a-packet': 4 });
    s.world.connect().send(record(packet(1)));
    s.run(0);
    expect(s.received()).toEqual([hex(packet(1))]);
  });

  it('counts what was on its way out when the connection ended', async () => {
    await using s = await scene(LISTEN);
    s.world.sendCapacity = 40;
    const peer = s.world.connect();
    s.run(0);
    for (let i = 0; i < 3; i++) s.inside.send(packet(10));
    s.run(0);
    s.world.fail(peer.socket.peer!, ETIMEDOUT);
    s.run(0);
    // One left whole (40 bytes), two did not.
    expect(s.status().drops).toEqual({ 'connection-lost': 2 });
    expect(s.said()).toEqual(['up', 'gone timeout']);
  });

  it('waits for a descriptor when the process has none left', async () => {
    await using s = await scene(LISTEN);
    s.world.descriptorsLeft = 0;
    s.world.connect();
    s.run(1000);
    expect(s.said()).toEqual([]);
    expect(s.status().report.acceptErrors).toBeLessThan(10);
    s.world.descriptorsLeft = 10;
    s.run(300);
    expect(s.said()).toEqual(['up']);
  });
});

describe('a stream client', () => {
  it('connects at once, and again after 250 ms to 1 s', async () => {
    await using s = await scene(CONNECT);
    expect(s.said()).toEqual(['up']);
    const started: number[] = [];
    s.world.answer = 'refuse';
    s.world.attempts[0]!.peer!.close();
    for (let ms = 0, seen = 1; ms < 5000; ms++) {
      s.run(1);
      if (s.world.attempts.length > seen) started.push(ms);
      seen = s.world.attempts.length;
    }
    const gaps = started.map((at, i) => at - (started[i - 1] ?? 0));
    expect(gaps.slice(0, 4)).toEqual([expect.closeTo(250, -1), expect.closeTo(500, -1), 1000, 1000]);
    s.world.answer = 'accept';
    s.run(1100);
    expect(s.said()).toEqual(['up', 'gone closed', 'resolve refused', 'up']);
  });

  it('tries again every 2 s while nobody answers, and is connected soon after the path is back', async () => {
    const s = new Scene();
    await using _ = s;
    s.world.answer = 'silence';
    await s.start(CONNECT);
    s.run(20_000);
    expect(s.world.attempts.length).toBeGreaterThanOrEqual(10);
    expect(s.world.attempts.length).toBeLessThanOrEqual(11);
    expect(s.world.open).toBe(1);
    s.world.answer = 'accept';
    s.run(2100);
    expect(s.said().at(-1)).toBe('up');
  });

  it('asks for the name to be resolved again after 3 s without an answer, then every 5 s, as attempts fail', async () => {
    const s = new Scene();
    await using _ = s;
    s.world.answer = 'silence';
    await s.start(CONNECT);
    s.run(20_000);
    expect(s.said()).toEqual(Array(3).fill('resolve timeout'));
    expect(s.times.map((at) => Math.round(at / MS))).toEqual([4000, 10_000, 16_000]);
  });

  it('lives through a time without a route', async () => {
    const s = new Scene();
    await using _ = s;
    s.world.answer = 'unreachable';
    await s.start(CONNECT);
    s.run(3000);
    expect(s.world.attempts.length).toBeLessThan(8);
    s.world.answer = 'accept';
    s.run(1100);
    expect(s.said().at(-1)).toBe('up');
  });

  it('turns to another address in place when it is reconfigured', async () => {
    await using s = await scene(CONNECT);
    const tunnel = s.net.get<StreamTunnel>('tunnel');
    const other = streamTunnel.check({ connect: '192.0.2.77:5555' });
    expect(tunnel.canReconfigure(other)).toBe(true);
    expect(tunnel.canReconfigure(streamTunnel.check(LISTEN))).toBe(false);
    tunnel.reconfigure(other);
    s.run(1);
    expect(s.world.attempts.map((each) => each.options.address[3])).toEqual([9, 77]);
    expect(s.said()).toEqual(['up', 'gone reconfigured', 'up']);
    expect(s.events.at(-1)!.outer).toBe('192.0.2.77:5555');
  });

  it('asks the kernel to give up on a peer that acknowledges nothing for 3 s', async () => {
    await using s = await scene(CONNECT);
    expect(s.world.attempts[0]!.options.timeout).toBe(3000);
  });
});
