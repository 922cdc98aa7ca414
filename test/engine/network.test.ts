import { describe, expect, it } from 'vitest';
import { type App, type AppContext, defineApp, type Ports } from '../../src/engine/app.ts';
import { Join, Sink, Tee } from '../../src/engine/basic.ts';
import { Network } from '../../src/engine/network.ts';
import { reason } from '../../src/engine/reasons.ts';
import { SECOND } from '../../src/engine/units.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

const OddLength = reason('odd-length');

class DropOdd implements App {
  push({ pool, input, output }: Ports) {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      if (pool.length[packet] & 1) pool.drop(packet, OddLength);
      else output.out.put(packet);
    }
  }
}

/** Passes packets on after a fixed time, in order. */
class Wait implements App {
  readonly limits = { packets: 1000 };
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly queue: { packet: number; due: number }[] = [];
  time: number;

  constructor(time: number) {
    this.time = time;
  }

  push({ input, output, now }: Ports) {
    for (let n = input.in.count; n > 0; n--)
      this.queue.push({ packet: input.in.take(), due: now + this.time });
    while (this.queue.length > 0 && this.queue[0].due <= now) output.out.put(this.queue.shift()!.packet);
  }

  nextDeadline() {
    return this.queue[0]?.due ?? Number.POSITIVE_INFINITY;
  }

  held() {
    return this.queue.length;
  }

  reconfigure(options: unknown) {
    this.time = (options as { time: number }).time;
  }

  close() {}
}

const wait = defineApp({
  module: import.meta.url,
  export: 'wait',
  check: (o: { time: number }) => o,
  create: (o) => new Wait(o.time),
});

const packet = (n: number, first = 0) => {
  const bytes = new Uint8Array(n);
  bytes[0] = first;
  return bytes;
};

function setup() {
  const runtime = new VirtualRuntime({ seed: 7 });
  const net = new Network(runtime, { memory: 64 << 20 });
  return { runtime, net, a: new MemoryPort(), b: new MemoryPort() };
}

describe('a network in virtual time', () => {
  it('carries packets through an app, and counts drops by app and reason', async () => {
    const { runtime, net, a, b } = setup();
    await net
      .app('a', a)
      .app('b', b)
      .app('odd', new DropOdd())
      .link('a.out -> odd.in')
      .link('odd.out -> b.in')
      .start();
    for (let i = 20; i < 30; i++) a.send(packet(i));
    runtime.advance(0);
    expect(b.received.map((r) => r.bytes.length)).toEqual([20, 22, 24, 26, 28]);
    const report = net.report();
    expect(report.apps.find((x) => x.app === 'odd')!.drops).toEqual({ 'odd-length': 5 });
    expect(report.links.map((l) => [l.link, l.packets])).toEqual([
      ['a.out -> odd.in', 10],
      ['odd.out -> b.in', 5],
    ]);
    expect(report.links[0].bits).toBe(8 * (20 + 21 + 22 + 23 + 24 + 25 + 26 + 27 + 28 + 29));
    await net.close();
  });

  it('runs an app when it is due, exactly then', async () => {
    const { runtime, net, a, b } = setup();
    await net
      .app('a', a)
      .app('b', b)
      .app('slow', new Wait(50_000_000))
      .link('a.out -> slow.in')
      .link('slow.out -> b.in')
      .start();
    runtime.advance('10ms');
    a.send(packet(60));
    runtime.advance('49ms');
    expect(b.received).toHaveLength(0);
    runtime.advance('20ms');
    expect(b.received.map((r) => r.time)).toEqual([60_000_000]);
    await net.close();
  });

  it('never loses a packet to a full link: the source waits instead', async () => {
    const { runtime, net, a, b } = setup();
    await net
      .app('a', a)
      .app('b', b)
      .app('odd', new DropOdd())
      .link('a.out -> odd.in')
      .link('odd.out -> b.in')
      .start();
    for (let i = 0; i < 20_000; i++) a.send(packet(100));
    runtime.advance(0);
    expect(b.received).toHaveLength(20_000);
    expect(net.report().links.every((l) => l.dropped === 0)).toBe(true);
    await net.close();
  });

  it('stops a source when its consumer stands still, and goes on where it stopped', async () => {
    const { runtime, net, a } = setup();
    let open = false;
    const seen: number[] = [];
    let context: AppContext;
    const gate: App = {
      open: (c) => {
        context = c;
      },
      push({ pool, input }) {
        while (open && input.in.count > 0) {
          const p = input.in.take();
          seen.push(pool.slab[pool.offset[p]]);
          pool.free(p);
        }
      },
    };
    await net
      .app('a', a)
      .app('gate', gate)
      .app('odd', new DropOdd())
      .link('a.out -> odd.in')
      .link('odd.out -> gate.in')
      .start();
    for (let i = 0; i < 5000; i++) a.send(packet(2, i & 0xff));
    runtime.advance('1s');
    expect(seen).toHaveLength(0);
    expect(net.report().apps.find((x) => x.app === 'a')!.report.waiting).toBeGreaterThan(2000);
    open = true;
    context!.wake();
    runtime.advance('1s');
    expect(seen).toEqual(Array.from({ length: 5000 }, (_, i) => i & 0xff));
    await net.close();
  });

  it('lets one direction flow while the other is stuck', async () => {
    const { runtime, net, a, b } = setup();
    const stuck: App = { inputs: ['in'], outputs: [], push() {} };
    const sink = new Sink();
    await net
      .app('a', a)
      .app('b', b)
      .app('stuck', stuck)
      .app('sink', sink)
      .link('a.out -> stuck.in')
      .link('b.out -> sink.in')
      .start();
    for (let i = 0; i < 60_000; i++) a.send(packet(60));
    runtime.advance('1s');
    for (let i = 0; i < 10_000; i++) b.send(packet(60));
    runtime.advance('1s');
    expect(sink.report().packets).toBe(10_000);
    await expect(net.close()).resolves.toBeUndefined();
  });

  it('shares bytes behind a tee and joins streams without losing any', async () => {
    const { runtime, net, a, b } = setup();
    await net
      .app('a', a)
      .app('b', b)
      .app('tee', new Tee())
      .app('join', new Join())
      .link('a.out -> tee.in')
      .link('tee.left -> join.left')
      .link('tee.right -> join.right')
      .link('join.out -> b.in')
      .start();
    for (let i = 0; i < 3000; i++) a.send(packet(64, i & 0xff));
    runtime.advance(0);
    expect(b.received).toHaveLength(6000);
    await net.close();
  });

  it('allows loops: one with a delay goes round, one without is ERR_LOOP', async () => {
    const { runtime, net, a } = setup();
    await net
      .app('a', a)
      .app('join', new Join())
      .app('slow', new Wait(SECOND))
      .app('tee', new Tee())
      .app('sink', new Sink())
      .link('a.out -> join.fresh')
      .link('tee.again -> join.again')
      .link('join.out -> slow.in')
      .link('slow.out -> tee.in')
      .link('tee.seen -> sink.in')
      .start();
    a.send(packet(10));
    runtime.advance('10500ms');
    expect(net.get<Sink>('sink').report().packets).toBe(10);
    await net.remove('slow').link('join.out -> tee.in').commit();
    expect(() => runtime.advance('2s')).toThrow(/did not settle/);
    await net.close().catch(() => {});
  });

  it('moves packets in an order that depends on nothing but the configuration', async () => {
    const run = async (reversed: boolean) => {
      const { runtime, net, a, b } = setup();
      const out: string[] = [];
      const log = (name: string): App => ({
        push({ input, output }) {
          for (let n = input.in.waiting; n > 0; n--) {
            out.push(name);
            output.out.put(input.in.take());
          }
        },
      });
      const apps: [string, App][] = [
        ['a', a],
        ['b', b],
        ['x', log('x')],
        ['y', log('y')],
        ['tee', new Tee()],
        ['join', new Join()],
      ];
      const links = [
        'a.out -> tee.in',
        'tee.p -> x.in',
        'tee.q -> y.in',
        'x.out -> join.x',
        'y.out -> join.y',
        'join.out -> b.in',
      ];
      for (const [name, app] of reversed ? apps.reverse() : apps) net.app(name, app);
      for (const link of reversed ? links.reverse() : links) net.link(link);
      await net.start();
      for (let i = 0; i < 40; i++) a.send(packet(20, i));
      runtime.advance(0);
      await net.close();
      return out.join('') + b.received.map((r) => r.bytes[0]).join(',');
    };
    expect(await run(true)).toBe(await run(false));
  });

  it('gives the network to the error that an app throws', async () => {
    const { runtime, net, a } = setup();
    const broken: App = {
      push() {
        throw new Error('broken app');
      },
    };
    await net.app('a', a).app('broken', broken).link('a.out -> broken.in').start();
    const failed = new Promise((resolve) => net.once('error', resolve));
    a.send(packet(10));
    expect(() => runtime.advance(0)).toThrow('broken app');
    expect(await failed).toBeInstanceOf(Error);
    await net.close();
  });
});

describe('changing a network while packets flow', () => {
  it('keeps what waits in an app that gets new options', async () => {
    const { runtime, net, a, b } = setup();
    await net
      .app('a', a)
      .app('b', b)
      .app('slow', wait({ time: SECOND }))
      .link('a.out -> slow.in')
      .link('slow.out -> b.in')
      .start();
    const before = net.get<Wait>('slow');
    a.send(packet(10));
    runtime.advance(0);
    await net.app('slow', wait({ time: 2 * SECOND })).commit();
    expect(net.get<Wait>('slow')).toBe(before);
    a.send(packet(12));
    runtime.advance('3s');
    expect(b.received.map((r) => [r.bytes.length, r.time])).toEqual([
      [10, SECOND],
      [12, 2 * SECOND],
    ]);
    await net.close();
  });

  it('loses nothing when an app is put between or taken out, and keeps the order', async () => {
    const { runtime, net, a, b } = setup();
    let open = true;
    let context: AppContext;
    const gate: App = {
      inputs: ['in'],
      outputs: ['out'],
      open: (c) => {
        context = c;
      },
      push({ input, output }) {
        if (open) for (let n = input.in.waiting; n > 0; n--) output.out.put(input.in.take());
      },
    };
    await net
      .app('a', a)
      .app('b', b)
      .app('gate', gate)
      .link('a.out -> gate.in')
      .link('gate.out -> b.in')
      .start();
    open = false;
    for (let i = 0; i < 100; i++) a.send(packet(20, i));
    runtime.advance(0);
    await net
      .unlink('a.out -> gate.in')
      .app('odd', new DropOdd())
      .link('a.out -> odd.in')
      .link('odd.out -> gate.in')
      .commit();
    for (let i = 100; i < 200; i++) a.send(packet(20, i));
    runtime.advance(0);
    await net.remove('odd').link('a.out -> gate.in').commit();
    for (let i = 200; i < 250; i++) a.send(packet(20, i));
    runtime.advance(0);
    open = true;
    context!.wake();
    runtime.advance(0);
    expect(b.received.map((r) => r.bytes[0])).toEqual(Array.from({ length: 250 }, (_, i) => i));
    await net.close();
  });

  it('lets a removed app linger until what it holds has left', async () => {
    const { runtime, net, a, b } = setup();
    await net
      .app('a', a)
      .app('b', b)
      .app('slow', new Wait(SECOND))
      .link('a.out -> slow.in')
      .link('slow.out -> b.in')
      .start();
    a.send(packet(10));
    runtime.advance(0);
    await net.remove('slow').link('a.out -> b.in').commit();
    expect(net.report().apps.find((x) => x.app === 'slow')?.lingering).toBe(true);
    a.send(packet(12));
    runtime.advance('2s');
    expect(b.received.map((r) => r.bytes.length)).toEqual([12, 10]);
    await net.commit();
    expect(net.report().apps.some((x) => x.app === 'slow')).toBe(false);
    await net.close();
  });

  it('changes nothing when any part of a commit fails', async () => {
    const { runtime, net, a, b } = setup();
    await net.app('a', a).app('b', b).link('a.out -> b.in').start();
    let closed = 0;
    const opens: App = {
      close: () => {
        closed++;
      },
    };
    const fails: App = {
      open() {
        throw new Error('no device');
      },
    };
    net.remove('b').app('c', opens).app('d', fails);
    await expect(net.commit()).rejects.toThrow('no device');
    expect(closed).toBe(1);
    expect(net.config.links).toEqual(['a.out -> b.in']);
    a.send(packet(10));
    runtime.advance(0);
    expect(b.received).toHaveLength(1);
    await net.close();
  });

  it('survives a thousand commits under traffic without losing a packet', async () => {
    const { runtime, net, a, b } = setup();
    await net.app('a', a).app('b', b).link('a.out -> b.in').start();
    for (let i = 0; i < 1000; i++) {
      a.send(packet(20, i & 0xff));
      if (i % 2 === 0)
        net.unlink('a.out -> b.in').app('odd', new DropOdd()).link('a.out -> odd.in').link('odd.out -> b.in');
      else net.remove('odd').link('a.out -> b.in');
      await net.commit();
      runtime.advance(10);
    }
    expect(b.received.map((r) => r.bytes[0])).toEqual(Array.from({ length: 1000 }, (_, i) => i & 0xff));
    await net.close();
  });
});

describe('a configuration that cannot work', () => {
  const { a, b } = setup();
  const cases: [string, (net: Network) => Network, RegExp][] = [
    [
      'a link that is no link',
      (n) => n.link('a.out, b.in'),
      /found "a.out, b.in", expected "app.output -> app.input"/,
    ],
    ['an unknown app', (n) => n.app('a', a).link('a.out -> x.in'), /names the app "x", which does not exist/],
    [
      'an unknown output',
      (n) => n.app('a', a).app('b', b).link('a.left -> b.in'),
      /found output "left", but a has output out/,
    ],
    [
      'an output used twice',
      (n) => n.app('a', a).app('b', b).app('s', new Sink()).link('a.out -> b.in').link('a.out -> s.in'),
      /second time; put a tee between/,
    ],
    [
      'an input used twice',
      (n) => n.app('a', a).app('b', b).app('s', new Sink()).link('a.out -> s.in').link('b.out -> s.in'),
      /second time; put a join between/,
    ],
    ['a missing link', (n) => n.app('j', new Join()), /nothing is linked to its "out"/],
    [
      'two layers joined',
      (n) =>
        n
          .app('a', new MemoryPort({ layer: 'L2' }))
          .app('b', new MemoryPort())
          .link('a.out -> b.in'),
      /joins L2 \(a.out\) and L3 \(b.in\); put an adapter/,
    ],
    [
      'two layers joined through an app',
      (n) =>
        n
          .app('a', new MemoryPort({ layer: 'L2' }))
          .app('b', new MemoryPort())
          .app('o', new DropOdd())
          .link('a.out -> o.in')
          .link('o.out -> b.in'),
      /joins L3 .* and L2/,
    ],
    [
      'queues larger than the memory',
      (n) =>
        n
          .app('a', a)
          .app('w', Object.assign(new Wait(1), { limits: { packets: 1e6 } }))
          .app('b', b)
          .link('a.out -> w.in')
          .link('w.out -> b.in'),
      /needs 1005120 small packet slots \(1024 in common \+ 1002048 for a \+ 2048 for b\)|needs \d+ small packet slots \(.*1002048 for a/,
    ],
    ['a name with a dot', (n) => n.app('a.b', a), /found the name "a.b"/],
  ];
  for (const [name, build, message] of cases) {
    it(`is refused with what was found and expected: ${name}`, async () => {
      const net = new Network(new VirtualRuntime(), { memory: 64 << 20 });
      await expect((async () => build(net).commit())()).rejects.toThrow(message);
      await net.close();
    });
  }
});
