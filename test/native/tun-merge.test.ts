import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createWorld, type Host, type World } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { wirePacket } from './coalesce-model.ts';
import { superframe } from './superframes.ts';
import {
  expectSame,
  pattern,
  RETRY,
  TestPool,
  type TestPort,
  TunEnd,
  type TunEndOptions,
  UdpEnd,
} from './support.ts';

let pool = new TestPool();
const open: TestPort[] = [];
afterEach(() => {
  for (const end of open.splice(0)) end.close();
  expect(pool.live).toBe(0);
  pool.detach();
  pool = new TestPool();
});

describe.skipIf(needs('root', 'netns', 'tun'))('wire packets of one batch', RETRY, () => {
  let world: World;
  let host: Host;
  beforeAll(async () => {
    world = await createWorld({ name: 'native-tun-merge' });
    host = await world.host('host');
  });
  afterAll(() => world.close());

  /** A TUN at 10.0.0.200, and a socket there that takes datagrams to port 5000. */
  async function device(options: TunEndOptions = {}) {
    const end = new TunEnd(pool, { netns: host.path, ...options });
    open.push(end);
    await host.ip([`addr add 10.0.0.200/24 dev ${end.handle.name}`, `link set ${end.handle.name} up`]);
    const server = new UdpEnd(pool, { address: '10.0.0.200', port: 5000, netns: host.path });
    open.push(server);
    return { end, server };
  }

  const datagrams = (n: number, source: number, size = 200) =>
    Array.from({ length: n }, (_, i) => {
      const payload = pattern(size, source * 100 + i);
      return wirePacket({ version: 4, protocol: 'udp', payload, source, identification: i });
    });
  const payloads = (packets: readonly Uint8Array[]) => packets.map((bytes) => bytes.subarray(28));
  const handlesOf = (packets: readonly Uint8Array[]) => packets.map((bytes) => pool.put(bytes));
  const zip = (a: readonly Uint8Array[], b: readonly Uint8Array[]) => a.flatMap((each, i) => [each, b[i]!]);
  /** The first bytes of a payload say whose it is; orders are kept within each sender. */
  const sorted = (list: readonly Uint8Array[], like: readonly Uint8Array[]) => {
    const place = new Map(like.map((bytes, i) => [Buffer.from(bytes).toString('hex'), i]));
    return [...list].sort(
      (a, b) =>
        (place.get(Buffer.from(a).toString('hex')) ?? -1) - (place.get(Buffer.from(b).toString('hex')) ?? -1),
    );
  };

  test('enter a TUN in one write per flow, and arrive as they were', async () => {
    const { end, server } = await device();
    const flows = [datagrams(40, 1), datagrams(40, 2)] as const;
    const sent = zip(...flows);
    expect(end.send(handlesOf(sent))).toBe(80);
    expect(end.counted).toEqual({ txPackets: 80, txBytes: 80 * 228, txBursts: 1, txSuperframes: 2 });
    const found = await server.collect(80);
    const expected = payloads(sent);
    expectSame(sorted(found, expected), expected);
    expect(found.findIndex((bytes) => Buffer.compare(bytes, expected[0]!) === 0)).toBe(0);
  });

  test.each([{ offloads: 0 }, { offload: false }])(
    'go one by one where the device takes no superframes: %o',
    async (options) => {
      const { end, server } = await device(options);
      const sent = datagrams(10, 1);
      expect(end.send(handlesOf(sent))).toBe(10);
      expect(end.counted).toEqual({ txPackets: 10, txBytes: 10 * 228, txBursts: 1 });
      expectSame(await server.collect(10), payloads(sent));
    },
  );

  test('with a wrong checksum go by themselves, for the kernel to judge', async () => {
    const { end, server } = await device();
    const sent = datagrams(9, 1);
    sent[4]![60]! ^= 1;
    expect(end.send(handlesOf(sent))).toBe(9);
    expect(end.counted).toMatchObject({ txPackets: 9, txSuperframes: 2 });
    const good = payloads(sent.filter((_, i) => i !== 4));
    expectSame(await server.collect(8), good);
    expect(server.receive()).toEqual([]);
  });

  test('do not overtake a superframe of their flow, whose bytes they share with nobody', async () => {
    const { end, server } = await device();
    const sent = datagrams(4, 1, 1000);
    const place = { source: 1, destination: 200 };
    const body = pattern(3000, 9);
    const whole = superframe({ version: 4, protocol: 'udp', payload: body, segmentSize: 1000, ...place });
    const handle = pool.put(whole.bytes);
    const m = pool.memory;
    m.segmentSize[handle] = 1000;
    m.segments[handle] = 3;
    m.gsoType[handle] = 5;
    m.checksumStart[handle] = 20;
    m.checksumOffset[handle] = 6;
    const [a, b, c, d] = handlesOf(sent) as [number, number, number, number];
    const copy = pool.clone(c);
    expect(end.send([a, b, handle, c, d])).toBe(5);
    expect(end.counted).toMatchObject({ txPackets: 7, txSuperframes: 3 });
    expectSame([pool.bytes(copy)], [sent[2]!]);
    pool.free(copy);
    const middle = [0, 1000, 2000].map((at) => body.slice(at, at + 1000));
    const [one, two, three, four] = payloads(sent) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    expectSame(await server.collect(7), [one, two, ...middle, three, four]);
  });

  test('that the device refuses while it is down are each counted', async () => {
    const { end } = await device();
    await host.ip(`link set ${end.handle.name} down`);
    expect(end.send(handlesOf(datagrams(5, 1)))).toBe(5);
    expect(end.counted).toEqual({ txBursts: 1, txDown: 5 });
  });
});
