/** `tunconnector tunnel`: sets up, says what happens, and takes everything back at the end. */
import { TunconnectorError } from '../errors.ts';
import { type Inspector, inspector } from '../impair/attached.ts';
import { captureHosted, type HostedCapture } from '../tun/capture/live-attached.ts';
import { NEEDS_ADMIN } from '../tun/system-error.ts';
import type { Outside } from '../tunnel/connector/live-outside.ts';
import type { Side } from '../tunnel/connector/report.ts';
import { TunConnector } from '../tunnel/connector/tunconnector.ts';
import { ControlSockets } from './control.ts';
import { Exit, reportError } from './exit.ts';
import { described } from './format.ts';
import type { Directions } from './impair/report.ts';
import { seedOf } from './impairment.ts';
import type { OptionName, Settings } from './options.ts';
import { JsonOutput, type Output, TextOutput } from './output.ts';
import { type Account, becomeUser, findAccount, MtuHelper } from './privileges.ts';
import { insideNamespace, runRootless } from './rootless.ts';
import { tunnelOptions } from './settings.ts';
import { untilEnd } from './until-end.ts';

/** Runs until a signal or a failure, and returns the exit code. @throws what kept it from starting */
export async function runTunnelCommand(
  settings: Settings,
  label?: (name: OptionName) => string,
): Promise<number> {
  const options = tunnelOptions(settings, label);
  const outside = settings.rootless ? insideNamespace() : undefined;
  if (settings.rootless && !outside) return runRootless(options);
  return runTunnel(
    settings,
    new TunConnector(options, { warmUp: true, ...(outside && { outside }) }),
    outside,
    settings.rootless ? undefined : orRootless,
  );
}

/** This command has another way. */
function orRootless(error: unknown): unknown {
  if (!(error instanceof TunconnectorError) || error.remedy !== NEEDS_ADMIN) return error;
  const { code, errno, syscall, message } = error;
  const what = message.slice(0, -`; ${NEEDS_ADMIN}`.length);
  const remedy = `${NEEDS_ADMIN}, or use --rootless`;
  return new TunconnectorError(code, what, { errno, syscall, remedy, cause: error });
}

/** Runs a tunnel that has not been started. @param explain what to add to the error that kept it from starting */
export async function runTunnel(
  settings: Settings,
  tunnel: TunConnector,
  outside?: Outside,
  explain: (error: unknown) => unknown = (error) => error,
): Promise<number> {
  const output = settings.json ? new JsonOutput() : new TextOutput();
  const command = new TunnelCommand(settings, tunnel, output);
  try {
    return await command.run(outside);
  } catch (found) {
    const error = explain(found);
    output.error(error);
    throw error;
  }
}

/** How long the impairments of an end that is busy may take to say what they did, ms. */
const INSPECT_LIMIT = 1000;

class TunnelCommand {
  readonly #settings: Settings;
  readonly #tunnel: TunConnector;
  readonly #output: Output;
  readonly #captures: { file: string; capture: HostedCapture }[] = [];
  readonly #control = new ControlSockets((text) => this.#note(text));
  /** Of the ends, where something is between interface and tunnel. */
  #inspectors: Inspector[] = [];
  #helper: MtuHelper | undefined;
  /** What happened before everything was set up is told when it is. */
  #held: (() => void)[] | undefined = [];
  readonly #up = new Set<Side>();
  #asking = false;
  #finishing = false;
  /** It ran, and what it did is worth a report. */
  #ran = false;
  #isCutShort = false;

  constructor(settings: Settings, tunnel: TunConnector, output: Output) {
    this.#settings = settings;
    this.#tunnel = tunnel;
    this.#output = output;
  }

  async run(outside: Outside | undefined): Promise<number> {
    const code = await this.#untilEnd(outside);
    return code === Exit.ok && this.#isCutShort ? Exit.failure : code;
  }

  async #untilEnd(outside: Outside | undefined): Promise<number> {
    const { user, stats } = this.#settings;
    const account = user === undefined ? undefined : await findAccount(user);
    const ended = untilEnd(['SIGINT', 'SIGTERM', 'SIGHUP']);
    this.#tunnel.on('error', ended.fail);
    this.#listen(outside);
    let timer: NodeJS.Timeout | undefined;
    try {
      await this.#start(account);
      if (stats !== undefined) {
        timer = setInterval(() => void this.#stats().catch(ended.fail), stats * 1000);
      }
      await ended.promise;
      this.#ran = true;
      return Exit.ok;
    } catch (error) {
      if (this.#up.size === 0) throw error;
      // It ran: the figures are worth seeing, whatever ended it.
      this.#ran = true;
      this.#output.error(error);
      const code = reportError(error, { verbose: this.#settings.verbose ?? false });
      // Beside a server that is up, a client is refused for the first time as well.
      return code === Exit.peer ? code : Exit.failure;
    } finally {
      clearInterval(timer);
      await this.#finish();
      ended.forget();
    }
  }

  async #stats(): Promise<void> {
    // What a thread that is busy did not tell in time is told once, later.
    if (this.#asking) return;
    this.#asking = true;
    try {
      const { ends } = await this.#tunnel.report();
      if (!this.#finishing) this.#output.stats(ends);
    } finally {
      this.#asking = false;
    }
  }

  async #start(account: Account | undefined): Promise<void> {
    this.#note(`setting up ${this.#tunnel.ends.map(({ side }) => side).join(' and ')}`);
    await this.#tunnel.start();
    if (this.#tunnel.options.between.up) {
      this.#inspectors = await Promise.all(this.#tunnel.ends.map((end) => inspector(end.hosted!)));
    }
    await this.#capture();
    for (const end of this.#tunnel.ends) await this.#control.serve(end.interface, end.hosted!);
    for (const { interface: name, network } of (await this.#tunnel.report()).ends) {
      for (const { app, report } of network.apps) this.#note(`${name}: ${app}: ${described(report)}`);
    }
    if (account) this.#become(account);
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const tell of held) tell();
  }

  #listen(outside: Outside | undefined): void {
    const { format, between } = this.#tunnel.options;
    const seed = seedOf(between);
    const inside = outside ? process.pid : undefined;
    this.#tunnel.on('up', (up) =>
      this.#tell(() => {
        this.#up.add(up.side);
        this.#output.up(up, { format, inside, seed });
      }),
    );
    this.#tunnel.on('peer', (change) => {
      this.#tell(() => {
        // A client that never was up: told as the error that ends the command.
        if (change.side === 'client' && change.change === 'refused' && !this.#up.has('client')) return;
        this.#output.peer(change);
      });
    });
    this.#tunnel.on('mtu', (change) =>
      this.#tell(() => {
        this.#note(`${change.interface}: MTU ${change.mtu}`);
        this.#output.mtu(change);
      }),
    );
  }

  #tell(event: () => void): void {
    if (this.#held) this.#held.push(event);
    else event();
  }

  async #capture(): Promise<void> {
    const { pcap, snaplen: snapLength } = this.#settings;
    if (pcap === undefined) return;
    const several = this.#tunnel.ends.length > 1;
    for (const end of this.#tunnel.ends) {
      const file = several ? withSuffix(pcap, end.interface) : pcap;
      const onEnd = ({ error }: { error: TunconnectorError | undefined }) => {
        if (!error) return;
        // The tunnel goes on without the rest of the file; the exit code says so.
        this.#isCutShort = true;
        this.#output.error(error);
        reportError(error);
      };
      const options = { merge: end.interface, snapLength, onEnd };
      const capture = await captureHosted(end.hosted!, 'tun', file, options);
      this.#captures.push({ file, capture });
    }
  }

  #become(account: Account): void {
    const { format, mtu } = this.#tunnel.options;
    const client = this.#tunnel.ends.find(({ side }) => side === 'client');
    if (client && format === 'udp' && mtu === undefined) {
      const helper = new MtuHelper(account);
      this.#helper = helper;
      client.changeInterface = (change) => helper.set(change);
    }
    try {
      becomeUser(account);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new TunconnectorError('ERR_PERMISSION', `--user: cannot become ${account.name} (${code})`, {
        cause: error,
        errno: code,
        remedy: 'start it as root',
      });
    }
    this.#note(`now running as ${account.name} (${account.uid})`);
  }

  async #finish(): Promise<void> {
    this.#finishing = true;
    const summaries = await Promise.all(
      this.#captures.map(async ({ file, capture }) => {
        const { packets, missed, error } = await capture.stop();
        return { file, packets, missed, failed: error !== undefined };
      }),
    );
    const impairments = await Promise.all(this.#inspectors.map(inspected));
    try {
      await this.#control.close();
      await this.#tunnel.close();
    } finally {
      this.#helper?.close();
      if (this.#ran) {
        const { ends } = await this.#tunnel.report();
        this.#output.report(ends, summaries, this.#tunnel.options.format, impairments);
      }
    }
  }

  #note(text: string): void {
    if (this.#settings.verbose) process.stderr.write(`${text}\n`);
  }
}

/** Undefined where the network's thread has ended by itself, or hangs. */
async function inspected(each: Inspector): Promise<Directions | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), INSPECT_LIMIT);
  });
  try {
    return await Promise.race([each.inspect() as Promise<Directions>, late]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

/** `trace.pcapng` is `trace-tun1.pcapng`: one network, one file. */
function withSuffix(file: string, name: string): string {
  const dot = /\.[^./]+$/.exec(file);
  return dot ? `${file.slice(0, dot.index)}-${name}${dot[0]}` : `${file}-${name}`;
}
