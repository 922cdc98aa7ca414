import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Pool } from '../../src/engine/pool.ts';
import { COMMON_ACCOUNT, DescriptorCell, HEADROOM } from '../../src/native/binding.ts';

const SIZE = { smallSlots: 48, largeSlots: 3 };
const ACCOUNTS = [COMMON_ACCOUNT, 1, 2];

/** Production and debug builds of the pool differ; both are loaded here. */
async function poolModule(debug: boolean): Promise<{ Pool: typeof Pool }> {
  vi.resetModules();
  vi.stubEnv('TUNCONNECTOR_DEBUG', debug ? '1' : '0');
  const module = await import('../../src/engine/pool.ts');
  vi.unstubAllEnvs();
  return module;
}

type Make = () => Pool;
const kinds: Record<string, Make> = {};
beforeAll(async () => {
  const production = await poolModule(false);
  const debug = await poolModule(true);
  kinds.native = () => {
    const pool = new production.Pool(SIZE);
    pool.accelerate();
    return pool;
  };
  kinds['without addon'] = () => new production.Pool(SIZE);
  kinds.debug = () => new debug.Pool(SIZE);
});
afterAll(() => vi.resetModules());

/** A pool and the handles that the steps of a test have given it, in order. */
class Player {
  readonly pool: Pool;
  held: number[] = [];
  readonly ring = new Int32Array(64).fill(-1);
  constructor(pool: Pool) {
    this.pool = pool;
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
        this.ring.fill(-1);
        pool.putInto(this.ring, step.seed * 2 ** 22, from, chosen.length);
        return this.ring.reduce((sum, h, i) => sum + this.held.indexOf(h) * (i + 1), 0);
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
      pool.arrival[h] = seed % 4 === 0 ? 0 : seed * 1e9 + i;
      const start = pool.offset[h] - pool.prefixLength[h];
      for (let b = start; b < pool.offset[h] + pool.length[h]; b++) pool.slab[b] = b * 7 + seed;
    }
  }

  /** All that an app can see: of each packet held, its columns, bytes, and whose memory it is. */
  look(): unknown {
    const { pool } = this;
    return {
      packets: this.held.map((h) => [
        ...Object.entries(DescriptorCell)
          .filter(([name]) => name !== 'slot' && name !== 'offset')
          .map(([, cell]) => pool.descriptors[h + cell]),
        pool.arrival[h],
        pool.owner[pool.slot[h]],
        pool.references[pool.slot[h]],
        Buffer.from(
          pool.slab.slice(pool.offset[h] - pool.prefixLength[h], pool.offset[h] + pool.length[h]),
        ).toString('hex'),
      ]),
      tally: [...pool.tally],
      used: ACCOUNTS.map((a) => [pool.usedSmall[a], pool.usedLarge[a]]),
      free: [pool.freeDescriptors[0], pool.freeSmall[0], pool.freeLarge[0]],
    };
  }
}

interface Step {
  what: 'alloc' | 'large' | 'clone' | 'copy' | 'stamp' | 'put' | 'free';
  account: number;
  from: number;
  n: number;
  seed: number;
}

const steps = fc.array(
  fc.record<Step>({
    what: fc.constantFrom('alloc', 'alloc', 'large', 'clone', 'copy', 'stamp', 'put', 'free', 'free'),
    account: fc.constantFrom(...ACCOUNTS),
    from: fc.nat(20),
    n: fc.integer({ min: 0, max: 45 }),
    seed: fc.nat(1000),
  }),
  { maxLength: 40 },
);

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

  it('count wire packets and bytes of what is put and freed', () => {
    for (const make of Object.values(kinds)) {
      const pool = make();
      const burst = new Int32Array(16);
      pool.allocBurst(COMMON_ACCOUNT, burst, 16);
      for (const [i, handle] of burst.entries()) {
        pool.length[handle] = 100 + i;
        pool.segments[handle] = 1 + (i & 1);
      }
      pool.putInto(new Int32Array(32), 2 ** 31 - 5, burst, 16);
      expect([...pool.tally]).toEqual([24, 1720]);
      pool.freeBurst(burst, 15);
      expect([...pool.tally]).toEqual([22, 1605]);
      pool.freeBurst(burst.subarray(15), 1);
      expect([...pool.tally]).toEqual([2, 115]);
      pool.retire();
    }
  });

  it('keep their order on a ring, round its end and round 2^31', () => {
    for (const make of Object.values(kinds)) {
      const pool = make();
      const burst = new Int32Array(16);
      pool.allocBurst(COMMON_ACCOUNT, burst, 16);
      for (const tail of [0, 5, 2 ** 31 - 8, -(2 ** 31), -3]) {
        const ring = new Int32Array(16);
        pool.putInto(ring, tail, burst, 16);
        expect(Array.from(burst, (_, i) => ring[(tail + i) & 15])).toEqual([...burst]);
      }
      pool.freeBurst(burst, 16);
      pool.retire();
    }
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
      pool.arrival[h] = 5;
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
      expect(pool.arrival[h]).toBe(0);
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
