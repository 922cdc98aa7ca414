/** Runs a simulated network of so many hosts and says what it took: `node sim.js HOSTS FLOWS`, flows of each host. */
import { Simulation } from 'tunconnector/sim';
import { tree } from './sim-tree.ts';

const SECONDS = 5;
const [hosts = 10, flows = 10] = process.argv.slice(2).map(Number);
const before = process.memoryUsage().rss;
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
};
const begin = cpu();
const sim = await Simulation.start(tree(hosts, flows));
const started = cpu();
await sim.run(SECONDS * 1e9);
const ran = cpu();
const done = sim.flows.filter(({ state }) => state === 'done').length;
if (done !== hosts * flows) throw new Error(`${done} of ${hosts * flows} flows are done`);
process.stdout.write(
  JSON.stringify({
    events: sim.events,
    /** ns of the processor. */
    startPerHost: (started - begin) / hosts,
    eventsPerSecond: (sim.events * 1e9) / (ran - started),
    /** Bytes that are resident. */
    memoryPerHost: (process.memoryUsage().rss - before) / hosts,
  }),
);
