import { describe, expect, it } from 'vitest';
import { Link } from '../../src/engine/link.ts';
import { Pool } from '../../src/engine/pool.ts';
import { PacketFlag } from '../../src/native/binding.ts';
import { Arrivals } from '../../src/stack/ip/arrivals.ts';
import { wirePacket } from '../native/coalesce-model.ts';

const ACCOUNT = 1;
const PAYLOAD = 1400;

function start(merges = true) {
  const pool = new Pool({ smallSlots: 600, largeSlots: 16 });
  pool.quotaSmall[ACCOUNT] = 600;
  pool.quotaLarge[ACCOUNT] = 16;
  const link = new Link('tun0.out -> host.eth0', pool);
  return { pool, link, arrivals: new Arrivals(pool, merges) };
}

/** The n-th packet of a flow: each byte of its payload is n. */
const segment = (n: number, port = 5000) =>
  wirePacket({
    version: 4,
    protocol: 'tcp',
    payload: new Uint8Array(PAYLOAD).fill(n),
    port,
    identification: n,
    sequence: 1000 + n * PAYLOAD,
  });

/** What is taken in bursts of `most`: of each packet how many segments it stands for, and the first byte of each. */
function taken({ pool, link, arrivals }: ReturnType<typeof start>, most = 1000) {
  const out: { segments: number; open: boolean; payload: number[] }[] = [];
  while (link.count > 0) {
    const n = arrivals.take(link, most);
    for (let i = 0; i < n; i++) {
      const packet = arrivals.packets[i]!;
      const bytes = pool.slab.subarray(
        pool.offset[packet]! + 40,
        pool.offset[packet]! + pool.length[packet]!,
      );
      const open = pool.checksumStart[packet]! >= 0 || (pool.flags[packet]! & PacketFlag.ChecksumValid) !== 0;
      const payload = [...bytes].filter((_, at) => at % PAYLOAD === 0);
      out.push({ segments: pool.segments[packet]!, open, payload });
      pool.free(packet);
    }
  }
  arrivals.close();
  expect(pool.live).toBe(0);
  return out;
}

describe('arrivals of a stack', () => {
  it('are one superframe for each flow of a burst, in order and verified', () => {
    const world = start();
    for (let n = 0; n < 12; n++) {
      for (const port of [5000, 6000]) world.link.put(world.pool.copyIn(segment(n, port), 3, ACCOUNT));
    }
    const payload = Array.from({ length: 12 }, (_, n) => n);
    const whole = { segments: 12, open: true, payload };
    expect(taken(world)).toEqual([whole, whole]);
  });

  it('keep a hole and a packet with a wrong checksum for TCP to see', () => {
    const world = start();
    for (const n of [0, 1, 2, 4, 5, 6]) {
      const bytes = segment(n);
      if (n === 6) bytes[100]! ^= 1;
      world.link.put(world.pool.copyIn(bytes, 3, ACCOUNT));
    }
    expect(taken(world).map(({ segments, open }) => [segments, open])).toEqual([
      [3, true],
      [2, true],
      [1, false],
    ]);
  });

  it('come in bursts that have an end, and every packet comes', () => {
    const world = start();
    for (let n = 0; n < 500; n++) world.link.put(world.pool.copyIn(segment(n), 3, ACCOUNT));
    const sizes = taken(world).map(({ segments }) => segments);
    expect(sizes.reduce((a, b) => a + b)).toBe(500);
    expect(Math.max(...sizes)).toBeGreaterThan(30);
  });

  it('stay as they came in virtual time, and where there are few', () => {
    const one = { segments: 1, open: false };
    for (const [world, count] of [
      [start(false), 20],
      [start(), 3],
    ] as const) {
      for (let n = 0; n < count; n++) world.link.put(world.pool.copyIn(segment(n), 3, ACCOUNT));
      expect(taken(world)).toMatchObject(Array.from({ length: count }, () => one));
    }
  });
});
