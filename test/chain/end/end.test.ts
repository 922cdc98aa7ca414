import { afterEach, describe, expect, it } from 'vitest';
import { ChainHeader } from '../../../src/chain/wire/header.ts';
import { setGeneration, setReplica, setRevision } from '../../../src/chain/wire/tlv.ts';
import * as nsh from '../../../src/packet/nsh.ts';
import {
  chainOf,
  EGRESS,
  EndsWorld,
  flows,
  INGRESS,
  INGRESS2,
  packetOf,
  replicaOf,
  tcpOf,
} from './ends-world.ts';

let world: EndsWorld;
afterEach(() => world.net.close());

describe('a flow through a chain', () => {
  it('visits one replica of each function, and the replies visit the same in the opposite order', async () => {
    world = await new EndsWorld().start();
    const there = world.send(flows(1000));
    expect(world.arrived(world.server).sort((a, b) => a - b)).toEqual(there);
    const back = world.send(flows(1000), true);
    expect(world.arrived(world.client).sort((a, b) => a - b)).toEqual(back);
    const used = new Set<number>();
    for (const [i, serial] of there.entries()) {
      const [fw, ids, ...more] = world.way(serial);
      expect([[11, 12, 13].includes(fw!), [21, 22].includes(ids!), more]).toEqual([true, true, []]);
      expect(world.way(back[i]!)).toEqual([ids, fw]);
      used.add(fw!).add(ids!);
    }
    expect([...used].sort()).toEqual([11, 12, 13, 21, 22]);
    expect(world.drops).toEqual({});
  });

  it('keeps its order', async () => {
    world = await new EndsWorld().start();
    const serials: number[] = [];
    for (let n = 0; n < 50; n++) serials.push(...world.send(flows(20)));
    const arrived = world.arrived(world.server);
    expect(arrived).toEqual(serials);
  });

  it('is told of once, and stays where Roulette holds it', async () => {
    world = await new EndsWorld().start();
    const [first] = world.send([5]);
    world.send([5, 5]);
    world.takeNews();
    const { ingress, egress } = world.news;
    expect(ingress).toHaveLength(1);
    const [flow] = ingress[0]!.flows!;
    expect(flow).toMatchObject({ spi: 7, revision: 1, path: world.way(first!), egress: EGRESS });
    expect(flow!.key).toBe('udp 10.0.0.5:1000 <-> 192.0.2.1:80');
    expect(egress).toEqual([{ touched: [flow!.id] }]);
    const path = [flow!.path[0] === 11 ? 12 : 11, flow!.path[1]!];
    world.tell({ flows: [{ ...flow!, generation: 1, path, egress: EGRESS }] });
    expect(world.way(world.send([5])[0]!)).toEqual(path);
    expect(world.way(world.send([5], true)[0]!)).toEqual(path.toReversed());
    expect(world.ingress.takeNews()).toBe(undefined);
  });

  it('is told of again a quarter of the idle time later, and forgotten after all of it', async () => {
    world = await new EndsWorld({ flowIdle: '40s' }).start();
    world.send([5, 6]);
    world.takeNews();
    world.pass('9s');
    world.send([5]);
    expect(world.ingress.takeNews()).toBe(undefined);
    world.pass('1s');
    world.send([5]);
    world.send([5], true);
    expect(world.ingress.takeNews()!.touched).toHaveLength(1);
    expect(world.egress.takeNews()!.touched).toHaveLength(1);
    world.pass('31s');
    expect([world.report('ingress').flows, world.report('ingress').flowsExpired]).toEqual([1, 1]);
    world.pass('10s');
    expect([world.report('ingress').flows, world.report('egress').flows]).toEqual([0, 0]);
  });

  it('arrives with its prefix apart as well, as a port leaves it that has merged some', async () => {
    world = await new EndsWorld().start();
    world.fabric.apart = true;
    const there = world.send(flows(20));
    world.send(flows(20), true);
    expect(world.arrived(world.server)).toEqual(there);
    expect(world.arrived(world.client)).toHaveLength(20);
    expect(world.drops).toEqual({});
  });

  it('of a chain that is not symmetric has replies that go straight back', async () => {
    world = await new EndsWorld().start(['fw', 'ids'], {
      chains: [chainOf([[1, ['fw', 'ids']]], { symmetric: false })],
    });
    const there = world.send(flows(20));
    const back = world.send(flows(20), true);
    expect(world.arrived(world.client)).toEqual(back);
    expect(back.map((serial) => world.way(serial))).toEqual(back.map(() => []));
    expect(world.send(flows(20)).map((serial) => world.way(serial))).toEqual(
      there.map((serial) => world.way(serial)),
    );
  });

  it('through no function goes from end to end', async () => {
    world = await new EndsWorld().start([]);
    expect(world.arrived(world.server)).toEqual(world.send(flows(5)).slice(0, 0));
    expect(world.arrived(world.server)).toHaveLength(5);
    world.send(flows(5), true);
    expect(world.arrived(world.client)).toHaveLength(5);
  });
});

describe('replicas', () => {
  const ways = (serials: number[]) => serials.map((serial) => world.way(serial));

  it('that come move no flow that is there, in either direction, and get their share of new ones', async () => {
    world = await new EndsWorld().start();
    const before = ways(world.send(flows(1000)));
    world.tell({ replicas: [replicaOf(14, 'fw')] });
    expect(ways(world.send(flows(1000)))).toEqual(before);
    expect(ways(world.send(flows(1000), true))).toEqual(before.map((way) => way.toReversed()));
    const fresh = ways(world.send(flows(4000, 1000)));
    const share = fresh.filter(([fw]) => fw === 14).length / 4000;
    expect(Math.abs(share - 0.25)).toBeLessThan(0.03);
    expect(world.drops).toEqual({});
  });

  it('that drain keep their flows and get no new ones', async () => {
    world = await new EndsWorld().start();
    const before = ways(world.send(flows(1000)));
    world.tell({ replicas: [replicaOf(12, 'fw', { state: 'draining' })] });
    expect(ways(world.send(flows(1000)))).toEqual(before);
    expect(ways(world.send(flows(1000), true))).toEqual(before.map((way) => way.toReversed()));
    expect(ways(world.send(flows(300, 1000))).some(([fw]) => fw === 12)).toBe(false);
  });

  it('that go lose their flows alone, in their slot alone, and both ends agree on the new one', async () => {
    world = await new EndsWorld().start();
    const before = ways(world.send(flows(1000)));
    world.takeNews();
    world.fabric.dead.add(12);
    world.tell({ gone: [12] });
    const after = ways(world.send(flows(1000)));
    for (const [i, [fw, ids]] of before.entries()) {
      if (fw !== 12) expect(after[i]).toEqual([fw, ids]);
      else expect([[11, 13].includes(after[i]![0]!), after[i]![1]]).toEqual([true, ids]);
    }
    expect(ways(world.send(flows(1000), true))).toEqual(after.map((way) => way.toReversed()));
    const mended = before.filter(([fw]) => fw === 12).length;
    const told = world.ingress.takeNews()!.flows!;
    expect([told.length, world.report('ingress').flowsMended]).toEqual([mended, mended]);
    expect(world.fabric.lost).toBe(0);
  });

  it('that only one end has heard of make no difference to flows of the other', async () => {
    world = await new EndsWorld().start();
    world.send(flows(100));
    world.tellOne('ingress', { replicas: [replicaOf(14, 'fw')] });
    const there = ways(world.send(flows(400, 100)));
    expect(there.some(([fw]) => fw === 14)).toBe(true);
    // The next change says nothing of 14, and replies still go through it.
    world.tellOne('egress', { replicas: [replicaOf(23, 'ids')] });
    expect(ways(world.send(flows(400, 100), true))).toEqual(
      there.map((way) => (way[1] === 23 ? way : way).toReversed()),
    );
    expect(ways(world.send(flows(400, 100)))).toEqual(there);
  });

  it('that are all gone hold up new and old flows until there is one again', async () => {
    world = await new EndsWorld().start();
    world.send([1]);
    world.tell({ gone: [11, 12, 13] });
    world.send([1, 2]);
    expect(world.drops).toEqual({ 'no-replica': 2 });
    world.tell({ replicas: [replicaOf(15, 'fw')] });
    expect(ways(world.send([1, 2])).map(([fw]) => fw)).toEqual([15, 15]);
    expect(ways(world.send([1, 2], true)).map((way) => way.at(-1))).toEqual([15, 15]);
  });

  it('that cannot be reached are avoided as long as they are suspected', async () => {
    world = await new EndsWorld().start();
    const before = ways(world.send(flows(100)));
    world.ingress.tables.suspect(12, 0);
    const after = ways(world.send(flows(100)));
    expect(after.some(([fw]) => fw === 12)).toBe(false);
    expect(after.filter(([fw], i) => fw !== before[i]![0]).length).toBe(
      before.filter(([fw]) => fw === 12).length,
    );
    // The egress learns it from the packets.
    expect(ways(world.send(flows(100), true))).toEqual(after.map((way) => way.toReversed()));
  });
});

describe('a replica that is dead', () => {
  it('is found out by the ends that send to it, its flows alone move, and it is tried again', async () => {
    world = await new EndsWorld({ probes: true }).start();
    const before = world.send(flows(200)).map((serial) => world.way(serial));
    world.fabric.dead.add(12);
    world.pass('450ms');
    world.takeNews();
    const after = world.send(flows(200)).map((serial) => world.way(serial));
    for (const [i, way] of before.entries())
      if (way[0] !== 12) expect(after[i]).toEqual(way);
      else expect([after[i]![0] !== 12, after[i]![1]]).toEqual([true, way[1]]);
    expect(world.news.ingress.flatMap(({ suspects = [] }) => suspects)).toEqual([
      { replica: 12, evidence: 'silent' },
    ]);
    expect([world.report('ingress').suspects, world.fabric.lost]).toEqual([1, 0]);
    world.fabric.dead.clear();
    world.pass('150ms');
    expect(world.report('ingress').suspects).toBe(0);
    expect(world.send(flows(200)).map((serial) => world.way(serial))).toEqual(after);
  });
});

describe('a trace', () => {
  it('shows each hop of a flow, and its far end, from either end', async () => {
    world = await new EndsWorld({ probes: true }).start();
    const [fw, ids] = world.way(world.send([5])[0]!);
    world.takeNews();
    const { id } = world.news.ingress[0]!.flows![0]!;
    const hops: object[] = [];
    world.net.on('event', (app, { type, ...event }) => hops.push({ app, ...event }));
    expect(world.ingress.trace(id)).toEqual([INGRESS, fw, ids, EGRESS]);
    world.pass();
    const hop = (app: string, position: number, replica: number) => ({
      app,
      flow: id,
      position,
      replica,
      time: 0,
      last: position === 2,
    });
    expect(hops.splice(0)).toEqual([
      hop('ingress', 0, fw!),
      hop('ingress', 1, ids!),
      hop('ingress', 2, EGRESS),
    ]);
    expect(world.egress.trace(id)).toEqual([EGRESS, ids, fw, INGRESS]);
    world.pass();
    expect(hops).toEqual([hop('egress', 0, ids!), hop('egress', 1, fw!), hop('egress', 2, INGRESS)]);
    expect(world.ingress.trace('00000000000000ff')).toBe(undefined);
  });

  it('that Roulette asks for is answered when all is there, or after a second', async () => {
    world = await new EndsWorld({ probes: true }).start();
    const [fw, ids] = world.way(world.send([5])[0]!);
    world.takeNews();
    const { id } = world.news.ingress[0]!.flows![0]!;
    const asked = 'aaaaaaaaaaaaaaaa';
    const news = () => world.ingress.takeNews()?.traces;
    const other = { id: '00000000000000ff', asked };
    world.ingress.update({ traces: [{ id, asked }, other] });
    world.pass();
    const hop = (position: number, replica: number, time: number | null = 0) => ({ position, replica, time });
    expect(news()).toEqual([{ id, asked, hops: [hop(0, fw!), hop(1, ids!), hop(2, EGRESS)] }]);
    // The replica of the second function is silent: nor is anything heard from behind it.
    world.fabric.dead.add(ids!);
    world.ingress.update({ traces: [{ id, asked }] });
    world.pass('900ms');
    expect(news()).toBe(undefined);
    world.pass('200ms');
    expect(news()).toEqual([{ id, asked, hops: [hop(0, fw!), hop(1, ids!, null), hop(2, EGRESS, null)] }]);
    world.pass('1s');
    expect(news()).toBe(undefined);
  });
});

describe('answers to a probe', () => {
  it('are not taken for those of the next', async () => {
    world = await new EndsWorld({ probes: true }).start();
    world.send([5]);
    world.takeNews();
    const { id } = world.news.ingress[0]!.flows![0]!;
    const times = () => {
      world.ingress.update({ traces: [{ id, asked: 'aaaaaaaaaaaaaaaa' }] });
      world.pass('1100ms');
      return world.ingress.takeNews()!.traces![0]!.hops.map(({ time }) => time);
    };
    for (let n = 0; n < 40; n++) expect(times()).toEqual([0, 0, 0]);
    // Those of the one before, which started with a TTL of one more.
    const header = new ChainHeader();
    world.fabric.spoil = ({ slab, offset, length }, packet) => {
      const at = offset[packet]!;
      header.read(slab, at, at + length[packet]!, 'vxlan-gpe');
      if (header.path >= 0) nsh.setTtl(slab, header.nsh, nsh.ttl(slab, header.nsh) + 1);
    };
    // The hops are played here, and answer as they were asked.
    expect(times()).toEqual([0, 0, null]);
  });
});

describe('a chain that is edited', () => {
  it('moves flows at their next packet: functions that stay keep their replicas, and no packet is on a mixed path', async () => {
    world = await new EndsWorld().start();
    const before = world.send(flows(300)).map((serial) => world.way(serial));
    world.tell({
      chains: [
        chainOf([
          [1, ['fw', 'ids']],
          [2, ['ids', 'log', 'fw']],
        ]),
      ],
      // Placed anew, some flows would go to 14 and 23.
      replicas: [replicaOf(31, 'log'), replicaOf(32, 'log'), replicaOf(14, 'fw'), replicaOf(23, 'ids')],
    });
    const after = world.send(flows(300));
    for (const [i, serial] of after.entries()) {
      const [ids, log, fw] = world.way(serial);
      expect([fw, ids]).toEqual(before[i]);
      expect([31, 32]).toContain(log);
    }
    const back = world.send(flows(300), true);
    expect(back.map((serial) => world.way(serial))).toEqual(
      after.map((serial) => world.way(serial).toReversed()),
    );
    for (const visits of world.fabric.visits.values()) {
      expect(new Set(visits.map(({ revision }) => revision)).size).toBe(1);
      for (const { path } of visits) expect(path.slice(1, -1)).toEqual(visits.map(({ replica }) => replica));
      for (const { path, back } of visits)
        expect([path[0], path.at(-1)]).toEqual(back ? [EGRESS, INGRESS] : [INGRESS, EGRESS]);
    }
    expect(world.drops).toEqual({});
  });

  it('moves replies as well when only they flow, to where the packets will go', async () => {
    world = await new EndsWorld().start();
    world.send(flows(50));
    world.tell({
      chains: [
        chainOf([
          [1, ['fw', 'ids']],
          [2, ['ids']],
        ]),
      ],
    });
    const back = world.send(flows(50), true).map((serial) => world.way(serial));
    expect(back.every((way) => way.length === 1)).toBe(true);
    expect(world.send(flows(50)).map((serial) => world.way(serial))).toEqual(back);
  });

  it('loses nothing when one end hears of it later', async () => {
    world = await new EndsWorld().start();
    const edit = {
      chains: [
        chainOf([
          [1, ['fw', 'ids']],
          [2, ['ids']],
        ]),
      ],
    };
    for (const first of ['ingress', 'egress'] as const) {
      world.send(flows(50));
      world.tellOne(first, edit);
      world.send(flows(50));
      world.send(flows(50), true);
    }
    expect([world.arrived(world.server).length, world.arrived(world.client).length]).toEqual([200, 100]);
    expect(world.drops).toEqual({});
  });

  it('carries packets of revisions that are kept, and drops those of revisions that are not', async () => {
    world = await new EndsWorld().start();
    world.send([1]);
    world.fabric.stall = true;
    world.send([1]);
    world.tell({
      chains: [
        chainOf([
          [1, ['fw', 'ids']],
          [2, ['ids']],
        ]),
      ],
    });
    world.fabric.stall = false;
    world.send([2]);
    expect(world.arrived(world.server)).toHaveLength(3);
    world.fabric.stall = true;
    world.send([2]);
    world.tell({ chains: [chainOf([[3, ['ids']]])] });
    world.fabric.stall = false;
    world.send([3]);
    expect([world.arrived(world.server).length, world.drops]).toEqual([1, { 'chain-unknown': 1 }]);
  });

  it('lets no flow stay on a revision that only a packet has told of', async () => {
    world = await new EndsWorld().start();
    const [way] = world.send([1]).map((serial) => world.way(serial));
    const forged = new ChainHeader();
    let revision = 9;
    world.fabric.spoil = ({ slab, offset, length }, packet) => {
      const at = offset[packet]!;
      forged.read(slab, at, at + length[packet]!, 'vxlan-gpe');
      setRevision(slab, forged.path, revision);
    };
    world.send([1]);
    revision = 0xffffffff;
    world.send([1, 2]);
    expect(world.drops).toEqual({ 'chain-unknown': 2 });
    world.fabric.spoil = undefined;
    // Both ends have taken it over.
    const back = world.send([1], true)[0]!;
    expect(world.fabric.visits.get(back)![0]).toMatchObject({ revision: 9 });
    expect(world.fabric.visits.get(world.send([1])[0]!)![0]).toMatchObject({ revision: 9 });
    world.pass('10s');
    for (let n = 0; n < 3; n++)
      for (const serial of [...world.send([1]), ...world.send([1], true)])
        expect(world.fabric.visits.get(serial)![0]).toMatchObject({ revision: 1 });
    expect(world.way(world.send([1])[0]!)).toEqual(way);
    expect([world.arrived(world.server).length, world.arrived(world.client).length]).toEqual([7, 4]);
  });

  it('that ends keeps its flows until its revisions are gone; then they are classified anew', async () => {
    world = await new EndsWorld().start();
    world.send([1]);
    world.tell({
      chains: [{ ...chainOf([[1, ['fw', 'ids']]]), ended: true }],
      rules: [{ name: 'all', match: '*', chain: null }],
    });
    world.send([1, 2]);
    expect(world.arrived(world.server)).toHaveLength(2);
    expect(world.drops).toEqual({ 'no-chain': 1 });
    world.tell({ chains: [chainOf([])] });
    world.send([1]);
    world.send([1], true);
    expect(world.drops).toEqual({ 'no-chain': 2, 'no-flow': 1 });
  });
});

describe('paths', () => {
  it('that were late cannot turn a flow back', async () => {
    world = await new EndsWorld().start();
    world.send([5]);
    world.takeNews();
    const [flow] = world.news.ingress[0]!.flows!;
    world.fabric.stall = true;
    world.send([5]);
    const path = [flow!.path[0] === 11 ? 12 : 11, flow!.path[1]!];
    world.tell({ flows: [{ ...flow!, generation: 3, path, egress: EGRESS }] });
    world.fabric.stall = false;
    world.pass();
    world.send([6]);
    expect(world.way(world.send([5], true)[0]!)).toEqual(path.toReversed());
    world.tell({ flows: [{ ...flow!, generation: 2, egress: EGRESS }] });
    expect(world.way(world.send([5])[0]!)).toEqual(path);
  });

  it('of Roulette win over those that an end has made of the same generation', async () => {
    world = await new EndsWorld().start();
    const [fw, ids] = world.way(world.send([5])[0]!);
    world.takeNews();
    const { id } = world.news.ingress[0]!.flows![0]!;
    const held = { id, spi: 7, revision: 1, egress: EGRESS };
    world.tell({ flows: [{ ...held, generation: 1, path: [fw!, ids!] }] });
    world.ingress.tables.suspect(fw!, 0);
    const mended = world.way(world.send([5])[0]!);
    expect(mended[0]).not.toBe(fw);
    const other = [11, 12, 13].find((each) => each !== fw && each !== mended[0])!;
    world.tellOne('ingress', { flows: [{ ...held, generation: 2, path: [other, ids!] }] });
    expect(world.way(world.send([5])[0]!)).toEqual([other, ids]);
    // The egress has not heard of it, and follows the ingress.
    expect(world.way(world.send([5], true)[0]!)).toEqual([ids, other]);
  });
});

describe('generations', () => {
  it('behind the last come to the first again, and what was before stays late', async () => {
    world = await new EndsWorld().start();
    const [fw, ids] = world.way(world.send([5])[0]!);
    world.takeNews();
    const { id } = world.news.ingress[0]!.flows![0]!;
    const held = { id, spi: 7, revision: 1, egress: EGRESS, generation: 0xffff, path: [fw!, ids!] };
    for (const generation of [30_000, 60_000, 0xffff]) world.tell({ flows: [{ ...held, generation }] });
    world.ingress.tables.suspect(fw!, 0);
    const way = world.way(world.send([5])[0]!);
    expect(way).not.toEqual([fw, ids]);
    world.tell({ flows: [held] });
    world.ingress.tables.alive(fw!);
    expect(world.way(world.send([5])[0]!)).toEqual(way);
    world.takeNews();
    expect(world.news.ingress.at(-1)!.flows).toMatchObject([{ id, generation: 1, path: way }]);
  });

  it('that were made on the way are told to Roulette, too', async () => {
    world = await new EndsWorld().start();
    world.send([5]);
    world.takeNews();
    const [placed] = world.news.ingress[0]!.flows!;
    expect(placed!.generation).toBe(0);
    // As a hop does that cannot reach the next one.
    const header = new ChainHeader();
    const others = [11, 12].filter((each) => each !== placed!.path[0]);
    world.fabric.spoil = ({ slab, offset, length }, packet) => {
      const at = offset[packet]!;
      header.read(slab, at, at + length[packet]!, 'vxlan-gpe');
      setReplica(slab, header.path, 0, others[0]!);
      setGeneration(slab, header.path, 1);
    };
    world.send([5]);
    world.fabric.spoil = undefined;
    world.send([5], true);
    world.takeNews();
    expect(world.news.ingress.at(-1)!.flows).toEqual([
      { ...placed, generation: 1, path: [others[0], placed!.path[1]] },
    ]);
  });
});

describe('two ingresses', () => {
  it('send a flow the same way without asking, and replies go to where its packets came in last', async () => {
    world = await new EndsWorld({}, 48 << 20, true).start();
    const all = [11, 12, 13].map((id) => replicaOf(id, 'fw'));
    const second = replicaOf(INGRESS2, 'ingress');
    world.tell({ replicas: [second] });
    world.ingress2.update({
      whole: true,
      own: { id: INGRESS2 },
      chains: [chainOf([[1, ['fw', 'ids']]])],
      replicas: [
        replicaOf(INGRESS, 'ingress'),
        replicaOf(EGRESS, 'egress'),
        second,
        ...all,
        replicaOf(21, 'ids'),
        replicaOf(22, 'ids'),
      ],
      rules: [{ name: 'all', match: '*', chain: 7 }],
    });
    const first = world.send(flows(100)).map((serial) => world.way(serial));
    for (const flow of flows(100)) world.client2.send(packetOf(flow, 10_000 + flow));
    world.pass();
    expect(flows(100).map((flow) => world.way(10_000 + flow))).toEqual(first);
    world.send(flows(100), true);
    expect([world.arrived(world.client).length, world.arrived(world.client2).length]).toEqual([0, 100]);
    world.send(flows(100));
    world.send(flows(100), true);
    expect([world.arrived(world.client).length, world.arrived(world.client2).length]).toEqual([100, 0]);
    expect(world.drops).toEqual({});
  });
});

describe('an end without Roulette', () => {
  it('goes on with what it knows, for old flows and new ones', async () => {
    world = await new EndsWorld().start();
    world.send(flows(10));
    world.pass('60s');
    world.send(flows(20));
    world.send(flows(20), true);
    expect([world.arrived(world.server).length, world.arrived(world.client).length]).toEqual([30, 20]);
  });

  it('sends nothing before it is registered', async () => {
    world = new EndsWorld();
    await world.net.start();
    world.send([1]);
    world.send([1], true);
    expect(world.drops).toEqual({ 'not-registered': 2 });
  });
});

describe('TCP', () => {
  it('passes like any other, and every packet loses two of its TTL', async () => {
    world = await new EndsWorld().start();
    world.send([1], false, tcpOf);
    world.send([1], true, tcpOf);
    expect([world.server.received[0]!.bytes[8], world.client.received[0]!.bytes[8]]).toEqual([62, 62]);
  });
});
