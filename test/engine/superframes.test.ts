import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { App, AppContext, Ports } from '../../src/engine/app.ts';
import { Network } from '../../src/engine/network.ts';
import { Pool } from '../../src/engine/pool.ts';
import { cutSuperframe, MAX_SEGMENTS } from '../../src/engine/segmenter.ts';
import { slice } from '../../src/engine/slice.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { tcpPacket, udpPacket } from '../../src/packet/build.ts';
import { Gso } from '../../src/packet/segment.ts';
import * as tcp from '../../src/packet/tcp.ts';
import { Verdict, verifyTransport } from '../../src/packet/transport.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

interface Shape {
  v6: boolean;
  udp: boolean;
  segments: number;
  size: number;
  tail: number;
}

/** A superframe as a TUN hands it over: one packet with a large payload, and how it is to be cut. */
function superframe(pool: Pool, { v6, udp, segments, size, tail }: Shape, account = 0): number {
  const payload = Uint8Array.from({ length: (segments - 1) * size + tail }, (_, i) => (i * 7) & 0xff);
  const from = v6 ? '[fd00::1]:1000' : '10.0.0.1:1000';
  const to = v6 ? '[fd00::2]:2000' : '10.0.0.2:2000';
  const bytes = udp
    ? udpPacket({ from, to, payload })
    : tcpPacket({
        from,
        to,
        payload,
        sequence: 0xfffffff0,
        flags: tcp.Flag.Ack | tcp.Flag.Psh | tcp.Flag.Fin,
      });
  const packet = pool.copyIn(bytes, 3, account);
  const l4 = v6 ? 40 : 20;
  pool.segmentSize[packet] = size;
  pool.segments[packet] = segments;
  pool.gsoType[packet] = udp ? Gso.Udp : v6 ? Gso.TcpV6 : Gso.TcpV4;
  pool.checksumStart[packet] = l4;
  pool.checksumOffset[packet] = udp ? 6 : 16;
  return packet;
}

const shapes = fc
  .record({
    v6: fc.boolean(),
    udp: fc.boolean(),
    segments: fc.integer({ min: 2, max: 40 }),
    size: fc.integer({ min: 1, max: 1400 }),
    tail: fc.integer({ min: 1, max: 1400 }),
  })
  .map((s) => ({ ...s, tail: Math.min(s.tail, s.size) }));

describe('an app that did not ask for superframes', () => {
  it('gets wire packets with right checksums, in order, counted one by one', async () => {
    const runtime = new VirtualRuntime();
    const net = new Network(runtime, { memory: 64 << 20 });
    const source = new SuperframeSource();
    const port = new MemoryPort();
    await net.app('source', source).app('port', port).link('source.out -> port.in').start();
    source.wanted = 20;
    source.context!.wake();
    runtime.advance(0);
    expect(port.received).toHaveLength(20 * 30);
    for (const { bytes } of port.received) {
      expect(bytes.length).toBeLessThanOrEqual(20 + 20 + 1000);
      expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
    }
    const [into, out] = net.report().links;
    expect(into.packets).toBe(600);
    expect(out.packets).toBe(600);
    // The app in between is the network's own: the configuration does not know it.
    expect(net.config.links).toEqual(['source.out -> port.in']);
    await net.close();
  });

  it('gets them whole when it says that it takes them', async () => {
    const runtime = new VirtualRuntime();
    const net = new Network(runtime, { memory: 64 << 20 });
    const source = new SuperframeSource();
    const seen: number[] = [];
    const whole: App = {
      superframes: true,
      push({ pool, input }) {
        for (let n = input.in.waiting; n > 0; n--) {
          const packet = input.in.take();
          seen.push(pool.segments[packet]);
          pool.free(packet);
        }
      },
    };
    await net.app('source', source).app('whole', whole).link('source.out -> whole.in').start();
    source.wanted = 3;
    source.context!.wake();
    runtime.advance(0);
    expect(seen).toEqual([30, 30, 30]);
    await net.close();
  });
});

class SuperframeSource implements App {
  readonly inputs = [];
  readonly superframes = true;
  wanted = 0;
  context: AppContext | undefined;

  open(context: AppContext): void {
    this.context = context;
  }

  pull({ pool, output }: Ports, room: number): boolean {
    for (let i = 0; i < room && this.wanted > 0; i++, this.wanted--) {
      const shape = { v6: false, udp: false, segments: 30, size: 1000, tail: 500 };
      output.out.put(superframe(pool, shape, this.context!.account));
    }
    return this.wanted > 0;
  }
}

describe('a slice of a superframe', () => {
  it('cuts into the same wire packets as the whole does', () => {
    fc.assert(
      fc.property(shapes, fc.nat(), fc.nat(), (shape, a, b) => {
        const pool = new Pool({ smallSlots: 200, largeSlots: 8 });
        const into = new Int32Array(MAX_SEGMENTS);
        const first = a % shape.segments;
        const count = 1 + (b % (shape.segments - first));
        const whole = superframe(pool, shape);
        const part = slice(pool, whole, first, count);
        expect(pool.segments[part]).toBe(count);
        const ofPart = [...into.subarray(0, cutSuperframe(pool, part, into))].map((p) => pool.copyOut(p));
        const ofWhole = [...into.subarray(0, cutSuperframe(pool, whole, into))].map((p) => pool.copyOut(p));
        expect(ofPart).toEqual(ofWhole.slice(first, first + count));
        for (const bytes of ofWhole) expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
      }),
      { seed: 4, numRuns: 150 },
    );
  });

  it('has bytes of its own', () => {
    const pool = new Pool({ smallSlots: 64, largeSlots: 4 });
    const whole = superframe(pool, { v6: false, udp: false, segments: 10, size: 500, tail: 500 });
    const before = pool.copyOut(whole);
    const part = slice(pool, whole, 2, 3);
    pool.slab.fill(0, pool.offset[part], pool.offset[part] + pool.length[part]);
    expect(pool.copyOut(whole)).toEqual(before);
    expect(slice(pool, whole, 8, 3)).toBe(-1);
    expect(slice(pool, whole, 0, 0)).toBe(-1);
  });
});
