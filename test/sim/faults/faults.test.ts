/** What can go wrong in a simulated network: each kind does what it says, ends when it should, and can be chosen by a seed. */
import { describe, expect, it } from 'vitest';
import {
  FAULT_KINDS,
  type Fault,
  type Program,
  randomFaults,
  Simulation,
  type Topology,
} from '../../../src/sim/index.ts';

const MS = 1e6;

/** a - r - b, and c beside a. */
const TOPOLOGY = (seed = 3): Topology => ({
  seed,
  hosts: { a: {}, r: { forward: true }, b: {}, c: {} },
  links: {
    left: {
      between: [
        { host: 'a', addresses: ['10.0.1.1/24'] },
        { host: 'r', addresses: ['10.0.1.254/24'] },
      ],
      impair: 'delay 10ms',
    },
    right: {
      between: [
        { host: 'r', addresses: ['10.0.2.254/24'] },
        { host: 'b', addresses: ['10.0.2.1/24'] },
      ],
      impair: 'delay 10ms',
    },
    side: {
      between: [
        { host: 'r', addresses: ['10.0.3.254/24'] },
        { host: 'c', addresses: ['10.0.3.1/24'] },
      ],
      impair: 'delay 10ms',
    },
  },
});

/** Pings from a, 100 ms apart: at which second each was asked, and what came of it. */
async function pings(faults: readonly Fault[], to: string, seconds: number): Promise<boolean[][]> {
  const came: boolean[][] = Array.from({ length: seconds }, () => []);
  const a: Program = ({ runtime, stack }) => {
    const ask = () => {
      const second = came[Math.floor(runtime.now() / 1e9)];
      void stack.ping(to, { timeout: 90 * MS }).then(({ result }) => second?.push(result === 'reply'));
      runtime.timer(runtime.now() + 100 * MS, ask);
    };
    runtime.timer(50 * MS, ask);
  };
  await using sim = await Simulation.start(TOPOLOGY(), { programs: { a }, faults });
  await sim.run(seconds * 1e9 + 100 * MS);
  return came;
}
const shares = (came: boolean[][]) => came.map((each) => each.filter(Boolean).length / each.length);

describe('faults that last', { timeout: 60_000 }, () => {
  it('a link that is down twice is up when both have ended', async () => {
    const faults: Fault[] = [
      { at: '1s', for: '2s', down: 'left' },
      { at: '2s', for: '2s', down: 'left' },
    ];
    expect(shares(await pings(faults, '10.0.2.1', 5))).toEqual([1, 0, 0, 0, 1]);
  });

  it('a burst comes on top of what the link does, and goes', async () => {
    const lossy = shares(
      await pings([{ at: '1s', for: '1s', link: 'right', burst: 'loss 100%' }], '10.0.2.1', 3),
    );
    expect(lossy).toEqual([1, 0, 1]);
    // A flipped bit: every packet is found out by a checksum.
    const flipped: Fault[] = [{ at: '1s', for: '1s', link: 'right', burst: 'corrupt 100% where l4' }];
    expect(shares(await pings(flipped, '10.0.2.1', 3))).toEqual([1, 0, 1]);
  });

  it('a partition parts sets of hosts, and nobody else', async () => {
    const faults: Fault[] = [{ at: '1s', for: '1s', partition: [['a', 'r', 'c'], ['b']] }];
    expect(shares(await pings(faults, '10.0.2.1', 3))).toEqual([1, 0, 1]);
    expect(shares(await pings(faults, '10.0.3.1', 3))).toEqual([1, 1, 1]);
  });

  it('a partition that a host in no set would bridge is refused', async () => {
    const start = Simulation.start(TOPOLOGY(), { faults: [{ at: 0, partition: [['a'], ['b']] }] });
    await expect(start).rejects.toThrow(/faults\.0\.partition: found sets that .* still join/);
    await expect(
      Simulation.start(TOPOLOGY(), { faults: [{ at: 0, partition: [['a'], ['a', 'b']] }] }),
    ).rejects.toThrow(/"a" twice/);
    await expect(
      Simulation.start(TOPOLOGY(), { faults: [{ at: 0, partition: [['a'], ['z']] }] }),
    ).rejects.toThrow(/partition\.1: found "z"/);
  });

  it('a host that crashes for a time starts again', async () => {
    const faults: Fault[] = [{ at: '1s', for: '1s', crash: 'b' }];
    expect(shares(await pings(faults, '10.0.2.1', 3))).toEqual([1, 0, 1]);
  });

  it('a host that stands still does late what it had to do, and loses nothing', async () => {
    const heard: number[] = [];
    const ticks: number[] = [];
    const b: Program = ({ runtime }) => {
      runtime.datagrams('0.0.0.0:53', { onMessage: () => heard.push(sim.runtime.now()) });
      runtime.timer(1500 * MS, () => ticks.push(sim.runtime.now()));
      runtime.storage('x').append('log', new Uint8Array(1));
    };
    const a: Program = ({ runtime }) => {
      const socket = runtime.datagrams('0.0.0.0:0', { onMessage: () => {} });
      for (const at of [500, 1200, 1300, 2500])
        runtime.timer(at * MS, () => socket.send('10.0.2.1:53', new Uint8Array(1)));
    };
    const sim = await Simulation.start(TOPOLOGY(), {
      programs: { a, b },
      faults: [{ at: '1s', for: '1s', pause: 'b' }],
    });
    await sim.runTo(3e9);
    expect(heard).toEqual([520 * MS, 2000 * MS, 2000 * MS, 2520 * MS]);
    expect(ticks).toEqual([2000 * MS]);
    await sim[Symbol.asyncDispose]();
  });

  it('a clock that jumps makes due what it jumps over', async () => {
    const ticks: number[] = [];
    const a: Program = ({ runtime }) => {
      for (const at of [3, 20]) runtime.timer(at * 1e9, () => ticks.push(sim.runtime.now()));
    };
    const sim = await Simulation.start(TOPOLOGY(), {
      programs: { a },
      faults: [{ at: '1s', host: 'a', jump: '5s' }],
    });
    await sim.runTo(30e9);
    expect(ticks).toEqual([1e9, 15e9]);
    expect(sim.host('a').runtime.now()).toBe(35e9);
    await sim[Symbol.asyncDispose]();
  });

  it('a disk is slow for a time, and fails when it is told to', async () => {
    const took: number[] = [];
    const errors: (string | undefined)[] = [];
    const b: Program = ({ runtime }) => {
      const storage = runtime.storage('state');
      for (const at of [500, 1500, 2500]) {
        runtime.timer(at * MS, () => {
          storage.append('log', new Uint8Array(1));
          storage.sync('log', (error) => {
            took.push((runtime.now() - at * MS) / MS);
            errors.push(error?.errno);
          });
        });
      }
    };
    await using sim = await Simulation.start(TOPOLOGY(), {
      programs: { b },
      faults: [
        { at: '1s', for: '1s', host: 'b', disk: { syncTime: '100ms' } },
        { at: '2s', host: 'b', diskFails: { operation: 'sync', errno: 'ENOSPC' } },
      ],
    });
    await sim.runTo(3e9);
    expect(took).toEqual([1, 100, 1]);
    expect(errors).toEqual([undefined, undefined, 'ENOSPC']);
  });
});

describe('faults that a seed chooses', { timeout: 60_000 }, () => {
  const drawn = (seed: number, more = {}) =>
    randomFaults(TOPOLOGY(), { seed, count: [1, 6], during: ['1s', '8s'], ...more });

  it('are the same for the same seed, end in time, and are of the kinds and things that were asked for', () => {
    const kinds = new Set<string>();
    for (let seed = 1; seed <= 100; seed++) {
      const faults = drawn(seed);
      expect(drawn(seed)).toEqual(faults);
      expect(faults.length).toBeLessThanOrEqual(6);
      for (const fault of faults) {
        const { at, for: lasts = 0 } = fault as { at: number; for?: number };
        expect(at).toBeGreaterThanOrEqual(1e9);
        expect(at + lasts).toBeLessThanOrEqual(8e9);
        for (const key of Object.keys(fault)) kinds.add(key);
      }
    }
    for (const key of ['down', 'burst', 'partition', 'crash', 'pause', 'ppm', 'jump', 'disk'])
      expect(kinds).toContain(key);
    const crashes = drawn(1, { kinds: ['crash'], hosts: ['b'], count: 4 });
    expect(crashes.map((fault) => (fault as { crash: string }).crash)).toEqual(['b', 'b', 'b', 'b']);
    expect(() => drawn(1, { kinds: ['meteor'] })).toThrow(/kinds/);
    expect(() => drawn(1, { hosts: ['z'] })).toThrow(/hosts: found "z"/);
    expect(() => drawn(1, { during: ['2s', '1s'] })).toThrow(/during/);
  });

  it('leave a network that is whole when they are over', async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const faults = randomFaults(TOPOLOGY(seed), {
        ...{ seed, count: 8, during: ['1s', '8s'], kinds: [...FAULT_KINDS], longest: '3s' },
      });
      await using sim = await Simulation.start(TOPOLOGY(seed), { faults });
      await sim.runTo(9e9);
      const asked = ['10.0.2.1', '10.0.3.1'].map((to) => sim.host('a').stack.ping(to));
      await sim.run('1s');
      for (const { result, time } of await Promise.all(asked)) {
        expect(result).toBe('reply');
        // 40 ms, by a clock that goes right again.
        expect(time).toBe(40 * MS);
      }
    }
  });
});
