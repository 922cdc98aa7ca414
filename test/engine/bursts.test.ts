import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Link } from '../../src/engine/link.ts';
import type { Pool } from '../../src/engine/pool.ts';
import type { PoolSize } from '../../src/engine/pool-memory.ts';
import { MAX_REASONS, Reason } from '../../src/engine/reasons.ts';
import {
  COMMON_ACCOUNT,
  DESCRIPTOR_CELLS,
  DescriptorCell,
  HEADROOM,
  SMALL_SLOT,
} from '../../src/native/binding.ts';

const SIZE = { smallSlots: 48, largeSlots: 3 };
const ACCOUNTS = [COMMON_ACCOUNT, 1, 2];

/** Production and debug builds of the pool differ; both are loaded here. */
async function poolModule(debug: boolean): Promise<{ Pool: typeof Pool; Link: typeof Link }> {
  vi.resetModules();
  vi.stubEnv('TUNCONNECTOR_DEBUG', debug ? '1' : '0');
  const { Pool } = await import('../../src/engine/pool.ts');
  const { Link } = await import('../../src/engine/link.ts');
  vi.unstubAllEnvs();
  return { Pool, Link };
}

type Make = (size?: PoolSize) => Pool;
const kinds: Record<string, Make> = {};
const links = new Map<unknown, typeof Link>();
/** A link over a pool, of the same build as the pool. */
function linkOn(pool: Pool, capacity: number): Link {
  return new (links.get(pool.constructor)!)('a.out -> b.in', pool, capacity);
}
beforeAll(async () => {
  const production = await poolModule(false);
  const debug = await poolModule(true);
  for (const build of [production, debug]) links.set(build.Pool, build.Link);
  kinds.native = (size = SIZE) => {
    const pool = new production.Pool(size);
    pool.accelerate();
    return pool;
  };
  kinds['without addon'] = (size = SIZE) => new production.Pool(size);
  kinds.debug = (size = SIZE) => new debug.Pool(size);
});
afterAll(() => vi.resetModules());

/** A pool and the handles that the steps of a test have given it, in order. */
class Player {
  readonly pool: Pool;
  held: number[] = [];
  readonly links: Link[];
  constructor(pool: Pool) {
    this.pool = pool;
    // So short that bursts go round their ends and find them full.
    this.links = [64, 64, 32].map((capacity) => linkOn(pool, capacity));
    for (const account of ACCOUNTS) {
      pool.quotaSmall[account] = 40;
      pool.quotaLarge[account] = 2;
    }
  }

  play(step: Step): number {
    const { pool } = this;
    const into = new Int32Array(64);
    const chosen = this.held.slice(step.from, step.from + step.n);
    const from = new Int32Array(64);
    from.set(chosen);
    switch (step.what) {
      case 'alloc': {
        const made = pool.allocBurst(step.account, into, step.n);
        this.mark(into, made, step.seed);
        this.held.push(...into.subarray(0, made));
        return made;
      }
      case 'large': {
        const handle = pool.allocLarge(step.account);
        if (handle < 0) return 0;
        into[0] = handle;
        this.mark(into, 1, step.seed);
        this.held.push(handle);
        return 1;
      }
      case 'clone':
      case 'copy': {
        const burst = step.what === 'clone' ? 'cloneBurst' : 'copyBurst';
        const made = pool[burst](from, chosen.length, into);
        this.held.push(...into.subarray(0, made));
        return made;
      }
      case 'stamp': {
        const template = chosen[0];
        if (template === undefined || pool.slot[template] >= SIZE.smallSlots) return 0;
        const made = pool.stampBurst(template, into, step.n);
        this.held.push(...into.subarray(0, made));
        return made;
      }
      case 'put':
        this.links[step.link].putBurst(from, chosen.length);
        this.held.splice(step.from, step.n);
        return chosen.length;
      case 'take': {
        const n = this.links[step.link].takeBurst(into, step.n);
        this.held.push(...into.subarray(0, n));
        return n;
      }
      case 'putStamped': {
        const template = chosen[0];
        if (template === undefined || pool.slot[template] >= SIZE.smallSlots) return 0;
        return this.links[step.link].putStamped(template, step.n);
      }
      case 'moveTo':
      case 'cloneTo':
      case 'copyTo': {
        const link = this.links[step.link];
        const n = Math.min(step.n, link.count);
        link[step.what](this.links[(step.link + 1 + (step.seed % 2)) % 3], n);
        return n;
      }
      case 'splitTo': {
        const link = this.links[step.link];
        const n = Math.min(step.n, link.count);
        const [a, b] = [1 + (step.seed % 2), 1 + ((step.seed >> 1) % 2)];
        link.splitTo(this.links[(step.link + a) % 3], this.links[(step.link + b) % 3], n);
        return n;
      }
      case 'freeFrom': {
        const link = this.links[step.link];
        link.freeBurst(Math.min(step.n, link.count));
        return pool.tally[0] * 1e6 + pool.tally[1];
      }
      case 'free':
        pool.freeBurst(from, chosen.length);
        this.held.splice(step.from, step.n);
        return chosen.length;
    }
  }

  /** Writes something into every column and the bytes. */
  mark(handles: Int32Array, n: number, seed: number): void {
    const { pool } = this;
    for (let i = 0; i < n; i++) {
      const h = handles[i];
      const large = pool.slot[h] >= SIZE.smallSlots;
      pool.length[h] = large ? 3000 + seed * 7 + i : (seed * 31 + i * 13) % 1900;
      pool.prefixLength[h] = seed % 40;
      pool.segments[h] = 1 + (seed % 5);
      pool.checksumStart[h] = (seed % 3) - 1;
      pool.peer[h] = seed - 1;
      pool.flags[h] = seed & 3;
      pool.arrived[pool.slot[h]] = seed % 4 === 0 ? 0 : seed * 1e9 + i;
      const start = pool.offset[h] - pool.prefixLength[h];
      for (let b = start; b < pool.offset[h] + pool.length[h]; b++) pool.slab[b] = b * 7 + seed;
    }
  }

  /** All that an app can see: of each packet held, its columns, bytes, and whose memory it is. */
  look(): unknown {
    const { pool } = this;
    const waiting = this.links.map((link) => {
      const handles = new Int32Array(64);
      return [...handles.subarray(0, link.peekBurst(handles, 64))];
    });
    return {
      links: this.links.map((link) => [link.count, link.packets, link.bytes, link.dropped]),
      drops: [...pool.drops.subarray(0, MAX_REASONS)],
      packets: [...this.held, ...waiting.flat()].map((h) => [
        ...Object.entries(DescriptorCell)
          .filter(([name]) => name !== 'slot' && name !== 'offset')
          .map(([, cell]) => pool.descriptors[h + cell]),
        pool.arrived[pool.slot[h]],
        pool.owner[pool.slot[h]],
        pool.references[pool.slot[h]],
        Buffer.from(
          pool.slab.slice(pool.offset[h] - pool.prefixLength[h], pool.offset[h] + pool.length[h]),
        ).toString('hex'),
      ]),
      used: ACCOUNTS.map((a) => [pool.usedSmall[a], pool.usedLarge[a]]),
      free: [pool.freeDescriptors[0], pool.freeSmall[0], pool.freeLarge[0]],
    };
  }
}

const WHAT = [
  'alloc',
  'large',
  'clone',
  'copy',
  'stamp',
  'put',
  'take',
  'putStamped',
  'moveTo',
  'cloneTo',
  'copyTo',
  'splitTo',
  'freeFrom',
  'free',
] as const;

interface Step {
  what: (typeof WHAT)[number];
  link: number;
  account: number;
  from: number;
  n: number;
  seed: number;
}

const steps = fc.array(
  fc.record<Step>({
    what: fc.constantFrom(...WHAT, 'alloc', 'put', 'putStamped', 'freeFrom', 'free'),
    link: fc.nat(2),
    account: fc.constantFrom(...ACCOUNTS),
    from: fc.nat(20),
    n: fc.integer({ min: 0, max: 45 }),
    seed: fc.nat(1000),
  }),
  { maxLength: 60 },
);

/** Handles in another order, in place. */
function arrange(order: string, handles: Int32Array): void {
  const n = handles.length;
  if (order === 'down') handles.reverse();
  if (order === 'last two swapped') [handles[n - 2], handles[n - 1]] = [handles[n - 1], handles[n - 2]];
  if (order === 'every other') {
    const [even, odd] = [0, 1].map((rest) => handles.filter((_, i) => i % 2 === rest));
    handles.set([...even, ...odd]);
  }
  if (order === 'shuffled') {
    for (let i = n - 1, random = 7; i > 0; i--) {
      random = (random * 48271) % 2147483647;
      const j = random % (i + 1);
      [handles[i], handles[j]] = [handles[j], handles[i]];
    }
  }
}

describe('bursts', () => {
  it('are the same natively, in TypeScript, and in debug pools', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const players = Object.values(kinds).map((make) => new Player(make()));
        expect(players).toHaveLength(3);
        for (const step of sequence) {
          const [native, plain, debug] = players.map((player) => player.play(step));
          expect([native, debug]).toEqual([plain, plain]);
        }
        const [native, plain, debug] = players.map((player) => player.look());
        expect(native).toEqual(plain);
        expect(debug).toEqual(plain);
        for (const { pool } of players) pool.retire();
      }),
      { numRuns: 150, seed: 3 },
    );
  });

  // Sixteen packets whose slots stand in a row are treated together natively, and any others one by one.
  it('are the same for packets made together, in whatever order they come back', () => {
    const order = fc.constantFrom('up', 'down', 'shuffled', 'last two swapped', 'every other');
    const length = fc.constantFrom(0, 60, 64, 65, 700, SMALL_SLOT - HEADROOM);
    const options = {
      order,
      n: fc.integer({ min: 16, max: 100 }),
      lengths: fc.array(length, { minLength: 1, maxLength: 3 }),
      prefix: fc.constantFrom(0, 0, 24),
      prepended: fc.constantFrom(0, 0, 70, HEADROOM),
      shared: fc.constantFrom(0, 0, 5, 40),
      quota: fc.constantFrom(512, 512, 140),
      stamped: fc.boolean(),
    };
    fc.assert(
      fc.property(fc.record(options), (o) => {
        const seen = Object.values(kinds).map((make) => {
          const pool = make({ smallSlots: 512, largeSlots: 1 });
          for (const account of [1, 2]) pool.quotaSmall[account] = o.quota;
          const burst = new Int32Array(128);
          const seconds = new Int32Array(128);
          const bursts = [burst, seconds].map(() => linkOn(pool, 128));
          const looks: unknown[] = [];
          const look = (handles: Int32Array, n: number) =>
            looks.push(
              Array.from(handles.subarray(0, n), (h) => [
                ...[...pool.descriptors.subarray(h + DescriptorCell.length, h + DESCRIPTOR_CELLS)],
                pool.arrived[pool.slot[h]],
                pool.references[pool.slot[h]],
                pool.owner[pool.slot[h]],
                pool.offset[h] - pool.slot[h] * SMALL_SLOT,
                Buffer.from(
                  pool.slab.subarray(pool.offset[h] - pool.prefixLength[h], pool.offset[h] + pool.length[h]),
                ).toString('hex'),
              ]),
              [pool.live, pool.freeSmall[0], pool.usedSmall[1], pool.usedSmall[2], ...pool.tally],
            );
          // Twice, so that what was freed out of order is made again.
          for (let round = 0; round < 2; round++) {
            pool.allocBurst(1, burst, o.n);
            if (o.stamped) {
              pool.length[burst[0]] = o.lengths[0];
              pool.slab.fill(90 + round, pool.offset[burst[0]], pool.offset[burst[0]] + o.lengths[0]);
              const template = burst[0];
              pool.freeBurst(burst.subarray(1), o.n - 1);
              pool.stampBurst(template, burst.subarray(1), o.n - 1);
            }
            for (let i = 0; i < o.n; i++) {
              const h = burst[i];
              if (!o.stamped) {
                pool.length[h] = o.lengths[i % o.lengths.length];
                // As after a header was put in front.
                const prepended = Math.min(o.prepended, HEADROOM - o.prefix);
                pool.offset[h] -= prepended;
                pool.length[h] += prepended;
                for (let b = -o.prefix; b < pool.length[h]; b++) pool.slab[pool.offset[h] + b] = b * 3 + i;
              }
              pool.prefixLength[h] = o.prefix;
              pool.peer[h] = i;
              pool.segments[h] = 1 + (i & 3);
              pool.arrived[pool.slot[h]] = i * 1000;
            }
            const extra = new Int32Array(o.shared);
            pool.cloneBurst(burst, Math.min(o.shared, o.n), extra);
            arrange(o.order, burst.subarray(0, o.n));
            look(burst, o.n);
            const copies = pool.copyBurst(burst, o.n, seconds);
            look(seconds, copies);
            pool.freeBurst(seconds, copies);
            look(burst, o.n);
            bursts[0].putBurst(burst, o.n);
            bursts[0].cloneTo(bursts[1], o.n);
            bursts[0].freeBurst(o.n);
            look(burst, 0);
            const clones = bursts[1].takeBurst(seconds, 128);
            look(seconds, clones);
            pool.freeBurst(seconds, clones);
            look(seconds, 0);
            pool.freeBurst(extra, Math.min(o.shared, o.n));
          }
          expect([pool.live, pool.usedSmall[1]]).toEqual([0, 0]);
          expect(new Set(pool.freeSmall.subarray(1)).size).toBe(512);
          expect(new Set(pool.freeDescriptors.subarray(1)).size).toBe(pool.freeDescriptors.length - 1);
          pool.retire();
          return looks;
        });
        expect(seen[0]).toEqual(seen[1]);
        expect(seen[2]).toEqual(seen[1]);
      }),
      { numRuns: 100, seed: 11 },
    );
  });

  it('count wire packets and bytes of what is put and freed', () => {
    for (const make of Object.values(kinds)) {
      const pool = make();
      const burst = new Int32Array(16);
      pool.allocBurst(COMMON_ACCOUNT, burst, 16);
      for (const [i, handle] of burst.entries()) {
        pool.length[handle] = 100 + i;
        pool.segments[handle] = 1 + (i & 1);
      }
      const link = linkOn(pool, 32);
      link.putBurst(burst, 16);
      expect([link.packets, link.bytes]).toEqual([24, 1720]);
      expect(link.takeBurst(burst, 16)).toBe(16);
      pool.freeBurst(burst, 15);
      expect([...pool.tally]).toEqual([22, 1605]);
      pool.freeBurst(burst.subarray(15), 1);
      expect([...pool.tally]).toEqual([2, 115]);
      pool.retire();
    }
  });

  it('keep their order on links, round the ends of their rings', () => {
    for (const make of Object.values(kinds)) {
      const pool = make();
      const [from, clones, to] = [linkOn(pool, 32), linkOn(pool, 16), linkOn(pool, 64)];
      const burst = new Int32Array(16);
      let next = 0;
      for (let round = 0; round < 40; round++) {
        const n = 9 + (round % 6);
        expect(pool.allocBurst(COMMON_ACCOUNT, burst, n)).toBe(n);
        for (let i = 0; i < n; i++) pool.length[burst[i]] = next + i;
        from.putBurst(burst, n);
        if (round % 2) from.splitTo(clones, to, n);
        else {
          from.cloneTo(clones, n);
          from.moveTo(to, n);
        }
        for (const link of [clones, to]) {
          expect(link.takeBurst(burst, 16)).toBe(n);
          expect(Array.from(burst.subarray(0, n), (h) => pool.length[h])).toEqual(
            Array.from({ length: n }, (_, i) => next + i),
          );
          pool.freeBurst(burst, n);
        }
        next += n;
      }
      expect(pool.live).toBe(0);
      pool.retire();
    }
  });

  it('go one by one, seen, over a link that a capture looks at', () => {
    for (const make of Object.values(kinds)) {
      const pool = make();
      const [from, clones, to] = [linkOn(pool, 32), linkOn(pool, 32), linkOn(pool, 32)];
      const seen: number[] = [];
      const burst = new Int32Array(16);
      pool.allocBurst(COMMON_ACCOUNT, burst, 16);
      from.putBurst(burst, 16);
      to.witness = (handle) => seen.push(handle);
      from.splitTo(clones, to, 16);
      expect(seen).toEqual([...burst]);
      expect([clones.count, to.count, to.packets]).toEqual([16, 16, 16]);
      clones.freeBurst(16);
      to.freeBurst(16);
      expect(pool.live).toBe(0);
      pool.retire();
    }
  });

  it('count what found no memory for a second one, and hand the packets on all the same', () => {
    for (const make of Object.values(kinds)) {
      const pool = make();
      const [from, clones, to] = [linkOn(pool, 64), linkOn(pool, 64), linkOn(pool, 64)];
      const burst = new Int32Array(64);
      expect(pool.allocBurst(COMMON_ACCOUNT, burst, 40)).toBe(40);
      from.putBurst(burst, 40);
      const spare: number[] = [];
      while (pool.freeHandles > 10) spare.push(pool.clone(burst[0]));
      from.splitTo(clones, to, 40);
      expect([clones.count, to.count, from.count]).toEqual([10, 40, 0]);
      expect(pool.drops[Reason.NoMemory]).toBe(30);
      expect(to.takeBurst(new Int32Array(64), 64)).toBe(40);
      pool.retire();
    }
  });

  it('still move when native code no longer knows the pool, and when it knows it again', () => {
    const pool = kinds.native();
    const [from, to] = [linkOn(pool, 32), linkOn(pool, 32)];
    const burst = new Int32Array(16);
    for (const step of ['retire', 'accelerate', 'retire'] as const) {
      pool.allocBurst(COMMON_ACCOUNT, burst, 16);
      from.putBurst(burst, 16);
      pool[step]();
      from.moveTo(to, 16);
      expect([from.count, to.count]).toEqual([0, 16]);
      to.freeBurst(16);
      expect([...pool.tally]).toEqual([16, 0]);
    }
    expect([pool.live, to.packets]).toEqual([0, 48]);
  });

  it('leave no packet and no debt behind', () => {
    for (const make of Object.values(kinds)) {
      const pool = make();
      const a = new Int32Array(32);
      const b = new Int32Array(32);
      for (let round = 0; round < 100; round++) {
        expect(pool.allocBurst(COMMON_ACCOUNT, a, 16)).toBe(16);
        expect(pool.cloneBurst(a, 16, b)).toBe(16);
        pool.freeBurst(a, 16);
        expect(pool.live).toBe(16);
        expect(pool.usedSmall[COMMON_ACCOUNT]).toBe(16);
        pool.freeBurst(b, 16);
      }
      expect([pool.live, pool.usedSmall[COMMON_ACCOUNT]]).toEqual([0, 0]);
      expect(new Set(pool.freeSmall.slice(1)).size).toBe(SIZE.smallSlots);
      expect(new Set(pool.freeDescriptors.slice(1)).size).toBe(pool.freeDescriptors.length - 1);
      pool.retire();
    }
  });

  it('give fresh packets like single ones, whatever the rows held before', () => {
    const pool = kinds.native();
    const burst = new Int32Array(16);
    pool.allocBurst(COMMON_ACCOUNT, burst, 16);
    for (const h of burst) {
      for (const [name, cell] of Object.entries(DescriptorCell)) {
        if (!['slot', 'offset', 'state'].includes(name)) pool.descriptors[h + cell] = 77;
      }
      pool.arrived[pool.slot[h]] = 5;
    }
    pool.freeBurst(burst, 16);
    const single = pool.alloc(COMMON_ACCOUNT);
    const expected = Object.values(DescriptorCell).map((cell) => pool.descriptors[single + cell]);
    pool.allocBurst(COMMON_ACCOUNT, burst, 15);
    for (const h of burst.subarray(0, 15)) {
      expected[DescriptorCell.slot] = pool.slot[h];
      expected[DescriptorCell.offset] = pool.offset[h];
      expect(Object.values(DescriptorCell).map((cell) => pool.descriptors[h + cell])).toEqual(expected);
      expect(pool.headroom(h)).toBe(HEADROOM);
      expect(pool.arrived[pool.slot[h]]).toBe(0);
    }
    pool.retire();
  });

  it('stop at the quota, at the last descriptor and at the last slot', () => {
    for (const make of Object.values(kinds)) {
      const pool = make();
      const into = new Int32Array(256);
      pool.quotaSmall[1] = 20;
      expect(pool.allocBurst(1, into, 40)).toBe(20);
      expect(pool.allocBurst(COMMON_ACCOUNT, into, 256)).toBe(SIZE.smallSlots - 20);
      const rest = pool.freeHandles;
      const from = new Int32Array(256).fill(into[0]);
      expect(pool.cloneBurst(from, 256, into)).toBe(rest);
      expect(pool.copyBurst(from, 10, into)).toBe(0);
      pool.retire();
    }
  });

  it('natively pass over handles that name nothing, and never free one twice', () => {
    const pool = kinds.native();
    const burst = new Int32Array(16);
    pool.allocBurst(COMMON_ACCOUNT, burst, 12);
    burst.set([-1, burst[0], 7, 2 ** 30], 12);
    pool.freeBurst(burst, 16);
    pool.freeBurst(burst, 16);
    expect(pool.live).toBe(0);
    expect(pool.cloneBurst(burst, 16, new Int32Array(16))).toBe(0);
    expect(pool.freeSmall[0]).toBe(SIZE.smallSlots);
    pool.retire();
  });

  it('natively refuse rings and numbers that there are not', () => {
    const pool = kinds.native();
    const { native, pool: id } = pool.attachment!;
    const [a, b] = [linkOn(pool, 16), linkOn(pool, 16)];
    const burst = new Int32Array(16);
    pool.allocBurst(COMMON_ACCOUNT, burst, 16);
    a.putBurst(burst, 16);
    b.putBurst(burst, 0);
    a.cloneTo(b, 8);
    const before = [pool.live, a.packets, b.packets];
    for (const ring of [-1, 2, 2 ** 20, 2 ** 31, 0.5, Number.NaN]) {
      expect(native.ringClone(id, 0, 0, 8, ring, 0)).toBeLessThan(0);
      expect(native.ringClone(id, ring, 0, 8, 0, 0)).toBeLessThan(0);
      expect(native.ringCopy(id, ring, 0, 8, 0, 0)).toBeLessThan(0);
      expect(native.ringSplit(id, 0, 0, 8, 1, 0, ring, 0)).toBeLessThan(0);
      expect(native.ringStamp(id, burst[0], 8, ring, 0)).toBeLessThan(0);
      native.ringMove(id, ring, 0, 8, 0, 0);
      native.ringFree(id, ring, 0, 8);
      native.ringDetach(id, ring);
    }
    for (const n of [17, -1, 2 ** 31, Number.NaN]) {
      expect(native.ringClone(id, 0, 0, n, 1, 0)).toBeLessThan(0);
      expect(native.ringStamp(id, burst[0], n, 1, 0)).toBeLessThan(0);
      native.ringFree(id, 0, 0, n);
      native.ringPut(id, burst, n, 1, 0);
    }
    for (const template of [-1, 7, 2 ** 30]) expect(native.ringStamp(id, template, 8, 1, 0)).toBe(0);
    expect(native.ringAttach(id, new Int32Array(12), new Float64Array(2))).toBe(-1);
    expect(native.ringAttach(id, new Int32Array(16), new Float64Array(1))).toBe(-1);
    expect(native.ringAttach(id + 1, new Int32Array(16), new Float64Array(2))).toBe(-1);
    expect([pool.live, a.packets, b.packets]).toEqual(before);
    pool.retire();
  });

  it('natively never write beyond the array they were given', () => {
    const pool = kinds.native();
    const short = new Int32Array(4);
    expect(pool.allocBurst(COMMON_ACCOUNT, short, 40)).toBeLessThan(0);
    pool.freeBurst(short, 40);
    expect(pool.live).toBe(0);
    pool.retire();
  });

  it('are checked one by one in debug pools', () => {
    const pool = kinds.debug();
    const burst = new Int32Array(16);
    pool.allocBurst(COMMON_ACCOUNT, burst, 16);
    pool.freeBurst(burst, 16);
    expect(() => pool.freeBurst(burst, 16)).toThrow(/not live/);
    expect(() => pool.cloneBurst(burst, 16, new Int32Array(16))).toThrow(/not live/);
    pool.accelerate();
    expect(() => pool.freeBurst(burst, 16)).toThrow(/not live/);
  });
});
