/** `tunconnector`: finds the command, runs it, and turns whatever goes wrong into one line and an exit code. */
import { Command, CommanderError } from 'commander';
import { addTunnelOptions, explainMistake, quiet, settingsOf } from './command-line.ts';
import { addConfigOption, withConfigFile } from './config-options.ts';
import { Exit, reportError, usageError } from './exit.ts';
import { suggestion } from './suggest.ts';
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
  sim run FILE           many hosts in virtual time; sim explore: by seeds
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
    // Once, however often this is called in one process.
    if (!stream.listeners('error').includes(onLostReader)) stream.on('error', onLostReader);
  }
  try {
    process.exitCode = await run(argv);
  } catch (error) {
    process.exitCode = reportError(error, { verbose: argv.includes('--verbose') });
  }
}

function onLostReader(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
}

async function run(argv: readonly string[]): Promise<number> {
  let code: number = Exit.ok;
  const [first = ''] = argv;
  const name = first === '' || first.startsWith('-') ? 'tunnel' : first;
  if (name === 'help') return run([...argv.slice(1, 2), '--help']);
  if (!isCommand(name)) {
    const near = suggestion(name, COMMAND_NAMES);
    if (near) throw usageError(`unknown command "${name}"; did you mean ${near}?`);
    const known = COMMAND_NAMES.join(', ');
    throw usageError(`unknown command "${name}"`, `commands are ${known}; tunconnector --help tells more`);
  }
  const command = await commandOf(name, (result) => {
    code = result;
  });
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

type Done = (code: number) => void;

/** Each is loaded when it is wanted: all of them take half a second of a processor. */
const COMMANDS = {
  tunnel: async () => tunnelCommand,
  capture: async () => configured((await import('./capture.ts')).captureCommand),
  impair: async () => configured((await import('./impair/impair.ts')).impairCommand),
  shell: async () => configured((await import('./shell/shell.ts')).shellCommand),
  stack: async () => configured((await import('./stack/stack.ts')).stackCommand),
  sim: async () => configured((await import('./sim/sim.ts')).simCommand),
  top: async () => configured((await import('./top/top.ts')).topCommand),
  ingress: async () => configured((await import('./member/ingress.ts')).ingressCommand),
  vnf: async () => configured((await import('./member/vnf.ts')).vnfCommand),
  egress: async () => configured((await import('./member/egress.ts')).egressCommand),
  client: async () => configured((await import('./member/client.ts')).clientCommand),
  roulette: async () => configured((await import('./roulette/roulette.ts')).rouletteCommand),
  chain: async () => configured((await import('./chain/chain.ts')).chainCommand),
  doctor: async () => configured((await import('./doctor.ts')).doctorCommand),
  bench: async () => configured((await import('./bench.ts')).benchCommand),
  completion: async () => {
    const { completionCommand } = await import('./completion.ts');
    return () => completionCommand(allCommands);
  },
} satisfies Record<string, () => Promise<(done: Done) => Command>>;

export type CommandName = keyof typeof COMMANDS;

export const COMMAND_NAMES = Object.keys(COMMANDS) as readonly CommandName[];

const isCommand = (name: string): name is CommandName => Object.hasOwn(COMMANDS, name);

/** One that takes its options from a file, too. */
const configured =
  (make: (done: Done) => Command) =>
  (done: Done): Command =>
    addConfigOption(make(done));

/** @param done is told the exit code when it is done */
export async function commandOf(name: CommandName, done: Done = () => {}): Promise<Command> {
  const make = await COMMANDS[name]();
  const command = make(done).optionsGroup('The command:');
  return quiet(command.version(packageVersion(), '--version', 'show the version'));
}

/** By name, in the order of the help. */
export async function allCommands(): Promise<Map<CommandName, Command>> {
  const all = new Map<CommandName, Command>();
  for (const name of COMMAND_NAMES) all.set(name, await commandOf(name));
  return all;
}

function tunnelCommand(done: Done): Command {
  return addTunnelOptions(new Command('tunconnector'))
    .helpOption('-h, --help', 'show this help')
    .description('Connects TUN or TAP interfaces of two or more hosts through UDP or TCP.')
    .usage('[tunnel] [options]')
    .addHelpText('after', AFTER_HELP)
    .action(async (_options: unknown, command: Command) => {
      const { runTunnelCommand } = await import('./tunnel.ts');
      const { settings, label } = settingsOf(command);
      done(await runTunnelCommand(settings, label));
    });
}
