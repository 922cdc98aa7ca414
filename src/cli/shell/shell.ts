/** `tunconnector shell`: runs a command whose network is behind an impaired link. */

import { Command, Option, type ParseOptions } from 'commander';
import { type HostedNetwork, hostNetwork } from '../../engine/live-hosted.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import type { TunconnectorError } from '../../errors.ts';
import { inspector } from '../../impair/attached.ts';
import { warmUp } from '../../impair/live-warm-up.ts';
import type { CompiledSpec } from '../../impair/spec/spec.ts';
import { captureHosted, type HostedCapture } from '../../tun/capture/live-attached.ts';
import { runCommand } from '../../tun/system/live-command.ts';
import { errorLine, usageError } from '../exit.ts';
import { formatDuration } from '../format.ts';
import { addStageFlags } from '../impair/options.ts';
import { type Directions, reportText } from '../impair/report.ts';
import { withSeed } from '../impairment.ts';
import { type Account, findAccount } from '../privileges.ts';
import { checkNamespaces } from '../rootless.ts';
import { forwardSignals, ShellChild } from './child.ts';
import { type LinkOptions, ShellLink, type Way } from './link.ts';
import { withMemory } from './memory.ts';
import { hasPrivileges, isStartedAgain, startAgain, withoutMark } from './rootless.ts';
import { SocketLink } from './socket-link.ts';

interface Options {
  report?: boolean;
  json?: boolean;
  pcap?: string;
  user?: string;
  rootless?: boolean;
  deliver?: 'kernel' | 'sockets';
  verbose?: boolean;
}

/** The sides as the report calls them. */
const NAMES = { left: 'command', right: 'outside' };

/** @param done receives the exit code when the command has ended */
export function shellCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
): Command {
  const command = new ShellCommand('tunconnector shell')
    .description(
      'Runs a command in a network of its own, behind a link with delay, loss, a rate and more. Without a command it is your shell.',
    )
    .usage('[options] [--] [COMMAND [ARGUMENT...]]')
    .argument('[command...]', 'the program and its arguments, as they are')
    .passThroughOptions();
  const flags = addStageFlags(command);
  const option = (flags: string, help: string) =>
    command.addOption(new Option(flags, help).helpGroup('The command:'));
  option('--report', 'at the end, say on standard error what the link did');
  option('--json', 'the report as one JSON object');
  option('--pcap <file>', 'write what passes into a pcapng file, drops with their reasons');
  option(
    '--user <name>',
    'run the command as this user; without it as whoever starts it, so after sudo as root',
  );
  command.addOption(
    new Option(
      '--deliver <how>',
      'what is behind the link: sockets of this program, or the kernel, which as root forwards (sockets)',
    )
      .choices(['sockets', 'kernel'])
      .helpGroup('The command:'),
  );
  option('--rootless', 'do as if there was no root: the command runs in a user namespace');
  option('--verbose', 'say on standard error where the command is');
  command
    .addHelpText(
      'after',
      `
An option applies each way: 100ms is a round trip of 200 ms. Each has two more
for one way: --up-delay, --down-delay and so on; up is what the command sends.
--trace takes one file, or two, up and down. Stages are passed in the order in
which they are given.

The exit code is that of the command, 128 + n when signal n ended it, 127 when
there is no such program, and 1 to 5 as for all commands when the link cannot be
made.

Examples:
  tunconnector shell --delay 100ms --rate 5mbit -- curl -sO https://example.com
  tunconnector shell --trace up.trace down.trace --report -- iperf3 -c 10.0.0.7
  tunconnector shell --preset lte --seed 7
  tunconnector shell --delay 9ms -- tunconnector shell --loss 1% -- ping a.test`,
    )
    .action(async (words: string[], options: Options) => {
      const { json, report, user, rootless = false } = options;
      if (json && !report) throw usageError('--json: nothing to write', 'it belongs to --report');
      // What is wrong with it is said before anything happens.
      const spec = flags.spec();
      const isolated = isStartedAgain();
      if (user !== undefined && (isolated || rootless)) {
        throw usageError('--user has no effect with --rootless, which has one user only');
      }
      const powerless = !isolated && (rootless || !hasPrivileges());
      const how = options.deliver ?? 'sockets';
      const asked = rootless ? '--rootless' : 'without root';
      if (powerless && how === 'kernel') {
        done(await startAgain(asked));
        return;
      }
      if (powerless) await checkNamespaces(asked);
      const manner: Manner =
        how === 'sockets' ? (powerless ? 'powerless' : 'sockets') : isolated ? 'isolated' : 'kernel';
      done(await runShell(spec, words, options, manner));
    });
  return command;
}

class ShellCommand extends Command {
  override parseAsync(argv: readonly string[] = [], options?: ParseOptions): Promise<this> {
    return super.parseAsync(splitTraces(argv), options);
  }
}

/**
 * `--trace UP DOWN` as one option each. Commander knows options with one value and with any number of them; two there are
 * only before a `--`, behind which the command is.
 */
export function splitTraces(argv: readonly string[]): string[] {
  const end = argv.indexOf('--');
  const at = argv.indexOf('--trace');
  const [up, down] = [argv[at + 1], argv[at + 2]];
  if (at < 0 || at + 2 >= end || up === undefined || down === undefined || down.startsWith('-'))
    return [...argv];
  return [...argv.slice(0, at), '--up-trace', up, '--down-trace', down, ...argv.slice(at + 3)];
}

/**
 * How the link is made, and what is behind it: sockets, by an ordinary user or not; the kernel, which forwards; the kernel of a
 * namespace that leads nowhere.
 */
type Manner = 'powerless' | 'sockets' | 'kernel' | 'isolated';

interface User {
  account?: Account;
  /** The shell of who runs the command. */
  shell: string;
  env: NodeJS.ProcessEnv;
}

async function userOf(name: string | undefined): Promise<User> {
  const env = { ...withoutMark(process.env), TUNCONNECTOR_GATEWAY_PID: String(process.pid) };
  if (name === undefined) return { shell: process.env.SHELL || '/bin/sh', env };
  const account = await findAccount(name);
  const { stdout } = await runCommand(['getent', 'passwd', String(account.uid)]);
  const [login = name, , , , , home = '/', shell = ''] = stdout.trim().split(':');
  return { account, shell: shell || '/bin/sh', env: { ...env, HOME: home, USER: login, LOGNAME: login } };
}

async function runShell(
  asked: CompiledSpec,
  words: readonly string[],
  options: Options,
  manner: Manner,
): Promise<number> {
  const { account, shell, env } = await userOf(options.user);
  const delivers = manner === 'powerless' || manner === 'sockets';
  const { spec, memory } = withMemory(withSeed(asked), delivers);
  // Before there is a child: a signal between the two would end this process alone.
  const forget = forwardSignals({ kill: (signal) => child.kill(signal) });
  const child = new ShellChild(words.length > 0 ? words : [shell], env, account, manner === 'powerless');
  let link: Way | undefined;
  let network: HostedNetwork | undefined;
  let started: number | undefined;
  let capture: HostedCapture | undefined;
  try {
    network = hostNetwork('worker', { memory });
    const onError = (error: unknown) => {
      note(`the link has ended: ${errorLine(error)}`);
    };
    network.on('error', onError);
    network.on('event', (_app, event) => {
      if (event.type === 'port-failed') onError(`${event.subject} went down or was removed`);
    });
    const [isReady] = await Promise.all([child.ready(), warmUp(network, spec)]);
    if (!isReady) return await child.status;
    const onEnd = ({ error }: { error: TunconnectorError | undefined }) => error && note(errorLine(error));
    link = linkOf(manner, { network, spec, netns: child.netns }, child);
    await link.open();
    const resolver = await link.resolver();
    const look = await inspector(network);
    if (options.pcap !== undefined)
      capture = await captureHosted(network, 'up,down', options.pcap, { drops: true, onEnd });
    if (options.verbose || process.stderr.isTTY) {
      const { up, down } = (await look.inspect()) as Directions;
      note(`${whereabouts(link, manner)}; ${seedsOf(up.seed, down.seed)}`);
      for (const chain of await link.obstacles())
        note(`the firewall's chain ${chain} may drop what is forwarded`);
    }
    started = liveRuntime().now();
    if (!(await child.go({ gateway: link.place.gateways[0]!, resolver }))) return await child.status;
    const status = await child.status;
    if (options.report) {
      const duration = liveRuntime().now() - started;
      writeReport((await look.inspect()) as Directions, { duration, status, json: options.json ?? false });
    }
    return status;
  } catch (error) {
    if (started !== undefined) throw error;
    // With the shell that waits goes its network: then that is no error, but a Ctrl-C.
    await child.abandon();
    const status = await child.status;
    if (status > 128) return status;
    throw error;
  } finally {
    await child.abandon();
    try {
      await capture?.stop();
    } finally {
      if (link) await link.close();
      else await network?.close();
      forget();
    }
  }
}

/** Standard output is the command's. */
const note = (text: string) => void process.stderr.write(`tunconnector: ${text}\n`);

function linkOf(manner: Manner, common: LinkOptions, { pid }: ShellChild): Way {
  if (manner === 'kernel' || manner === 'isolated')
    return new ShellLink({ ...common, isolated: manner === 'isolated' });
  return new SocketLink({ ...common, pid: manner === 'powerless' ? pid : undefined });
}

function whereabouts({ place }: Way, manner: Manner): string {
  const [gateway] = place.gateways;
  if (manner === 'powerless' || manner === 'sockets')
    return `the link is ${place.name}; behind it are sockets, and ${gateway} is this host`;
  if (manner === 'kernel') return `the link is ${place.name}, its other end ${gateway}`;
  const enter = `nsenter --user --preserve-credentials --net --target ${process.pid}`;
  return `without root the link ends at ${gateway}, where "${enter} PROGRAM" runs programs`;
}

const seedsOf = (up: number, down: number): string =>
  up === down ? `seed ${up}` : `seeds ${up} up and ${down} down`;

function writeReport(
  directions: Directions,
  { duration, status, json }: { duration: number; status: number; json: boolean },
): void {
  const { up, down } = directions;
  const lines = json
    ? JSON.stringify({ time: new Date().toISOString(), event: 'report', duration, status, up, down })
    : `${formatDuration(duration)}, ${seedsOf(up.seed, down.seed)}\n${reportText(directions, NAMES)}`;
  process.stderr.write(`${lines}\n`);
}
