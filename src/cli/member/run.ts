/** Runs a member of chains until somebody says so, and says what happens. */
import type { Member, MemberEvent } from '../../chain/member/member.ts';
import type { ServedMetrics } from '../../control/member/metrics.ts';
import type { Attachable } from '../../engine/attach.ts';
import { type NetworkReport, totalDrops } from '../../engine/report.ts';
import type { TunconnectorError } from '../../errors.ts';
import { native } from '../../native/load.ts';
import { captureHosted, type HostedCapture } from '../../tun/capture/live-attached.ts';
import { ControlSockets } from '../control.ts';
import { Exit, errorLine, reportError } from '../exit.ts';
import { described, formatDuration } from '../format.ts';
import { untilEnd } from '../until-end.ts';
import { packageVersion } from '../version.ts';
import { type MemberFlags, metricsAddress, tokenOf } from './options.ts';

/** An end or a function. */
export interface ChainMember {
  on(event: 'member', listener: (event: MemberEvent) => void): unknown;
  on(event: 'error', listener: (error: unknown) => void): unknown;
  readonly role: string;
  onNetwork: ((network: Attachable) => Promise<void>) | undefined;
  start(): Promise<void>;
  about(): { role: string; id: number; address: string; interface?: string };
  report(): Promise<MemberReport>;
  close(): Promise<void>;
}

interface MemberReport {
  duration: number;
  member: Member['status'];
  network: NetworkReport;
}

export interface Manner {
  /** What `--pcap` writes down. */
  links: string;
  /** What ends it. */
  signals: readonly NodeJS.Signals[];
  /** Lets others take its place, on SIGTERM. */
  drain(): Promise<void>;
}

export class MemberRun {
  readonly #member: ChainMember;
  readonly #flags: MemberFlags;
  readonly #manner: Manner;
  #control = new ControlSockets((text) => this.note(text));
  #capture: HostedCapture | undefined;
  #signal: NodeJS.Signals | undefined;
  #isUp = false;
  #isEnding = false;
  #hasNetwork = false;
  #serving = Promise.resolve();
  #isCutShort = false;
  /** What Roulette refused last: it is asked again and again, and that is told once. */
  #refused = '';

  constructor(member: ChainMember, flags: MemberFlags, manner: Manner) {
    this.#member = member;
    this.#flags = flags;
    this.#manner = manner;
  }

  async run(): Promise<number> {
    const address = metricsAddress(this.#flags.metrics);
    const ended = untilEnd(this.#manner.signals);
    const onTerm = () => {
      this.#signal = 'SIGTERM';
    };
    process.prependListener('SIGTERM', onTerm);
    const member = this.#member;
    member.on('error', ended.fail);
    member.on('member', (event) => this.#heard(event));
    member.onNetwork = (network) => this.#attach(network);
    let metrics: ServedMetrics | undefined;
    let ran = false;
    try {
      await member.start();
      // Others send elsewhere as soon as this one's chain port is gone, also when it is killed.
      native().keepMemory();
      ran = this.#isUp = true;
      if (address) metrics = await this.#serve(address);
      await this.#describe();
      this.say('up', { ...member.about(), ...(metrics && { metrics: metrics.url }) });
      await ended.promise;
      if (this.#signal === 'SIGTERM') {
        this.say('draining', {});
        await Promise.race([this.#manner.drain(), failure(member)]);
      }
    } finally {
      process.off('SIGTERM', onTerm);
      this.#isEnding = true;
      try {
        await this.#capture?.stop();
        await metrics?.close();
        await this.#serving;
        await this.#control.close();
      } finally {
        await member.close();
        ended.forget();
        if (ran) this.#report(await member.report());
      }
    }
    return this.#isCutShort ? Exit.failure : Exit.ok;
  }

  /** Capture and control socket: of the first network, and of each that takes its place. */
  async #attach(network: Attachable): Promise<void> {
    // One that takes over while all ends.
    if (this.#isEnding) return;
    const isFirst = !this.#hasNetwork;
    this.#hasNetwork = true;
    try {
      this.#capture = await this.#captureOf(network, !isFirst);
    } catch (error) {
      if (isFirst) throw error;
      this.#cutShort(error);
    }
    this.#serving = this.#serving.then(() => this.#serveControl(network));
    // Packets need not wait for it when another thread takes over.
    if (isFirst) await this.#serving;
  }

  /** Of a network that is closed: the next one's goes on in the same file. */
  async completeCapture(): Promise<void> {
    await this.#capture?.stop();
  }

  async #serveControl(network: Attachable): Promise<void> {
    await this.#control.close();
    this.#control = new ControlSockets((text) => this.note(text));
    const { interface: name } = this.#member.about();
    await this.#control.serve(name || this.#member.role, network);
  }

  async #captureOf(network: Attachable, append: boolean): Promise<HostedCapture | undefined> {
    const { pcap } = this.#flags;
    if (pcap === undefined) return undefined;
    const onEnd = ({ error }: { error: TunconnectorError | undefined }) => error && this.#cutShort(error);
    return captureHosted(network, this.#manner.links, pcap, { drops: true, append, onEnd });
  }

  /** Packets go on without the rest of the file; the exit code says so. */
  #cutShort(error: unknown): void {
    this.#isCutShort = true;
    reportError(error);
  }

  async #serve(address: NonNullable<ReturnType<typeof metricsAddress>>): Promise<ServedMetrics> {
    // An HTTP server takes longer to load than all the rest, which most runs have no need of.
    const { serveMetrics } = await import('../../control/member/metrics.ts');
    const token = tokenOf(this.#flags.tokenFile);
    const figures = async () => ({ ...(await this.#member.report()), role: this.#member.role });
    return serveMetrics(figures, {
      address,
      version: packageVersion(),
      ...(token !== undefined && { token }),
    });
  }

  async #describe(): Promise<void> {
    if (!this.#flags.verbose) return;
    for (const { app, report } of (await this.#member.report()).network.apps)
      this.note(`${app}: ${described(report)}`);
  }

  #heard(event: MemberEvent): void {
    if (event.type === 'disconnected') this.say('roulette', { connected: false, reason: event.reason });
    else if (event.type === 'connected') this.say('roulette', { connected: true });
    else if (event.type === 'refused') {
      const reason = errorLine(event.error);
      if (reason !== this.#refused) this.say('refused', { reason });
      this.#refused = reason;
    } else if (event.type === 'registered') {
      this.#refused = '';
      this.note(`replica ${event.id} is ${event.state}`);
    }
  }

  #report(report: MemberReport): void {
    const { flows } = report.member;
    const drops = totalDrops(report.network);
    const delivery = report.network.apps.find(({ app }) => app === 'deliver')?.report;
    if (this.#flags.json) {
      const { network, member, ...about } = report;
      const links = network.links.map(({ link, packets, bits }) => ({ link, packets, bytes: bits / 8 }));
      this.#event('report', { ...about, links, drops, flows, ...(delivery && { delivery }) });
      return;
    }
    const lines = report.network.links.map(({ link, packets }) => `  ${link}: ${packets} packets`);
    const lost = Object.entries(drops).map(([reason, count]) => `  dropped, ${reason}: ${count}`);
    const registered = `${flows.held} flows registered, ${flows.waiting} not yet`;
    const text = [`up for ${formatDuration(report.duration)}`, ...lines, ...lost, `  ${registered}`];
    if (delivery) text.push(`  delivered: ${described(delivery)}`);
    process.stdout.write(`${text.join('\n')}\n`);
  }

  /** An event, or a sentence about it. */
  say(event: string, details: Record<string, unknown>): void {
    if (this.#flags.json) this.#event(event, details);
    else process.stdout.write(`${sentenceOf(event, details, this.#isUp)}\n`);
  }

  #event(event: string, details: object): void {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...details })}\n`);
  }

  note(text: string): void {
    if (this.#flags.verbose) process.stderr.write(`${text}\n`);
  }
}

/** Rejects when it cannot go on. */
const failure = (member: ChainMember): Promise<never> =>
  new Promise((_, reject) => member.on('error', reject));

function sentenceOf(event: string, details: Record<string, unknown>, isUp: boolean): string {
  switch (event) {
    case 'up': {
      const device = details.interface ? `, interface ${details.interface}` : '';
      const metrics = details.metrics ? `, figures at ${details.metrics}` : '';
      return `${details.role} ${details.id} at ${details.address}${device}${metrics}`;
    }
    case 'roulette':
      return details.connected
        ? 'connected to Roulette'
        : `no connection to Roulette${isUp ? ', packets go on' : ''}: ${details.reason}`;
    case 'refused':
      return `Roulette refuses: ${details.reason}`;
    case 'reloaded':
      return 'reloaded';
    case 'not-reloaded':
      return `not reloaded, the old one goes on: ${details.reason}`;
    case 'replaced':
      return `the function ${details.why === 'hung' ? 'hung' : 'ended'}; another thread has taken its place`;
    case 'vnf-error':
      return `the function threw: ${details.message}${details.place ? ` (${details.place})` : ''}`;
    case 'vnf-note':
      return String(details.text);
    default:
      return event;
  }
}
