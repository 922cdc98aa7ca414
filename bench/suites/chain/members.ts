/**
 * A chain as users start it, by its commands and with a Roulette, each member on a host of its own. Every function leaves its mark in the
 * DSCP of the packets it passes on, so that a packet that arrives says which replicas it went through.
 */
import { mkdtemp, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Host, HostProcess } from 'tunconnector/testing';
import { functionAddress, type Lab, OUTER, type VisitContext, withChainLab } from '../../harness/lab.ts';
import { COMMAND, program } from '../../harness/root.ts';
import type { Sample, Visit } from '../../harness/rounds.ts';
import type { Steady } from '../../harness/steady.ts';
import { OURS } from './path.ts';

export const SPI = 7;
/** As many addresses of host b as are wanted, from here on: packets to them go through the chain. */
export const FIRST_ADDRESS = '10.72.0.0';
const ADDRESSES = '10.72.0.0/14';
const CLIENTS = '10.66.100.0/24';
const INGRESS_ADDRESS = '10.66.100.1';
const TENANT = 42;
const TOKEN = 'bench-token-0123456789';
const REGISTRY_PORT = 7590;
const START_LIMIT_MS = 30_000;

/** A replica: of which function, and the bit of the DSCP that it sets, 0 to 5. */
export interface ReplicaSpec {
  function: string;
  mark: number;
}

export interface Members {
  lab: Lab;
  roulette: HostProcess;
  ingress: HostProcess;
  egress: HostProcess;
  replicas: HostProcess[];
  /** Makes these the chain's functions, and says when it was asked to and when it was done: ms since 1970. */
  put(functions: readonly string[]): Promise<{ asked: number; answered: number }>;
}

/** @param chain the functions that packets pass at the start */
export function membersVisit(
  { replicas, chain }: { replicas: readonly ReplicaSpec[]; chain: readonly string[] },
  measure: (members: Members) => Promise<Sample[]>,
): Visit {
  return {
    subject: OURS,
    overhead: 8 + replicas.length,
    measure: (context: VisitContext) =>
      withChainLab(context, replicas.length + 1, async (lab, hosts) => {
        const members = await startMembers(lab, hosts, replicas, chain);
        const samples = await measure(members);
        // They end with their hosts: what is asked here is not how they drain.
        return samples;
      }),
  };
}

async function startMembers(
  lab: Lab,
  hosts: readonly Host[],
  specs: readonly ReplicaSpec[],
  chain: readonly string[],
): Promise<Members> {
  const registry = hosts.at(-1)!;
  const url = `http://${functionAddress(hosts.length - 1)}:${REGISTRY_PORT}`;
  const folder = await mkdtemp(path.join(lab.scratch, 'chain-'));
  // The processes are left to the scheduler: pinned to one processor, the packets' thread waits for V8's other threads.
  const start = async (host: Host, words: readonly string[]) => {
    const env = {
      ...process.env,
      TUNCONNECTOR_TOKEN: TOKEN,
      XDG_RUNTIME_DIR: await mkdtemp(path.join(folder, 'run-')),
    };
    const started = lab.spawn(host, undefined, [process.execPath, COMMAND, ...words, '--json'], { env });
    await started.waitFor('"event":"up"', START_LIMIT_MS);
    return started;
  };
  const file = async (name: string, content: string) => {
    const place = path.join(folder, name);
    await writeFile(place, content);
    return place;
  };
  const config = {
    tenants: {
      [TENANT]: {
        functions: [...new Set(specs.map((each) => each.function))],
        chains: { [SPI]: chain },
        rules: [{ name: 'all', match: {}, chain: SPI }],
      },
    },
  };
  const roulette = await start(registry, [
    ...['roulette', '--listen', new URL(url).host, '--store', path.join(folder, 'store')],
    ...['--config', await file('roulette.json', JSON.stringify(config))],
    ...['--tokens', await file('tokens.yaml', `${TOKEN}: all\n`)],
  ]);
  const common = ['--roulette', url, '--tenant', `${TENANT}`];
  const replicas = await Promise.all(
    specs.map(async ({ function: name, mark }, k) => {
      const module = await file(`mark-${k}.mjs`, marking(name, mark));
      return start(hosts[k]!, ['vnf', module, ...common, '--bind', functionAddress(k)]);
    }),
  );
  const egress = await start(lab.b, [
    ...['egress', ...common, '--bind', OUTER.b, '--address', '10.66.101.1/32', '--route', CLIENTS],
  ]);
  const ingress = await start(lab.a, [
    ...['ingress', ...common, '--bind', OUTER.a, '--tun', 'chain0', '--address', `${INGRESS_ADDRESS}/32`],
    ...['--route', ADDRESSES],
  ]);
  await lab.b.ip(`route add local ${ADDRESSES} dev lo`);
  return {
    ...{ lab, roulette, ingress, egress, replicas },
    async put(functions) {
      const argv = [process.execPath, program('chain-put'), url, TOKEN, `${TENANT}`, `${SPI}`, ...functions];
      return JSON.parse(await lab.run(registry, undefined, argv));
    },
  };
}

const marking = (name: string, mark: number) => `export default {
  name: '${name}',
  process(packet) {
    packet.ip.dscp |= ${1 << mark};
    return 'forward';
  },
};
`;

/** What became of each packet of a run. Times in ms since 1970. */
export interface Fates {
  sent: number;
  /** By number: when it was sent, and the marks it came with; -1 of what did not come. */
  left: Float64Array;
  marks: Int16Array;
  /** When it came; NaN of what did not. */
  arrived: Float64Array;
}

/** Packets that did not come have no stamp: they were sent at the steady rate, between those that did. */
export function fatesOf(run: Steady): Fates {
  const { sent, epoch, packetsPerSecond } = run;
  const left = new Float64Array(sent).fill(Number.NaN);
  const arrived = new Float64Array(sent).fill(Number.NaN);
  const marks = new Int16Array(sent).fill(-1);
  for (const [i, number] of run.numbers.entries()) {
    left[number] = epoch + run.left[i]! / 1e6;
    arrived[number] = epoch + run.arrived[i]! / 1e6;
    marks[number] = run.dscp[i]!;
  }
  let last = epoch;
  for (let number = 0; number < sent; number++) {
    if (Number.isNaN(left[number]!)) left[number] = last + 1000 / packetsPerSecond;
    last = left[number]!;
  }
  return { sent, left, arrived, marks };
}
