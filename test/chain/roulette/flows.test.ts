import { describe, expect, it } from 'vitest';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { flowId, proposal, TENANT, World } from './roulette-world.ts';

const chain = (world: World, functions: string[]) => world.ask('chain.put', { spi: 7, functions }).revision;

/** How many flows visit a replica. */
const through = (world: World, id: number) => world.roulette.view(TENANT).flowsThrough(id).size;

describe('a flow', () => {
  it('stays where it was placed first, whoever asks for something else later', () => {
    const world = new World();
    world.set({ fw: [1, 2], dpi: [11, 12] });
    const revision = chain(world, ['fw', 'dpi']);
    const [first] = world.register(1, 1, { path: [2, 11], revision });
    expect(first).toEqual({
      ...{ id: flowId(1), spi: 7, revision, generation: 1, path: [2, 11] },
      ...{ egress: 0, pinned: false },
    });
    expect(world.register(1, 1, { path: [1, 12], revision })).toEqual([first]);
  });

  it('follows a member that had to leave a replica, and is never answered with an older generation', () => {
    const world = new World();
    world.set({ fw: [1, 2, 3], dpi: [11, 12] });
    const revision = chain(world, ['fw', 'dpi']);
    world.register(1, 1, { path: [1, 11], revision });
    const ask = (generation: number, path: number[], more = {}) =>
      world.register(1, 1, { path, revision, generation, ...more })[0];
    for (const generation of [0, 1]) expect(ask(generation, [2, 11])).toMatchObject({ path: [1, 11] });
    expect(ask(3, [2, 11])).toMatchObject({ generation: 3, path: [2, 11] });
    // What is late, or leads to a replica that takes no new flows.
    expect(ask(2, [3, 11])).toMatchObject({ generation: 3, path: [2, 11] });
    world.ask('replica.state', { id: 3, state: 'draining' });
    expect(ask(7, [3, 12])).toMatchObject({ generation: 7, path: [2, 12] });
    expect(ask(8, [2])).toMatchObject({ generation: 8, path: [2, 12] });
    expect(world.flow(1)).toMatchObject({ generation: 8, path: [2, 12] });
    world.ask('flow.pin', { id: flowId(1), path: [1, 11] });
    expect(ask(20, [2, 12])).toMatchObject({ generation: 20, path: [1, 11], pinned: true });
    // One that is lost here and not there.
    expect(world.register(2, 2, { path: [2, 12], revision, generation: 9 })[0].generation).toBe(9);
    const next = chain(world, ['dpi', 'fw']);
    expect(ask(30, [12, 2], { revision: next })).toMatchObject({
      revision: next,
      generation: 30,
      path: [11, 1],
    });
    expect(ask(40, [2, 12])).toMatchObject({ revision: next, generation: 30 });
  });

  it('has its generations in turn, and none of them is that of a path which is not registered', () => {
    const world = new World();
    world.set({ fw: [1, 2] });
    const revision = chain(world, ['fw']);
    world.register(1, 1, { path: [1], revision });
    for (const generation of [30_000, 60_000, 65_535])
      expect(world.register(1, 1, { path: [1], revision, generation })[0].generation).toBe(generation);
    world.ask('flow.pin', { id: flowId(1), path: [2] });
    expect(world.flow(1)).toMatchObject({ generation: 1, path: [2] });
  });

  it('is placed once by two ingresses that race, and both are told the same', () => {
    const world = new World();
    world.set({ fw: [1, 2], dpi: [11, 12] });
    const revision = chain(world, ['fw', 'dpi']);
    const flows = (path: number[]) => Array.from({ length: 64 }, (_, n) => proposal(n, { path, revision }));
    const [a, b] = [
      [1, 11],
      [2, 12],
    ].map((path) => world.send('flows.register', { flows: flows(path) }));
    world.runtime.advance(SECOND);
    expect(a!.answer).toEqual(b!.answer);
    expect(a!.answer.flows.every(({ path }: { path: number[] }) => path[0] === 1)).toBe(true);
    expect(world.roulette.counters.overtaken).toBe(1);
  });

  it('is chosen for where the ingress says nothing, or something that is not ready', () => {
    const world = new World();
    world.set({ fw: [1, 2], dpi: [11] });
    const revision = chain(world, ['fw', 'dpi']);
    world.ask('replica.state', { id: 2, state: 'draining' });
    const paths = [undefined, [2, 11], [11, 1], [9, 9], [1]].map(
      (path, n) => world.register(n, n, { path, revision })[0].path,
    );
    expect(paths).toEqual(Array.from({ length: 5 }, () => [1, 11]));
    expect(world.register(9, 9, { path: [1, 11], revision: revision + 5 })[0].path).toEqual([1, 11]);
  });

  it('is refused where a function has no replica, and where its id is another flow’s', () => {
    const world = new World();
    const lease = world.set({ fw: [1], dpi: [] });
    chain(world, ['fw', 'dpi']);
    expect(world.register(1, 1)[0].error).toEqual({
      code: 'ERR_NOT_FOUND',
      message: 'the function dpi has no replica that takes new flows',
    });
    world.replica('dpi', 11, { lease });
    expect(world.register(1, 1)[0].path).toEqual([1, 11]);
    expect(world.register(1, 1, { key: 'another' })[0].error).toMatchObject({ code: 'ERR_REFUSED' });
    const twice = world.ask('flows.register', { flows: [proposal(2), proposal(2)] }).flows;
    expect(twice[0]).toEqual(twice[1]);
    expect(twice[0].path).toEqual([1, 11]);
  });

  it('keeps its replicas when functions come and go around them', () => {
    const world = new World();
    world.set({ fw: [1, 2, 3], dpi: [11, 12, 13], nat: [21, 22] });
    chain(world, ['fw', 'dpi']);
    const before = world.register(1, 200);
    const revision = chain(world, ['nat', 'dpi', 'fw']);
    expect(world.flow(1)!.revision).toBe(revision - 1);
    const after = world.register(1, 200);
    for (const [n, { path, generation }] of before.entries()) {
      expect(after[n].path.slice(1)).toEqual([path[1], path[0]]);
      expect([21, 22]).toContain(after[n].path[0]);
      expect(after[n]).toMatchObject({ revision, generation: generation + 1 });
    }
    expect(world.register(1, 200)).toEqual(after);
  });

  it('is not moved by a replica that comes, nor by one that drains', () => {
    const world = new World();
    const lease = world.set({ fw: [1, 2, 3] });
    chain(world, ['fw']);
    world.register(1, 300);
    const before = world.flows();
    world.replica('fw', 4, { lease });
    world.ask('replica.state', { id: 1, state: 'draining' });
    world.runtime.advance(5 * SECOND);
    expect(world.flows()).toEqual(before);
    const later = world.register(301, 600);
    const used = new Set(later.map(({ path }) => path[0]));
    expect([...used].sort()).toEqual([2, 3, 4]);
    // What drains keeps its flows also when the chain is edited.
    world.ask('function.put', { name: 'dpi' });
    world.replica('dpi', 11, { lease });
    chain(world, ['fw', 'dpi']);
    const moved = world.register(1, 300);
    expect(moved.map(({ path }) => path[0])).toEqual([...before.values()].map(({ path }) => path[0]));
  });

  it('is moved when its replica goes: exactly those, in exactly that place', () => {
    const world = new World();
    world.set({ fw: [1, 2, 3], dpi: [11, 12, 13] });
    chain(world, ['fw', 'dpi']);
    world.register(1, 1000);
    const before = world.flows();
    world.ask('replica.remove', { id: 2 });
    world.runtime.advance(SECOND);
    expect(through(world, 2)).toBe(0);
    let moved = 0;
    for (const [id, { path, generation, ...rest }] of world.flows()) {
      const old = before.get(id)!;
      if (old.path[0] !== 2) expect({ path, generation, ...rest }).toEqual(old);
      else {
        moved++;
        expect(path[1]).toBe(old.path[1]);
        expect([1, 3]).toContain(path[0]);
        expect(generation).toBe(old.generation + 1);
      }
    }
    expect(moved).toBeGreaterThan(200);
    expect(world.roulette.counters.moved).toBe(moved);
    expect(world.log).toContainEqual({ event: 'replica-gone', tenant: TENANT, replica: 2, flows: moved });
  });

  it('is moved when the lease of its replica is ended, and not before', () => {
    const world = new World();
    world.set({ fw: [1] });
    const { lease } = world.ask('lease.grant', { term: '1s' });
    world.replica('fw', 2, { lease });
    chain(world, ['fw']);
    world.register(1, 100);
    const there = through(world, 2);
    expect(there).toBeGreaterThan(20);
    for (let i = 0; i < 10; i++) {
      world.runtime.advance(SECOND / 2);
      world.ask('lease.keep', { lease });
    }
    expect(through(world, 2)).toBe(there);
    world.ask('lease.end', { lease });
    world.runtime.advance(SECOND);
    expect(through(world, 1)).toBe(100);
    expect(() => world.ask('lease.keep', { lease })).toThrow('no lease');
  });

  it('waits on a replica that is gone until there is another one', () => {
    const world = new World();
    const lease = world.set({ fw: [1] });
    chain(world, ['fw']);
    world.register(1, 100);
    world.ask('replica.remove', { id: 1 });
    world.runtime.advance(5 * SECOND);
    expect(through(world, 1)).toBe(100);
    world.replica('fw', 2, { lease });
    world.runtime.advance(SECOND);
    expect(through(world, 2)).toBe(100);
    expect(world.flow(1)!.generation).toBe(2);
  });

  it('is not left on a replica that went at the instant of its registration', () => {
    const world = new World();
    world.set({ fw: [1, 2] });
    const revision = chain(world, ['fw']);
    const gone = world.send('replica.remove', { id: 2 });
    const flows = Array.from({ length: 64 }, (_, n) => proposal(n, { path: [2], revision }));
    const registered = world.send('flows.register', { flows });
    world.runtime.advance(SECOND);
    expect([gone.error, registered.error]).toEqual([undefined, undefined]);
    expect(through(world, 1)).toBe(64);
  });

  it('gets an egress as soon as there is one, and another one when that goes', () => {
    const world = new World();
    const lease = world.set({ fw: [1] });
    chain(world, ['fw']);
    expect(world.register(1, 1)[0].egress).toBe(0);
    world.replica('egress', 101, { lease });
    expect(world.register(1, 1)[0]).toMatchObject({ egress: 101, generation: 2 });
    world.replica('egress', 102, { lease });
    world.ask('replica.remove', { id: 101 });
    world.runtime.advance(SECOND);
    expect(world.flow(1)).toMatchObject({ egress: 102, generation: 3 });
  });

  it('can be pinned, before it is there and after, and stays there for good', () => {
    const world = new World({ flowIdle: 4 * SECOND });
    world.set({ fw: [1, 2], dpi: [11, 12] });
    chain(world, ['fw', 'dpi']);
    const ahead = { id: flowId(1), key: 'flow 1', spi: 7, path: [2, 12] };
    expect(world.ask('flow.pin', ahead)).toMatchObject({ path: [2, 12], generation: 1, pinned: true });
    expect(world.register(1, 1, { path: [1, 11] })[0].path).toEqual([2, 12]);
    const [free] = world.register(2, 2);
    const other = [free.path[0] === 1 ? 2 : 1, free.path[1]];
    const pinned = world.ask('flow.pin', { id: flowId(2), path: other });
    expect(pinned).toMatchObject({ path: other, generation: 2 });
    world.runtime.advance(20 * SECOND);
    expect(world.flow(2)!.path).toEqual(other);
    world.ask('flow.pin', { id: flowId(2), pinned: false });
    world.runtime.advance(20 * SECOND);
    expect([world.flow(1) !== undefined, world.flow(2)]).toEqual([true, undefined]);
    const wrong = (more: object) => () => world.ask('flow.pin', { id: flowId(1), ...more });
    expect(wrong({ path: [2] })).toThrow('path: found [2], expected 2 replicas');
    expect(wrong({ path: [11, 12] })).toThrow('path.0: found 11, expected a replica of fw');
    expect(() => world.ask('flow.pin', { id: flowId(3), path: [1, 11] })).toThrow('there is no flow');
  });

  it('is forgotten when it was not seen for long, and is written seldom while it is seen', () => {
    const world = new World({ flowIdle: 8 * SECOND });
    world.set({ fw: [1] });
    chain(world, ['fw']);
    world.register(1, 20);
    const { rev } = world.roulette;
    for (let i = 0; i < 40; i++) {
      world.runtime.advance(SECOND);
      const { missing } = world.ask('flows.touch', { ids: [flowId(1), flowId(2)] });
      expect(missing).toEqual([]);
    }
    // 40 s at a quarter of 8 s, and the expiry of the others.
    expect(world.roulette.rev - rev).toBeLessThan(30);
    expect([...world.flows().keys()]).toEqual([flowId(1), flowId(2)]);
    expect(world.ask('flows.touch', { ids: [flowId(1), flowId(3)] }).missing).toEqual([flowId(3)]);
    expect(world.flow(1)!.generation).toBe(1);
    world.ask('flows.remove', { ids: [flowId(1), flowId(3)] });
    expect([...world.flows().keys()]).toEqual([flowId(2)]);
  });

  it('is not forgotten while Roulette stood still', () => {
    const world = new World({ flowIdle: 8 * SECOND });
    world.set({ fw: [1] });
    chain(world, ['fw']);
    world.register(1, 5);
    const timer = world.runtime.timer;
    world.runtime.timer = (at, callback) => timer.call(world.runtime, at + 60 * SECOND, callback);
    world.runtime.advance(SECOND);
    world.runtime.timer = timer;
    world.runtime.advance(65 * SECOND);
    expect(world.roulette.counters.stalls).toBe(1);
    expect(world.flows().size).toBe(5);
    world.runtime.advance(20 * SECOND);
    expect(world.flows().size).toBe(0);
  });
});

describe('a suspect', () => {
  const suspected = (dead: boolean) => {
    const world = new World();
    world.set({ fw: [1, 2, 3] });
    chain(world, ['fw']);
    world.register(1, 300);
    if (dead) world.dead.add(2);
    return world;
  };

  it('that answers keeps its flows, and is not asked again at once', () => {
    const world = suspected(false);
    const before = world.flows();
    const report = () => world.ask('suspect.report', { replica: 2, evidence: 'silent' }).state;
    expect([report(), report()]).toEqual(['asked', 'asked']);
    world.runtime.advance(100 * MILLISECOND);
    expect(report()).toBe('alive');
    expect(world.flows()).toEqual(before);
    world.runtime.advance(3 * SECOND);
    expect(report()).toBe('asked');
    expect(world.roulette.counters.probes).toBe(2);
  });

  it('that does not answer loses its flows within 100 ms, long before its lease ends', () => {
    const world = suspected(true);
    const hit = through(world, 2);
    expect(world.ask('suspect.report', { replica: 2, evidence: 'refused' }).state).toBe('asked');
    world.runtime.advance(100 * MILLISECOND);
    expect(through(world, 2)).toBe(0);
    expect(world.roulette.counters.moved).toBe(hit);
    expect(world.ask('suspect.report', { replica: 2, evidence: 'refused' }).state).toBe('gone');
    expect(world.roulette.view(TENANT).all('suspect').size).toBe(0);
  });

  it('that has registered anew is not the one that was suspected', () => {
    const world = suspected(true);
    const { rev, value } = world.roulette.view(TENANT).get('replica', 2)!;
    const { lease } = value;
    world.replica('fw', 2, { lease, port: 20_000 });
    const report = { replica: 2, evidence: 'refused', rev };
    expect(world.ask('suspect.report', report).state).toBe('renewed');
    // Also when it does so while it is being asked.
    world.ask('suspect.report', { replica: 2, evidence: 'refused' });
    world.replica('fw', 2, { lease, port: 20_001 });
    world.runtime.advance(SECOND);
    expect(world.roulette.view(TENANT).replica(2)?.port).toBe(20_001);
    expect(world.roulette.view(TENANT).all('suspect').size).toBe(0);
  });
});

describe('a replica', () => {
  it('gets an id that was not given before, when it names none', () => {
    const world = new World();
    const lease = world.set({ fw: [2] });
    const put = () =>
      world.ask('replica.put', { function: 'fw', address: '::1', port: 1, lease }).id as number;
    const first = [put(), put()];
    expect(first).toEqual([1, 3]);
    world.ask('replica.remove', { id: 3 });
    expect(put()).toBe(4);
  });

  it('cannot be taken by somebody else’s lease, unless they name its revision', () => {
    const world = new World();
    world.set({ fw: [1], dpi: [] });
    const { lease } = world.ask('lease.grant', { term: '10s' });
    expect(() => world.replica('fw', 1, { lease })).toThrow('the replica 1 hangs on another lease');
    const { rev } = world.roulette.view(TENANT).get('replica', 1)!;
    expect(() => world.replica('dpi', 1, { lease, ifRev: rev })).toThrow('whose replica 1 is');
    expect(world.replica('fw', 1, { lease, ifRev: rev })).toMatchObject({ id: 1 });
    world.ask('lease.end', { lease });
    expect(world.roulette.view(TENANT).replica(1)).toBeUndefined();
  });

  it('registers beside a hundred others at one instant', () => {
    const world = new World();
    const lease = world.set({ fw: [] });
    const puts = Array.from({ length: 100 }, () =>
      world.send('replica.put', { function: 'fw', address: '::1', port: 1, lease }),
    );
    world.runtime.advance(SECOND);
    expect(new Set(puts.map(({ answer }) => answer.id)).size).toBe(100);
    expect(world.roulette.counters.overtaken).toBe(0);
  });
});

describe('Roulette after a crash', () => {
  it('finishes what it had begun, and has everything that it answered', () => {
    const world = new World();
    world.set({ fw: [1, 2] });
    chain(world, ['fw']);
    world.register(1, 500);
    world.dead.add(2);
    world.ask('replica.remove', { id: 2 });
    // It moves 64 flows in each transaction: this is in the middle of that.
    world.runtime.advance(3 * MILLISECOND);
    const left = through(world, 2);
    expect(left).toBeGreaterThan(0);
    const { rev } = world.roulette;
    world.roulette.close();
    world.runtime.disk.crash();
    world.start();
    expect(world.roulette.rev).toBeGreaterThanOrEqual(rev);
    world.runtime.advance(SECOND);
    expect(through(world, 1)).toBe(500);
    expect(world.roulette.view(TENANT).chainRevision(7)?.functions).toEqual(['fw']);
  });

  it('answers with an error while the disk is full, forwards nothing wrong, and goes on when there is room', () => {
    const world = new World();
    world.set({ fw: [1, 2] });
    chain(world, ['fw']);
    world.register(1, 100);
    world.runtime.disk.configure({ capacity: world.runtime.disk.used });
    expect(() => world.register(101, 101)).toThrow(expect.objectContaining({ code: 'ERR_STORAGE' }));
    expect(world.register(1, 1)[0].path).toEqual(world.flow(1)!.path);
    expect(() => world.ask('replica.remove', { id: 2 })).toThrow(
      expect.objectContaining({ errno: 'ENOSPC' }),
    );
    world.runtime.disk.configure({ capacity: 1 << 30 });
    world.ask('replica.remove', { id: 2 });
    world.runtime.advance(2 * SECOND);
    expect(through(world, 1)).toBe(100);
    expect(world.register(101, 101)[0].path).toEqual([1]);
  });
});
