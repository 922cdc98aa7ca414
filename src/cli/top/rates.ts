/** What went on in a network between two looks at it. */
import type { Layer } from '../../engine/app.ts';
import type { MemoryReport, NetworkReport } from '../../engine/report.ts';
import { portLosses } from '../../tunnel/connector/report.ts';

export interface LinkRates {
  link: string;
  layer: Layer | undefined;
  packetsPerSecond: number;
  bitsPerSecond: number;
  /** Handles on it now. */
  waiting: number;
  /** Wire packets that found it full, since the start. */
  full: number;
  fullPerSecond: number;
}

export interface AppRates {
  app: string;
  /** Packets that it keeps, to let them go later. */
  held: number;
  /** Wire packets since the start, by reason; of ports also what the kernel did not take or give. */
  drops: Record<string, number>;
  dropped: number;
  droppedPerSecond: number;
}

export interface NetworkRates {
  /** Between the looks. */
  seconds: number;
  links: LinkRates[];
  apps: AppRates[];
  memory: MemoryReport;
}

/** Apps that are no longer part of it. */
const GONE = '(gone)';

/** @param before an earlier look at the same network; the rates are since its start without one */
export function ratesOf(now: NetworkReport, before?: NetworkReport): NetworkRates {
  const seconds = Math.max(1e-3, (now.time - (before?.time ?? 0)) / 1e9);
  // A link or an app that was taken out and put in again begins anew.
  const rate = (value: number, was = 0) => Math.max(0, Math.round((value - was) / seconds));
  const linksBefore = new Map(before?.links.map((each) => [each.link, each]));
  const droppedBefore = new Map(before ? dropsOf(before).map(({ app, dropped }) => [app, dropped]) : []);
  return {
    seconds,
    links: now.links.map(({ link, layer, packets, bits, waiting, dropped }) => {
      const was = linksBefore.get(link);
      return {
        link,
        layer,
        packetsPerSecond: rate(packets, was?.packets),
        bitsPerSecond: rate(bits, was?.bits),
        waiting,
        full: dropped,
        fullPerSecond: rate(dropped, was?.dropped),
      };
    }),
    apps: dropsOf(now).map((each) => ({
      ...each,
      droppedPerSecond: rate(each.dropped, droppedBefore.get(each.app)),
    })),
    memory: now.memory,
  };
}

function dropsOf({ apps, formerDrops }: NetworkReport): Omit<AppRates, 'droppedPerSecond'>[] {
  const all = apps.map(({ app, drops, report }) => {
    const held = typeof report.held === 'number' ? report.held : 0;
    return { app, held, drops: { ...drops, ...portLosses(report) } };
  });
  if (Object.keys(formerDrops).length > 0) all.push({ app: GONE, held: 0, drops: formerDrops });
  return all.map((each) => ({ ...each, dropped: Object.values(each.drops).reduce((sum, n) => sum + n, 0) }));
}
