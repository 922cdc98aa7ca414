import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { HostProcess } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { type ChainHosts, chainHosts, EGRESS, INGRESS, SERVER, TO_SERVER } from './chain-world.ts';
import { until } from './cli-world.ts';

const skip = needs('netns', 'tun', 'ip', 'curl');

const FLOWS = 24;
/** ms between two packets of a flow. */
const INTERVAL = 20;
const FIRST_PORT = 30_000;
const fixture = fileURLToPath(new URL('fixtures/chain-flows.mjs', import.meta.url));

interface FlowFigures {
  port: number;
  sent: number;
  received: number;
  /** The longest time between two packets that came, ms. */
  gap: number;
}

/** Replica ids by the client's port. */
type Paths = Map<number, number[]>;

class LiveFlows {
  readonly #hosts: ChainHosts;
  readonly #load: HostProcess;

  private constructor(hosts: ChainHosts, load: HostProcess) {
    this.#hosts = hosts;
    this.#load = load;
  }

  static async start(hosts: ChainHosts): Promise<LiveFlows> {
    await hosts.server.node(fixture, ['echo']).waitFor('ready');
    const load = hosts.client.node(fixture, [SERVER.v4, `${FLOWS}`, `${INTERVAL}`, `${FIRST_PORT}`]);
    await load.waitFor('ready');
    const flows = new LiveFlows(hosts, load);
    await until(async () => (await flows.paths()).size === FLOWS);
    // The first packets make their way through code that no packet has been through.
    await sleep(1500);
    await flows.figures();
    return flows;
  }

  async paths(): Promise<Paths> {
    const found: Paths = new Map();
    for (const { key, path } of await this.#hosts.flows()) {
      const port = Number(/10\.8\.0\.2:(\d+)/.exec(key)?.[1]);
      if (port >= FIRST_PORT && port < FIRST_PORT + FLOWS) found.set(port, path);
    }
    return found;
  }

  /** What became of the flows since the last time. */
  async figures(): Promise<FlowFigures[]> {
    const before = this.#load.stdout.length;
    this.#load.child.stdin!.write('\n');
    await until(async () => this.#load.stdout.indexOf('\n', before) > 0);
    return JSON.parse(this.#load.stdout.slice(before));
  }
}

const lost = (of: readonly FlowFigures[]) => of.reduce((sum, { sent, received }) => sum + sent - received, 0);

/** Flows that went through a replica, and the others. */
const parted = (of: readonly FlowFigures[], paths: Paths, id: number) => ({
  hit: of.filter(({ port }) => paths.get(port)!.includes(id)),
  others: of.filter(({ port }) => !paths.get(port)!.includes(id)),
});

/** The path of each flow that was hit is another in that place alone, and the others' are as before. */
function expectOnlyMoved(before: Paths, after: Paths, id: number): void {
  for (const [port, path] of before) {
    const now = after.get(port)!;
    if (path.includes(id)) {
      expect(now[path.indexOf(id)]).not.toBe(id);
      expect(now.filter((_, i) => path[i] !== id)).toEqual(path.filter((each) => each !== id));
    } else expect([port, now]).toEqual([port, path]);
  }
}

/** Says how long flows stood still, for people: a machine that others use can be asked for little. @param most ms */
function expectOutage(what: string, hit: readonly FlowFigures[], most: number): void {
  const gaps = hit.map(({ gap }) => gap - INTERVAL).sort((a, b) => a - b);
  const at = (share: number) => gaps[Math.min(gaps.length - 1, Math.floor(share * gaps.length))]!;
  const figures = `p50 ${at(0.5).toFixed(0)} ms, p99 ${at(0.99).toFixed(0)} ms, ${lost(hit)} packets lost`;
  console.log(`${what}: ${hit.length} of ${FLOWS} flows stood still: ${figures}`);
  expect(hit.length).toBeGreaterThan(0);
  expect(at(0.99)).toBeLessThan(most);
}

describe.skipIf(skip)('live flows through replicas', () => {
  it('lose nothing to those that come, drain or are reloaded, and only their own to those that die', async () => {
    await using hosts = await chainHosts();
    const start = async (host: number, name = 'fw', words = 'counter') => {
      const process = await hosts.replica(host, name, words);
      const up = process.stdout.split('\n').find((line) => line.includes('"up"'))!;
      return { process, id: JSON.parse(up).id as number };
    };
    await hosts.ask('chain.put', { spi: 7, functions: ['fw', 'dpi'] });
    const draining = await start(0, 'fw', 'counter --drain 2s');
    const killed = await start(1);
    await start(3, 'dpi', 'pass');
    await hosts.start(hosts.egress, EGRESS);
    await hosts.start(hosts.ingress, INGRESS);
    await hosts.start(hosts.client, TO_SERVER);
    const flows = await LiveFlows.start(hosts);

    let before = await flows.paths();
    const stopped = await start(2);
    await sleep(500);
    expect(lost(await flows.figures()), 'lost when a replica came').toBe(0);
    expect(await flows.paths(), 'no flow moves to one that comes').toEqual(before);

    draining.process.kill('SIGTERM');
    await draining.process.waitFor('"draining"');
    await sleep(500);
    expect(await flows.paths(), 'flows stay while their replica drains').toEqual(before);
    expect((await draining.process.ended).code).toBe(0);
    await until(async () => [...(await flows.paths()).values()].every((path) => !path.includes(draining.id)));
    expect(lost(await flows.figures()), 'lost while a replica drained and when it left').toBe(0);
    expectOnlyMoved(before, await flows.paths(), draining.id);

    before = await flows.paths();
    killed.process.kill('SIGKILL');
    await sleep(1000);
    let { hit, others } = parted(await flows.figures(), before, killed.id);
    expect(lost(others), 'lost by flows of other replicas').toBe(0);
    expectOutage('kill -9', hit, 1500);
    await until(async () => [...(await flows.paths()).values()].every((path) => !path.includes(killed.id)));
    expectOnlyMoved(before, await flows.paths(), killed.id);

    // Of two replicas, one of which stands still.
    const another = await start(0);
    await hosts.ask('chain.put', { spi: 7, functions: ['dpi'] });
    await hosts.ask('chain.put', { spi: 7, functions: ['fw', 'dpi'] });
    await until(async () => {
      const now = [...(await flows.paths()).values()];
      return now.every((path) => path.length === 2) && new Set(now.map(([fw]) => fw)).size === 2;
    });
    expect(lost(await flows.figures()), 'lost when the chain was edited').toBe(0);
    before = await flows.paths();
    stopped.process.kill('SIGSTOP');
    await sleep(1500);
    ({ hit, others } = parted(await flows.figures(), before, stopped.id));
    expect(lost(others), 'lost by flows of other replicas').toBe(0);
    expectOutage('SIGSTOP', hit, 3000);
    expectOnlyMoved(before, await flows.paths(), stopped.id);

    stopped.process.kill('SIGKILL');
    const reloads = another.process.stdout.split('"reloaded"').length;
    another.process.kill('SIGHUP');
    await until(async () => another.process.stdout.split('"reloaded"').length > reloads);
    expect(lost(await flows.figures()), 'lost when the function was reloaded').toBe(0);

    hosts.roulette.kill('SIGSTOP');
    await sleep(3000);
    expect(lost(await flows.figures()), 'lost while Roulette stood still').toBe(0);
    hosts.roulette.kill('SIGCONT');
    await sleep(1000);
    expect(lost(await flows.figures()), 'lost when Roulette was back').toBe(0);
  }, 240_000);
});
