/** Tunnels of this user that run on this host: what their settings and counters say. */
import { readFileSync } from 'node:fs';
import type { AppReport } from '../../engine/app.ts';
import type { NetworkReport } from '../../engine/report.ts';
import { connectControl, listNetworks } from '../../tun/control/live-client.ts';
import { runCommand } from '../../tun/system/live-command.ts';
import { type InterfaceState, readInterface } from '../../tun/system/live-ip.ts';
import { errorLine } from '../exit.ts';
import { grouped } from '../format.ts';
import type { Finding } from './finding.ts';

/** EtherIP and Ethernet headers in front of each inner packet of a TAP. */
const ETHERNET_FRAMING = 2 + 14;
/** What Linux gives a TUN. Each place may hold a superframe. */
const ENOUGH_QUEUE = 500;

export interface RunningTunnel {
  name: string;
  report: NetworkReport;
  /** Undefined where it is in another network namespace. */
  state: InterfaceState | undefined;
  /** Packets that found the interface's queue full. */
  queueDrops: number;
}

export async function tunnelFindings(): Promise<Finding[]> {
  const running = await listNetworks();
  const lists = await Promise.all(
    running.map(async ({ name }) => {
      try {
        return describeTunnel(await lookAt(name));
      } catch (error) {
        const group = `tunnel ${name}`;
        const remedy = 'ask again; it may have ended just now';
        return [{ group, name: 'report', mark: 'slow', found: errorLine(error), remedy } satisfies Finding];
      }
    }),
  );
  return [...lists.flat(), ...(running.length > 0 ? sysctlFindings() : [])];
}

async function lookAt(name: string): Promise<RunningTunnel> {
  await using control = await connectControl(name);
  const report = await control.report();
  const device = String(appOf(report, 'tun')?.interface ?? name);
  const state = await readInterface(device).catch(() => undefined);
  if (!state) return { name, report, state, queueDrops: 0 };
  const { code, stdout } = await runCommand(['ip', '-s', '-j', 'link', 'show', 'dev', device]);
  const [link] = code === 0 ? (JSON.parse(stdout) as [{ stats64?: { tx: { dropped: number } } }]) : [];
  return { name, report, state, queueDrops: link?.stats64?.tx.dropped ?? 0 };
}

const appOf = (report: NetworkReport, name: string): AppReport | undefined =>
  report.apps.find(({ app }) => app === name)?.report;

export function describeTunnel({ name, report, state, queueDrops }: RunningTunnel): Finding[] {
  const group = `tunnel ${name}`;
  const tun = appOf(report, 'tun') ?? {};
  const udp = appOf(report, 'udp');
  const findings: Finding[] = [];
  const add = (what: string, found: string, cost: string, remedy: string) =>
    void findings.push({ group, name: what, mark: 'slow', found, cost, remedy });
  const count = (app: AppReport | undefined, counter: string) => Number(app?.[counter] ?? 0);

  const mtu = state ? mtuFinding(report, state) : undefined;
  if (mtu) add('MTU', mtu.found, mtu.cost, mtu.remedy);
  if (count(udp, 'txTooLong') > 0) {
    const found = `${grouped(count(udp, 'txTooLong'))} datagrams were longer than the path carries`;
    add('path', found, 'they are lost', 'a smaller --mtu at both ends');
  }
  if (state && state.txQueueLength < ENOUGH_QUEUE) {
    const found = `room for ${state.txQueueLength} packets`;
    add('queue', found, 'bursts are lost', `ip link set ${state.name} txqueuelen ${2 * ENOUGH_QUEUE}`);
  }
  if (queueDrops > 0) {
    const found = `${grouped(queueDrops)} packets found the interface's queue full`;
    const remedy = `ip link set ${state?.name ?? name} txqueuelen 4096, or a faster processor`;
    add('queue drops', found, 'the tunnel did not read fast enough; TCP slows down, UDP is lost', remedy);
  }
  if (count(udp, 'kernelDrops') > 0) {
    const found = `${grouped(count(udp, 'kernelDrops'))} datagrams found the socket's buffer full`;
    add('socket drops', found, 'they are lost', 'see "socket buffers"');
  }
  for (const [app, key, option, means] of [
    [tun, 'vnetHeader', '--no-vnet-hdr', 'no superframes between kernel and tunnel'],
    [udp, 'gso', '--no-gso', 'one datagram per send'],
    [udp, 'gro', '--no-gro', 'one datagram per receive'],
  ] as const) {
    if (app?.[key] !== false) continue;
    add(key, 'not used', means, `start it without ${option}, unless the kernel has a fault (see "offloads")`);
  }
  if (findings.length > 0) return findings;
  const where = state ? `MTU ${state.mtu}, queue ${state.txQueueLength}` : 'in another network namespace';
  return [{ group, name: 'settings', mark: 'ok', found: `${where}, nothing lost` }];
}

/** A client knows what its path carries, 0 meaning not yet. */
function mtuFinding(report: NetworkReport, { mtu, mac }: InterfaceState) {
  const datagram = Number(appOf(report, 'tunnel')?.datagram ?? 0);
  const fits = datagram - (mac === undefined ? 0 : ETHERNET_FRAMING);
  if (datagram <= 0 || mtu <= fits) return undefined;
  return {
    found: `${mtu} bytes, and the path carries ${fits}`,
    cost: 'packets of full size are cut or lost on the way',
    remedy: `start it with --mtu ${fits}, or without --mtu`,
  };
}

/** Settings of the host that matter to a tunnel, where counters say that they do. */
function sysctlFindings(): Finding[] {
  const group = 'routing';
  const findings: Finding[] = [];
  const filtered = counterOf('/proc/net/netstat', 'TcpExt', 'IPReversePathFilter');
  if (filtered > 0) {
    findings.push({
      group,
      name: 'rp_filter',
      mark: 'slow',
      found: `${grouped(filtered)} packets came by an interface that is not the way back, since boot`,
      cost: 'they are lost, without a word',
      remedy: 'sysctl -w net.ipv4.conf.all.rp_filter=2, if they came out of the tunnel',
    });
  }
  const strangers = counterOf('/proc/net/snmp', 'Ip', 'InAddrErrors');
  if (strangers > 0 && readFileSync('/proc/sys/net/ipv4/ip_forward', 'latin1').trim() === '0') {
    findings.push({
      group,
      name: 'forwarding',
      mark: 'slow',
      found: `off, and ${grouped(strangers)} packets for other hosts arrived, since boot`,
      cost: 'they are lost',
      remedy: 'start the tunnel with --forward, if it is to carry them',
    });
  }
  return findings;
}

/** A counter of /proc/net/snmp or netstat: a line of names, a line of numbers. */
export function counterOf(file: string, section: string, name: string, text?: string): number {
  const lines = (text ?? readFileSync(file, 'latin1'))
    .split('\n')
    .filter((line) => line.startsWith(`${section}:`));
  const [names = [], numbers = []] = lines.map((line) => line.split(' '));
  return Number(numbers[names.indexOf(name)] ?? 0);
}
