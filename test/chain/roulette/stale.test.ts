/** Replicas whose leases have ended: Roulette does not hear them, which may be its own fault. */
import { describe, expect, it } from 'vitest';
import { GRACE } from '../../../src/chain/roulette/stale.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { ROULETTE, standing, view } from '../member/member-world.ts';
import { flowId, TENANT, World } from './roulette-world.ts';

const MINUTE = 60 * SECOND;
const through = (world: World, id: number) => world.roulette.view(TENANT).flowsThrough(id).size;
const held = (world: World, id: number) => world.roulette.view(TENANT).replica(id) !== undefined;
const stale = (world: World, id: number) => world.roulette.view(TENANT).isStale(id);

/** Replicas of fw by id, each with a lease of 2 s, and a member that keeps its own. */
function leased(ids: readonly number[], more: ConstructorParameters<typeof World>[0] = {}) {
  const world = new World(more);
  const other = world.set({ fw: [] });
  const leases = new Map<number, string>();
  for (const id of ids) {
    const { lease } = world.ask('lease.grant', { term: '2s' });
    leases.set(id, lease);
    world.replica('fw', id, { lease });
  }
  world.ask('chain.put', { spi: 7, functions: ['fw'] });
  /** Time passes, and those that are heard keep their leases. */
  const pass = (time: number, heard: readonly number[], isOther = true) => {
    for (const end = world.runtime.now() + time; world.runtime.now() < end; ) {
      world.runtime.advance(SECOND / 2);
      for (const id of heard) world.ask('lease.keep', { lease: leases.get(id) });
      if (isOther) world.ask('lease.keep', { lease: other });
    }
  };
  return { world, leases, pass };
}

describe('a replica whose lease has ended', () => {
  it('stays with its flows and takes new ones while no other is ready', () => {
    const { world, pass } = leased([1]);
    world.register(1, 50);
    const before = world.flows();
    pass(2 * MINUTE, []);
    expect(stale(world, 1)).toBe(true);
    expect(world.flows()).toEqual(before);
    expect(world.register(51, 51)[0].path).toEqual([1]);
    expect(world.log).toContainEqual({ event: 'replica-stale', tenant: TENANT, replica: 1 });
    expect(world.log.map(({ event }) => event)).not.toContain('replica-gone');
  });

  it('gets no new flows when another is ready, and goes when it does not come back', () => {
    const { world, pass } = leased([1, 2]);
    world.register(1, 50);
    const there = through(world, 1);
    expect(there).toBeGreaterThan(10);
    pass(4 * SECOND, [2]);
    expect(stale(world, 1)).toBe(true);
    world.register(51, 100);
    expect(through(world, 1)).toBe(there);
    expect(world.register(101, 101, { path: [1] })[0].path).toEqual([2]);
    pass(GRACE + SECOND, [2]);
    expect(held(world, 1)).toBe(false);
    expect(through(world, 2)).toBe(101);
  });

  it('is as it was when it registers again', () => {
    const { world, pass } = leased([1, 2]);
    world.register(1, 50);
    const before = world.flows();
    pass(6 * SECOND, [2]);
    const { lease } = world.ask('lease.grant', { term: '1h' });
    world.replica('fw', 1, { lease, ifRev: world.roulette.view(TENANT).rev('replica', 1) });
    expect(stale(world, 1)).toBe(false);
    pass(2 * GRACE, [2]);
    expect(world.flows()).toEqual(before);
  });

  it('stays while nobody is heard: it is Roulette who is away, and all have time to come back', () => {
    const { world, pass } = leased([1, 2, 3]);
    world.register(1, 50);
    const before = world.flows();
    // Leases end one after the other.
    pass(SECOND, [2, 3], false);
    pass(SECOND / 2, [3], false);
    world.runtime.advance(4 * MINUTE);
    expect([1, 2, 3].map((id) => stale(world, id))).toEqual([true, true, true]);
    const { lease } = world.ask('lease.grant', { term: '1h' });
    world.replica('fw', 2, { lease, ifRev: world.roulette.view(TENANT).rev('replica', 2) });
    pass(GRACE - 2 * SECOND, []);
    expect(world.flows()).toEqual(before);
    pass(4 * SECOND, []);
    expect([1, 2, 3].map((id) => held(world, id))).toEqual([false, true, false]);
  });

  it('goes at once when a member cannot reach it and it does not answer, also the last one', () => {
    const { world, pass } = leased([1]);
    pass(4 * SECOND, []);
    world.ask('suspect.report', { replica: 1, evidence: 'refused' });
    pass(SECOND, []);
    expect(held(world, 1)).toBe(true);
    world.dead.add(1);
    pass(SECOND, []);
    world.ask('suspect.report', { replica: 1, evidence: 'refused' });
    pass(SECOND, []);
    expect(held(world, 1)).toBe(false);
  });

  it('goes at once when its member ends the lease', () => {
    const { world, leases } = leased([1]);
    world.ask('lease.end', { lease: leases.get(1) });
    expect(held(world, 1)).toBe(false);
    expect(world.roulette.view(TENANT).all('lease').size).toBe(1);
  });

  it('goes when nothing has passed it for as long as flows are kept', () => {
    const { world, pass } = leased([1], { flowIdle: MINUTE });
    world.register(1, 5);
    for (let n = 0; n < 4; n++) {
      pass(MINUTE / 2, []);
      world.ask('flows.touch', { ids: [...world.flows().keys()] });
    }
    expect(held(world, 1)).toBe(true);
    pass(3 * MINUTE, []);
    expect(held(world, 1)).toBe(false);
  });

  it('goes not for another when it is an ingress, which has clients of its own', () => {
    const { world, pass } = leased([]);
    const { lease } = world.ask('lease.grant', { term: '2s' });
    const { lease: long } = world.ask('lease.grant', { term: '1h' });
    world.replica('ingress', 1, { lease });
    world.replica('ingress', 2, { lease: long });
    pass(MINUTE, []);
    expect(stale(world, 1)).toBe(true);
  });

  it('is found so by a Roulette that starts', () => {
    const { world, leases, pass } = leased([1, 2]);
    pass(4 * SECOND, [2]);
    world.roulette.close();
    world.store.close();
    world.start();
    expect([1, 2].map((id) => stale(world, id))).toEqual([true, false]);
    pass(GRACE + 2 * SECOND, [2]);
    expect(held(world, 1)).toBe(false);
    expect(leases.size).toBe(2);
  });
});

it('a Roulette that nobody reaches for a minute moves no flow, and loses no replica when all are back', () => {
  const { world, runtime, ingress, functions, settle } = standing(3);
  for (let n = 0; n < 40; n++) ingress.packet(flowId(n + 1), `flow ${n + 1}`, 7);
  settle();
  const before = world.flows();
  expect(before.size).toBe(40);
  const heal = ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6', '10.0.0.7'].map((host) =>
    runtime.outside.partition(host, ROULETTE),
  );
  runtime.advance(MINUTE);
  expect([...view(world).all('replica').keys()].map((id) => view(world).isStale(Number(id)))).toEqual(
    Array(6).fill(true),
  );
  for (const each of heal) {
    each();
    runtime.advance(SECOND / 2);
  }
  runtime.advance(MINUTE);
  expect(world.flows()).toEqual(before);
  expect(view(world).all('replica').size).toBe(6);
  expect(functions.every(({ member }) => !view(world).isStale(member.id))).toBe(true);
});
