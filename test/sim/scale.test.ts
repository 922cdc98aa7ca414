/** Simulated networks of many hosts: what they take grows with the hosts, and no faster. */
import { describe, expect, it } from 'vitest';
import { tree } from '../../bench/programs/sim-tree.ts';
import { Simulation } from '../../src/sim/index.ts';

/** Events, packets and bytes of packet memory of so many hosts with 5 flows each, all of which are done. */
async function measured(hosts: number) {
  await using sim = await Simulation.start(tree(hosts, 5));
  await sim.run('3s');
  expect(sim.flows.filter(({ state }) => state === 'done')).toHaveLength(hosts * 5);
  const pools = [...sim.hosts, ...sim.links].map(({ network }) => network.pool);
  const memory = pools.reduce((sum, pool) => sum + pool.slab.length, 0);
  return { events: sim.events / hosts, packets: sim.packets / hosts, memory: memory / hosts };
}

describe('simulated networks', () => {
  it('of four times the hosts have as many events, packets and bytes for each', async () => {
    const [few, many] = [await measured(12), await measured(48)];
    // All of the few are behind one router: the others have two links more on half of their ways.
    expect(many.packets).toBeLessThan(1.7 * few.packets);
    expect(many.events).toBeLessThan(1.7 * few.events);
    expect(many.memory).toBeLessThan(1.2 * few.memory);
    expect(many.memory).toBeLessThan(24 << 20);
  }, 60_000);
});
