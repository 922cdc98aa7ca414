/** What a simulation did: a table for the links, one for the flows, and what it says nothing about. */
import Table from 'cli-table3';
import type { FlowFigures, Simulation, SwitchReport } from '../../sim/index.ts';
import { formatBitRate, formatBytes, formatDuration, grouped } from '../format.ts';

interface DirectionSummary {
  from: string;
  to: string;
  packets: number;
  bytes: number;
  delivered: number;
  dropped: number;
  /** ns, mean of those delivered. */
  delay: number;
}

interface SwitchSummary extends SwitchReport {
  name: string;
  /** Links. */
  ports: number;
}

export interface Summary {
  file: string;
  seed: number;
  /** Virtual, ns. */
  time: number;
  /** Real, s. */
  took: number;
  interrupted: boolean;
  hosts: number;
  events: number;
  packets: number;
  fingerprint: string;
  links: { name: string; up: DirectionSummary; down: DirectionSummary }[];
  switches: SwitchSummary[];
  flows: FlowFigures[];
  log: { at: number; host?: string; text: string }[];
}

/** Lines of a table; the rest is in --json. */
const MOST_ROWS = 40;
const MOST_LOG = 20;
const PROCESSOR = 'Processor time is nothing in virtual time: this says nothing of what a program can carry.';

export function summaryOf(
  sim: Simulation,
  { file, took, interrupted }: { file: string; took: number; interrupted: boolean },
): Summary {
  const links = sim.topology.links.map(({ name, ends: [a, b] }) => {
    const { up, down } = sim.link(name).inspect();
    const direction = (from: string, to: string, did: typeof up): DirectionSummary => ({
      ...{ from, to, packets: did.packets, bytes: did.bytes },
      ...{ delivered: did.packetsOut, dropped: did.dropped },
      delay: did.packetsOut > 0 ? did.delay / did.packetsOut : 0,
    });
    return { name, up: direction(a.host, b.host, up), down: direction(b.host, a.host, down) };
  });
  return {
    ...{ file, seed: sim.runtime.seed, time: sim.runtime.now(), took, interrupted },
    ...{ hosts: sim.topology.hosts.size, events: sim.events, packets: sim.packets },
    ...{ fingerprint: sim.fingerprint, links, switches: switchesOf(sim), flows: sim.flows },
    log: sim.log.map(({ at, host, text }) => ({ at, ...(host !== undefined && { host }), text })),
  };
}

function switchesOf(sim: Simulation): SwitchSummary[] {
  const ends = sim.topology.links.flatMap((link) => link.ends);
  return sim.switches.map((each) => ({
    ...{ name: each.name, ports: ends.filter(({ host }) => host === each.name).length },
    ...each.inspect(),
  }));
}

export const summaryJson = (summary: Summary): string => JSON.stringify({ ...summary, note: PROCESSOR });

const table = (head: string[]) =>
  new Table({
    head,
    colAligns: head.map((_, n) => (n === 0 ? 'left' : 'right')),
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    style: { head: [], border: [] },
  });

const milliseconds = (ns: number): string => (ns > 0 ? `${(ns / 1e6).toFixed(ns < 1e8 ? 2 : 1)} ms` : '');

/** @param out where the files are */
export function summaryText(summary: Summary, out?: string): string {
  const { seed, time, took, hosts, events, packets, links, switches, flows, log, fingerprint } = summary;
  const bridges = switches.length > 0 ? `${grouped(switches.length)} switches, ` : '';
  const lines = [
    `${grouped(hosts)} hosts, ${bridges}${grouped(links.length)} links, seed ${seed}: ${formatDuration(time)} of virtual time in ${took.toFixed(1)} s` +
      `${summary.interrupted ? ', interrupted' : ''}`,
    `${grouped(events)} events, ${grouped(packets)} packets at the ends of links`,
  ];
  if (log.length > 0) {
    lines.push('', 'Log:');
    for (const { at, host, text } of log.slice(0, MOST_LOG))
      lines.push(`  ${(at / 1e9).toFixed(6)} ${host ?? '-'} ${text}`);
    if (log.length > MOST_LOG) lines.push(`  and ${grouped(log.length - MOST_LOG)} lines more`);
  }
  if (links.length > 0) lines.push('', linkTable(links));
  if (switches.length > 0) lines.push('', switchTable(switches));
  if (flows.length > 0) lines.push('', flowTable(flows));
  lines.push('', PROCESSOR, `fingerprint ${fingerprint}`);
  if (out !== undefined) lines.push(`files in ${out}`);
  return `${lines.join('\n')}\n`;
}

function linkTable(links: Summary['links']): string {
  const rows = table(['link', 'from', 'to', 'packets', 'bytes', 'dropped', 'mean delay']);
  const ways = links.flatMap(({ name, up, down }) => [
    { name, ...up },
    { name, ...down },
  ]);
  for (const { name, from, to, packets, bytes, dropped, delay } of ways.slice(0, MOST_ROWS))
    rows.push([name, from, to, grouped(packets), formatBytes(bytes), grouped(dropped), milliseconds(delay)]);
  return rest(rows.toString(), ways.length);
}

function switchTable(switches: readonly SwitchSummary[]): string {
  const rows = table(['switch', 'links', 'frames', 'to one', 'to all', 'dropped']);
  for (const { name, ports, received, forwarded, flooded, dropped } of switches.slice(0, MOST_ROWS))
    rows.push([name, ...[ports, received, forwarded, flooded, dropped].map(grouped)]);
  return rest(rows.toString(), switches.length);
}

function flowTable(flows: readonly FlowFigures[]): string {
  const rows = table(['flow', 'from', 'to', 'state', 'received', 'goodput', 'RTT or delay', 'again', 'lost']);
  for (const flow of flows.slice(0, MOST_ROWS)) {
    const { name, from, to, state, receivedBytes, goodput, rtt, retransmissions } = flow;
    const lost = flow.sentPackets - flow.receivedPackets;
    const counts = flow.kind === 'tcp' ? [grouped(retransmissions), ''] : ['', share(lost, flow.sentPackets)];
    const rate = flow.kind === 'ping' || goodput === 0 ? '' : formatBitRate(goodput);
    rows.push([
      `${name} (${flow.kind})`,
      ...[from, to, state, formatBytes(receivedBytes), rate, milliseconds(rtt), ...counts],
    ]);
  }
  return rest(rows.toString(), flows.length);
}

const share = (part: number, whole: number): string =>
  whole === 0 ? '' : `${grouped(part)} (${((100 * part) / whole).toFixed(1)} %)`;

const rest = (text: string, rows: number): string =>
  rows > MOST_ROWS ? `${text}\nand ${grouped(rows - MOST_ROWS)} rows more: --json has all` : text;
