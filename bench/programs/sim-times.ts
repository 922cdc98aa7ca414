/**
 * What three long runs cost: a minute of a TCP flow at a round trip of 200 ms and 1 % loss, an hour of pings, and to take back one event of
 * 30 000. Each is done again until it does not get better, for the first tries compile.
 */
import { type Program, Simulation, type Topology } from 'tunconnector/sim';

const TRIES = 4;

const between = (impair: unknown): Topology => ({
  seed: 3,
  hosts: { a: {}, b: {} },
  links: { wire: { between: ['a 10.0.0.1/24', 'b 10.0.0.2/24'], impair } },
});
const bulk = { kind: 'tcp', from: 'a', to: 'b' } as const;

/** As `ping -i 1`. */
const pings: Program = (host) => {
  const ask = () => {
    void host.stack.ping('10.0.0.2', { timeout: 9e8 });
    host.runtime.timer(host.runtime.now() + 1e9, ask);
  };
  ask();
};

/** ns of the processor. */
async function cost(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) * 1000;
}

async function best(work: () => Promise<number>): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < TRIES; n++) times.push(await work());
  return Math.min(...times);
}

const runOf = (topology: Topology, time: string, programs: Record<string, Program> = {}) =>
  best(async () => {
    await using sim = await Simulation.start(topology, { programs });
    return await cost(() => sim.run(time));
  });

const minute = await runOf({ ...between('delay 100ms loss 1%'), flows: { bulk } }, '60s');
const hour = await runOf(between('delay 100ms loss 5%'), '1h', { a: pings });
await using sim = await Simulation.start({ ...between('delay 20ms rate 10mbit'), flows: { bulk } });
await sim.runToEvent(30_000);
const back = await best(() =>
  cost(async () => {
    await using earlier = await sim.stepBack();
    void earlier;
  }),
);
process.stdout.write(JSON.stringify({ minute, hour, back }));
