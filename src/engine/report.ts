/** What a network did, as plain data: for people, `--json`, tests and metrics. */
import type { AppReport, Layer } from './app.ts';

export interface LinkReport {
  /** `producer.output -> consumer.input` */
  link: string;
  layer: Layer | undefined;
  /** Wire packets since the start; a superframe counts its segments. */
  packets: number;
  bits: number;
  /** Wire packets that found the link full. */
  dropped: number;
  /** Handles on it now. */
  waiting: number;
}

export interface AppStatus {
  app: string;
  /** Handles moved per round in which it moved any. */
  packetsPerBreath: number;
  /** Wire packets dropped by this app, by reason. */
  drops: Record<string, number>;
  lingering: boolean;
  report: AppReport;
}

export interface MemoryReport {
  smallSlots: number;
  smallUsed: number;
  largeSlots: number;
  largeUsed: number;
  livePackets: number;
}

export interface NetworkReport {
  /** Nanoseconds since the runtime's start. */
  time: number;
  breaths: number;
  links: LinkReport[];
  apps: AppStatus[];
  /** What apps dropped that are no longer part of the network. */
  formerDrops: Record<string, number>;
  memory: MemoryReport;
}

/** All drops of a report by reason, over all apps that are and were. */
export function totalDrops(report: NetworkReport): Record<string, number> {
  const total = { ...report.formerDrops };
  for (const app of report.apps) {
    for (const [reason, n] of Object.entries(app.drops)) total[reason] = (total[reason] ?? 0) + n;
  }
  return total;
}
