import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { native } from '../../src/native/load.ts';
import { pattern, setRow, TestPool, UdpEnd, type UdpEndOptions } from './support.ts';

const open: { close(): void }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});
const end = (pool: TestPool, options: UdpEndOptions = {}) => {
  const made = new UdpEnd(pool, options);
  open.push(made);
  return made;
};

/** A port where nobody listens any more. */
function deadPort(pool: TestPool, address: string): number {
  const gone = new UdpEnd(pool, { address });
  gone.close();
  return gone.handle.port;
}

describe.each([
  { address: '127.0.0.1', peers: '127.0.0.1', dualStack: false },
  { address: '::1', peers: '::1', dualStack: false },
  { address: '::', peers: '127.0.0.1', dualStack: true },
])('refusals at $address, of $peers', ({ address, peers, dualStack }) => {
  const setUp = (refusals: boolean) => {
    const pool = new TestPool();
    const a = end(pool, { address, dualStack, refusals });
    const b = end(pool, { address: peers });
    setRow(a.addresses, 0, peers, b.handle.port);
    setRow(a.addresses, 1, peers, deadPort(pool, peers));
    setRow(a.addresses, 2, peers, deadPort(pool, peers));
    for (const row of [0, 1, 2]) native().addressPin(a.id, row);
    return { pool, a, b, refused: a.addresses.refused };
  };

  test('are counted for the peer that refused, and for no other', async () => {
    const { a, refused } = setUp(true);
    a.send([a.to(1, pattern(100, 1))]);
    await sleep(5);
    a.receive();
    expect([...refused.subarray(0, 4)]).toEqual([1, 0, 1, 0]);
    a.send([a.to(2, pattern(100, 1)), a.to(1, pattern(100, 2))]);
    await sleep(5);
    a.receive();
    expect([...refused.subarray(0, 4)]).toEqual([3, 0, 2, 1]);
  });

  test('do not take other packets with them, also among the sends of one call', async () => {
    const { pool, a, b } = setUp(true);
    const sent: Uint8Array[] = [];
    for (let round = 0; round < 50; round++) {
      const good = pattern(100 + round, round);
      sent.push(good);
      // Loopback: what is refused is pending when the next one goes.
      expect(a.send([a.to(1, pattern(50, 1)), a.to(0, good), a.to(2, pattern(60, 1))])).toBe(3);
    }
    expect(await b.collect(50)).toEqual(sent);
    a.receive();
    expect(a.addresses.refused[0]).toBeGreaterThan(0);
    expect(a.counted).not.toHaveProperty('txRefused');
    expect(pool.live).toBe(0);
  });

  test('are nobody’s business where nobody asked', async () => {
    const { a, refused } = setUp(false);
    for (let i = 0; i < 10; i++) a.send([a.to(1, pattern(100, 1))]);
    await sleep(5);
    a.receive();
    expect([...refused]).toEqual([...refused].fill(0));
    expect(a.counted).not.toHaveProperty('rxErrors');
  });

  test('of thousands of datagrams are read in bounded steps, until there is none', async () => {
    const { pool, a, b, refused } = setUp(true);
    for (let i = 0; i < 2000; i++) a.send([a.to(1, pattern(40, 1))]);
    for (let i = 0; i < 100; i++) a.receive();
    const all = refused[0];
    a.receive();
    expect(refused[0]).toBe(all);
    expect(refused[2]).toBe(all);
    a.send([a.to(0, pattern(10, 1))]);
    expect(await b.collect(1)).toHaveLength(1);
    expect(pool.live).toBe(0);
  });
});

test('what is too long is still that, and a good one behind it goes', async () => {
  const pool = new TestPool();
  const a = end(pool, { refusals: true });
  const b = end(pool);
  setRow(a.addresses, 0, '127.0.0.1', b.handle.port);
  native().addressPin(a.id, 0);
  a.send([a.to(0, pattern(65_508, 1)), a.to(0, pattern(20, 1))]);
  expect(await b.collect(1)).toEqual([pattern(20, 1)]);
  expect(a.count('txTooLong')).toBe(1);
  expect(a.addresses.refused[0]).toBe(0);
});
