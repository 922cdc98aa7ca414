import { describe, expect, it } from 'vitest';
import type { ReplicaFigures } from '../../../src/chain/roulette/figures.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { TENANT, World } from './roulette-world.ts';

/** Of a replica through which so many packets of 1000 bytes have passed. */
const told = (replica: number, seconds: number, packets: number, more: Partial<ReplicaFigures> = {}) => ({
  replica,
  time: seconds * SECOND,
  ...{ packetsIn: packets, bytesIn: 1000 * packets, packetsOut: packets, bytesOut: 1000 * packets },
  drops: packets / 10,
  ...more,
});

function rated() {
  const world = new World();
  const lease = world.set({ fw: [1, 2, 9] });
  const tell = (...figures: object[]) => world.ask('lease.keep', { lease, figures });
  return { world, lease, tell, rates: () => world.roulette.rates(TENANT) };
}

describe('rates', () => {
  it('are of the time between two reports, on the clock of who tells', () => {
    const { world, tell, rates } = rated();
    tell(told(1, 100, 500), told(2, 7, 0));
    expect(rates()).toEqual([]);
    world.runtime.advance(3 * SECOND);
    tell(told(1, 102, 700), told(2, 9, 10));
    expect(rates()).toMatchObject([
      { replica: 1, span: 2 * SECOND, packetsIn: 100, bitsIn: 800_000, packetsOut: 100, drops: 10 },
      { replica: 2, packetsIn: 5, bitsOut: 40_000 },
    ]);
    expect(rates()[0]!.age).toBeLessThan(SECOND);
  });

  it('are those of each chain at an end, also of one that had no packets before', () => {
    const { tell, rates } = rated();
    const passing = (packets: number) => ({
      ...{ packetsIn: packets, bytesIn: 100 * packets, packetsOut: 0, bytesOut: 0 },
    });
    tell(told(9, 1, 0, { chains: [{ spi: 7, ...passing(40) }] }));
    tell(
      told(9, 2, 0, {
        chains: [
          { spi: 7, ...passing(50) },
          { spi: 8, ...passing(3) },
        ],
      }),
    );
    expect(rates()[0]!.chains).toMatchObject([
      { spi: 7, packetsIn: 10, bitsIn: 8000, packetsOut: 0 },
      { spi: 8, packetsIn: 3 },
    ]);
  });

  it('are none after a restart of who tells, nor of what was told twice', () => {
    const { tell, rates } = rated();
    tell(told(1, 100, 500));
    tell(told(1, 1, 3));
    expect(rates()).toEqual([]);
    tell(told(1, 2, 5));
    tell(told(1, 2, 5));
    expect(rates()).toMatchObject([{ packetsIn: 2 }]);
    // The same process, but its packet half was replaced.
    tell(told(1, 4, 1));
    expect(rates()).toEqual([]);
  });

  it('end when nothing is told any more, and with the replica', () => {
    const { world, lease, tell, rates } = rated();
    tell(told(1, 1, 0), told(2, 1, 0));
    world.runtime.advance(2 * SECOND);
    tell(told(1, 3, 10), told(2, 3, 10));
    world.ask('replica.remove', { id: 2 });
    expect(rates().map(({ replica }) => replica)).toEqual([1]);
    world.runtime.advance(5 * SECOND);
    expect(rates()).toHaveLength(1);
    world.runtime.advance(2 * SECOND);
    expect(rates()).toEqual([]);
    expect(world.ask('lease.keep', { lease })).toEqual({ lease });
  });

  it('are not those of replicas that hang on another lease, or are in another tenant', () => {
    const { world, tell, rates } = rated();
    const other = world.set({ dpi: [3] }, 43);
    for (const time of [1, 2]) {
      tell(told(3, time, time));
      world.ask('lease.keep', { lease: other, figures: [told(1, time, time)] }, 43);
    }
    expect(rates()).toEqual([]);
  });

  it('are no revision: nothing is written, and who watches hears nothing', () => {
    const { world, tell, rates } = rated();
    const { rev } = world.roulette;
    tell(told(1, 1, 0));
    tell(told(1, 2, 8));
    expect(world.roulette.rev).toBe(rev);
    expect(rates()).toHaveLength(1);
    world.roulette.close();
    world.runtime.disk.crash();
    world.start();
    expect(rates()).toEqual([]);
  });

  it('are refused when they are none', () => {
    const { tell } = rated();
    expect(() => tell({ ...told(1, 1, 0), drops: -1 })).toThrow(/figures\.0\.drops: found -1/);
    expect(() => tell({ replica: 1 })).toThrow(/figures\.0\.time/);
    expect(() => tell(...Array.from({ length: 17 }, (_, i) => told(i + 1, 1, 0)))).toThrow(/figures/);
  });
});
