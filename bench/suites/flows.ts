/** Many TCP connections through one tunnel, and many clients of one server. */
import { mkdtemp } from 'node:fs/promises';
import path from 'node:path';
import type { HostProcess } from 'tunconnector/testing';
import { endOfJson, startJson, stopJson } from '../harness/json-program.ts';
import { INNER, INNER_MTU, type Lab, OUTER, reachable, withLab } from '../harness/lab.ts';
import { COMMAND, program, twin } from '../harness/root.ts';
import type { Experiment, Sample, Visit } from '../harness/rounds.ts';
import { main, worker } from '../subjects/ours.ts';
import { superframeTwin } from '../subjects/twins.ts';
import { tunnelVisit } from './suite.ts';
import { tcp, warmUp } from './tcp.ts';

const SUITE = 'flows';
const FLOWS = [10, 100];
const CLIENTS = [16, 128];
const AT_LEAST = 0.88;
const PORT = 5555;
const TRAFFIC_PORT = 7002;
/** Of client 0; client i has this plus i. The server's network is a /16. */
const FIRST_CLIENT = '10.66.1.1';
const clientAddress = (i: number) => `10.66.1.${1 + i}`;
const FIRST_TABLE = 1000;
const START_LIMIT_MS = 30_000;

export function flowsExperiments(seconds: number): Experiment[] {
  return [
    ...FLOWS.map((flows) => flowsExperiment(flows, seconds)),
    ...CLIENTS.map((clients) => clientsExperiment(clients, seconds)),
  ];
}

function flowsExperiment(flows: number, seconds: number): Experiment {
  const title = `${flows} TCP flows`;
  const bar = {
    path: title,
    quantity: 'throughput' as const,
    reference: superframeTwin.name,
    atLeast: AT_LEAST,
  };
  return {
    suite: SUITE,
    title,
    secondsPerVisit: seconds + 1,
    visits: [superframeTwin, worker, main].map((subject) =>
      tunnelVisit(subject, async (lab, tunnel) => {
        await warmUp(lab, tunnel);
        return tcp(lab, tunnel, { path: title, parallel: flows, seconds: lab.seconds });
      }),
    ),
    bars: [worker, main].map(({ name }) => ({ ...bar, subject: name })),
  };
}

function clientsExperiment(clients: number, seconds: number): Experiment {
  const title = `${clients} clients`;
  return {
    suite: SUITE,
    title,
    secondsPerVisit: seconds + 1,
    visits: [
      clientsVisit(superframeTwin.name, title, clients, startTwins),
      clientsVisit(worker.name, title, clients, startOurs),
    ],
    bars: [
      {
        path: title,
        quantity: 'throughput',
        subject: worker.name,
        reference: superframeTwin.name,
        atLeast: AT_LEAST,
      },
    ],
  };
}

type Start = (lab: Lab, clients: number) => Promise<HostProcess[]>;

function clientsVisit(subject: string, title: string, clients: number, start: Start): Visit {
  return {
    subject,
    overhead: 3 + clients / 20,
    measure: (context) =>
      withLab(context, async (lab) => {
        const processes = await start(lab, clients);
        await lab.a.ip(Array.from({ length: clients }, (_, i) => clientLines(i)).flat());
        await reachable(lab, lab.a, INNER.b);
        await traffic(lab, clients, 1);
        const value = await traffic(lab, clients, lab.seconds);
        for (const process of processes) {
          if (!process.running) throw new Error(`it ended early: ${process.stderr.trim()}`);
        }
        await Promise.all(processes.map((process) => process.stop('SIGTERM', 5000)));
        return [{ path: title, quantity: 'throughput', value }] satisfies Sample[];
      }),
  };
}

/** Packets from the address of client i leave through its interface. */
function clientLines(i: number): string[] {
  const table = FIRST_TABLE + i;
  return [
    `addr add ${clientAddress(i)}/32 dev c${i}`,
    `link set c${i} mtu ${INNER_MTU} up`,
    `route add 10.66.0.0/16 dev c${i} src ${clientAddress(i)} table ${table}`,
    `rule add from ${clientAddress(i)} lookup ${table}`,
    ...(i === 0 ? [`route add 10.66.0.0/16 dev c0 src ${clientAddress(0)}`] : []),
  ];
}

/** One process for each client, as its interface has one descriptor; the server learns who is where. */
async function startTwins(lab: Lab, clients: number): Promise<HostProcess[]> {
  const argv = [twin('tunnel-superframes')];
  const mtu = ['--mtu', `${INNER_MTU}`];
  const { tunnelA, tunnelB } = lab.placement;
  const server = await startJson(lab, lab.b, tunnelB, [...argv, 'tun0', `${OUTER.b}:${PORT}`, '-', ...mtu]);
  await lab.b.ip(`addr add ${INNER.b}/16 dev tun0`);
  const started = Array.from({ length: clients }, (_, i) => {
    const words = [`c${i}`, `${OUTER.a}:${20_000 + i}`, `${OUTER.b}:${PORT}`, ...mtu];
    return startJson(lab, lab.a, tunnelA, [...argv, ...words], START_LIMIT_MS);
  });
  return [server, ...(await Promise.all(started))];
}

async function startOurs(lab: Lab, clients: number): Promise<HostProcess[]> {
  const env = { ...process.env, XDG_RUNTIME_DIR: await mkdtemp(path.join(lab.scratch, 'run-')) };
  const { tunnelA, tunnelB } = lab.placement;
  const serverWords = ['--mode', 'server', '-p', 'tun0', '-i', `${PORT}`, '-s', `${INNER.b}/16`];
  const server = lab.spawn(
    lab.b,
    tunnelB,
    [process.execPath, COMMAND, ...serverWords, '--mtu', `${INNER_MTU}`, '--thread', 'worker'],
    { env },
  );
  await server.waitFor(' is up: ', START_LIMIT_MS);
  const argv = [process.execPath, program('many-clients'), `${OUTER.b}:${PORT}`, `${clients}`];
  const ours = await startJson(lab, lab.a, tunnelA, [...argv, FIRST_CLIENT, `${INNER_MTU}`], START_LIMIT_MS);
  const words = await interfaceWords(lab);
  await lab.a.ip(Array.from({ length: clients }, (_, i) => `link set c${i} ${words}`));
  return [server, ours];
}

/**
 * What the command has set on the server's interface, for those of a program that makes its own: 16 clients whose
 * superframes leave in two sends each carry a sixth less (docs/tunnel-apps.md).
 */
async function interfaceWords(lab: Lab): Promise<string> {
  const [link] = JSON.parse(
    await lab.run(lab.b, undefined, ['ip', '-details', '-json', 'link', 'show', 'tun0']),
  );
  return `gso_max_size ${link.gso_max_size} txqueuelen ${link.txqlen}`;
}

/** bit/s that arrive, over as many connections as there are clients, each from another one's address. */
async function traffic(lab: Lab, clients: number, seconds: number): Promise<number> {
  const { client, server } = lab.placement;
  const common = [INNER.b, TRAFFIC_PORT].map(String);
  const sink = await startJson(lab, lab.b, server, [twin('tcpgen'), 'sink', ...common, `${seconds + 60}`]);
  const words = ['send', ...common, `${seconds}`, `${clients}`, FIRST_CLIENT];
  const sender = await startJson(lab, lab.a, client, [twin('tcpgen'), ...words], START_LIMIT_MS);
  await endOfJson(sender, seconds + 20);
  const { bits_per_second: rate = 0, connections = 0 } = await stopJson(sink);
  if (connections !== clients) throw new Error(`${connections} of ${clients} connections arrived`);
  return rate;
}
