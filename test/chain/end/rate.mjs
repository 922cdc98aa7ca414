/**
 * What an ingress and an egress take per packet and per flow: time, memory, garbage. Runs on what was built, without the checks
 * of debug builds: `npm run build && node test/chain/end/rate.mjs`. Prints JSON.
 */
import v8 from 'node:v8';
import vm from 'node:vm';

v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc');
const from = (path) => import(new URL(`../../../dist/${path}`, import.meta.url).href);
const { end } = await from('chain/end/end.js');
const { Link } = await from('engine/link.js');
const { Pool } = await from('engine/pool.js');
const { VirtualRuntime } = await from('engine/virtual-runtime.js');
const { parseEndpoint } = await from('packet/prefix.js');
const { udpPacket } = await from('packet/build.js');

const FLOWS = 100_000;
const BURST = 64;
const PACKETS = Number(process.argv[2] ?? 2_000_000);
const pool = new Pool({ smallSlots: 4096, largeSlots: 16 });
for (const quota of [pool.quotaSmall, pool.quotaLarge]) quota.fill(4096);

const replicas = ['ingress', 'egress'].map((name, i) => ({
  id: i + 1,
  function: name,
  address: `10.9.0.${i + 1}`,
  port: 4790,
  weight: 1,
  state: 'ready',
}));
const fw = Array.from({ length: 8 }, (_, i) => ({
  ...replicas[0],
  id: 11 + i,
  function: 'fw',
  address: `10.9.0.${11 + i}`,
}));
const rows = replicas.map(({ address }) => {
  const { address: ip } = parseEndpoint(`${address}:4790`);
  return pool.addresses.pinAddress({ family: ip.family, bytes: ip.bytes, port: 4790, scope: 0 });
});

/** An end with its links, and what it says of a chain. */
function make(role, functions, options = {}) {
  const create = (flows) =>
    end.create({
      role,
      tenant: 42,
      secret: { high: 1, low: 2 },
      flows,
      newFlows: 1_000_000,
      newFlowsBurst: 1_000_000,
      ...options,
    });
  const memory = () => {
    gc();
    return process.memoryUsage().arrayBuffers;
  };
  // What an end takes without flows does not count.
  const start = memory();
  const small = create(2);
  const before = memory();
  const app = create(FLOWS);
  const bytes = memory() - before - (before - start);
  if (small.held() > 0) throw new Error('it holds nothing yet');
  app.open({ pool, runtime: new VirtualRuntime({ seed: 1 }), wake() {} });
  app.update({
    whole: true,
    own: { id: role === 'ingress' ? 1 : 2 },
    chains: [{ spi: 7, symmetric: true, ended: false, revisions: [{ revision: 1, functions }] }],
    replicas: [...replicas, ...fw],
    rules: [{ name: 'all', match: '*', chain: 7 }],
  });
  const link = (name) => new Link(name, pool);
  const ports = {
    pool,
    input: { inside: link('inside'), outside: link('outside') },
    output: { inside: link('in'), outside: link('out'), bypass: Link.discard(pool) },
    now: 1,
  };
  return { app, ports, bytes };
}

const template = udpPacket({ from: '10.0.0.1:1000', to: '192.0.2.1:80', payload: 64 });
const VARIES = 12;
/** Packets of the flows `first` and on wait at the inside. */
function offer({ ports }, first, count) {
  for (let i = 0; i < count; i++) {
    const flow = first + i;
    const packet = pool.alloc(0);
    const at = pool.offset[packet];
    pool.slab.set(template, at);
    pool.slab[at + VARIES + 1] = flow >>> 16;
    pool.slab[at + VARIES + 2] = flow >>> 8;
    pool.slab[at + VARIES + 3] = flow;
    pool.length[packet] = template.length;
    pool.layer[packet] = 3;
    ports.input.inside.put(packet);
  }
}
const drain = (link) => link.freeBurst(link.count);

/** µs of this thread's work so far: others on the machine do not count. */
const cpu = () => process.cpuUsage().user + process.cpuUsage().system;

/** Time and garbage per packet of `body`, called for bursts until so many packets have passed. */
function measure(packets, body) {
  gc();
  const heap = process.memoryUsage().heapUsed;
  const start = cpu();
  for (let n = 0; n < packets; n += BURST) body(n);
  const ns = (1000 * (cpu() - start)) / packets;
  const garbage = (process.memoryUsage().heapUsed - heap) / packets;
  return { ns: Math.round(ns), garbage: Math.round(10 * garbage) / 10 };
}

const ingress = make('ingress', ['fw']);
let now = 1;
const tick = (end) => {
  now += 1000;
  end.ports.now = now;
  end.app.push(end.ports);
};
const opened = measure(FLOWS, (n) => {
  offer(ingress, n, BURST);
  tick(ingress);
  drain(ingress.ports.output.outside);
});
while (ingress.app.takeNews());
const known = () =>
  measure(PACKETS, (n) => {
    offer(ingress, n % (FLOWS - BURST), BURST);
    tick(ingress);
    drain(ingress.ports.output.outside);
  });
known();
const there = known();
const idle = () =>
  measure(PACKETS, () => {
    offer(ingress, 0, BURST);
    drain(ingress.ports.input.inside);
  });
idle();
const offered = idle();

// From end to end, without a function between them.
const [a, b] = [make('ingress', []), make('egress', [])];
const across = () =>
  measure(PACKETS, (n) => {
    offer(a, n % (FLOWS - BURST), BURST);
    tick(a);
    const out = a.ports.output.outside;
    while (out.count > 0) {
      const packet = out.take();
      pool.peer[packet] = rows[0];
      b.ports.input.outside.put(packet);
    }
    tick(b);
    drain(b.ports.output.inside);
  });
across();
const both = across();

// New flows at 10 000 per second, each with ten packets, that end after a second.
const churn = make('ingress', ['fw'], { flowIdle: '1s' });
let flow = 0;
const SECONDS = 10;
const start = cpu();
let late = 0;
for (let ms = 0; ms < SECONDS * 1000; ms++) {
  for (let k = 0; k < 10; k++) {
    offer(churn, flow, 10);
    now += 1e5;
    churn.ports.now = now;
    churn.app.push(churn.ports);
    drain(churn.ports.output.outside);
  }
  flow += 10;
  if (ms % 10 === 9) while (churn.app.takeNews()) late++;
}
const busy = (cpu() - start) / 1000;
const report = churn.app.report();

console.log(
  JSON.stringify({
    flows: ingress.app.report().flows,
    bytesPerFlow: Math.round(ingress.bytes / FLOWS),
    newFlow: opened,
    packetIn: there,
    offering: offered,
    packetAcross: both,
    churn: {
      newFlows: report.flowsPlaced,
      perSecond: report.flowsPlaced / SECONDS,
      expired: report.flowsExpired,
      alive: report.flows,
      cpuShare: Math.round(busy / SECONDS / 10) / 100,
      news: late,
    },
  }),
);
