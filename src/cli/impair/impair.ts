/** `tunconnector impair IF1 IF2`: a link between two interfaces that does to packets what it is told. */
import { Command, Option } from 'commander';
import { ImpairedLink } from '../../control/impair/link.ts';
import type { ServedLink } from '../../control/impair/serve.ts';
import { type HostedNetwork, hostNetwork, type Thread } from '../../engine/live-hosted.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { TunconnectorError } from '../../errors.ts';
import type { Inspector } from '../../impair/attached.ts';
import { inspector } from '../../impair/attached.ts';
import { impairedLink } from '../../impair/link.ts';
import { warmUp } from '../../impair/live-warm-up.ts';
import { compileSpec, type WrittenSpec } from '../../impair/spec/spec.ts';
import { captureHosted, type HostedCapture } from '../../tun/capture/live-attached.ts';
import { ControlSockets } from '../control.ts';
import { Exit, errorLine, reportError, usageError } from '../exit.ts';
import { described, formatDuration } from '../format.ts';
import { withSeed } from '../impairment.ts';
import { untilEnd } from '../until-end.ts';
import { packageVersion } from '../version.ts';
import { type LinkEnd, linkEnd } from './ends.ts';
import { addStageFlags, type StageFlags } from './options.ts';
import { type Directions, reportText, statsLine } from './report.ts';
import { addressToOpen, addServeFlags, type ServeFlags, type Serving, serve, servingOf } from './serve.ts';
import { logVerdicts, type VerdictLogFile } from './verdict-log.ts';

interface Options extends ServeFlags {
  stats?: string;
  json?: boolean;
  pcap?: string;
  log?: string;
  thread: Thread;
  check?: boolean;
  verbose?: boolean;
}

export function impairCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
): Command {
  const command = new Command('tunconnector impair')
    .description(
      'Joins two interfaces by a link with delay, loss, a rate and more: each direction on its own, each flow on its own if you like.',
    )
    .argument('<left>', 'an Ethernet interface, or tun:NAME or tap:NAME for one that is made')
    .argument('<right>', 'the other one; what goes from left to right goes "up"');
  const flags = addStageFlags(command);
  addServeFlags(command);
  command
    .addOption(
      new Option('--check', 'say what the options or the file mean, and do nothing').helpGroup(
        'The command:',
      ),
    )
    .addOption(new Option('--stats <seconds>', 'show rates this often').helpGroup('The command:'))
    .addOption(
      new Option('--json', 'one JSON object per line for statistics and the report').helpGroup(
        'The command:',
      ),
    )
    .addOption(
      new Option('--pcap <file>', 'write what passes into a pcapng file, drops with their reasons').helpGroup(
        'The command:',
      ),
    )
    .addOption(
      new Option('--log <file>', 'write what became of every packet, as JSON lines').helpGroup(
        'The command:',
      ),
    )
    .addOption(
      new Option('--thread <thread>', 'where packets are moved: a thread of its own, or the main one')
        .choices(['worker', 'main'])
        .default('worker')
        .helpGroup('The command:'),
    )
    .addOption(
      new Option('--verbose', 'say more about what happens, on standard error').helpGroup('The command:'),
    )
    .addHelpText(
      'after',
      `
Each option for both directions has two more for one: --up-delay, --down-delay.
Packets pass the stages in the order in which they are given.
SIGHUP reads --spec again, and ends a link without one.
With --serve, a browser, curl and programs change the link while it runs; where
others than this machine can ask, they need a token.

Examples:
  tunconnector impair veth0 veth1 --delay 50ms --loss 1%
  tunconnector impair veth0 veth1 --up-rate "1mbit queue codel" --delay 9ms
  tunconnector impair veth0 veth1 --delay "20ms 5ms distribution normal"
  tunconnector impair tun:left tun:right --preset lte --seed 7
  tunconnector impair eth1 eth2 --spec office.yaml --stats 1
  tunconnector impair veth0 veth1 --preset lte --serve`,
    )
    .action(async (left: string, right: string, options: Options) => {
      done(await runImpair(left, right, options, flags));
    });
  return command;
}

async function runImpair(left: string, right: string, options: Options, flags: StageFlags): Promise<number> {
  const spec = flags.written();
  const serving = servingOf(options);
  if (options.check) {
    process.stdout.write(`${JSON.stringify(compileSpec(spec), null, 2)}\n`);
    return Exit.ok;
  }
  const every = options.stats === undefined ? undefined : secondsOf(options.stats);
  if (left === right) throw usageError(`a link has two ends, and both are "${left}"`);
  const ends: [LinkEnd, LinkEnd] = [await linkEnd(left), await linkEnd(right)];
  return new ImpairRun(ends, spec, options, flags, serving).run(every);
}

class ImpairRun {
  readonly #left: LinkEnd;
  readonly #right: LinkEnd;
  readonly #spec: WrittenSpec;
  readonly #options: Options;
  readonly #flags: StageFlags;
  readonly #serving: Serving | undefined;
  readonly #network: HostedNetwork;
  #link: ImpairedLink | undefined;
  #inspector: Inspector | undefined;
  readonly #control = new ControlSockets((text) => this.#note(text));
  #isUp = false;
  #isCutShort = false;
  /** SIGHUP came before the link was up. */
  #askedEarly = false;
  #before: Directions | undefined;
  #looked = 0;

  constructor(
    [left, right]: [LinkEnd, LinkEnd],
    spec: WrittenSpec,
    options: Options,
    flags: StageFlags,
    serving: Serving | undefined,
  ) {
    this.#left = left;
    this.#right = right;
    this.#spec = spec;
    this.#options = options;
    this.#flags = flags;
    this.#serving = serving;
    this.#network = hostNetwork(options.thread);
  }

  async run(every: number | undefined): Promise<number> {
    const code = await this.#untilEnd(every);
    return code === Exit.ok && this.#isCutShort ? Exit.failure : code;
  }

  async #untilEnd(every: number | undefined): Promise<number> {
    // Where there is a file, SIGHUP has it read again.
    const again = this.#flags.file !== undefined;
    const end = untilEnd(again ? ['SIGINT', 'SIGTERM'] : ['SIGINT', 'SIGTERM', 'SIGHUP']);
    if (again) process.on('SIGHUP', this.#reload);
    this.#network.on('error', end.fail);
    this.#network.on('event', (_app, event) => {
      if (event.type !== 'port-failed') return;
      end.fail(new TunconnectorError('ERR_INTERFACE', `${event.subject} went down or was removed`));
    });
    let timer: NodeJS.Timeout | undefined;
    let capture: HostedCapture | undefined;
    let log: VerdictLogFile | undefined;
    let served: ServedLink | undefined;
    const started = liveRuntime().now();
    const spec = withSeed(compileSpec(this.#spec));
    try {
      if (this.#options.thread === 'worker') await warmUp(this.#network, spec);
      await this.#network.start(impairedLink(this.#left.port, this.#right.port, spec));
      await this.#left.up();
      await this.#right.up();
      this.#inspector = await inspector(this.#network);
      const { pcap, log: logFile } = this.#options;
      if (pcap !== undefined) {
        const onEnd = ({ error }: { error: TunconnectorError | undefined }) => error && this.#cutShort(error);
        capture = await captureHosted(this.#network, 'up,down', pcap, { drops: true, onEnd });
      }
      if (logFile !== undefined)
        log = await logVerdicts(this.#network, logFile, (error) => this.#cutShort(error));
      await this.#control.serve(`${this.#left.name}-${this.#right.name}`, this.#network);
      await this.#describe();
      this.#link = await ImpairedLink.over(this.#network, liveRuntime(), {
        ...this.#names,
        spec: this.#spec,
        seed: spec.up.seed!,
      });
      if (this.#serving) served = await this.#serve(this.#link, this.#serving);
      this.#say('up', { seed: await this.#seeds() });
      if (served) this.#sayServed(served, this.#serving!);
      this.#isUp = true;
      if (this.#askedEarly) this.#reload();
      if (every !== undefined) timer = setInterval(() => void this.#stats().catch(end.fail), every * 1000);
      await end.promise;
      await this.#report(liveRuntime().now() - started);
      return Exit.ok;
    } finally {
      clearInterval(timer);
      process.off('SIGHUP', this.#reload);
      end.forget();
      await served?.close();
      this.#link?.close();
      try {
        // Files are whole also when the link failed.
        await capture?.stop();
        await log?.stop();
      } finally {
        await this.#control.close();
        await this.#network.close();
      }
    }
  }

  /** The link goes on without the rest of a file that was asked for; the exit code says so. */
  #cutShort(error: TunconnectorError): void {
    this.#isCutShort = true;
    reportError(error);
  }

  #serve(link: ImpairedLink, serving: Serving): Promise<ServedLink> {
    link.on('changed', (revision) => this.#note(`revision ${revision} of the spec is in force`));
    return serve(link, serving, packageVersion(), (error) => {
      process.stderr.write(`tunconnector: ${errorLine(error)}\n`);
    });
  }

  #sayServed({ address }: ServedLink, serving: Serving): void {
    const url = addressToOpen(address, serving);
    if (this.#options.json) this.#event('serving', { ...address, url });
    else process.stdout.write(`served at ${url}\n`);
  }

  async #describe(): Promise<void> {
    if (!this.#options.verbose) return;
    for (const { app, report } of (await this.#network.report()).apps)
      this.#note(`${app}: ${described(report)}`);
  }

  #note(text: string): void {
    if (this.#options.verbose) process.stderr.write(`${text}\n`);
  }

  /** The draws of a run can be had again: each direction's seed, drawn where none was given. */
  async #seeds(): Promise<{ up: number; down: number }> {
    const { up, down } = await this.#look();
    return { up: up.seed, down: down.seed };
  }

  async #look(): Promise<Directions> {
    return (await this.#inspector!.inspect()) as Directions;
  }

  readonly #reload = (): void => {
    // What is asked for before there is a link is done when there is one.
    this.#askedEarly = !this.#isUp;
    if (this.#askedEarly) return;
    void this.#change().catch((error: unknown) => {
      process.stderr.write(`tunconnector: ${errorLine(error)}; the link stays as it was\n`);
    });
  };

  async #change(): Promise<void> {
    // Who gave no seed keeps the one that was drawn, and with it all draws of what stays as it was.
    await this.#link!.replace(this.#flags.written());
    this.#say('changed', { file: this.#flags.file });
  }

  async #stats(): Promise<void> {
    const now = await this.#look();
    const time = liveRuntime().now();
    const seconds = this.#looked === 0 ? 1 : (time - this.#looked) / 1e9;
    const { json } = this.#options;
    if (json) this.#event('stats', { ...now });
    else process.stdout.write(`${statsLine(now, this.#before, seconds, this.#names)}\n`);
    this.#looked = time;
    this.#before = now;
  }

  async #report(duration: number): Promise<void> {
    const now = await this.#look();
    if (this.#options.json) this.#event('report', { duration, ...now });
    else process.stdout.write(`up for ${formatDuration(duration)}\n${reportText(now, this.#names)}\n`);
  }

  get #names() {
    return { left: this.#left.name, right: this.#right.name };
  }

  #say(what: 'up' | 'changed', details: { seed?: { up: number; down: number }; file?: string }): void {
    if (this.#options.json) {
      this.#event(what, { ...this.#names, ...details });
    } else if (what === 'changed') {
      process.stdout.write(`${details.file} is in force\n`);
    } else {
      const { up, down } = details.seed!;
      const seeds = up === down ? `seed ${up}` : `seeds ${up} up and ${down} down`;
      process.stdout.write(`${this.#names.left} and ${this.#names.right} are joined, ${seeds}\n`);
    }
  }

  #event(event: string, details: object): void {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...details })}\n`);
  }
}

function secondsOf(text: string): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value >= 0.1 && value <= 86_400) return value;
  throw usageError(`--stats: found "${text}", expected seconds, 0.1 to 86400`);
}
