/** What one end of a tunnel is, who is at its other end, and what passed: plain data. */
import type { AppReport } from '../../engine/app.ts';
import { type NetworkReport, totalDrops } from '../../engine/report.ts';

export type Side = 'server' | 'client';

/** An end, when it is ready. */
export interface EndUp {
  side: Side;
  interface: string;
  /** Inner addresses, with prefix length. */
  addresses: string[];
  /** Of the interface, bytes. */
  mtu: number;
  /** Where a server listens, or a client's server. */
  outer: string;
}

export interface PeerReport {
  /** Outer address: `192.168.6.8:41000`. */
  outer: string;
  /** Inner addresses. */
  addresses: string[];
  networks: string[];
  silent: boolean;
}

export interface Traffic {
  /** Wire packets, and their bytes. */
  packets: number;
  bytes: number;
}

export interface EndReport extends EndUp {
  /** False while a client has no answer from its server. */
  connected: boolean;
  /** Nanoseconds since it was set up. */
  duration: number;
  /** From the interface into the tunnel. */
  sent: Traffic;
  /** Out of the tunnel into the interface. */
  received: Traffic;
  /** Wire packets dropped, by reason. */
  drops: Record<string, number>;
  peers: PeerReport[];
  network: NetworkReport;
}

/** Port counters that mean lost packets, by the name under which reports show them. */
const PORT_LOSSES: Record<string, string> = {
  rxNoMemory: 'no-memory',
  rxTruncated: 'too-long-to-read',
  rxInvalid: 'invalid-from-kernel',
  txTooLong: 'too-long',
  txUnreachable: 'unreachable',
  txRefused: 'port-closed',
  txDown: 'interface-down',
  txInvalid: 'refused-by-kernel',
  kernelDrops: 'kernel-queue-full',
};

/** What a port lost, wire packets by reason; nothing of other apps. */
export function portLosses(report: AppReport): Record<string, number> {
  const losses: Record<string, number> = {};
  for (const [counter, reason] of Object.entries(PORT_LOSSES)) {
    const n = report[counter];
    if (typeof n === 'number' && n > 0) losses[reason] = n;
  }
  return losses;
}

/** Of an end that has no network yet. */
export const NO_NETWORK: NetworkReport = {
  time: 0,
  breaths: 0,
  links: [],
  apps: [],
  formerDrops: {},
  memory: { smallSlots: 0, smallUsed: 0, largeSlots: 0, largeUsed: 0, livePackets: 0 },
};

/** Figures of a network whose TUN or TAP is the app `tun`. */
export function trafficOf(report: NetworkReport): Pick<EndReport, 'sent' | 'received' | 'drops' | 'network'> {
  const drops = totalDrops(report);
  for (const { app, report: counters } of report.apps) {
    for (const [reason, n] of Object.entries(portLosses(counters))) drops[`${app}-${reason}`] = n;
  }
  for (const { link, dropped } of report.links) if (dropped > 0) drops[`full: ${link}`] = dropped;
  const port = report.apps.find(({ app }) => app === 'tun')?.report ?? {};
  const count = (key: string) => Number(port[key] ?? 0);
  return {
    sent: { packets: count('rxPackets'), bytes: count('rxBytes') },
    received: { packets: count('txPackets'), bytes: count('txBytes') },
    drops,
    network: report,
  };
}
