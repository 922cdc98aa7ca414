import { describe, expect, it } from 'vitest';
import { Draws } from '../../src/impair/draw.ts';
import { type Impair, impair } from '../../src/impair/impair.ts';
import { udpPacket } from '../../src/packet/build.ts';
import { testNetwork } from '../../src/testing/network.ts';

/** A packet with a number in its payload. */
function packet(n: number, to = '10.0.0.2:53', dscp = 0): Uint8Array {
  const payload = new Uint8Array(20);
  new DataView(payload.buffer).setUint32(0, n);
  return udpPacket({ from: '10.0.0.1:7', to, payload, dscp });
}
const numberOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(28);

type Options = Parameters<typeof impair>[0];

async function network(options: Options) {
  const world = await testNetwork().between(impair(options));
  return {
    ...world,
    [Symbol.asyncDispose]: () => world.net.close(),
    app: world.net.get<Impair>('app0'),
    change: (next: Options) => world.net.app('app0', impair(next)).commit(),
    arrivals: () => world.b.received.map(({ bytes, time }) => [numberOf(bytes), time / 1e6]),
  };
}

describe('new options', () => {
  it('leave what waits its time, and are for what comes from now on', async () => {
    await using world = await network({ seed: 1, stages: 'delay 100ms' });
    const { a, runtime } = world;
    a.send(packet(1));
    runtime.advance('50ms');
    await world.change({ seed: 1, stages: 'delay 10ms order allow' });
    a.send(packet(2));
    runtime.advance('1s');
    expect(world.arrivals()).toEqual([
      [2, 60],
      [1, 100],
    ]);
    expect(world.net.get<Impair>('app0')).toBe(world.app);
  });

  it('take a stage out whose packets still leave in their time, and newcomers pass it by', async () => {
    await using world = await network({ seed: 1, stages: 'delay 100ms name first delay 10ms' });
    const { a, runtime, app } = world;
    a.send(packet(1));
    runtime.advance('50ms');
    await world.change({ seed: 1, stages: 'delay 10ms' });
    a.send(packet(2));
    runtime.advance('5ms');
    const stages = () => app.inspect().pipelines[0].stages.map(({ name, leaving }) => [name, leaving]);
    expect(stages()).toEqual([
      ['first', true],
      ['delay', false],
    ]);
    runtime.advance('1s');
    expect(world.arrivals()).toEqual([
      [2, 60],
      [1, 110],
    ]);
    expect(stages()).toEqual([['delay', false]]);
  });

  it('that bring a stage back before it has drained bring back what it holds', async () => {
    await using world = await network({ seed: 1, stages: 'delay 100ms name far' });
    const { a, runtime } = world;
    a.send(packet(1));
    runtime.advance('10ms');
    await world.change({ seed: 1, stages: 'pass' });
    runtime.advance('10ms');
    await world.change({ seed: 1, stages: 'delay 30ms name far order allow' });
    a.send(packet(2));
    runtime.advance('1s');
    expect(world.arrivals()).toEqual([
      [2, 50],
      [1, 100],
    ]);
    expect(world.app.inspect().pipelines[0].stages.map(({ packetsOut }) => packetsOut)).toEqual([2]);
  });

  it('end a rule whose packets still leave in their time', async () => {
    const rules = [{ label: 'dns', match: '*:udp:53', stages: 'delay 100ms' }];
    await using world = await network({ seed: 1, rules });
    const { a, runtime, app } = world;
    a.send(packet(1));
    runtime.advance('10ms');
    await world.change({ seed: 1 });
    a.send(packet(2));
    runtime.advance('10ms');
    expect(app.inspect().pipelines.map(({ label, leaving }) => [label, leaving])).toEqual([
      ['default', false],
      ['dns', true],
    ]);
    runtime.advance('1s');
    expect(world.arrivals()).toEqual([
      [2, 10],
      [1, 100],
    ]);
    expect(app.inspect().pipelines.map(({ label }) => label)).toEqual(['default']);
    expect(app.report()).toMatchObject({ packets: 2, packetsOut: 2, held: 0 });
  });

  it('with another seed are another app, and nothing is lost on the way', async () => {
    await using world = await network({ seed: 1, stages: 'delay 100ms' });
    world.a.send(packet(1));
    world.runtime.advance('10ms');
    await world.change({ seed: 2, stages: 'delay 1ms' });
    world.a.send(packet(2));
    world.runtime.advance('1s');
    expect(world.arrivals().sort()).toEqual([
      [1, 100],
      [2, 11],
    ]);
  });

  it('that are wrong change nothing and say why', async () => {
    await using world = await network({ seed: 1, stages: 'delay 100ms' });
    await expect(world.change({ seed: 1, stages: [{ kind: 'delay', time: 'soon' }] })).rejects.toThrow(
      'apps.app0: stages.0.time: found "soon", expected a time such as 50ms',
    );
    world.a.send(packet(1));
    world.runtime.advance('1s');
    expect(world.arrivals()).toEqual([[1, 100]]);
  });

  it('a thousand times under traffic lose no packet, and disturb no rule that stays as it is', async () => {
    const draws = Draws.named(5, 'reconfigure');
    const draw = (n: number, of: number) => draws.at(n, 0) % of;
    const steady = { label: 'steady', match: '10.0.0.9', stages: 'delay 20ms 15ms 50% loss 20%' };

    async function run(changes: number) {
      const stagesAt = (n: number, salt: number) =>
        Array.from({ length: draw(n, 4 + salt) % 4 }, (_, i) => ({
          kind: 'delay' as const,
          name: `d${draw(n + 7 * i + salt, 5) + 5 * i}`,
          time: draw(n + 31 * i, 40) * 1e6,
          jitter: draw(n, 3) * 1e6,
          order: draw(n, 2) === 0 ? ('allow' as const) : ('preserve' as const),
        }));
      const optionsAt = (n: number): Options => ({
        seed: 3,
        stages: stagesAt(n, 1),
        rules: [
          ...Array.from({ length: draw(n, 3) }, (_, i) => ({
            label: `r${i}`,
            match: `10.0.0.${3 + i}`,
            stages: stagesAt(n, 2 + i),
          })),
          steady,
        ],
      });
      await using world = await network(optionsAt(0));
      for (let n = 1; n <= 1000; n++) {
        for (let host = 2; host < 6; host++) world.a.send(packet(n, `10.0.0.${host}:53`));
        world.a.send(packet(n, '10.0.0.9:53'));
        world.runtime.advance('1.3ms');
        if (n <= changes) await world.change(optionsAt(n));
      }
      world.runtime.advance('1s');
      const others = world.b.received.filter(({ bytes }) => bytes[19] !== 9).length;
      const kept = world.b.received.filter(({ bytes }) => bytes[19] === 9);
      return {
        others,
        steady: kept.map(({ bytes, time }) => [numberOf(bytes), time]),
        report: world.app.report(),
      };
    }

    const changed = await run(1000);
    const calm = await run(0);
    expect(changed.others).toBe(4000);
    expect(changed.steady.length).toBeGreaterThan(700);
    expect(changed.steady).toEqual(calm.steady);
    expect(changed.report).toMatchObject({
      packets: 5000,
      packetsOut: 4000 + changed.steady.length,
      held: 0,
    });
  }, 20_000);
});

describe('a timeline', () => {
  it('changes what is to be, exactly at its times', async () => {
    const timeline = [
      { at: '10ms', stages: 'delay 5ms', rules: [{ label: 'dns', match: '*:udp:53', stages: 'delay 1ms' }] },
      { at: '20ms', rules: [{ label: 'dns', stages: 'delay 2ms' }] },
      { at: '30ms', stages: 'pass', remove: ['dns'] },
    ];
    await using world = await network({ seed: 1, timeline });
    const { a, runtime } = world;
    for (let ms = 0; ms < 40; ms += 10) {
      a.send(packet(ms));
      a.send(packet(ms + 1, '10.0.0.2:99'));
      runtime.advance('9.999999ms');
      a.send(packet(ms + 2));
      runtime.advance('1ns');
    }
    runtime.advance('1s');
    expect(Object.fromEntries(world.arrivals())).toEqual({
      ...{ 0: 0, 1: 0, 2: 9.999999 },
      ...{ 10: 11, 11: 15, 12: 20.999999 },
      ...{ 20: 22, 21: 25, 22: 31.999999 },
      ...{ 30: 30, 31: 30, 32: 39.999999 },
    });
  });

  it('is in force from the start where its time has passed', async () => {
    await using world = await network({ seed: 1 });
    world.runtime.advance('15ms');
    await world.change({ seed: 1, timeline: [{ at: '10ms', stages: 'delay 5ms' }] });
    world.a.send(packet(1));
    world.runtime.advance('1s');
    expect(world.arrivals()).toEqual([[1, 20]]);
  });

  it.each([
    [[{ at: '2s' }, { at: '1s' }], 'timeline.1.at: found "1s", expected a time that is not before'],
    [[{ at: '1s', remove: ['x'] }], 'timeline.0.remove.0: found "x", expected the label of a rule'],
    [[{ at: '1s', rules: [{ label: 'x' }] }], 'timeline.0.rules.0.match: found undefined, expected one'],
  ])('that cannot be says why: %j', (timeline, message) => {
    expect(() => impair.check({ timeline })).toThrow(message);
  });

  it('adds no more rules than there may be', () => {
    const some = (from: number, count: number) =>
      Array.from({ length: count }, (_, n) => ({ label: `r${from + n}`, match: '*:udp:53' }));
    const timeline = [
      { at: '1s', rules: some(0, 4000) },
      { at: '2s', rules: some(4000, 96) },
    ];
    expect(impair.check({ timeline })).toBeDefined();
    const more = [...timeline, { at: '3s', remove: ['r0'] }, { at: '4s', rules: some(5000, 2) }];
    expect(() => impair.check({ timeline: more })).toThrow('timeline.3.rules: found [{"label":"r5000"');
  });
});

describe('a rule that looks at the DSCP', () => {
  it('takes its packets of a connection, and the others of it go their own way', async () => {
    const rules = [{ label: 'voice', match: { dscp: 'ef' }, stages: 'delay 5ms' }];
    await using world = await network({ seed: 1, rules, stages: 'delay 50ms' });
    for (let n = 0; n < 6; n++) world.a.send(packet(n, '10.0.0.2:53', n % 2 === 0 ? 46 : 0));
    world.runtime.advance('1s');
    expect(world.arrivals()).toEqual([0, 2, 4, 1, 3, 5].map((n) => [n, n % 2 === 0 ? 5 : 50]));
    const { top } = world.app.inspect().flows;
    expect(top.map(({ dscp, rule, packets }) => [dscp, rule, packets]).sort()).toEqual([
      [0, 'default', 3],
      [46, 'voice', 3],
    ]);
  });
});
