/** `tunconnector`: finds the command, runs it, and turns whatever goes wrong into one line and an exit code. */
import { Command, CommanderError } from 'commander';
import { benchCommand } from './bench.ts';
import { captureCommand } from './capture.ts';
import { chainCommand } from './chain/chain.ts';
import { addTunnelOptions, explainMistake, quiet, settingsOf } from './command-line.ts';
import { completionCommand } from './completion.ts';
import { addConfigOption, withConfigFile } from './config-options.ts';
import { doctorCommand } from './doctor.ts';
import { Exit, reportError, usageError } from './exit.ts';
import { impairCommand } from './impair/impair.ts';
import { clientCommand } from './member/client.ts';
import { egressCommand } from './member/egress.ts';
import { ingressCommand } from './member/ingress.ts';
import { vnfCommand } from './member/vnf.ts';
import { rouletteCommand } from './roulette/roulette.ts';
import { shellCommand } from './shell/shell.ts';
import { stackCommand } from './stack/stack.ts';
import { suggestion } from './suggest.ts';
import { topCommand } from './top/top.ts';
import { runTunnelCommand } from './tunnel.ts';
import { packageVersion } from './version.ts';

const AFTER_HELP = `
Commands:
  tunnel                 the above, and what runs when no command is named
  capture NAME [FILE]    packets of a running tunnel or any interface, as pcapng
  impair LEFT RIGHT      a bad network between two interfaces
  ingress                where packets come into service chains
  vnf FILE|NAME          a function that they pass
  egress                 where they leave them
  client                 this host's packets for some networks through chains
  shell -- COMMAND       a command whose network is behind a bad link
  stack up               an IP stack of its own on a TUN, TAP or interface
  top [NAME]             running tunnels in the terminal, link by link
  roulette               the registry of service chains
  chain show|set|watch   service chains as the registry has them
  doctor                 what this machine lacks, what that costs, what helps
  bench                  measure a tunnel between two throw-away hosts
  completion SHELL       completion for bash, zsh or fish
  COMMAND --help         more about one of them

Examples:
  tunconnector -p tun0 -s 10.0.0.2 -i 55555 -m server
  tunconnector -n tun0 -c 10.0.0.3 -o 55555 -r 192.168.6.9 -m client

The formats udp, raw and stream are neither encrypted nor authenticated:
use them on networks you trust.
Exit codes: 0 ended as asked, 1 failed while it ran, 2 usage or configuration,
3 no permission, 4 the server refused or its name does not resolve,
5 something is taken or missing on this machine.`;

/** Runs one command line to its end. Sets the process's exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  // Whoever reads along may leave (`| head -1`), and a terminal may be closed (EIO); what runs goes on, or ends in good order.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
    });
  }
  try {
    process.exitCode = await run(argv);
  } catch (error) {
    process.exitCode = reportError(error, { verbose: argv.includes('--verbose') });
  }
}

async function run(argv: readonly string[]): Promise<number> {
  let code: number = Exit.ok;
  const commands = allCommands((result) => {
    code = result;
  });
  const [first = ''] = argv;
  const name = first === '' || first.startsWith('-') ? 'tunnel' : first;
  if (name === 'help') return run([...argv.slice(1, 2), '--help']);
  const command = commands.get(name);
  if (!command) {
    const near = suggestion(name, [...commands.keys()]);
    if (near) throw usageError(`unknown command "${name}"; did you mean ${near}?`);
    const known = [...commands.keys()].join(', ');
    throw usageError(`unknown command "${name}"`, `commands are ${known}; tunconnector --help tells more`);
  }
  try {
    const words = first === name ? argv.slice(1) : [...argv];
    // The tunnel reads its own, whose parts are more than options.
    await command.parseAsync(name === 'tunnel' ? words : withConfigFile(command, words), { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return Exit.ok; // --help and --version
    throw explainMistake(error, command);
  }
  return code;
}

/** By name. Each tells its exit code when it is done. */
export function allCommands(done: (code: number) => void): Map<string, Command> {
  const tunnel = addTunnelOptions(new Command('tunconnector'))
    .helpOption('-h, --help', 'show this help')
    .description('Connects TUN or TAP interfaces of two or more hosts through UDP or TCP.')
    .usage('[tunnel] [options]')
    .addHelpText('after', AFTER_HELP)
    .action(async (_options: unknown, command: Command) => {
      const { settings, label } = settingsOf(command);
      done(await runTunnelCommand(settings, label));
    });
  const version = packageVersion();
  const own = (command: Command) =>
    quiet(command.optionsGroup('The command:').version(version, '--version', 'show the version'));
  const all = new Map([['tunnel', own(tunnel)]]);
  const others = {
    capture: captureCommand,
    impair: impairCommand,
    shell: shellCommand,
    stack: stackCommand,
    top: topCommand,
  };
  const members = { ingress: ingressCommand, vnf: vnfCommand, egress: egressCommand, client: clientCommand };
  const chains = { roulette: rouletteCommand, chain: chainCommand };
  const machine = { doctor: doctorCommand, bench: benchCommand };
  for (const [name, make] of Object.entries({ ...others, ...members, ...chains, ...machine }))
    all.set(name, own(addConfigOption(make(done))));
  all.set('completion', own(completionCommand(() => all)));
  return all;
}
