import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type App, type AppContext, type AppSpec, defineApp, type Ports } from '../../src/engine/app.ts';
import { Network } from '../../src/engine/network.ts';
import { reason } from '../../src/engine/reasons.ts';
import { totalDrops } from '../../src/engine/report.ts';
import { MILLISECOND } from '../../src/engine/units.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

const Odd = reason('odd-length');
const module = import.meta.url;

/** Passes packets on; with a time, after that; with a gate, only while it is open. Some it drops. */
class Part implements App {
  readonly limits = { packets: 500 };
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly superframes: boolean;
  readonly queue: { packet: number; due: number }[] = [];
  options: PartOptions;
  context: AppContext | undefined;
  closed = false;

  constructor(options: PartOptions) {
    this.options = options;
    this.superframes = options.superframes;
  }

  async open(context: AppContext) {
    this.context = context;
    if (this.options.slow) await new Promise((resolve) => setImmediate(resolve));
    if (this.options.fails) throw new Error('does not open');
  }

  push({ pool, input, output, now }: Ports) {
    if (this.closed) throw new Error('runs after it was closed');
    this.full = true;
    if (gate.closed && this.options.gate) return;
    for (let n = Math.min(input.in.waiting, 500 - this.queue.length); n > 0; n--) {
      const packet = input.in.take();
      if (this.options.drops && pool.length[packet] & 1) pool.drop(packet, Odd);
      else this.queue.push({ packet, due: now + this.options.time * MILLISECOND });
    }
    while (this.queue.length > 0 && this.queue[0].due <= now) {
      if (!output.out.feedback && output.out.room === 0) break;
      output.out.put(this.queue.shift()!.packet);
    }
    this.full = this.queue.length > 0 && this.queue[0].due <= now;
  }

  /** Waits for room, or for the gate: nothing is due until then. */
  full = false;

  nextDeadline() {
    return this.full ? Number.POSITIVE_INFINITY : (this.queue[0]?.due ?? Number.POSITIVE_INFINITY);
  }

  held() {
    return this.queue.length;
  }

  canReconfigure(options: unknown) {
    return (options as PartOptions).superframes === this.superframes && !this.options.fails;
  }

  reconfigure(options: unknown) {
    this.options = options as PartOptions;
    this.context!.wake();
  }

  close() {
    this.closed = true;
  }
}

interface PartOptions {
  time: number;
  gate: boolean;
  drops: boolean;
  superframes: boolean;
  slow: boolean;
  fails: boolean;
}

const gate = { closed: false };
const part = defineApp({ module, export: 'part', check: (o: PartOptions) => o, create: (o) => new Part(o) });

const partOptions: fc.Arbitrary<PartOptions> = fc.record({
  time: fc.constantFrom(0, 0, 5, 50),
  gate: fc.boolean(),
  drops: fc.boolean(),
  superframes: fc.boolean(),
  slow: fc.boolean(),
  fails: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
});

/** A chain from `a` to `b` and one back, of parts with these names. */
const chain = (names: string[]) =>
  fc
    .shuffledSubarray(names)
    .chain((chosen) =>
      fc
        .array(partOptions, { minLength: chosen.length, maxLength: chosen.length })
        .map((options) => chosen.map((name, i) => ({ name, options: options[i] }))),
    );

type Step =
  | { do: 'send'; count: number; back: boolean }
  | { do: 'advance'; time: number }
  | { do: 'gate' }
  | { do: 'yield' }
  | {
      do: 'commit';
      out: { name: string; options: PartOptions }[];
      back: { name: string; options: PartOptions }[];
      linked: boolean;
      wait: boolean;
    };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('send' as const),
    count: fc.constantFrom(1, 10, 300, 3000),
    back: fc.boolean(),
  }),
  fc.record({ do: fc.constant('advance' as const), time: fc.constantFrom(0, 1, 4, 30, 100) }),
  fc.record({ do: fc.constant('gate' as const) }),
  fc.record({ do: fc.constant('yield' as const) }),
  fc.record({
    do: fc.constant('commit' as const),
    out: chain(['p', 'q', 'r']),
    back: chain(['x', 'y']),
    linked: fc.oneof(
      { weight: 4, arbitrary: fc.constant(true) },
      { weight: 1, arbitrary: fc.constant(false) },
    ),
    wait: fc.boolean(),
  }),
);

function linksOf(from: string, names: string[], to: string): string[] {
  const links: string[] = [];
  let last = from;
  for (const name of [...names, to]) {
    links.push(`${last}.out -> ${name}.in`);
    last = name;
  }
  return links;
}

async function play(steps: Step[]) {
  gate.closed = false;
  const runtime = new VirtualRuntime({ seed: 1 });
  const net = new Network(runtime, { memory: 64 << 20 });
  const a = new MemoryPort();
  const b = new MemoryPort();
  Object.defineProperty(a, 'superframes', { value: true });
  let sent = 0;
  const pending: Promise<unknown>[] = [];
  const account = () => {
    const report = net.report();
    const waiting = report.apps.reduce((n, x) => n + ((x.report.waiting as number | undefined) ?? 0), 0);
    const dropped = Object.values(totalDrops(report)).reduce((x, y) => x + y, 0);
    return waiting + dropped + net.pool.live + a.received.length + b.received.length;
  };
  const commit = (out: { name: string; options: PartOptions }[], back: typeof out, linked: boolean) => {
    const apps: Record<string, App | AppSpec> = { a, b };
    for (const { name, options } of [...out, ...back]) apps[name] = part(options);
    const names = (parts: typeof out) => parts.map((x) => x.name);
    const links = linked
      ? [...linksOf('a', names(out), 'b'), ...linksOf('b', names(back), 'a')]
      : linksOf('b', names(back), 'a');
    return net.reconfigure({ apps, links });
  };
  await commit([], [], true);
  await net.start();
  for (const s of steps) {
    if (s.do === 'send') {
      for (let i = 0; i < s.count; i++, sent++) {
        const bytes = new Uint8Array(20 + (i & 3));
        new DataView(bytes.buffer).setUint32(0, sent);
        (s.back ? b : a).send(bytes);
      }
    } else if (s.do === 'advance') runtime.advance(s.time * MILLISECOND);
    else if (s.do === 'yield') await new Promise((resolve) => setImmediate(resolve));
    else if (s.do === 'gate') {
      gate.closed = !gate.closed;
      // Whoever opens a gate wakes who stands behind it.
      await net.commit().catch(() => {});
    } else {
      const done = commit(s.out, s.back, s.linked).catch((error: Error) => {
        if (error.message !== 'does not open') throw error;
      });
      pending.push(done);
      if (s.wait) await done;
    }
    expect(account()).toBe(sent);
  }
  await Promise.all(pending);
  gate.closed = false;
  await commit([], [], true);
  for (let i = 0; i < 5; i++) {
    runtime.advance('1s');
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(account()).toBe(sent);
  expect(net.pool.live).toBe(0);
  const dropped = Object.values(totalDrops(net.report())).reduce((x, y) => x + y, 0);
  expect(a.received.length + b.received.length + dropped).toBe(sent);
  expect(net.report().apps.filter((x) => x.lingering)).toEqual([]);
  expect(totalDrops(net.report())['link-full'] ?? 0).toBe(0);
  await net.close();
  return { a, b };
}

describe('a network under random commits and traffic', () => {
  it('delivers, drops with a reason or still holds every packet, and is empty at the end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
        await play(steps);
      }),
      { seed: 11, numRuns: 100 },
    );
  }, 60_000);

  it('goes on taking when what filled an app has left to nowhere', async () => {
    const still = { time: 0, gate: false, drops: false, superframes: false, slow: false, fails: false };
    const q = { name: 'q', options: still };
    const p = { name: 'p', options: { ...still, time: 50 } };
    await play([
      { do: 'commit', out: [q, p], back: [], linked: true, wait: true },
      { do: 'send', count: 3000, back: false },
      { do: 'advance', time: 0 },
      { do: 'commit', out: [{ ...p, options: still }], back: [], linked: false, wait: false },
    ]);
  });

  it('keeps the order of a path through apps that hold nothing', async () => {
    const plain = (s: Step): Step => {
      if (s.do === 'gate') return { do: 'yield' };
      if (s.do !== 'commit') return s;
      const bare = (parts: typeof s.out) =>
        parts.map(({ name, options }) => ({ name, options: { ...options, time: 0, gate: false } }));
      return { ...s, out: bare(s.out), back: bare(s.back) };
    };
    await fc.assert(
      fc.asyncProperty(fc.array(step.map(plain), { maxLength: 40, size: 'max' }), async (steps) => {
        const { a, b } = await play(steps);
        for (const port of [a, b]) {
          const order = port.received.map((r) => new DataView(r.bytes.buffer).getUint32(0));
          expect(order.findIndex((n, i) => i > 0 && n < order[i - 1])).toBe(-1);
        }
      }),
      { seed: 12, numRuns: 40 },
    );
  }, 60_000);
});
