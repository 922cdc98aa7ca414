/** A whole chain in simulated hosts, as its example has it: the cores, stacks and applications of real ones. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import {
  type Fault,
  ingressProgram,
  loadSimulation,
  type SimHost,
  Simulation,
  vnfProgram,
} from '../../../src/sim/index.ts';

const EXAMPLE = path.join(import.meta.dirname, '..', '..', '..', 'examples', 'sim-chain', 'lab.yaml');

async function run(change: (faults: readonly Fault[]) => readonly Fault[] = (faults) => faults) {
  const { topology, options, time } = await loadSimulation(EXAMPLE);
  const sim = await Simulation.start(topology, { ...options, faults: change(options.faults ?? []) });
  const passed = (host: string) => sim.link(host).inspect().up.packets;
  return { sim, time, passed };
}

const said = (sim: Simulation, host: string, what: RegExp) =>
  sim.log.filter((line) => line.host === host && what.test(line.text)).map(({ text }) => text);

describe('a chain', () => {
  it('goes on when a replica dies in the midst of a download and comes back, and when it is edited', async () => {
    const { sim, time, passed } = await run();
    await sim.runTo(3.9e9);
    const before = { fw1: passed('fw1'), fw2: passed('fw2'), count: passed('count') };
    await sim.runTo(8.9e9);
    const middle = { fw1: passed('fw1'), fw2: passed('fw2'), count: passed('count') };
    await sim.runTo(time);
    const [sent] = said(sim, 'server', /^sent/);
    const [received] = said(sim, 'client', /^received/);
    expect(sent).toMatch(/^sent 6000000 bytes, SHA-256 [0-9a-f]{16}$/);
    expect(received!.replace('received', 'sent')).toBe(sent);
    expect(said(sim, 'client', /lost/)).toEqual([]);
    expect(said(sim, 'roulette', /flows-moved/)).toHaveLength(1);
    // The download was on one replica, then on the other.
    const [first, second] = before.fw1 > before.fw2 ? (['fw1', 'fw2'] as const) : (['fw2', 'fw1'] as const);
    expect(first).toBe('fw1');
    expect(before[first]).toBeGreaterThan(1000);
    expect(middle[second] - before[second]).toBeGreaterThan(1000);
    // Behind the edit the second function has its packets, and had none before.
    expect(middle.count).toBeLessThan(100);
    expect(passed('count') - middle.count).toBeGreaterThan(1000);
    // Of pings each half second, those that a dead replica had.
    const [pings] = sim.flows;
    expect(pings!.sentPackets - pings!.receivedPackets).toBeLessThanOrEqual(3);
    const print = sim.fingerprint;
    await sim[Symbol.asyncDispose]();
    const { sim: again } = await run();
    await again.runTo(time);
    expect(again.fingerprint).toBe(print);
    await again[Symbol.asyncDispose]();
  }, 180_000);

  it('goes on without Roulette, which finds its registry on its disk', async () => {
    const { sim, time } = await run(() => [{ at: '3s', for: '5s', crash: 'roulette' }]);
    await sim.runTo(time);
    expect(said(sim, 'client', /^received 6000000 bytes/)).toHaveLength(1);
    // The edit at 9 s is of a chain that it has not been told of in this life.
    expect(said(sim, 'admin', /./)).toEqual(['chain 7 is fw, count']);
    expect(said(sim, 'ingress', /is ready/).length).toBeGreaterThanOrEqual(1);
    await sim[Symbol.asyncDispose]();
  }, 180_000);
});

describe('programs of a chain', () => {
  it('are those that the example says', () => {
    const { hosts, routers } = parse(readFileSync(EXAMPLE, 'utf8'));
    const names = Object.values({ ...hosts, ...routers }).map(
      (host) => (host as { program: { export: string } }).program.export,
    );
    expect(new Set(names)).toEqual(
      new Set(['client', 'server', 'roulette', 'admin', 'vnf', 'ingress', 'egress']),
    );
  });

  it.each([
    [{ function: 'nothing' }, /function: found "nothing", expected one of pass, /],
    [{ function: 'pass', wait: 1 }, /found the unknown key "wait"/],
  ])('say what is wrong in %j', async (options, message) => {
    const vnf = (host: SimHost) =>
      vnfProgram(host, { tenant: 1, roulette: '10.0.0.2:7590', ...options } as never);
    await expect(
      Simulation.start(
        { hosts: { a: {}, b: {} }, links: { ab: { between: ['a 10.0.0.1/24', 'b 10.0.0.2/24'] } } },
        { programs: { a: vnf } },
      ),
    ).rejects.toThrow(message);
  });

  it('need a TUN of the host for an end', async () => {
    const ingress = (host: SimHost) =>
      ingressProgram(host, { tenant: 1, roulette: '10.0.0.2:7590', tun: 'chain0' });
    await expect(Simulation.start({ hosts: { a: {} } }, { programs: { a: ingress } })).rejects.toThrow(
      'the host a has no TUN chain0',
    );
  });
});
