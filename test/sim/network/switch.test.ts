/** Switches: several hosts on one Ethernet segment, which find each other by ARP and Neighbor Discovery. */
import { describe, expect, it } from 'vitest';
import { type Fault, Simulation, type Topology } from '../../../src/sim/index.ts';
import type { Neighbours } from '../../../src/stack/index.ts';

const MS = 1e6;
type Link = NonNullable<Topology['links']>[string];

const link = (a: string, b: string, impair?: string): Link => ({
  between: [a, b],
  ...(impair && { impair }),
});

/** a, b, c and a router on one switch of two; d behind the router. Every link takes 1 ms. */
const LAN = (more: Partial<Topology> = {}): Topology => ({
  seed: 5,
  hosts: { a: {}, b: {}, c: {}, d: {} },
  routers: { r: {} },
  switches: { one: {}, two: {} },
  links: {
    a: link('a 10.0.0.1/24 fd00::1/64', 'one', 'delay 1ms'),
    b: link('b 10.0.0.2/24 fd00::2/64', 'one', 'delay 1ms'),
    trunk: link('one', 'two', 'delay 1ms'),
    c: link('two', 'c 10.0.0.3/24 fd00::3/64', 'delay 1ms'),
    r: link('r 10.0.0.254/24 fd00::254/64', 'two', 'delay 1ms'),
    far: link('r 10.0.1.254/24 fd01::254/64', 'd 10.0.1.1/24 fd01::1/64', 'delay 1ms'),
  },
  ...more,
});

/** ns of one ping; undefined: no answer in half a second. */
async function ping(sim: Simulation, from: string, to: string): Promise<number | undefined> {
  const asked = sim.host(from).stack.ping(to, { timeout: 500 * MS });
  await sim.run('600ms');
  const { result, time } = await asked;
  return result === 'reply' ? time : undefined;
}

describe('hosts on a switch', () => {
  it.each([
    ['b', '10.0.0.2', 4],
    ['b', 'fd00::2', 4],
    ['c', '10.0.0.3', 6],
    ['d, through the router', '10.0.1.1', 8],
    ['d, through the router', 'fd01::1', 8],
  ])('reach %s (%s), which they ask for first', async (_, to, ms) => {
    await using sim = await Simulation.start(LAN());
    await sim.run('100ms');
    const first = await ping(sim, 'a', to);
    // A question and an answer for each hop that is a segment, both ways; the way itself once more.
    expect(first).toBeGreaterThanOrEqual(ms * 2 * MS - 2 * MS);
    expect(await ping(sim, 'a', to)).toBe(ms * MS);
    expect(sim.host('a').network.get<Neighbours>('neighbours0').report()).toMatchObject({ neighbours: 1 });
  });

  it('are learned by it: what is for one station passes no other link', async () => {
    await using sim = await Simulation.start(LAN());
    await ping(sim, 'a', '10.0.0.2');
    const before = sim.switch('one').inspect();
    const others = sim.link('c').inspect().up.packets;
    for (let n = 0; n < 5; n++) await ping(sim, 'a', '10.0.0.2');
    const after = sim.switch('one').inspect();
    expect(after.forwarded - before.forwarded).toBeGreaterThanOrEqual(10);
    expect(after.flooded).toBe(before.flooded);
    expect(after.dropped).toBe(before.dropped);
    expect(sim.link('c').inspect().up.packets).toBe(others);
  });

  it('keep their addresses when they are started anew, and are found again', async () => {
    await using sim = await Simulation.start(LAN(), {
      faults: [{ at: '1s', for: '1s', crash: 'b' }],
    });
    const mac = () => sim.host('b').network.get<Neighbours>('neighbours0').mac;
    const before = mac();
    expect(await ping(sim, 'a', '10.0.0.2')).toBeDefined();
    await sim.runTo(1.1e9);
    expect(await ping(sim, 'a', '10.0.0.2')).toBeUndefined();
    await sim.runTo(2.1e9);
    expect(await ping(sim, 'a', '10.0.0.2')).toBeDefined();
    expect(mac()).toBe(before);
  });

  it('choose between several routers of a segment: the one that is nearer to where they send', async () => {
    await using sim = await Simulation.start({
      hosts: { a: {}, x: {}, y: {} },
      routers: { r1: {}, r2: {} },
      switches: { sw: null },
      links: {
        a: link('a 10.0.0.1/24', 'sw'),
        r1: link('r1 10.0.0.251/24', 'sw'),
        r2: link('r2 10.0.0.252/24', 'sw'),
        x: link('r1 10.1.0.254/24', 'x 10.1.0.1/24', 'delay 1ms'),
        y: link('r2 10.2.0.254/24', 'y 10.2.0.1/24', 'delay 1ms'),
      },
    });
    await sim.run('100ms');
    for (const to of ['10.1.0.1', '10.2.0.1']) {
      expect(await ping(sim, 'a', to)).toBe(2 * MS);
    }
    // By both routers, over the segment.
    expect(await ping(sim, 'x', '10.2.0.1')).toBe(4 * MS);
    const passed = ['x', 'y'].map((name) => sim.link(name).inspect().up.packets);
    expect(passed).toEqual([2, 2]);
  });

  it('lose what their links lose', async () => {
    const lossy = LAN();
    lossy.links!.a!.impair = 'delay 1ms loss 20%';
    lossy.flows = { voice: { kind: 'udp', from: 'a', to: 'b', rate: '960kbit', size: 1200 } };
    await using sim = await Simulation.start(lossy);
    await sim.run('40s');
    const [flow] = sim.flows;
    // 4000 datagrams, 20 %: 3 sigma are 76.
    expect(flow!.sentPackets - flow!.receivedPackets).toBeGreaterThan(724);
    expect(flow!.sentPackets - flow!.receivedPackets).toBeLessThan(876);
  });

  it('are apart, each set for itself, whichever switch they are on', async () => {
    const faults: Fault[] = [
      {
        at: '1s',
        for: '9s',
        partition: [
          ['a', 'c'],
          ['b', 'r', 'd'],
        ],
      },
    ];
    await using sim = await Simulation.start(LAN(), { faults });
    expect(await ping(sim, 'a', '10.0.0.2')).toBeDefined();
    await sim.runTo(1.1e9);
    expect(await ping(sim, 'a', '10.0.0.3')).toBeDefined();
    expect(await ping(sim, 'b', '10.0.1.1')).toBeDefined();
    expect(await ping(sim, 'a', '10.0.0.2')).toBeUndefined();
    expect(await ping(sim, 'c', '10.0.1.1')).toBeUndefined();
    await sim.runTo(12e9);
    expect(await ping(sim, 'a', '10.0.0.2')).toBeDefined();
    const one = { faults: [{ at: '1s', partition: [['a'], ['b']] }] };
    await expect(Simulation.start(LAN(), one)).rejects.toThrow(
      /faults\.0\.partition: found sets that .* still join/,
    );
  });

  it('hear nothing of a link that is down', async () => {
    await using sim = await Simulation.start(LAN(), { faults: [{ at: '1s', down: 'trunk' }] });
    await sim.runTo(1.1e9);
    expect(await ping(sim, 'a', '10.0.0.3')).toBeUndefined();
    expect(await ping(sim, 'a', '10.0.0.2')).toBeDefined();
  });

  it('are the same in every run', async () => {
    const prints = [];
    for (let n = 0; n < 2; n++) {
      await using sim = await Simulation.start(
        LAN({ flows: { bulk: { kind: 'tcp', from: 'd', to: 'a', bytes: '200kb' } } }),
      );
      await sim.run('5s');
      expect(sim.flows[0]).toMatchObject({ state: 'done', receivedBytes: 204_800 });
      prints.push(sim.fingerprint);
    }
    expect(prints[1]).toBe(prints[0]);
  });
});

describe('what is wrong with switches', () => {
  it.each([
    ['one', 'two', 'links.more.between: found a loop of switches'],
    ['one', 'one', 'links.more.between: found "one" at both ends'],
    ['a 10.0.0.9/24', 'one 10.0.0.8/24', 'links.more.between.1: found the address 10.0.0.8/24 of a switch'],
    ['a 10.0.0.9/24', 'three', 'links.more.between.1: found "three", expected one of the hosts and switches'],
  ])('between %s and %s is said', async (a, b, message) => {
    const lan = LAN();
    lan.links!.more = link(a, b);
    await expect(Simulation.start(lan)).rejects.toThrow(message);
  });

  it('is a name that a host has', async () => {
    await expect(Simulation.start(LAN({ switches: { a: {} } }))).rejects.toThrow(
      'switches.a: found the name of a host',
    );
  });
});

describe('many links', () => {
  const range = (n: number) => Array.from({ length: n }, (_, i) => i);
  const at = (n: number) => `10.${n >> 8}.${n & 255}`;

  it('of one switch: 200 hosts find each other', async () => {
    await using sim = await Simulation.start({
      hosts: Object.fromEntries(range(200).map((n) => [`h${n}`, {}])),
      switches: { sw: {} },
      limits: { packets: 256, flows: 256 },
      links: Object.fromEntries(
        range(200).map((n) => [`l${n}`, link(`h${n} 10.0.${n}.1/16`, 'sw', 'delay 1ms')]),
      ),
      flows: Object.fromEntries(
        range(200).map((n) => [`f${n}`, { kind: 'ping', from: `h${n}`, to: `h${(n * 7 + 3) % 200}` }]),
      ),
    });
    await sim.run('3s');
    for (const flow of sim.flows) expect(flow.receivedPackets).toBeGreaterThanOrEqual(2);
    expect(sim.switch('sw').inspect().dropped).toBe(0);
  }, 180_000);

  it.each([
    ['of one router: 200', 200, false],
    ['of one router: 120 to switches', 120, true],
  ])(
    '%s',
    async (_, count, switched) => {
      // Ten of them at each host: what is tried is the router.
      await using sim = await Simulation.start({
        hosts: Object.fromEntries(range(count / 10).map((n) => [`h${n}`, {}])),
        routers: { r: {} },
        switches: switched ? Object.fromEntries(range(count).map((n) => [`s${n}`, {}])) : {},
        limits: { packets: 64, flows: 64 },
        links: Object.fromEntries(
          range(count).flatMap((n) => {
            const [own, router] = [`h${Math.floor(n / 10)} ${at(n)}.1/24`, `r ${at(n)}.254/24`];
            if (!switched) return [[`l${n}`, link(own, router)]];
            return [
              [`l${n}`, link(own, `s${n}`)],
              [`r${n}`, link(router, `s${n}`)],
            ];
          }),
        ),
      });
      const { stack } = sim.host('r');
      const pings = range(count).map((n) => stack.ping(`${at(n)}.1`));
      await sim.run('1s');
      for (const { result } of await Promise.all(pings)) expect(result).toBe('reply');
    },
    180_000,
  );

  it('beyond what fits are refused, with what would', async () => {
    const hosts = range(255);
    const topology: Topology = {
      hosts: Object.fromEntries(hosts.map((n) => [`h${n}`, {}])),
      routers: { r: {} },
      links: Object.fromEntries(
        hosts.map((n) => [`l${n}`, link(`h${n} ${at(n)}.1/24`, `r ${at(n)}.254/24`)]),
      ),
    };
    await expect(Simulation.start(topology)).rejects.toMatchObject({
      code: 'ERR_LIMIT',
      message: expect.stringMatching(
        /^hosts\.r: found more links than a host can have, expected at most 254, 127 to switches/,
      ),
    });
  });
});
