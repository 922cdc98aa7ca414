/** `tunconnector bench`: what a tunnel does on this machine, in 20 seconds, and what holds it back. */
import { availableParallelism } from 'node:os';
import Table from 'cli-table3';
import { Command } from 'commander';
import type { AppReport } from '../engine/app.ts';
import type { NetworkReport } from '../engine/report.ts';
import { SMALL } from './bench/load.ts';
import { type Figures, type Measured, measure, THREAD } from './bench/measure.ts';
import { type Finding, isFit } from './doctor/finding.ts';
import { bufferFinding, machineFindings, programFindings } from './doctor/machine.ts';
import { offloadFindings } from './doctor/offloads.ts';
import { describeTunnel } from './doctor/tunnels.ts';
import { Exit, usageError } from './exit.ts';
import { formatBitRate, formatPacketRate, grouped } from './format.ts';

const USUAL_SECONDS = 20;
const [LEAST_SECONDS, MOST_SECONDS] = [5, 600];

interface Options {
  json?: boolean;
  seconds?: string;
  verbose?: boolean;
}

/** @param done receives the exit code when the command has ended */
export function benchCommand(done: (code: number) => void): Command {
  return new Command('tunconnector bench')
    .description('Measures a tunnel between two throw-away hosts on this machine.')
    .option('--json', 'one JSON object instead of the table')
    .option('--verbose', 'say on standard error what is measured, also where that is no terminal')
    .option(
      '--seconds <n>',
      `how long it may take, ${LEAST_SECONDS} to ${MOST_SECONDS} (default: ${USUAL_SECONDS})`,
    )
    .addHelpText(
      'after',
      `
Two network namespaces joined by a wire, a tunnel over it by this very command
(format udp, --thread worker), and the same load with and without the tunnel.
The load and both ends of the tunnel share the processor, so two machines with a
real wire between them can do better. Nothing is left behind.

Examples:
  tunconnector bench
  tunconnector bench --seconds 60 --json > today.json`,
    )
    .action(async (options: Options) => done(await bench(options)));
}

async function bench({ json = false, seconds: text, verbose = false }: Options): Promise<number> {
  const seconds = text === undefined ? USUAL_SECONDS : Number(text);
  if (!(seconds >= LEAST_SECONDS && seconds <= MOST_SECONDS)) {
    throw usageError(`--seconds: found "${text}", expected ${LEAST_SECONDS} to ${MOST_SECONDS}`);
  }
  const interrupted = new AbortController();
  const stop = () => interrupted.abort();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.once(signal, stop);
  const line = progress(verbose);
  try {
    const program = programFindings();
    const findings = [...program, ...machineFindings()];
    if (isFit(program)) findings.push(bufferFinding(), ...(await offloadFindings()));
    const measured = await measure(seconds, line.show, interrupted.signal);
    line.clear();
    process.stdout.write(json ? `${benchJson(measured, findings)}\n` : `${benchText(measured, findings)}\n`);
    return Exit.ok;
  } catch (error) {
    line.clear();
    if (interrupted.signal.aborted) return 130;
    throw error;
  } finally {
    for (const signal of signals) process.removeListener(signal, stop);
  }
}

/** One line that is refreshed on a terminal; elsewhere, if that is wanted, a line for each step. */
function progress(verbose: boolean) {
  const { stderr } = process;
  const show = (what: string, index: number, of: number) => {
    const text = `[${index}/${of}] ${what}`;
    if (stderr.isTTY) stderr.write(`\r${text}\x1b[K`);
    else if (verbose) stderr.write(`${text}\n`);
  };
  const clear = () => {
    if (stderr.isTTY) stderr.write('\r\x1b[K');
  };
  return { show, clear };
}

function benchJson({ report, ...measured }: Measured, findings: readonly Finding[]): string {
  const active = { ...activeIn(report), thread: THREAD };
  const limits = limitsOf(report, findings);
  return JSON.stringify({ ...measured, cores: availableParallelism(), active, limits });
}

/** The small packets are more than the tunnel can take, on purpose: what was lost there is no finding. */
function limitsOf(report: NetworkReport | undefined, findings: readonly Finding[]): Finding[] {
  const running = { name: 'bench0', state: undefined, queueDrops: 0 };
  const own = report ? describeTunnel({ ...running, report }) : [];
  return [...findings, ...own].filter(({ name, mark }) => mark !== 'ok' && name !== 'socket drops');
}

/** What the tunnel's own report says that it used. */
export function activeIn(report: NetworkReport | undefined): Record<string, boolean> {
  const app = (name: string): AppReport => report?.apps.find((each) => each.app === name)?.report ?? {};
  const [tun, udp] = [app('tun'), app('udp')];
  return {
    vnetHeader: tun.vnetHeader === true,
    tso: tun.tso === true,
    uso: tun.uso === true,
    gso: udp.gso === true,
    gro: udp.gro === true,
  };
}

const ACTIVE: Record<string, string> = {
  vnetHeader: 'vnet_hdr',
  tso: 'TSO',
  uso: 'USO',
  gso: 'UDP_SEGMENT',
  gro: 'UDP_GRO',
};

export function benchText(measured: Measured, findings: readonly Finding[]): string {
  const { wire, tunnel, processorPerGigabyte, rootless, report } = measured;
  const table = new Table({
    head: ['', 'wire', 'tunnel', ''],
    colAligns: ['left', 'right', 'right', 'right'],
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    style: { head: [], border: [] },
  });
  const row = (
    name: string,
    key: 'tcpForward' | 'tcpReverse' | 'smallPackets',
    format: (n: number) => string,
  ) => {
    const [a, b] = [wire[key], tunnel[key]];
    table.push([
      name,
      a === undefined ? '' : format(a),
      b === undefined ? '' : format(b),
      a && b ? `${Math.round((100 * b) / a)} %` : '',
    ]);
  };
  row('TCP to the server', 'tcpForward', formatBitRate);
  row('TCP from the server', 'tcpReverse', formatBitRate);
  row(`UDP, ${SMALL} bytes each`, 'smallPackets', formatPacketRate);
  const trip = (figures: Figures, key: 'idle' | 'loaded') =>
    figures[key] ? `${grouped(figures[key].median)} µs` : '';
  table.push(['round trip, idle', trip(wire, 'idle'), trip(tunnel, 'idle'), '']);
  table.push(['round trip beside TCP', '', trip(tunnel, 'loaded'), '']);
  const used = processorPerGigabyte === undefined ? '' : `${processorPerGigabyte.toFixed(2)} s/GB`;
  table.push(['processor, both ends', '', used, '']);

  const active = activeIn(report);
  const names = (on: boolean) =>
    Object.entries(active)
      .filter(([, value]) => value === on)
      .map(([key]) => ACTIVE[key]);
  const lines = [table.toString(), `in use: ${[...names(true), `${THREAD} thread`].join(', ')}`];
  if (names(false).length > 0) lines.push(`not in use: ${names(false).join(', ')}`);
  if (!tunnel.idle) lines.push('no round-trip times: apt-get install iputils-ping');
  const cores = availableParallelism();
  const shared = `the load, both ends of the tunnel${rootless ? ' (rootless)' : ''} share ${cores} ${cores === 1 ? 'core' : 'cores'}`;
  if ((tunnel.smallPackets ?? 0) > 0.9 * (wire.smallPackets ?? Infinity)) {
    lines.push('small packets: the load itself is the limit here, not the tunnel');
  }
  lines.push(`measured with Node.js as load generator: ${shared}`);
  const limits = limitsOf(report, findings).map(
    ({ name, found, cost, remedy }) =>
      `- ${name}: ${found}${cost ? ` (${cost})` : ''}${remedy ? `\n    ${remedy}` : ''}`,
  );
  lines.push(
    limits.length > 0 ? 'what holds this machine back:' : 'nothing holds this machine back but its processor',
  );
  return [...lines, ...limits].join('\n');
}
