import { describe, expect, it } from 'vitest';
import type { App, AppContext, Ports } from '../../src/engine/app.ts';
import { Join, Tee } from '../../src/engine/basic.ts';
import { Network } from '../../src/engine/network.ts';
import { totalDrops } from '../../src/engine/report.ts';
import { SECOND } from '../../src/engine/units.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { tcpPacket } from '../../src/packet/build.ts';
import { Gso } from '../../src/packet/segment.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

/** Holds every packet for a while, and longer when there is no room. */
class Hold implements App {
  readonly limits = { packets: 3000, superframes: 10 };
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly superframes = true;
  readonly queue: { packet: number; due: number }[] = [];
  closed = 0;
  readonly time: number;

  constructor(time: number) {
    this.time = time;
  }

  push({ input, output, now }: Ports) {
    for (let n = input.in.count; n > 0 && this.queue.length < 3000; n--)
      this.queue.push({ packet: input.in.take(), due: now + this.time });
    while (this.queue.length > 0 && this.queue[0].due <= now && (output.out.feedback || output.out.room > 0))
      output.out.put(this.queue.shift()!.packet);
    this.full = output.out.room === 0 && this.queue.length > 0 && this.queue[0].due <= now;
  }

  full = false;

  /** Nothing is due while there is no room: whoever makes room wakes it. */
  nextDeadline() {
    return this.full ? Number.POSITIVE_INFINITY : (this.queue[0]?.due ?? Number.POSITIVE_INFINITY);
  }

  held() {
    return this.queue.length;
  }

  close() {
    this.closed++;
  }
}

class Forward implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  passed = 0;

  push({ input, output }: Ports) {
    for (let n = input.in.waiting; n > 0; n--, this.passed++) output.out.put(input.in.take());
  }
}

const packet = (n: number) => Uint8Array.of(n, 0, 0, 0);
const numbers = (port: MemoryPort) => port.received.map((r) => r.bytes[0]);

function setup() {
  const runtime = new VirtualRuntime({ seed: 7 });
  const net = new Network(runtime, { memory: 64 << 20 });
  const a = new MemoryPort();
  const b = new MemoryPort();
  net.app('a', a).app('b', b);
  return { runtime, net, a, b };
}

describe('an app that leaves', () => {
  it('stays while another one that leaves still has packets for it', async () => {
    const { runtime, net, a, b } = setup();
    const filter = new Forward();
    net.app('hold', new Hold(SECOND)).app('filter', filter);
    await net.link('a.out -> hold.in').link('hold.out -> filter.in').link('filter.out -> b.in').start();
    a.send(packet(1));
    runtime.advance(0);
    await net.remove('hold').remove('filter').link('a.out -> b.in').commit();
    a.send(packet(2));
    runtime.advance('2s');
    expect(numbers(b)).toEqual([2, 1]);
    expect(filter.passed).toBe(1);
    await net.close();
  });

  it('delivers what it holds though nothing feeds its consumer any more', async () => {
    const { runtime, net, a, b } = setup();
    net.app('hold', new Hold(SECOND));
    await net.link('a.out -> hold.in').link('hold.out -> b.in').start();
    a.send(packet(1));
    runtime.advance(0);
    await net.remove('hold').commit();
    runtime.advance('2s');
    expect(numbers(b)).toEqual([1]);
    await net.close();
  });

  it('takes nobody’s deadline with it', async () => {
    const { runtime, net, a } = setup();
    const c = new MemoryPort();
    net
      .app('c', c)
      .app('short', new Hold(SECOND))
      .app('long', new Hold(3 * SECOND));
    await net
      .link('a.out -> short.in')
      .link('short.out -> b.in')
      .link('c.out -> long.in')
      .link('long.out -> c.in')
      .start();
    a.send(packet(1));
    c.send(packet(2));
    runtime.advance(0);
    await net.remove('short').link('a.out -> b.in').commit();
    runtime.advance('2s');
    // Here the network finds that `short` has nothing left, and arranges the others anew.
    await new Promise((resolve) => setImmediate(resolve));
    expect(net.report().apps.some((x) => x.app === 'short')).toBe(false);
    runtime.advance('2s');
    expect(c.received.map((r) => r.time)).toEqual([3 * SECOND]);
    await net.close();
  });

  it('leaves the memory behind that its superframes are cut into', async () => {
    const { runtime, net, b } = setup();
    const payload = new Uint8Array(20_000);
    const big: App = {
      inputs: [],
      outputs: ['out'],
      superframes: true,
      layers: { out: 'L3' },
      open(c: AppContext) {
        context = c;
      },
      pull({ pool, output }) {
        if (sent) return false;
        sent = true;
        const p = pool.copyIn(
          tcpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2', payload }),
          3,
          context.account,
        );
        pool.segmentSize[p] = 1000;
        pool.segments[p] = 20;
        pool.gsoType[p] = Gso.TcpV4;
        pool.checksumStart[p] = 20;
        pool.checksumOffset[p] = 16;
        output.out.put(p);
        return false;
      },
    };
    let context: AppContext;
    let sent = false;
    net.remove('a').app('big', big).app('hold', new Hold(SECOND)).app('naive', new Forward());
    await net.link('big.out -> hold.in').link('hold.out -> naive.in').link('naive.out -> b.in').start();
    runtime.advance(0);
    await net.remove('big').commit();
    // One more commit writes all quotas anew.
    await net.app('other', new Forward()).commit();
    runtime.advance('2s');
    expect(totalDrops(net.report())).toEqual({});
    expect(b.received).toHaveLength(20);
    await net.close();
  });

  it('comes back as itself when it is added again before it has left', async () => {
    const { runtime, net, a, b } = setup();
    const hold = new Hold(SECOND);
    net.app('hold', hold);
    await net.link('a.out -> hold.in').link('hold.out -> b.in').start();
    a.send(packet(1));
    runtime.advance(0);
    await net.remove('hold').link('a.out -> b.in').commit();
    await net
      .unlink('a.out -> b.in')
      .app('hold', hold)
      .link('a.out -> hold.in')
      .link('hold.out -> b.in')
      .commit();
    a.send(packet(2));
    runtime.advance('500ms');
    await net.commit();
    a.send(packet(3));
    runtime.advance('2s');
    await net.commit();
    expect(hold.closed).toBe(0);
    expect(numbers(b)).toEqual([1, 2, 3]);
    await net.close();
    expect(hold.closed).toBe(1);
  });
});

describe('a commit that fails late', () => {
  it('takes nothing of what was edited meanwhile with it', async () => {
    const { runtime, net, a, b } = setup();
    await net.link('a.out -> b.in').start();
    const fails: App = {
      async open() {
        await new Promise((resolve) => setImmediate(resolve));
        throw new Error('no device');
      },
    };
    const first = net.app('fails', fails).commit();
    await Promise.resolve();
    const filter = new Forward();
    const second = net.reconfigure({
      apps: { a, b, filter },
      links: ['a.out -> filter.in', 'filter.out -> b.in'],
    });
    await expect(first).rejects.toThrow('no device');
    await second;
    expect(net.config.links).toEqual(['a.out -> filter.in', 'filter.out -> b.in']);
    a.send(packet(1));
    runtime.advance(0);
    expect(filter.passed).toBe(1);
    await net.close();
  });
});

describe('a join with little room behind it', () => {
  it('lets every input through', async () => {
    const { runtime, net, a, b } = setup();
    let context: AppContext;
    let ticks = 0;
    const seen = [0, 0];
    const slow: App = {
      inputs: ['in'],
      outputs: [],
      superframes: true,
      open(c) {
        context = c;
      },
      push({ pool, input }) {
        if (ticks === 0) return;
        ticks--;
        for (let n = Math.min(10, input.in.count); n > 0; n--) {
          const p = input.in.take();
          seen[pool.slab[pool.offset[p]]]++;
          pool.free(p);
        }
      },
    };
    net.app('join', new Join()).app('slow', slow);
    await net.link('a.out -> join.a').link('b.out -> join.b').link('join.out -> slow.in').start();
    for (let i = 0; i < 5000; i++) {
      a.send(packet(0));
      b.send(packet(1));
    }
    for (let i = 0; i < 300; i++) {
      ticks = 1;
      context!.wake();
      runtime.advance('1ms');
    }
    expect(seen[0] + seen[1]).toBe(3000);
    expect(Math.min(...seen)).toBeGreaterThan(1000);
    await net.close();
  });
});

describe('one instance', () => {
  it('is refused under two names', async () => {
    const { net, a } = setup();
    await expect(net.app('again', a).commit()).rejects.toThrow(/apps.again: .*"a"/);
    await net.close();
  });
});

describe('an app that holds packets', () => {
  it('is woken when there is room again, with nothing waiting on its inputs', async () => {
    const { runtime, net, a } = setup();
    let open = false;
    let taken = 0;
    let context: AppContext;
    const gate: App = {
      inputs: ['in'],
      outputs: [],
      superframes: true,
      open(c) {
        context = c;
      },
      push({ pool, input }) {
        for (let n = open ? input.in.count : 0; n > 0; n--, taken++) pool.free(input.in.take());
      },
    };
    net.remove('b').app('hold', new Hold(10)).app('gate', gate);
    await net.link('a.out -> hold.in').link('hold.out -> gate.in').start();
    for (let i = 0; i < 2000; i++) a.send(packet(i));
    runtime.advance('1s');
    open = true;
    context!.wake();
    runtime.advance('1s');
    expect(taken).toBe(2000);
    await net.close();
  });
});

describe('a source that found no memory', () => {
  it('goes on when an app frees what it held, though nobody took anything from a link', async () => {
    const { runtime, net, a } = setup();
    const hoard: number[] = [];
    let seen = 0;
    let due = SECOND;
    const hoarder: App = {
      inputs: ['in'],
      outputs: [],
      push({ pool, input, now }) {
        for (let n = input.in.count; n > 0; n--, seen++) hoard.push(input.in.take());
        if (now < due) return;
        due = now + SECOND;
        for (const packet of hoard.splice(0)) pool.free(packet);
      },
      nextDeadline: () => due,
      close() {
        hoard.length = 0;
      },
    };
    net.remove('b').app('hoarder', hoarder);
    await net.link('a.out -> hoarder.in').start();
    for (let i = 0; i < 5000; i++) a.send(packet(i));
    runtime.advance('500ms');
    expect(seen).toBe(2048);
    runtime.advance('1s');
    expect(seen).toBe(4096);
    runtime.advance('4s');
    expect(seen).toBe(5000);
    await net.close();
  });
});

describe('the order in which links were written', () => {
  it('does not show in the order in which a join takes its inputs', async () => {
    const run = async (links: string[]) => {
      const { runtime, net, a, b } = setup();
      const mark = (mark: number): App => ({
        inputs: ['in'],
        outputs: ['out'],
        push({ pool, input, output }) {
          for (let n = input.in.waiting; n > 0; n--) {
            const p = input.in.take();
            pool.own(p);
            pool.slab[pool.offset[p]] = mark;
            output.out.put(p);
          }
        },
      });
      net.app('x', mark(1)).app('y', mark(2)).app('tee', new Tee()).app('join', new Join());
      for (const link of links) net.link(link);
      await net.start();
      for (let i = 0; i < 3; i++) a.send(packet(0));
      runtime.advance(0);
      await net.close();
      return numbers(b);
    };
    const links = [
      'a.out -> tee.in',
      'tee.p -> x.in',
      'tee.q -> y.in',
      'x.out -> join.x',
      'y.out -> join.y',
      'join.out -> b.in',
    ];
    expect(await run([...links].reverse())).toEqual(await run(links));
  });
});
