/**
 * What long runs cost, and that they can be taken back. Limits are processor time, and wide, for it counts what else the process compiles
 * and collects; the bars are in `npm run bench -- sim`.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { Outputs, type Program, Series, Simulation } from '../../src/sim/index.ts';

const TOPOLOGY = {
  seed: 3,
  hosts: { a: {}, b: {} },
  links: {
    wire: { between: ['a 10.0.0.1/24', 'b 10.0.0.2/24'] as [string, string], impair: 'delay 100ms loss 5%' },
  },
};
/** Seconds of this process's time. */
async function cost(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

/** As `ping -c COUNT -i 1`. */
const pings =
  (count: number): Program =>
  (host) => {
    let n = 0;
    const ask = () => {
      const sequence = ++n;
      void host.stack
        .ping('10.0.0.2', { timeout: 9e8 })
        .then(({ result, time }) => host.log(`icmp_seq=${sequence} ${result} ${time} ns`));
      if (n < count) host.runtime.timer(host.runtime.now() + 1e9, ask);
    };
    ask();
  };

it('pings for an hour in seconds, twice with the same words and the same capture', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'sim-hour-'));
  try {
    const seen: string[] = [];
    for (const name of ['one', 'two']) {
      const took = await cost(async () => {
        await using sim = await Simulation.start(TOPOLOGY, { programs: { a: pings(3600) } });
        const outputs = new Outputs(sim, path.join(directory, name));
        await sim.runTo(3602e9);
        outputs.finish(new Series(sim), name);
        expect(sim.log).toHaveLength(3600);
        // 5 % each way, and 99.9 % of the time within 3.3 standard deviations of 18.
        const lost = sim.log.filter(({ text }) => !text.includes('reply')).length;
        expect(Math.abs(lost - 3600 * (1 - 0.95 ** 2))).toBeLessThan(60);
      });
      expect(took).toBeLessThan(20);
      const read = (...file: string[]) => readFileSync(path.join(directory, name, ...file), 'latin1');
      seen.push(read('events.log') + read('links', 'wire.pcapng'));
    }
    expect(seen[1]).toBe(seen[0]);
  } finally {
    rmSync(directory, { recursive: true });
  }
}, 120_000);

it('is taken back by one event from event 30 000 in a moment, to the same state', async () => {
  const programs: Record<string, Program> = {
    b: ({ stack }) =>
      void stack.listen({ port: 80 }, (connection) => {
        const into = new Uint8Array(65536);
        const read = () => {
          while (connection.read(into) > 0);
        };
        return { onReadable: read };
      }),
    a: ({ stack }) => {
      const bytes = new Uint8Array(65536);
      const write = () => {
        while (connection.write(bytes) > 0);
      };
      const connection = stack.connect(
        { address: '10.0.0.2', port: 80 },
        { onConnected: write, onWritable: write },
      );
    },
  };
  const wire = { ...TOPOLOGY.links.wire, impair: 'delay 20ms rate 10mbit' };
  await using sim = await Simulation.start({ ...TOPOLOGY, links: { wire } }, { programs });
  expect(await sim.runToEvent(29_999)).toBe(true);
  const before = sim.fingerprint;
  expect(await sim.runToEvent(30_000)).toBe(true);
  const took: number[] = [];
  for (let n = 0; n < 5; n++) {
    took.push(
      await cost(async () => {
        await using earlier = await sim.stepBack();
        expect(earlier.fingerprint).toBe(before);
      }),
    );
  }
  expect(Math.min(...took)).toBeLessThan(3);
}, 120_000);
