/** Two throw-away hosts, a wire, a tunnel over it by the real command, and what passes with and without it. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { NetworkReport } from '../../engine/report.ts';
import { createWorld, type Host, type HostProcess, type World } from '../../testing/index.ts';
import type { LoadResult } from './load.ts';

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));
/** Node runs no TypeScript before version 22, so from the sources the compiled program is used. */
const LOAD = here(import.meta.url.endsWith('.ts') ? '../../../dist/cli/bench/load.js' : './load.js');
const COMMAND = here('../../../bin/tunconnector.js');

const WIRE = { server: '10.84.1.1', client: '10.84.1.2' };
const TUNNEL = { server: '10.84.2.1', client: '10.84.2.2' };
/** Where the tunnel moves its packets. */
export const THREAD = 'worker';
const TUNNEL_PORT = 55556;
const LOAD_PORT = 5201;
/** Clock ticks of /proc/PID/stat, which Linux fixed at this for programs. */
const TICKS = 100;
/** Longest time of a step beyond what it measures, ms. */
const SLACK = 15_000;

/** Undefined where it could not be measured. */
export interface Figures {
  /** bit/s */
  tcpForward?: number;
  tcpReverse?: number;
  /** Datagrams of `SMALL` bytes that arrived, per second. */
  smallPackets?: number;
  /** Round-trip times, µs. */
  idle?: RoundTrip;
  loaded?: RoundTrip;
}

export interface RoundTrip {
  median: number;
  average: number;
  worst: number;
}

export interface Measured {
  wire: Figures;
  tunnel: Figures;
  /** Both ends of the tunnel, seconds of processor time per 10^9 bytes of TCP. */
  processorPerGigabyte: number | undefined;
  rootless: boolean;
  /** Of the client's end. */
  report: NetworkReport | undefined;
}

export type Step = (what: string, index: number, of: number) => void;

const STEPS = 8;

/**
 * Runs for about `seconds`. When `signal` fires it rejects, with everything removed; with what depends on the step.
 * @throws ERR_PERMISSION where there are no namespaces to be had
 */
export async function measure(seconds: number, step: Step, signal: AbortSignal): Promise<Measured> {
  await using world = await createWorld({ name: 'bench' });
  const close = () => void world.close();
  signal.addEventListener('abort', close, { once: true });
  try {
    return await run(world, Math.max(0.3, (seconds - 6) / 7), step, signal);
  } finally {
    signal.removeEventListener('abort', close);
  }
}

async function run(world: World, unit: number, step: Step, signal: AbortSignal): Promise<Measured> {
  let index = 0;
  const next = (what: string) => {
    signal.throwIfAborted();
    step(what, ++index, STEPS);
  };
  next('two hosts, a wire and a tunnel');
  const [server, client] = await Promise.all([world.host('server'), world.host('client')]);
  await world.wire(server, client, { a: `${WIRE.server}/24`, b: `${WIRE.client}/24` });
  const ends = await startTunnel(server, client);

  const wire: Figures = {};
  const tunnel: Figures = {};
  next('TCP over the wire alone');
  wire.tcpForward = (await tcp(client, server, WIRE.client, unit)).rate;
  wire.tcpReverse = wire.tcpForward;
  next('TCP through the tunnel, to the server');
  const [forward, loaded] = await Promise.all([
    tcp(client, server, TUNNEL.client, 1.5 * unit, () => processorTime(ends)),
    ping(server, TUNNEL.client, unit, 0.5),
  ]);
  tunnel.tcpForward = forward.rate;
  tunnel.loaded = loaded;
  next('TCP through the tunnel, from the server');
  tunnel.tcpReverse = (await tcp(server, client, TUNNEL.server, 1.5 * unit)).rate;
  // After TCP: before V8 has compiled the way of a packet, a trip takes twice as long (0.6 instead of 0.3 ms).
  next('round-trip times');
  wire.idle = await ping(client, WIRE.server, unit / 2);
  tunnel.idle = await ping(client, TUNNEL.server, unit / 2);
  next('small packets over the wire alone');
  wire.smallPackets = await smallPackets(client, server, WIRE.server, unit);
  next('small packets through the tunnel');
  tunnel.smallPackets = await smallPackets(client, server, TUNNEL.server, 1.5 * unit);
  next('the tunnel’s own report');
  const report = await endTunnel(ends);
  return {
    wire,
    tunnel,
    processorPerGigabyte: forward.used / (forward.bytes / 1e9),
    rootless: world.rootless,
    report,
  };
}

interface Ends {
  server: HostProcess;
  client: HostProcess;
}

async function startTunnel(on: Host, from: Host): Promise<Ends> {
  const common = ['--json', '--thread', THREAD];
  const serverWords = ['-m', 'server', '-p', 'bench0', '-s', TUNNEL.server, '-i', String(TUNNEL_PORT)];
  const server = on.node(COMMAND, [...serverWords, ...common]);
  await server.waitFor('"event":"up"', SLACK);
  const clientWords = ['-m', 'client', '-n', 'bench0', '-c', TUNNEL.client, '-o', String(TUNNEL_PORT)];
  const client = from.node(COMMAND, [...clientWords, '-r', WIRE.server, ...common]);
  await client.waitFor('"event":"up"', SLACK);
  return { server, client };
}

async function endTunnel({ server, client }: Ends): Promise<NetworkReport | undefined> {
  await client.stop('SIGINT', SLACK);
  await server.stop('SIGINT', SLACK);
  const line = client.stdout.split('\n').find((each) => each.includes('"event":"report"'));
  if (line === undefined) return undefined;
  return (JSON.parse(line) as { ends: { network: NetworkReport }[] }).ends[0]?.network;
}

/** Seconds that both ends have used so far, all threads. */
function processorTime({ server, client }: Ends): number {
  let ticks = 0;
  for (const { pid } of [server, client]) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS;
}

const load = (host: Host, ...words: (string | number)[]) => host.node(LOAD, words.map(String));

interface Transfer {
  /** bit/s */
  rate: number;
  bytes: number;
  /** Growth of `meter` meanwhile. */
  used: number;
}

/** @param address of the sender, which the receiver connects to */
async function tcp(
  from: Host,
  to: Host,
  address: string,
  seconds: number,
  meter = () => 0,
): Promise<Transfer> {
  await using source = load(from, 'tcp-source', LOAD_PORT);
  await source.waitFor('ready', SLACK);
  const sink = load(to, 'tcp-sink', address, LOAD_PORT, seconds);
  await sink.waitFor('counting', SLACK);
  const before = meter();
  const { bytes, seconds: took } = await resultOf(sink, seconds);
  const used = meter() - before;
  source.kill('SIGKILL');
  return { rate: (bytes * 8) / took, bytes, used };
}

async function smallPackets(from: Host, to: Host, address: string, seconds: number): Promise<number> {
  await using sink = load(to, 'udp-sink', LOAD_PORT, seconds);
  await sink.waitFor('ready', SLACK);
  await using source = load(from, 'udp-source', address, LOAD_PORT, seconds + 10);
  const result = await resultOf(sink, seconds);
  source.kill('SIGKILL');
  return result.packets / result.seconds;
}

async function resultOf(process: HostProcess, seconds: number): Promise<LoadResult> {
  const [line] = await process.waitFor(/^\{.*\}$/m, seconds * 1000 + SLACK);
  return JSON.parse(line!) as LoadResult;
}

/** Undefined where there is no ping(8), or nothing comes back. @param delay seconds before it begins */
async function ping(host: Host, to: string, seconds: number, delay = 0): Promise<RoundTrip | undefined> {
  const count = Math.max(10, Math.round(seconds * 100));
  const words = ['ping', '-i', '0.01', '-c', String(count), '-w', String(Math.ceil(seconds) + 2), to];
  const argv = delay > 0 ? ['sh', '-c', `sleep ${delay}; exec "$@"`, 'sh', ...words] : words;
  const { stdout } = await host.exec(argv, { timeout: seconds * 1000 + SLACK }).catch(() => ({ stdout: '' }));
  return roundTrips(stdout);
}

/** From ping's output: a line for each answer. */
export function roundTrips(text: string): RoundTrip | undefined {
  const times = [...text.matchAll(/time[=<]([\d.]+) ms/g)].map(([, ms]) => Number(ms) * 1000);
  if (times.length === 0) return undefined;
  times.sort((a, b) => a - b);
  const average = times.reduce((a, b) => a + b, 0) / times.length;
  return { median: times[Math.floor(times.length / 2)]!, average, worst: times.at(-1)! };
}
