import { describe, expect, it } from 'vitest';
import { End, join, LEFT, pair, RIGHT } from './pair.ts';

const MS = 1e6;
const syns = (world: Awaited<ReturnType<typeof pair>>, flags = 'S') =>
  world.seen.filter((each) => each.flags === flags).map(({ time }) => Math.round(time / MS));

describe('opening', () => {
  it('sends ten full segments at once after the handshake (RFC 6928)', async () => {
    await using world = await pair({ way: 'delay 50ms' });
    const { client } = join(world);
    client.send(1 << 20);
    world.runtime.advance('149ms');
    const data = world.seen.filter(({ from, length }) => from === 'left' && length > 0);
    expect(data).toHaveLength(10);
    expect(data.every(({ length }) => length === 1448)).toBe(true);
  });

  it('sends the SYN again after 1, 3, 7 and 15 s, and gives up at 31 s', async () => {
    await using world = await pair();
    world.taps.left.judge = () => false;
    const { client } = join(world);
    world.runtime.advance('60s');
    expect(syns(world)).toEqual([0, 1000, 3000, 7000, 15_000]);
    expect(client.error).toBe('ETIMEDOUT');
    expect(client.closedAt / MS).toBe(31_000);
    expect(world.left.tcp).toMatchObject({ connections: 0, memory: 0 });
  });

  it('sends SYN and ACK again, and forgets a peer that never answers', async () => {
    await using world = await pair();
    world.taps.left.judge = ({ flags }) => flags === 'S';
    const { server } = join(world, { synRetries: 0 });
    world.runtime.advance('60s');
    expect(syns(world, 'S.')).toEqual([10, 1010, 3010, 7010, 15_010]);
    expect(server.events).toEqual([]);
    expect(world.right.tcp.connections).toBe(0);
  });

  it('is refused at once where nobody listens', async () => {
    await using world = await pair();
    const client = new End(world.runtime);
    client.connection = world.left.connect({ address: RIGHT, port: 9 }, client.handlers);
    world.runtime.advance('21ms');
    expect(client.error).toBe('ECONNREFUSED');
    expect(client.closedAt / MS).toBe(20);
  });

  it('works over IPv6', async () => {
    await using world = await pair();
    const { client, server } = join(world, { address: 'fd00::2' });
    client.send(10_000);
    world.runtime.advance('1s');
    expect(server.received).toBe(10_000);
    expect(server.connection.remoteAddress).toBe('fd00::1');
    expect(world.seen.find(({ flags }) => flags === 'S')!.options.mss).toBe(1440);
  });

  it('survives a lost SYN and ACK, and a lost last ACK', async () => {
    for (const lost of ['S.', '.']) {
      await using world = await pair();
      let left = 1;
      const judge = ({ flags }: { flags: string }) => !(flags === lost && left-- > 0);
      world.taps.left.judge = lost === '.' ? judge : undefined;
      world.taps.right.judge = lost === 'S.' ? judge : undefined;
      const { client, server } = join(world);
      client.send(5000);
      world.runtime.advance('5s');
      expect(server.received).toBe(5000);
    }
  });

  it('offers what was asked for and uses what both have', async () => {
    await using world = await pair();
    join(world, { sack: false, windowScaling: false }, { timestamps: false });
    world.runtime.advance('1s');
    const [syn, answer] = world.seen;
    expect(syn!.options).toMatchObject({ mss: 1460, timestamps: {} });
    expect(syn!.options.sackPermitted).toBeUndefined();
    expect(syn!.options.windowScale).toBeUndefined();
    expect(answer!.options).toEqual({ mss: 1460 });
  });

  it('may come from both sides at once (RFC 9293, figure 7)', async () => {
    await using world = await pair();
    const left = new End(world.runtime);
    const right = new End(world.runtime);
    left.connection = world.left.connect({ address: RIGHT, port: 2000, localPort: 1000 }, left.handlers);
    right.connection = world.right.connect({ address: LEFT, port: 1000, localPort: 2000 }, right.handlers);
    left.send(30_000);
    right.send(20_000);
    world.runtime.advance('3s');
    expect([left.received, right.received]).toEqual([20_000, 30_000]);
    expect(left.events).toEqual(['connected', 'end', 'closed']);
    expect(right.events).toEqual(['connected', 'end', 'closed']);
  });
});

describe('closing', () => {
  it('of one direction leaves the other open', async () => {
    await using world = await pair();
    const { client, server } = join(world);
    client.send(1000);
    world.runtime.advance('1s');
    expect(server.events).toEqual(['connected', 'end']);
    server.send(200_000, false);
    world.runtime.advance('600s');
    expect(client.received).toBe(200_000);
    server.send(1);
    world.runtime.advance('1s');
    expect(client.received).toBe(200_001);
    expect(server.events).toEqual(['connected', 'end', 'closed']);
  });

  it('at the same time leaves both in TIME-WAIT', async () => {
    await using world = await pair();
    const { client, server } = join(world);
    world.runtime.advance('1s');
    client.connection.end();
    server.connection.end();
    world.runtime.advance('1s');
    expect(client.events).toEqual(['connected', 'end', 'closed']);
    expect(server.events).toEqual(['connected', 'end', 'closed']);
    expect([world.left.tcp.timeWaits, world.right.tcp.timeWaits]).toEqual([1, 1]);
  });

  it('answers a FIN that comes again in TIME-WAIT', async () => {
    await using world = await pair();
    const { client, server } = join(world);
    world.runtime.advance('1s');
    client.connection.end();
    world.runtime.advance('1s');
    let lost = 0;
    world.taps.left.judge = () => lost++ > 0;
    server.connection.end();
    world.runtime.advance('5s');
    expect(lost).toBeGreaterThan(1);
    expect(server.events).toEqual(['connected', 'end', 'closed']);
  });

  it('by reset is told to the peer', async () => {
    await using world = await pair();
    const { client, server } = join(world);
    client.send(1000, false);
    world.runtime.advance('1s');
    server.connection.reset();
    world.runtime.advance('1s');
    expect(client.error).toBe('ECONNRESET');
    expect(client.connection.write(new Uint8Array(1))).toBe(0);
  });

  it('without reading resets a peer that goes on', async () => {
    await using world = await pair();
    const { client, server } = join(world);
    world.runtime.advance('1s');
    server.connection.close();
    world.runtime.advance('1s');
    client.send(1000, false);
    world.runtime.advance('1s');
    expect(client.error).toBe('ECONNRESET');
    expect(world.right.tcp.connections).toBe(0);
  });

  it('waits a minute for the end of a peer that says nothing', async () => {
    await using world = await pair();
    const { server } = join(world);
    world.runtime.advance('1s');
    server.connection.close();
    world.runtime.advance('59s');
    expect(world.right.tcp.connections).toBe(1);
    world.runtime.advance('2s');
    expect(world.right.tcp.connections).toBe(0);
  });
});

describe('a peer that is gone', () => {
  it('ends a connection that sends after the user timeout, to the millisecond', async () => {
    await using world = await pair();
    const { client } = join(world, { userTimeout: '20s' });
    world.runtime.advance('1s');
    world.taps.right.judge = () => false;
    client.send(1000, false);
    const from = world.runtime.now();
    world.runtime.advance('60s');
    expect(client.error).toBe('ETIMEDOUT');
    expect((client.closedAt - from) / MS).toBeCloseTo(20_000, 0);
  });

  it('is found by keep-alives', async () => {
    await using world = await pair();
    const { client } = join(world, { keepAlive: '10s', keepAliveInterval: '1s', keepAliveProbes: 3 });
    world.runtime.advance('35s');
    expect(client.connection.figures().state).toBe('established');
    world.taps.right.judge = () => false;
    world.runtime.advance('30s');
    expect(client.error).toBe('ETIMEDOUT');
  });
});

describe('a window', () => {
  it('that is shut is probed, and what it held back comes when it opens', async () => {
    await using world = await pair();
    const { client, server } = join(world, {}, { receiveBuffer: 65_536 });
    server.reading = false;
    client.send(200_000);
    world.runtime.advance('20s');
    expect(client.connection.figures().sendWindow).toBe(0);
    expect(server.connection.readable).toBeGreaterThan(65_000);
    // The opening is lost: a probe finds out.
    let lost = 1;
    world.taps.right.judge = () => lost-- <= 0;
    server.reading = true;
    server.drain();
    world.runtime.advance('120s');
    expect(server.received).toBe(200_000);
    expect(server.wrong).toBe(0);
  });

  it('that is shut for an hour is waited for', async () => {
    await using world = await pair();
    const { client, server } = join(world, {}, { receiveBuffer: 16_384 });
    server.reading = false;
    client.send(100_000);
    world.runtime.advance('1h');
    expect(client.error).toBeUndefined();
    server.reading = true;
    server.drain();
    world.runtime.advance('120s');
    expect(server.received).toBe(100_000);
  });

  it('does not get silly when a reader takes a byte at a time', async () => {
    await using world = await pair();
    const { client, server } = join(world, {}, { receiveBuffer: 16_384 });
    server.reading = false;
    client.send(100_000);
    world.runtime.advance('5s');
    const before = world.seen.length;
    const one = new Uint8Array(1);
    for (let i = 0; i < 1000; i++) {
      server.connection.read(one);
      world.runtime.advance('1ms');
    }
    expect(world.seen.length - before).toBeLessThan(10);
  });
});

describe('small writes', () => {
  it('wait for one another (Nagle), unless told not to', async () => {
    for (const [noDelay, segments] of [
      [false, 2],
      [true, 10],
    ] as const) {
      await using world = await pair();
      const { client, server } = join(world, { noDelay });
      world.runtime.advance('1s');
      for (let i = 0; i < 10; i++) {
        client.send(10, false);
        world.runtime.advance('1ms');
      }
      world.runtime.advance('1s');
      expect(server.received).toBe(100);
      expect(world.seen.filter(({ from, length }) => from === 'left' && length > 0)).toHaveLength(segments);
    }
  });

  it('are acknowledged every second segment, or after 40 ms', async () => {
    await using world = await pair();
    const { client } = join(world, { noDelay: true });
    world.runtime.advance('1s');
    client.send(100, false);
    const sent = world.runtime.now();
    world.runtime.advance('1s');
    const ack = world.seen.filter(({ from }) => from === 'right').at(-1)!;
    expect((ack.time - sent) / MS).toBeCloseTo(50, 3);
  });
});

describe('ECN (RFC 3168)', () => {
  it('halves the window without a loss', async () => {
    await using world = await pair({ way: 'delay 20ms loss random 2% ecn', back: 'delay 20ms' });
    const { client, server } = join(world, { ecn: true });
    client.send(1 << 20);
    world.runtime.advance('20s');
    expect(server.received).toBe(1 << 20);
    const data = world.seen.filter(({ from, length }) => from === 'left' && length > 0).map(({ seq }) => seq);
    expect(new Set(data).size).toBe(data.length);
    expect(client.connection.figures().ssthresh).toBeLessThan(1 << 20);
    expect(
      world.seen.some(({ flags }) => flags.includes('E') && flags.includes('.') && !flags.includes('S')),
    ).toBe(true);
    expect(world.seen.some(({ flags }) => flags.includes('W') && !flags.includes('S'))).toBe(true);
  });
});
