import { describe, expect, it } from 'vitest';
import { nat } from '../../../src/chain/nat/app.ts';
import type { App, AppContext, Ports } from '../../../src/engine/app.ts';
import { Network } from '../../../src/engine/network.ts';
import { totalDrops } from '../../../src/engine/report.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import { emitFragment, fragmentCount } from '../../../src/packet/ip-fragment.ts';
import { Gso } from '../../../src/packet/segment.ts';
import { pseudoSum, Verdict, verifyTransport } from '../../../src/packet/transport.ts';
import { get16, put16 } from '../../../src/packet/word.ts';
import { MemoryPort } from '../../../src/tun/memory.ts';

const OUTER = '192.0.2.1';

async function world(options = {}) {
  const runtime = new VirtualRuntime({ seed: 1 });
  const net = new Network(runtime, { memory: 64 << 20 });
  const inside = new MemoryPort();
  const outside = new MemoryPort();
  net
    .app('in', inside)
    .app('out', outside)
    .app('nat', nat({ addresses: [OUTER], ...options }));
  net.link('in.out -> nat.inside').link('nat.outside -> out.in');
  net.link('out.out -> nat.outside').link('nat.inside -> in.in');
  await net.start();
  const drops = () => totalDrops(net.report());
  const report = () => net.report().apps.find(({ app }) => app === 'nat')!.report;
  return { runtime, net, inside, outside, drops, report };
}

const cut = (bytes: Uint8Array, mtu: number) =>
  Array.from({ length: fragmentCount(bytes, 0, bytes.length, mtu) }, (_, i) => {
    const into = new Uint8Array(mtu);
    return into.slice(0, emitFragment(bytes, 0, bytes.length, mtu, i, into, 0));
  });

const ask = { from: '10.0.0.1:1000', to: '198.51.100.1:53' };

describe('the app nat', () => {
  it('closes, also when no fragment waits', async () => {
    const { runtime, net, inside, outside } = await world();
    inside.send(udpPacket({ ...ask, payload: 10 }));
    runtime.advance('1ms');
    await net.close();
    expect(outside.received).toHaveLength(1);
  });

  it('lets answers in to whoever asked, in fragments that come in any order as well', async () => {
    const { runtime, net, inside, outside, drops } = await world();
    const pieces = cut(udpPacket({ ...ask, payload: 5000, identification: 7 }), 1500);
    for (const i of [2, 0, 3, 1]) inside.send(pieces[i]);
    runtime.advance('1ms');
    expect(outside.received).toHaveLength(4);
    const port = get16(outside.received[0].bytes, 20);
    const from = `${OUTER}:${port}`;
    const expected = cut(udpPacket({ ...ask, from, payload: 5000, identification: 7 }), 1500);
    // The one that was early follows the first of its datagram.
    expect(outside.received.map(({ bytes }) => bytes)).toEqual([0, 2, 3, 1].map((i) => expected[i]));

    const answer = cut(udpPacket({ from: ask.to, to: from, payload: 3000, identification: 8 }), 1500);
    for (const i of [1, 2, 0]) outside.send(answer[i]);
    runtime.advance('1ms');
    const whole = cut(udpPacket({ from: ask.to, to: ask.from, payload: 3000, identification: 8 }), 1500);
    expect(inside.received.map(({ bytes }) => bytes)).toEqual([0, 1, 2].map((i) => whole[i]));

    outside.send(cut(udpPacket({ from: ask.to, to: from, payload: 3000, identification: 9 }), 1500)[1]);
    runtime.advance('1s');
    expect(drops()).toEqual({ 'nat-fragment': 1 });
    await net.close();
  });

  it('translates a superframe as one, with its checksum open', async () => {
    const { runtime, net, outside } = await world();
    const frame = tcpPacket({ ...ask, payload: 30_000 });
    put16(frame, 36, pseudoSum(frame, 0, frame.length, 6, frame.length - 20));
    const seen: number[] = [];
    const source: App & { context?: AppContext } = {
      outputs: ['out'],
      superframes: true,
      open(context) {
        this.context = context;
      },
      pull({ pool, output }: Ports) {
        const packet = pool.copyIn(frame, 3);
        pool.segmentSize[packet] = 1000;
        pool.segments[packet] = 30;
        pool.gsoType[packet] = Gso.TcpV4;
        pool.checksumStart[packet] = 20;
        pool.checksumOffset[packet] = 16;
        output.out.put(packet);
        return false;
      },
    };
    const witness: App = {
      superframes: true,
      push({ pool, input, output }: Ports) {
        for (let n = input.in.waiting; n > 0; n--) {
          const packet = input.in.take();
          seen.push(pool.segments[packet]);
          output.out.put(packet);
        }
      },
    };
    net.unlink('in.out -> nat.inside').unlink('nat.outside -> out.in');
    net.app('source', source).app('witness', witness);
    net.link('source.out -> nat.inside').link('nat.outside -> witness.in').link('witness.out -> out.in');
    await net.commit();
    source.context!.wake();
    runtime.advance('1ms');
    expect(seen).toEqual([30]);
    expect(outside.received).toHaveLength(30);
    for (const { bytes } of outside.received) expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
    await net.close();
  });

  it('forgets a flow when its time is over, and by itself', async () => {
    const { runtime, net, inside, outside, drops, report } = await world({ udp: '30s', udpQuestion: '1h' });
    inside.send(udpPacket(ask));
    runtime.advance('1ms');
    const to = `${OUTER}:${get16(outside.received[0].bytes, 20)}`;
    runtime.advance('29s');
    outside.send(udpPacket({ from: ask.to, to }));
    runtime.advance('1s');
    expect(inside.received).toHaveLength(1);
    expect(report()).toMatchObject({ sessions: 1, bindings: 1 });
    runtime.advance('30s');
    expect(report()).toMatchObject({ sessions: 0, bindings: 0 });
    outside.send(udpPacket({ from: ask.to, to }));
    runtime.advance('1s');
    expect(drops()).toEqual({ 'nat-unsolicited': 1 });
    await net.close();
  });

  it('forgets a question and its answer sooner than what goes on, and none to other ports', async () => {
    const { runtime, net, inside, outside, report } = await world();
    const flows = [
      { ...ask, more: false },
      { ...ask, from: '10.0.0.1:1001', more: true },
      { from: '10.0.0.1:1002', to: '198.51.100.1:5000', more: false },
    ];
    for (const { more, ...flow } of flows) {
      inside.send(udpPacket(flow));
      runtime.advance('1ms');
      const to = `${OUTER}:${get16(outside.received.at(-1)!.bytes, 20)}`;
      outside.send(udpPacket({ from: flow.to, to }));
      if (more) outside.send(udpPacket({ from: flow.to, to }));
    }
    runtime.advance('29s');
    expect(report()).toMatchObject({ sessions: 3 });
    runtime.advance('2s');
    expect(report()).toMatchObject({ sessions: 2, bindings: 2 });
    runtime.advance('270s');
    expect(report()).toMatchObject({ sessions: 0 });
    await net.close();
  });

  it('lets a host ask a hundred times a second for names, for ever', async () => {
    const { runtime, net, inside, outside, drops } = await world();
    for (let n = 0; n < 12_000; n++) {
      inside.send(udpPacket({ ...ask, from: `10.0.0.1:${1024 + n}` }));
      runtime.advance('10ms');
    }
    expect(outside.received).toHaveLength(12_000);
    expect(drops()).toEqual({});
    await net.close();
  });

  it('refuses more addresses than it has room for, and says which', () => {
    expect(() => nat.check({ addresses: ['10.0.0.0/16'] })).toThrow(
      /found 10.0.0.0\/16, expected 256 addresses/,
    );
    expect(() => nat.check({ addresses: [] })).toThrow(/addresses/);
    expect(() => nat.check({ addresses: ['x'] })).toThrow(/x/);
  });
});
