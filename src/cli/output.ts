/** What a running tunnel says: a line for people when something happens, or one JSON object per line. */
import Table from 'cli-table3';
import { TunconnectorError } from '../errors.ts';
import type { PeerChange } from '../tunnel/connector/peers.ts';
import type { EndReport, EndUp, Traffic } from '../tunnel/connector/report.ts';
import { errorLine } from './exit.ts';
import { formatBitRate, formatBytes, formatDuration, formatPacketRate, grouped } from './format.ts';
import { type Directions, reportText as impairText } from './impair/report.ts';
import type { Format } from './options.ts';

/** What is more to be said of an end that is up. */
export interface UpDetails {
  format: Format;
  /** The process whose namespaces the interface is in, where these are not the caller's. */
  inside?: number;
  /** Of the impairments, where there are some. */
  seed?: number;
}

export interface Output {
  up(up: EndUp, details: UpDetails): void;
  peer(change: PeerChange): void;
  mtu(change: { interface: string; mtu: number }): void;
  stats(ends: readonly EndReport[]): void;
  report(
    ends: readonly EndReport[],
    captures: readonly CaptureLine[],
    format: Format,
    impairments?: Impairments,
  ): void;
  error(error: unknown): void;
}

/** What the impairments of each end did, as far as there are any that tell. */
export type Impairments = readonly (Directions | undefined)[];

export interface CaptureLine {
  file: string;
  packets: number;
  missed: number;
  /** It ended early, because the file could not be written any more. */
  failed: boolean;
}

/** The standard output, as far as this file is concerned. */
export interface Screen {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

const bare = (prefix: string) => prefix.split('/')[0]!;

/** A peer as people know it: by its inner addresses, or by its outer one where they are not known. */
const nameOf = (peer: { addresses: readonly string[]; outer: string }) =>
  peer.addresses.length > 0 ? peer.addresses.map(bare).join(', ') : peer.outer;

/** `UDP port 55555`, or an address where the server listens on one alone. */
function listeningOn(outer: string, format: Format): string {
  const any = /^(?:0\.0\.0\.0|\[::\]):(\d+)$/.exec(outer);
  const transport = format === 'stream' ? 'TCP' : 'UDP';
  return any ? `${transport} port ${any[1]}` : `${transport} ${outer}`;
}

export function upLine(up: EndUp, { format, inside, seed }: UpDetails): string {
  const { side, interface: name, addresses, mtu, outer } = up;
  const verb = format === 'raw' ? 'sending' : 'connected';
  const where = side === 'server' ? `listening on ${listeningOn(outer, format)}` : `${verb} to ${outer}`;
  const impaired = seed === undefined ? '' : `, impaired with seed ${seed}`;
  const line = `${name} is up: ${addresses.join(', ')}, MTU ${mtu}, ${where}${impaired}`;
  if (inside === undefined) return line;
  return `${line}; run programs in it with: nsenter --preserve-credentials -U -n -t ${inside} COMMAND`;
}

export function peerLine(change: PeerChange): string {
  const { interface: name, outer, networks, reason, text } = change;
  const who = change.side === 'client' ? outer : nameOf(change);
  const because = reason && reason !== change.change ? ` (${reason})` : '';
  const from = who === outer ? '' : ` from ${outer}`;
  const behind = networks.length > 0 ? `, with ${networks.join(', ')} behind it` : '';
  const sentences: Record<PeerChange['change'], string> = {
    came: `${who} came${from}${behind}`,
    gone: `${who} went${because}`,
    moved: `${who} moved to ${outer}`,
    silent: change.side === 'client' ? `${who} is silent${because}; still trying` : `${who} is silent`,
    back: `${who} is back${because}`,
    refused:
      change.side === 'client'
        ? `${who} refuses: ${text || reason}; still trying`
        : `refused ${outer}${who === outer ? '' : ` as ${who}`}: ${text || reason}`,
    waiting: `no answer from ${who}; still trying`,
  };
  return `${name}: ${sentences[change.change]}`;
}

/** Rates between two looks at the same end. */
export interface Rates {
  seconds: number;
  sent: { packetsPerSecond: number; bitsPerSecond: number };
  received: { packetsPerSecond: number; bitsPerSecond: number };
  dropped: number;
}

export function ratesOf(now: EndReport, before: EndReport | undefined): Rates {
  const seconds = Math.max(1e-3, (now.duration - (before?.duration ?? 0)) / 1e9);
  const rate = (a: Traffic, b: Traffic | undefined) => ({
    packetsPerSecond: Math.round((a.packets - (b?.packets ?? 0)) / seconds),
    bitsPerSecond: Math.round(((a.bytes - (b?.bytes ?? 0)) * 8) / seconds),
  });
  return {
    seconds,
    sent: rate(now.sent, before?.sent),
    received: rate(now.received, before?.received),
    dropped: sum(now.drops) - sum(before?.drops ?? {}),
  };
}

const sum = (drops: Record<string, number>) => Object.values(drops).reduce((a, b) => a + b, 0);

export class TextOutput implements Output {
  readonly #screen: Screen;
  readonly #before = new Map<string, EndReport>();
  #refreshing = false;

  constructor(screen: Screen = process.stdout) {
    this.#screen = screen;
  }

  up(up: EndUp, details: UpDetails): void {
    this.#line(upLine(up, details));
  }

  peer(change: PeerChange): void {
    this.#line(peerLine(change));
  }

  mtu(): void {}

  stats(ends: readonly EndReport[]): void {
    const rates = ends.map((end) => ratesOf(end, this.#before.get(end.interface)));
    for (const end of ends) this.#before.set(end.interface, end);
    const line = (detail: Detail) => ends.map((end, i) => statsText(end, rates[i]!, detail)).join(' | ');
    if (!this.#screen.isTTY) {
      this.#screen.write(`${line('full')}\n`);
      return;
    }
    // The terminal's own "^C" shall not wrap: what it pushes to the next line would stay.
    const room = (this.#screen.columns ?? 80) - 3;
    const text = line((['full', 'brief'] as const).find((each) => line(each).length <= room) ?? 'least');
    this.#screen.write(`\r${text.slice(0, room)}\x1b[K`);
    this.#refreshing = true;
  }

  report(
    ends: readonly EndReport[],
    captures: readonly CaptureLine[],
    format: Format,
    impairments: Impairments = [],
  ): void {
    for (const [i, end] of ends.entries()) {
      this.#line(reportText(end, format));
      const impaired = impairments[i];
      if (impaired) this.#line(impairText(impaired, { left: end.interface, right: 'the tunnel' }));
    }
    for (const { file, packets, missed, failed } of captures) {
      this.#line(
        `${file}: ${grouped(packets)} packets${missed > 0 ? `, ${grouped(missed)} missed` : ''}${failed ? ', and no more: it could not be written' : ''}`,
      );
    }
  }

  error(): void {
    this.#clear();
  }

  #line(text: string): void {
    this.#clear();
    this.#screen.write(`${text}\n`);
  }

  #clear(): void {
    if (this.#refreshing) this.#screen.write('\r\x1b[K');
    this.#refreshing = false;
  }
}

/** For narrow terminals: `brief` is without packet rates, `least` has bit rates alone, and drops where there are any. */
type Detail = 'full' | 'brief' | 'least';

function statsText(end: EndReport, { sent, received, dropped }: Rates, detail: Detail): string {
  if (detail === 'least') {
    const [out, into] = [sent, received].map(({ bitsPerSecond }) => formatBitRate(bitsPerSecond));
    return `${end.interface} out ${out} in ${into}${dropped > 0 ? ` dropped ${grouped(dropped)}` : ''}`;
  }
  const way = (arrow: string, { bitsPerSecond, packetsPerSecond }: Rates['sent']) => {
    const bits = formatBitRate(bitsPerSecond).padStart(12);
    return `${arrow} ${bits}${detail === 'brief' ? '' : ` ${formatPacketRate(packetsPerSecond).padStart(12)}`}`;
  };
  const peers = end.side === 'server' ? `  peers ${end.peers.length}` : '';
  return `${end.interface}  ${way('out', sent)}  ${way('in', received)}  dropped ${grouped(dropped)}${peers}`;
}

/** The table at the end. */
export function reportText(end: EndReport, format: Format): string {
  const role =
    end.side === 'server' ? `server on ${listeningOn(end.outer, format)}` : `client of ${end.outer}`;
  const table = new Table({
    head: [end.interface, 'packets', 'bytes'],
    colAligns: ['left', 'right', 'right'],
    // A line below the head, none between rows.
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    style: { head: [], border: [] },
  });
  table.push(
    ['into the tunnel', grouped(end.sent.packets), formatBytes(end.sent.bytes)],
    ['out of the tunnel', grouped(end.received.packets), formatBytes(end.received.bytes)],
  );
  const drops = Object.entries(end.drops).sort(([, a], [, b]) => b - a);
  if (drops.length === 0) table.push(['dropped', '0', '']);
  for (const [reason, n] of drops) table.push([`dropped: ${reason}`, grouped(n), '']);
  const peers = end.peers.map((peer) => {
    const inner = nameOf(peer);
    return `${inner}${inner === peer.outer ? '' : ` from ${peer.outer}`}${peer.silent ? ', silent' : ''}`;
  });
  const silent = end.connected ? '' : ', not connected at the end';
  const lines = [
    `${end.interface}: ${role}, up for ${formatDuration(end.duration)}${silent}`,
    table.toString(),
  ];
  if (end.side === 'server')
    lines.push(peers.length > 0 ? `peers at the end: ${peers.join('; ')}` : 'no peers at the end');
  return lines.join('\n');
}

export class JsonOutput implements Output {
  readonly #write: (text: string) => unknown;
  readonly #before = new Map<string, EndReport>();

  constructor(screen: Screen = process.stdout) {
    this.#write = (text) => screen.write(text);
  }

  up(up: EndUp, { format, inside, seed }: UpDetails): void {
    // What is undefined is no part of JSON.
    this.#event('up', { ...up, format, inside, seed });
  }

  peer(change: PeerChange): void {
    this.#event('peer', { ...change });
  }

  mtu(change: { interface: string; mtu: number }): void {
    this.#event('mtu', change);
  }

  stats(ends: readonly EndReport[]): void {
    const parts = ends.map((end) => {
      const { network: _, ...rest } = end;
      const rates = ratesOf(end, this.#before.get(end.interface));
      this.#before.set(end.interface, end);
      return { ...rest, rates };
    });
    this.#event('stats', { ends: parts });
  }

  report(
    ends: readonly EndReport[],
    captures: readonly CaptureLine[],
    format: Format,
    impairments: Impairments = [],
  ): void {
    const all = ends.map((end, i) => ({ ...end, impair: impairments[i] }));
    this.#event('report', { format, ends: all, captures });
  }

  error(error: unknown): void {
    const code = error instanceof TunconnectorError ? error.code : 'ERR_INTERNAL';
    this.#event('error', { code, message: errorLine(error) });
  }

  #event(event: string, details: object): void {
    this.#write(`${JSON.stringify({ time: new Date().toISOString(), event, ...details })}\n`);
  }
}
