import { describe, expect, it } from 'vitest';
import { parseIp } from '../../src/packet/address.ts';
import { deliveryWorld } from './world.ts';

const TO = { 4: '203.0.113.9', 6: '2001:db8::9' };
const FAMILIES = [4, 6] as const;
const SECOND = 1e9;
const text = (bytes: number) => new TextDecoder().decode(Uint8Array.from({ length: bytes }, (_, i) => i));
const data = (length: number) => Uint8Array.from({ length }, (_, i) => i);

describe('pings that are delivered by sockets', () => {
  it.each(FAMILIES)('IPv%i: have a socket for each flow, and their replies', async (family) => {
    await using world = await deliveryWorld();
    const { runtime, outward, client } = world;
    const ask = () => client.ping(TO[family], { size: 8, ttl: 9, timeout: 5 * SECOND });
    const [first, second] = [ask(), ask()];
    runtime.advance('30ms');
    const [ping] = outward.pings;
    expect(outward.pings.map(({ to }) => to)).toEqual([TO[family]]);
    const sequences = ping!.sent.map((line) => Number(line.split(' ')[0]));
    expect(ping!.sent).toEqual(sequences.map((sequence) => `${sequence} 8 ${text(8)}`));
    expect(world.delivery.report()).toMatchObject({ pings: 1, echoesUp: 2, echoesDown: 0 });
    for (const sequence of sequences.reverse()) ping!.handlers.onReply(sequence, data(8), 55);
    runtime.advance('1ms');
    const results = await Promise.all([first, second]);
    expect(results).toMatchObject([
      { result: 'reply', ttl: 54 },
      { result: 'reply', ttl: 54 },
    ]);
    expect(results[0]!.time).toBeGreaterThanOrEqual(30e6);
    expect(world.delivery.report()).toMatchObject({ echoesDown: 2, echoesLost: 0 });
  });

  it.each([
    [4, 'expired', 11, 0],
    [4, 'unreachable', 3, 1],
    [4, 'prohibited', 3, 13],
    [6, 'expired', 3, 0],
    [6, 'unreachable', 1, 3],
    [6, 'prohibited', 1, 1],
  ] as const)('IPv%i: hear of %s, whoever says so', async (family, result, type, code) => {
    await using world = await deliveryWorld();
    for (const from of family === 4
      ? [TO[4], '198.51.100.1', '127.0.0.1']
      : [TO[6], '2001:db8:ffff::1', '::1']) {
      const asked = world.client.ping(TO[family], { timeout: 5 * SECOND });
      world.runtime.advance('1ms');
      const [ping] = world.outward.pings;
      const sequence = Number(ping!.sent.at(-1)!.split(' ')[0]);
      ping!.handlers.onError(sequence, { type, code, from: parseIp(from).bytes });
      world.runtime.advance('1ms');
      expect((await asked).result).toBe(result);
    }
    expect(world.outward.pings).toHaveLength(1);
  });

  it.each([
    [4, 3, 4],
    [4, 12, 0],
    [6, 2, 0],
  ] as const)(
    'IPv%i: do not hear of what this machine mends, or nobody understands (%i, %i)',
    async (family, type, code) => {
      await using world = await deliveryWorld();
      const asked = world.client.ping(TO[family]);
      world.runtime.advance('1ms');
      const [ping] = world.outward.pings;
      ping!.handlers.onError(Number(ping!.sent[0]!.split(' ')[0]), {
        type,
        code,
        from: parseIp(TO[family]).bytes,
      });
      world.runtime.advance('2s');
      expect((await asked).result).toBe('timeout');
    },
  );

  it.each(['EPERM', 'EACCES'])(
    'are refused and counted where this process may have no socket: %s',
    async (error) => {
      await using world = await deliveryWorld();
      world.outward.noPings = error;
      const asked = world.client.ping(TO[4]);
      world.runtime.advance('1ms');
      expect((await asked).result).toBe('prohibited');
      expect(world.delivery.report()).toMatchObject({ pings: 0, pingsNotAllowed: 1 });
      expect(world.drops()).toEqual({ 'echo-refused': 1 });
      world.outward.noPings = undefined;
      void world.client.ping(TO[4]);
      world.runtime.advance('1ms');
      expect(world.outward.pings).toHaveLength(1);
    },
  );

  it('do not go where nothing goes, and go elsewhere where an address is mapped', async () => {
    await using world = await deliveryWorld({ map: ['203.0.113.1=127.0.0.1'], deny: ['198.51.100.0/24'] });
    const closed = ['127.0.0.1', '169.254.169.254', '198.51.100.7', 'fe80::1', 'fd00:ec2::254'];
    const results = closed.slice(1).map((to) => world.client.ping(to));
    void world.client.ping('203.0.113.1');
    world.runtime.advance('2s');
    expect((await Promise.all(results)).map(({ result }) => result)).toEqual([
      'prohibited',
      'prohibited',
      expect.any(String),
      'prohibited',
    ]);
    expect(world.outward.pings.map(({ to }) => to)).toEqual(['127.0.0.1']);
  });

  it('hear at once that there is no way, and try again with the next', async () => {
    await using world = await deliveryWorld();
    void world.client.ping(TO[4]);
    world.runtime.advance('1ms');
    const [ping] = world.outward.pings;
    ping!.fails = 'ENETUNREACH';
    const asked = world.client.ping(TO[4]);
    world.runtime.advance('1ms');
    expect((await asked).result).toBe('unreachable');
    expect(ping!.closed).toBe(true);
    expect(world.delivery.report()).toMatchObject({ pings: 0, echoesUp: 1, echoesLost: 1 });
    void world.client.ping(TO[4]);
    world.runtime.advance('1ms');
    expect(world.outward.pings.map(({ closed }) => closed)).toEqual([true, false]);
  });

  it('end after a minute of silence, when their socket fails, and with the network', async () => {
    const world = await deliveryWorld();
    const { runtime, outward, client } = world;
    const pingAt = (to: string) => {
      void client.ping(to);
      runtime.advance('1ms');
    };
    pingAt(TO[4]);
    pingAt(TO[6]);
    pingAt('203.0.113.10');
    outward.pings[2]!.handlers.onFailed('EBADF');
    runtime.advance('40s');
    pingAt(TO[6]);
    runtime.advance('30s');
    expect(outward.pings.map(({ closed }) => closed)).toEqual([true, false, true]);
    expect(world.delivery.report()).toMatchObject({ pings: 1 });
    await world.net.close();
    expect(outward.pings.map(({ closed }) => closed)).toEqual([true, true, true]);
  });

  it('have as many flows as they may, and of one client', async () => {
    await using world = await deliveryWorld({ flows: 3 });
    for (let i = 0; i < 5; i++) void world.client.ping(`203.0.113.${i + 1}`);
    world.runtime.advance('1ms');
    expect(world.outward.pings).toHaveLength(3);
    expect(world.drops()).toMatchObject({ 'echo-flows': 2 });
    await using narrow = await deliveryWorld({ perSource: 2 });
    for (let i = 0; i < 5; i++) void narrow.client.ping(`203.0.113.${i + 1}`);
    narrow.runtime.advance('1ms');
    expect(narrow.outward.pings).toHaveLength(2);
    expect(narrow.delivery.report()).toMatchObject({ refused: 3, pings: 2 });
    // What has ended makes room.
    narrow.runtime.advance('61s');
    void narrow.client.ping('203.0.113.5');
    narrow.runtime.advance('1ms');
    expect(narrow.outward.pings).toHaveLength(3);
  });
});
