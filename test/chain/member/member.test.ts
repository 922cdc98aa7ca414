import { describe, expect, it } from 'vitest';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { serve } from '../../../src/sim/chain/roulette.ts';
import { passUntil } from '../roulette/embedded-world.ts';
import { flowId, TENANT } from '../roulette/roulette-world.ts';
import { Half, memberWorld, ROULETTE, standing, view } from './member-world.ts';

describe('a member', () => {
  it('is registered with an id of Roulette’s choice, kept, and gone when it is closed', () => {
    const { world, host, runtime, settle } = memberWorld();
    const fw = host('fw');
    settle();
    expect(fw.member.id).toBeGreaterThan(0);
    expect(fw.half.own).toBe(fw.member.id);
    expect(view(world).replica(fw.member.id)).toMatchObject({
      function: 'fw',
      address: '10.0.0.2',
      port: 4790,
    });
    runtime.advance(20 * SECOND);
    expect(fw.member.status).toMatchObject({ registered: true, connected: true, reconnects: 0 });
    expect(fw.member.status.registration).toEqual({ leases: 1, registrations: 1 });
    let closed = false;
    fw.member.close(() => {
      closed = true;
    });
    passUntil(runtime, () => closed);
    expect(view(world).all('replica').size).toBe(0);
    expect(view(world).all('lease').size).toBe(0);
  });

  it('registers no earlier than it is told to', () => {
    const { world, host, settle } = memberWorld();
    const fw = host('fw', { registersLater: true });
    settle(5 * SECOND);
    expect(fw.half.chains.size).toBe(1);
    expect(view(world).all('lease').size).toBe(0);
    fw.member.register();
    settle();
    expect(
      view(world)
        .replicasOf('fw')
        .map((each) => each.id),
    ).toEqual([fw.member.id]);
  });

  it('that dies is stale when its lease ends, and gone when there is another', () => {
    const { world, host, runtime, settle } = memberWorld();
    const fw = host('fw');
    host('dpi');
    settle();
    runtime.outside.partition('10.0.0.2', ROULETTE);
    runtime.advance(60 * SECOND);
    expect(view(world).isStale(fw.member.id)).toBe(true);
    host('fw');
    runtime.advance(2 * SECOND);
    expect(view(world).replica(fw.member.id)).toBeUndefined();
  });

  it('registers again under its id when it is found gone', () => {
    const { world, host, settle } = memberWorld();
    const fw = host('fw');
    settle();
    const { id } = fw.member;
    world.ask('replica.remove', { id });
    settle();
    expect(fw.member.id).toBe(id);
    expect(view(world).replica(id)).toMatchObject({ address: '10.0.0.2', state: 'ready' });
  });

  it('takes its place again when its lease has ended while it was cut off', () => {
    const { world, host, runtime, settle } = memberWorld();
    const fw = host('fw');
    settle();
    const { id } = fw.member;
    const heal = runtime.outside.partition('10.0.0.2', ROULETTE);
    runtime.advance(10 * SECOND);
    expect(view(world).isStale(id)).toBe(true);
    heal();
    runtime.advance(3 * SECOND);
    expect(view(world).replica(id)).toMatchObject({ address: '10.0.0.2' });
    expect(view(world).isStale(id)).toBe(false);
    expect(fw.member.status.registered).toBe(true);
    expect(view(world).all('replica').size).toBe(1);
  });

  it('tells its packet half whether Roulette can be heard, and one that takes its place', () => {
    const { host, runtime, settle } = memberWorld();
    const fw = host('fw');
    settle();
    expect(fw.half.watched).toBe(true);
    const heal = runtime.outside.partition('10.0.0.2', ROULETTE);
    runtime.advance(10 * SECOND);
    expect(fw.half.watched).toBe(false);
    const other = new Half();
    other.watched = true;
    fw.member.join(other);
    expect(other.watched).toBe(false);
    heal();
    runtime.advance(3 * SECOND);
    expect([fw.half.watched, other.watched]).toEqual([false, true]);
  });

  it('hears of a trace that was asked for while it was away, and has only a snapshot of', () => {
    const { world, runtime, ingress, settle } = standing(1, { history: 1 });
    ingress.packet(flowId(1), 'flow 1', 7);
    settle();
    const { snapshots } = ingress.member.status.watch;
    const heal = runtime.outside.partition('10.0.0.7', ROULETTE);
    runtime.outside.breakChannels((client) => client.startsWith('10.0.0.7:'));
    world.ask('function.put', { name: 'other' });
    world.send('flow.trace', { id: flowId(1) });
    settle(200 * MILLISECOND);
    heal();
    settle(SECOND);
    expect(ingress.member.status.watch.snapshots).toBe(snapshots + 1);
    expect(ingress.half.traces).toMatchObject([{ id: flowId(1) }]);
  });

  it('that starts again at its address takes over its replica, and what was left of others there goes', () => {
    const { world, host, runtime, settle } = memberWorld();
    const first = host('fw');
    settle();
    const { id } = first.member;
    runtime.outside.partition('10.0.0.2', ROULETTE);
    const replica = { function: 'fw', address: '10.0.0.2', port: 4790 };
    const again = host('fw', { replica });
    settle();
    expect(again.member.id).toBe(id);
    runtime.advance(5 * SECOND);
    expect(view(world).all('replica').size).toBe(1);
    const other = host('dpi', { replica: { ...replica, function: 'dpi' } });
    settle();
    expect(
      view(world)
        .replicasOf('dpi')
        .map((each) => each.id),
    ).toEqual([other.member.id]);
  });

  it('has one replica in the end, whichever answers were lost', () => {
    for (const name of ['lease.grant', 'replica.put', 'lease.keep']) {
      const { world, host, runtime, settle } = memberWorld();
      const fw = host('fw');
      fw.connection.deaf = name;
      settle(2 * SECOND);
      fw.connection.deaf = undefined;
      runtime.advance(10 * SECOND);
      expect(
        view(world)
          .replicasOf('fw')
          .map((each) => each.id),
        name,
      ).toEqual([fw.member.id]);
      expect(view(world).all('lease').size, name).toBe(1);
    }
  });

  it('drains when it is told to, or when somebody does it by hand', () => {
    const { world, host, runtime, settle } = memberWorld();
    const [fw, dpi] = [host('fw'), host('dpi')];
    settle();
    let drained = 0;
    fw.member.drain(() => drained++);
    passUntil(runtime, () => drained === 1);
    expect(view(world).replica(fw.member.id)?.state).toBe('draining');
    fw.member.drain(() => drained++);
    expect(drained).toBe(2);
    world.ask('replica.state', { id: dpi.member.id, state: 'draining' });
    runtime.advance(10 * SECOND);
    expect(view(world).replica(dpi.member.id)?.state).toBe('draining');
    world.ask('replica.remove', { id: dpi.member.id });
    settle();
    expect(view(world).replica(dpi.member.id)?.state).toBe('draining');
  });

  it('says what is refused, and goes on when it is mended', () => {
    const { world, host, runtime, settle } = memberWorld();
    const nat = host('nat');
    settle();
    expect(nat.events.find((each) => each.type === 'refused')).toMatchObject({
      error: { code: 'ERR_NOT_FOUND' },
    });
    world.ask('function.put', { name: 'nat' });
    runtime.advance(3 * SECOND);
    expect(view(world).replica(nat.member.id)?.function).toBe('nat');
  });

  it('knows the secret of its tenant’s flow ids', () => {
    const { world, host, settle } = memberWorld();
    const fw = host('fw');
    expect(fw.member.secret).toBeUndefined();
    settle();
    const { secret } = view(world).tenant!;
    const { high, low } = fw.member.secret!;
    expect((high >>> 0).toString(16).padStart(8, '0') + (low >>> 0).toString(16).padStart(8, '0')).toBe(
      secret,
    );
  });
});

describe('the packet half', () => {
  it('is told everything at first, and then only what changes', () => {
    const { world, ingress, functions, settle } = standing();
    const { half } = ingress;
    const inForce = view(world).chainRevision(7)!;
    expect(half.wholes).toBe(1);
    expect(half.chains.get(7)?.revisions).toEqual([{ revision: inForce.revision, functions: ['fw', 'dpi'] }]);
    expect([...half.replicas.keys()].sort()).toEqual(
      [...view(world).all('replica').keys()].map(Number).sort(),
    );
    expect(half.rules).toEqual([{ name: 'all', match: {}, chain: 7 }]);
    // Its own replica came after the first snapshot. Functions place no flows, so they get no rules.
    expect(half.replicas.get(half.own)?.function).toBe('ingress');
    expect(functions[0]!.half.rules).toEqual([]);
    const { updates } = half;
    settle(10 * SECOND);
    expect(half.updates).toBe(updates);
    world.ask('chain.put', { spi: 7, functions: ['dpi'] });
    settle();
    expect(half.updates).toBe(updates + 1);
    expect(half.chains.get(7)?.revisions.map((each) => each.functions)).toEqual([['fw', 'dpi'], ['dpi']]);
    settle(5 * SECOND);
    expect(half.chains.get(7)?.revisions).toHaveLength(1);
    world.ask('classifier.put', { rules: [] });
    world.ask('chain.end', { spi: 7 });
    settle(5 * SECOND);
    expect(half.chains.size).toBe(0);
    expect(half.rules).toEqual([]);
    functions[1]!.member.close();
    settle();
    expect(half.ready('fw')).toEqual([functions[0]!.member.id]);
  });

  it('that takes the place of another is told everything, its flows too', () => {
    const { ingress, settle } = standing();
    ingress.packet(flowId(1), 'flow 1', 7);
    settle();
    const flows = new Map(ingress.half.flows);
    const before = { ...ingress.half, wholes: 0 };
    ingress.half.chains.clear();
    ingress.half.flows.set(flowId(1), { ...flows.get(flowId(1))!, generation: 0 });
    ingress.member.join(ingress.half);
    settle();
    expect(ingress.half.wholes).toBe(before.wholes + 2);
    expect(ingress.half.chains.size).toBe(1);
    expect(ingress.half.flows).toEqual(flows);
  });
});

describe('flows', () => {
  const asked = (host: { connection: { sent: { name: string; body: unknown }[] } }) =>
    host.connection.sent
      .filter(({ name }) => name === 'flows.register')
      .flatMap(({ body }) => (body as { flows: { id: string }[] }).flows.map(({ id }) => id));

  it('are registered behind their packets, each asked about once, up to 64 at a time', () => {
    const { world, ingress, settle } = standing();
    for (let n = 1; n <= 1000; n++) ingress.packet(flowId(n), `flow ${n}`, 7);
    expect(ingress.half.flows.size).toBe(1000);
    settle(3 * SECOND);
    for (let n = 1; n <= 1000; n++) ingress.packet(flowId(n), `flow ${n}`, 7);
    settle(3 * SECOND);
    expect(asked(ingress)).toHaveLength(1000);
    expect(ingress.connection.sent.filter(({ name }) => name === 'flows.register').length).toBeLessThan(64);
    expect(view(world).all('flow').size).toBe(1000);
    for (const [id, { generation, path, egress }] of ingress.half.flows) {
      expect({ generation, path, egress }).toEqual(pick(view(world).get('flow', id)!.value));
    }
  });

  it('that the mirror has already are not asked about at all', () => {
    const { world, ingress, host, settle } = standing();
    const other = host('ingress');
    settle();
    ingress.packet(flowId(1), 'flow 1', 7);
    settle();
    other.packet(flowId(1), 'flow 1', 7);
    settle();
    expect(asked(other)).toEqual([]);
    expect(other.half.flows.get(flowId(1))).toEqual(ingress.half.flows.get(flowId(1)));
    expect(view(world).get('flow', flowId(1))?.value.generation).toBe(1);
    // Flows of others are none of its business.
    for (let n = 2; n < 100; n++) ingress.packet(flowId(n), `flow ${n}`, 7);
    settle();
    expect(other.half.strangers).toBe(0);
  });

  it('of another flow’s id are left where they were put', () => {
    const { ingress, host, settle } = standing();
    const other = host('ingress');
    settle();
    ingress.packet(flowId(1), 'flow 1', 7);
    other.packet(flowId(1), 'another flow', 7);
    settle(20 * SECOND);
    const outcomes = [ingress, other].map(({ member }) => member.status.flows.refused);
    expect(outcomes.sort()).toEqual([0, 1]);
    expect(asked(other).length + asked(ingress).length).toBe(2);
  });

  it('that nobody can take wait, and are asked about again a bounded number of times', () => {
    const { host, settle, world } = memberWorld();
    const ingress = host('ingress');
    settle();
    ingress.packet(flowId(1), 'flow 1', 7);
    settle(60 * SECOND);
    expect(asked(ingress)).toHaveLength(5);
    const [fw, dpi] = [host('fw'), host('dpi')];
    settle();
    ingress.packet(flowId(1), 'flow 1', 7);
    settle();
    expect(view(world).get('flow', flowId(1))?.value.path).toEqual([fw.member.id, dpi.member.id]);
    expect(ingress.half.flows.get(flowId(1))?.path).toEqual([fw.member.id, dpi.member.id]);
  });

  it('spoil no others when Roulette finds one malformed', () => {
    const { world, ingress, settle } = standing();
    const { revision } = view(world).chainRevision(7)!;
    const unplaced = { spi: 7, revision, generation: 0, path: [0, 0], egress: 0 };
    const flow = (id: string, key: string) => ({ id, key, ...unplaced });
    ingress.member.receive({
      flows: [flow(flowId(1), 'one'), flow(flowId(2), 'tab\t'), flow(flowId(3), 'three')],
    });
    settle();
    expect([...view(world).all('flow').keys()].sort()).toEqual([flowId(1), flowId(3)]);
    expect(ingress.member.status.flows).toMatchObject({ held: 2, refused: 1, waiting: 0 });
  });

  it('that had to leave replicas are where Roulette says again at its next word', () => {
    const { world, ingress, functions, settle } = standing();
    ingress.packet(flowId(1), 'flow 1', 7);
    settle();
    for (let n = 0; n < 3; n++) {
      ingress.mend(flowId(1), 'flow 1');
      settle(20 * MILLISECOND);
    }
    const mended = ingress.half.flows.get(flowId(1))!;
    expect(mended.generation).toBe(4);
    // Not asked at once: when a replica is gone Roulette moves its flows itself.
    expect(view(world).get('flow', flowId(1))?.value.generation).toBe(1);
    settle(1.5 * SECOND);
    expect(view(world).get('flow', flowId(1))?.value).toMatchObject(mended);
    functions.find(({ member }) => member.id === mended.path[0])!.member.close();
    settle();
    const [, second] = mended.path;
    const moved = ingress.half.flows.get(flowId(1))!;
    expect(moved).toMatchObject({ generation: 5, path: [expect.not.closeTo(mended.path[0]!), second] });
    expect(view(world).get('flow', flowId(1))?.value).toMatchObject(moved);
  });

  it('are pinned also when they had left their replicas before', () => {
    const { world, ingress, settle } = standing();
    ingress.packet(flowId(1), 'flow 1', 7);
    settle();
    const { path } = ingress.half.flows.get(flowId(1))!;
    for (let n = 0; n < 2; n++) ingress.mend(flowId(1), 'flow 1');
    world.ask('flow.pin', { id: flowId(1), path });
    settle();
    expect(ingress.half.flows.get(flowId(1))).toMatchObject({ generation: 3 });
    settle(2 * SECOND);
    expect(ingress.half.flows.get(flowId(1))).toMatchObject({ generation: 3, path });
    expect(view(world).get('flow', flowId(1))?.value).toMatchObject({ generation: 3, path, pinned: true });
  });

  it('live as long as they have packets, and are touched no oftener than a quarter of the idle time', () => {
    const idle = 8 * SECOND;
    const { world, ingress, egress, settle, host } = standing(1, { flowIdle: idle });
    void egress;
    const short = host('ingress', { flowIdle: idle });
    settle();
    for (const n of [1, 2]) short.packet(flowId(n), `flow ${n}`, 7);
    for (let i = 0; i < 300; i++) {
      short.packet(flowId(1), 'flow 1', 7);
      settle(100 * MILLISECOND);
    }
    expect([...view(world).all('flow').keys()]).toEqual([flowId(1)]);
    const touches = short.connection.sent.filter(({ name }) => name === 'flows.touch');
    expect(touches.length).toBeGreaterThan(10);
    expect(touches.length).toBeLessThanOrEqual(16);
    settle(3 * idle);
    expect(short.member.status.flows.known).toBe(0);
    void ingress;
  });

  it('that an egress met are followed by it', () => {
    const { ingress, egress, functions, settle } = standing();
    ingress.packet(flowId(1), 'flow 1', 7);
    settle();
    const before = ingress.half.flows.get(flowId(1))!;
    egress.half.flows.set(flowId(1), { ...before, generation: 0 });
    egress.member.receive({ touched: [flowId(1)] });
    settle();
    expect(egress.half.flows.get(flowId(1))).toEqual(before);
    functions.find(({ member }) => member.id === before.path[0])!.member.close();
    settle();
    const after = ingress.half.flows.get(flowId(1))!;
    expect(after).toMatchObject({ generation: 2, path: [expect.any(Number), before.path[1]] });
    expect(egress.half.flows.get(flowId(1))).toEqual(after);
  });

  it('move with a chain that is edited, at their next packet', () => {
    const { world, ingress, settle } = standing();
    ingress.packet(flowId(1), 'flow 1', 7);
    settle();
    const [, dpi] = ingress.half.flows.get(flowId(1))!.path;
    world.ask('chain.put', { spi: 7, functions: ['dpi', 'fw'] });
    settle();
    expect(ingress.half.flows.get(flowId(1))!.path[1]).toBe(dpi);
    ingress.packet(flowId(1), 'flow 1', 7);
    settle();
    const { revision } = view(world).chainRevision(7)!;
    expect(ingress.half.flows.get(flowId(1))).toMatchObject({ revision, path: [dpi, expect.any(Number)] });
  });
});

const pick = ({ generation, path, egress }: { generation: number; path: number[]; egress: number }) => ({
  generation,
  path,
  egress,
});

describe('suspects', () => {
  it('are reported with what is known of them, not twice a second, and go when they are dead', () => {
    const { world, ingress, functions, settle } = standing();
    const [victim] = functions;
    const replica = victim!.member.id;
    const say = () => ingress.member.receive({ suspects: [{ replica, evidence: 'refused' }] });
    say();
    say();
    settle();
    expect(ingress.member.status.suspects).toBe(1);
    // It answers the probe.
    expect(view(world).replica(replica)).toBeDefined();
    world.dead.add(replica);
    settle(2 * SECOND);
    victim!.member.close();
    say();
    settle();
    expect(view(world).replica(replica)).toBeUndefined();
    expect(ingress.half.ready('fw')).not.toContain(replica);
    say();
    expect(ingress.member.status.suspects).toBe(2);
  });
});

describe('with Roulette gone', () => {
  it('for 60 s all goes on, and within 3 s of its return all is as it says', () => {
    const { world, ingress, functions, runtime, settle } = standing();
    for (let n = 1; n <= 200; n++) ingress.packet(flowId(n), `flow ${n}`, 7);
    settle(2 * SECOND);
    const before = new Map(ingress.half.flows);
    const heals = [2, 3, 4, 5, 6, 7].map((n) => runtime.outside.partition(`10.0.0.${n}`, ROULETTE));
    runtime.advance(60 * SECOND);
    expect(ingress.half.flows).toEqual(before);
    expect(ingress.half.ready('fw')).toHaveLength(2);
    expect(ingress.member.status.connected).toBe(false);
    const fw = ingress.half.ready('fw');
    for (let n = 201; n <= 1200; n++) ingress.packet(flowId(n), `flow ${n}`, 7);
    settle();
    expect(ingress.half.flows.size).toBe(1200);
    for (const heal of heals) heal();
    runtime.advance(3 * SECOND);
    expect(functions.every(({ member }) => member.status.registered && member.status.connected)).toBe(true);
    expect(view(world).all('flow').size).toBe(1200);
    for (const [id, { generation, path }] of ingress.half.flows) {
      expect(view(world).get('flow', id)!.value).toMatchObject({ generation, path });
    }
    expect(ingress.half.ready('fw').sort()).toEqual(fw.sort());
  });

  it('a gap of 1000 events loses none', () => {
    const { world, ingress, runtime, settle } = standing(3, { history: 100 });
    const heal = runtime.outside.partition('10.0.0.7', ROULETTE);
    const { lease } = world.ask('lease.grant', { term: '1h' });
    for (let i = 0; i < 500; i++) {
      world.send('replica.put', {
        id: 1000 + (i % 40),
        function: 'fw',
        address: '10.9.0.1',
        port: 1 + i,
        lease,
      });
      world.send('replica.state', { id: 1000 + (i % 40), state: i % 3 ? 'draining' : 'ready' });
      runtime.advance(10 * MILLISECOND);
    }
    heal();
    settle(3 * SECOND);
    expect(ingress.half.wholes).toBe(2);
    const expected = [...view(world).all('replica')].map(([id, { value }]) => [
      Number(id),
      value.port,
      value.state,
    ]);
    expect([...ingress.half.replicas].map(([id, { port, state }]) => [id, port, state]).sort()).toEqual(
      expected.sort(),
    );
  });

  it('and another there, members go to that one', () => {
    const { world, host, runtime, settle } = memberWorld();
    const other = world.another(world.store);
    passUntil(runtime, () => other.isReady);
    serve(runtime, '10.0.1.1:4791', () => other);
    const both = [`${ROULETTE}:4791`, '10.0.1.1:4791'];
    const [fw, ingress] = [host('fw', {}, both), host('ingress', {}, both)];
    host('dpi', {}, both);
    settle();
    for (const n of [2, 3, 4]) runtime.outside.partition(`10.0.0.${n}`, ROULETTE);
    ingress.packet(flowId(1), 'flow 1', 7);
    runtime.advance(6 * SECOND);
    expect(other.view(TENANT).replica(fw.member.id)).toBeDefined();
    expect(ingress.member.status.connected).toBe(true);
    expect(ingress.half.flows.get(flowId(1))?.generation).toBe(1);
  });
});
