/** Runs an end of chains until somebody says so, and says what happens. */
import type { MemberEvent } from '../../chain/member/member.ts';
import type { ServedMetrics } from '../../control/member/metrics.ts';
import { totalDrops } from '../../engine/report.ts';
import type { TunconnectorError } from '../../errors.ts';
import type { ChainEnd, ChainEndReport } from '../../proxy/member/chain-end.ts';
import { captureHosted, type HostedCapture } from '../../tun/capture/live-attached.ts';
import { ControlSockets } from '../control.ts';
import { Exit, errorLine, reportError } from '../exit.ts';
import { described, formatDuration } from '../format.ts';
import { untilEnd } from '../until-end.ts';
import { packageVersion } from '../version.ts';
import { type MemberFlags, metricsAddress, timeOf, tokenOf } from './options.ts';

/** @param links that `--pcap` writes down */
export async function runChainEnd(end: ChainEnd, flags: MemberFlags, links: string): Promise<number> {
  return new EndRun(end, flags, links).run();
}

class EndRun {
  readonly #end: ChainEnd;
  readonly #flags: MemberFlags;
  readonly #links: string;
  readonly #drain: number;
  readonly #control = new ControlSockets((text) => this.#note(text));
  #signal: NodeJS.Signals | undefined;
  #isCutShort = false;

  constructor(end: ChainEnd, flags: MemberFlags, links: string) {
    this.#end = end;
    this.#flags = flags;
    this.#links = links;
    this.#drain = timeOf('--drain', flags.drain);
  }

  async run(): Promise<number> {
    const address = metricsAddress(this.#flags.metrics);
    const ended = untilEnd(['SIGINT', 'SIGTERM', 'SIGHUP']);
    const onTerm = () => {
      this.#signal = 'SIGTERM';
    };
    process.prependListener('SIGTERM', onTerm);
    this.#end.on('error', ended.fail);
    this.#end.on('member', (event) => this.#member(event));
    this.#end.on('app', (app, event) => this.#note(`${app}: ${JSON.stringify(event)}`));
    let capture: HostedCapture | undefined;
    let metrics: ServedMetrics | undefined;
    let ran = false;
    try {
      await this.#end.start();
      ran = true;
      capture = await this.#capture();
      const { role } = this.#end;
      const { interface: name } = this.#end.about();
      await this.#control.serve(name || role, this.#end.hosted!);
      if (address) metrics = await this.#serve(address);
      await this.#describe();
      this.#say('up', { ...this.#end.about(), ...(metrics && { metrics: metrics.url }) });
      await ended.promise;
      await this.#drained();
    } finally {
      process.off('SIGTERM', onTerm);
      try {
        await capture?.stop();
        await metrics?.close();
        await this.#control.close();
      } finally {
        await this.#end.close();
        ended.forget();
        if (ran) this.#report(await this.#end.report());
      }
    }
    return this.#isCutShort ? Exit.failure : Exit.ok;
  }

  /** Whoever is told to end in good order lets others take its place first. */
  async #drained(): Promise<void> {
    if (this.#signal !== 'SIGTERM' || this.#drain === 0) return;
    this.#say('draining', {});
    await this.#end.drain(this.#drain);
    await new Promise((resolve) => setTimeout(resolve, this.#drain / 1e6));
  }

  async #capture(): Promise<HostedCapture | undefined> {
    const { pcap } = this.#flags;
    if (pcap === undefined) return undefined;
    const onEnd = ({ error }: { error: TunconnectorError | undefined }) => {
      if (!error) return;
      // Packets go on without the rest of the file; the exit code says so.
      this.#isCutShort = true;
      reportError(error);
    };
    return captureHosted(this.#end.hosted!, this.#links, pcap, { drops: true, onEnd });
  }

  async #serve(address: NonNullable<ReturnType<typeof metricsAddress>>): Promise<ServedMetrics> {
    // An HTTP server takes longer to load than all the rest, which most runs have no need of.
    const { serveMetrics } = await import('../../control/member/metrics.ts');
    const token = tokenOf(this.#flags.tokenFile);
    const figures = async () => ({ ...(await this.#end.report()), role: this.#end.role });
    return serveMetrics(figures, {
      address,
      version: packageVersion(),
      ...(token !== undefined && { token }),
    });
  }

  async #describe(): Promise<void> {
    if (!this.#flags.verbose) return;
    for (const { app, report } of (await this.#end.report()).network.apps)
      this.#note(`${app}: ${described(report)}`);
  }

  #member(event: MemberEvent): void {
    if (event.type === 'disconnected') this.#say('roulette', { connected: false, reason: event.reason });
    else if (event.type === 'connected') this.#say('roulette', { connected: true });
    else if (event.type === 'refused') this.#say('refused', { reason: errorLine(event.error) });
    else if (event.type === 'registered') this.#note(`replica ${event.id} is ${event.state}`);
  }

  #report(report: ChainEndReport): void {
    const { flows } = report.member;
    const drops = totalDrops(report.network);
    if (this.#flags.json) {
      const { network, member, ...about } = report;
      const links = network.links.map(({ link, packets, bits }) => ({ link, packets, bytes: bits / 8 }));
      this.#event('report', { ...about, links, drops, flows });
      return;
    }
    const lines = report.network.links.map(({ link, packets }) => `  ${link}: ${packets} packets`);
    const lost = Object.entries(drops).map(([reason, count]) => `  dropped, ${reason}: ${count}`);
    const registered = `${flows.held} flows registered, ${flows.waiting} not yet`;
    const text = [`up for ${formatDuration(report.duration)}`, ...lines, ...lost, `  ${registered}`];
    process.stdout.write(`${text.join('\n')}\n`);
  }

  #say(event: string, details: Record<string, unknown>): void {
    const text = sentenceOf(event, details);
    if (this.#flags.json) this.#event(event, details);
    else process.stdout.write(`${text}\n`);
  }

  #event(event: string, details: object): void {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...details })}\n`);
  }

  #note(text: string): void {
    if (this.#flags.verbose) process.stderr.write(`${text}\n`);
  }
}

function sentenceOf(event: string, details: Record<string, unknown>): string {
  switch (event) {
    case 'up': {
      const device = details.interface ? `, interface ${details.interface}` : '';
      const metrics = details.metrics ? `, figures at ${details.metrics}` : '';
      return `${details.role} ${details.id} at ${details.address}${device}${metrics}`;
    }
    case 'roulette':
      return details.connected
        ? 'connected to Roulette'
        : `no connection to Roulette, packets go on: ${details.reason}`;
    case 'refused':
      return `Roulette refuses: ${details.reason}`;
    default:
      return 'draining';
  }
}
