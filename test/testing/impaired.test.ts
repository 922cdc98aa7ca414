import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { LiveRuntime } from '../../src/engine/live-runtime.ts';
import { Network } from '../../src/engine/network.ts';
import { impair } from '../../src/impair/impair.ts';
import { compileSpec } from '../../src/impair/spec/spec.ts';
import { udpPacket } from '../../src/packet/build.ts';
import { type ImpairSpec, impairedPair, impairedSockets, impairedUdp } from '../../src/testing/index.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

const packet = (n: number, port = 1000) => {
  const payload = new Uint8Array(4);
  new DataView(payload.buffer).setUint32(0, n);
  return udpPacket({ from: `10.0.0.1:${port}`, to: '10.0.0.2:53', payload });
};
const numberOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(28);
const portOf = (bytes: Uint8Array) => (bytes[20] << 8) | bytes[21];

/** 300 packets of each flow, so many a millisecond: which arrived when, by flow. */
async function run(spec: Exclude<ImpairSpec, string>, flows = [1000], atOnce = 1) {
  await using pair = await impairedPair(
    { packets: 512, superframes: 4, flows: 64, ...spec },
    { memory: 24 << 20 },
  );
  for (let n = 0; n < 300; n++) {
    for (const port of flows) pair.a.send(packet(n, port));
    if (n % atOnce === 0) pair.runtime.advance('1ms');
  }
  pair.runtime.advance('10s');
  const of = (port: number) =>
    pair.b.received
      .filter(({ bytes }) => portOf(bytes) === port)
      .map(({ bytes, time }) => [numberOf(bytes), time] as const);
  return Object.fromEntries(flows.map((port) => [port, of(port)]));
}

describe('an impaired pair', () => {
  it('impairs each direction in its own way, in virtual time', async () => {
    await using pair = await impairedPair({ up: 'delay 50ms', down: 'delay 5ms', seed: 7 });
    pair.a.send(packet(1));
    pair.b.send(packet(2));
    pair.runtime.advance('1s');
    expect(pair.b.received.map(({ time }) => time)).toEqual([50_000_000]);
    expect(pair.a.received.map(({ time }) => time)).toEqual([5_000_000]);
  });

  it('takes new options, and says what each stage did', async () => {
    await using pair = await impairedPair('delay 50ms');
    pair.a.send(packet(1));
    pair.runtime.advance('1ms');
    await pair.change({ up: 'loss 100% delay 50ms' });
    pair.a.send(packet(2));
    pair.runtime.advance('1s');
    const [{ stages }] = pair.inspect().up.pipelines;
    expect(
      stages.map(({ name, packets, packetsOut, drops }) => ({ name, packets, packetsOut, drops })),
    ).toEqual([
      { name: 'loss', packets: 1, packetsOut: 0, drops: { loss: 1 } },
      { name: 'delay', packets: 1, packetsOut: 1, drops: {} },
    ]);
    expect(stages[1].lateness).toMatchObject({ count: 1, maximum: 0 });
  });

  it('loses the same packets, and delays them the same, in 100 runs', async () => {
    const hashes = new Set<string>();
    for (let n = 0; n < 100; n++) {
      const up = 'delay 20ms 5ms 30% distribution normal loss 10% 25%';
      const result = await run({ up, seed: 7 }, [1000], 100);
      hashes.add(createHash('sha256').update(JSON.stringify(result)).digest('hex'));
    }
    expect([...hashes]).toEqual([[...hashes][0]]);
    expect((await run({ up: 'delay 20ms 5ms loss 10%', seed: 8 }))[1000]).not.toEqual(
      (await run({ up: 'delay 20ms 5ms loss 10%', seed: 7 }))[1000],
    );
  }, 30_000);

  it('draws for a flow what it drew without another flow', async () => {
    const spec = { up: 'delay 20ms 5ms order allow loss 10%', seed: 7 };
    const alone = await run(spec);
    const together = await run(spec, [999, 1000, 1001]);
    expect(together[1000]).toEqual(alone[1000]);
    expect(together[999]).not.toEqual(alone[1000]);
  });

  it('draws for a stage what it drew without another stage in front', async () => {
    const alone = await run({ up: 'loss 10%', seed: 7 });
    const added = await run({ up: 'delay 3ms loss random 10% 0', seed: 7 });
    expect(added[1000].map(([n]) => n)).toEqual(alone[1000].map(([n]) => n));
    expect(alone[1000].length).toBeLessThan(300);
  });

  it('takes exactly 100 ms through ten stages of 10 ms, each way', async () => {
    await using pair = await impairedPair(Array.from({ length: 10 }, () => 'delay 10ms').join(' '));
    pair.a.send(packet(1));
    pair.runtime.advance('150ms');
    pair.b.send(packet(2));
    pair.runtime.advance('1s');
    expect(pair.b.received.map(({ time }) => time)).toEqual([100_000_000]);
    expect(pair.a.received.map(({ time }) => time)).toEqual([250_000_000]);
  });

  it('loses live what it loses in virtual time', async () => {
    const spec = { up: 'loss 20% 30% delay 2ms loss 10% name second', seed: 7 };
    const virtual = (await run(spec))[1000].map(([n]) => n);
    const runtime = new LiveRuntime();
    const net = new Network(runtime, { memory: 256 << 20 });
    const [a, b] = [new MemoryPort(), new MemoryPort()];
    net
      .app('a', a)
      .app('b', b)
      .app('up', impair(compileSpec(spec).up));
    await net.link('a.out -> up.in').link('up.out -> b.in').start();
    try {
      for (let n = 0; n < 300; n++) {
        a.send(packet(n));
        if (n % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await expect.poll(() => b.received.length, { timeout: 5000 }).toBe(virtual.length);
      expect(b.received.map(({ bytes }) => numberOf(bytes))).toEqual(virtual);
    } finally {
      await net.close();
    }
  });
});

describe('impaired sockets', () => {
  it('are ordinary sockets with a slow link between them', async () => {
    await using link = await impairedSockets({ up: 'delay 30ms', down: 'delay 60ms' });
    const start = performance.now();
    link.a.send('ping', link.toB.port, link.toB.address);
    const [ping, from] = await once(link.b, 'message');
    const there = performance.now();
    expect(`${ping}`).toBe('ping');
    expect(from.port).toBe(link.toA.port);
    link.b.send('pong', from.port, from.address);
    const [pong] = await once(link.a, 'message');
    expect(`${pong}`).toBe('pong');
    // Never early.
    expect(there - start).toBeGreaterThanOrEqual(30);
    expect(performance.now() - there).toBeGreaterThanOrEqual(60);
  });

  it('lose what their seed says, and either may speak first', async () => {
    await using link = await impairedSockets({ up: 'loss 100%', down: 'pass' });
    link.a.send('lost', link.toB.port, link.toB.address);
    link.b.send('first', link.toA.port, link.toA.address);
    expect(`${(await once(link.a, 'message'))[0]}`).toBe('first');
    await expect.poll(() => link.inspect().up.pipelines[0].stages[0].drops).toEqual({ loss: 1 });
    await link.change('pass');
    link.a.send('heard', link.toB.port, link.toB.address);
    expect(`${(await once(link.b, 'message'))[0]}`).toBe('heard');
  });

  it('lose the same with the same seed, whatever their ports', async () => {
    const lost = async () => {
      await using link = await impairedSockets({ up: 'loss 30%', seed: 7 });
      const heard: string[] = [];
      link.b.on('message', (text) => heard.push(`${text}`));
      for (let n = 0; n < 40; n++) link.a.send(`${n}`, link.toB.port, link.toB.address);
      await expect.poll(() => link.inspect().up.packets).toBe(40);
      await expect.poll(() => heard.length).toBe(link.inspect().up.packetsOut);
      return heard;
    };
    const first = await lost();
    expect(first.length).toBeLessThan(40);
    expect(await lost()).toEqual(first);
  });

  it('carry datagrams of any size', async () => {
    await using link = await impairedSockets('delay 1ms');
    for (const size of [0, 1, 1473, 65507]) {
      const heard = once(link.b, 'message');
      link.a.send(Buffer.alloc(size, 7), link.toB.port, link.toB.address);
      expect((await heard)[0]).toEqual(Buffer.alloc(size, 7));
    }
  });

  it('refuse a spec that is wrong', async () => {
    await expect(impairedSockets('delay 50')).rejects.toThrow('expected a time such as 50ms');
  });
});

describe('an impaired way to a server', () => {
  it('tells its clients apart, and rules see their addresses', async () => {
    await using ends = await impairedSockets('pass');
    const server = ends.b;
    const rules = [{ label: 'one', match: { local: '10.0.0.1', localPort: 1 }, up: 'loss 100%' }];
    await using way = await impairedUdp(server.address().port, { rules });
    await using others = await impairedSockets('pass');
    ends.a.send('from a', way.port, way.address);
    others.a.send('from another', way.port, way.address);
    const [text, from] = await once(server, 'message');
    expect(`${text}`).toBe('from another');
    server.send('answer', from.port, from.address);
    expect(`${(await once(others.a, 'message'))[0]}`).toBe('answer');
    await expect
      .poll(() => way.inspect().up.pipelines.map(({ label, packets }) => [label, packets]))
      .toEqual([
        ['default', 1],
        ['one', 1],
      ]);
  });
});

describe('a rebinding between real sockets', () => {
  /** Sends until the other end has heard something, for a datagram may be lost on the way. */
  const heard = async (link: Awaited<ReturnType<typeof impairedSockets>>, text: string) => {
    const message = once(link.b, 'message');
    link.a.send(text, link.toB.port, link.toB.address);
    const [payload, from] = await message;
    expect(`${payload}`).toBe(text);
    return from as { address: string; port: number };
  };

  it('is another address and port that the server sees, and at which it answers', async () => {
    await using link = await impairedSockets('rebind 2s address 127.0.9.0/24');
    const before = await heard(link, 'before');
    expect(before).toMatchObject(link.toA);
    await new Promise((resolve) => setTimeout(resolve, 2050));
    const after = await heard(link, 'after');
    expect(after.address).toMatch(/^127\.0\.9\./);
    expect(after.port).not.toBe(before.port);
    const answer = once(link.a, 'message');
    link.b.send('to the former port', before.port, before.address);
    link.b.send('to the new port', after.port, after.address);
    expect(`${(await answer)[0]}`).toBe('to the new port');
    const [rebind] = link.inspect().down.pipelines[0].stages;
    expect(rebind.drops).toEqual({ rebound: 1 });
  });
});
