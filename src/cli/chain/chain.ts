/** `tunconnector chain ...`: service chains as Roulette has them, for people. */
import { Argument, Command, Option } from 'commander';
import { usageError } from '../exit.ts';
import { suggestion } from '../suggest.ts';
import type { Connected, ConnectFlags } from './connect.ts';

export interface ChainOptions extends ConnectFlags {
  json?: boolean;
  ifRev?: string;
  oneWay?: boolean;
  limit?: string;
  spi?: string;
  replica?: string;
  count?: string;
}

/** @returns the exit code */
export type ChainAction = (
  connected: Connected,
  words: readonly string[],
  options: ChainOptions,
) => Promise<number>;

interface Action {
  /** What it takes is loaded when it is asked for. */
  load(): Promise<ChainAction>;
  /** Options that it heeds beside those of all. */
  options: readonly (keyof ChainOptions)[];
}

const ACTIONS: Record<string, Action> = {
  show: { load: async () => (await import('./show.ts')).showChain, options: ['limit', 'spi', 'replica'] },
  set: { load: async () => (await import('./set.ts')).setChain, options: ['ifRev', 'oneWay'] },
  trace: { load: async () => (await import('./trace.ts')).traceChain, options: ['count'] },
  watch: { load: async () => (await import('./watch.ts')).watchChain, options: [] },
};

/** What follows `chain`. */
export const CHAIN_ACTIONS: readonly string[] = Object.keys(ACTIONS);

const SPECIAL = {
  ifRev: '--if-rev',
  oneWay: '--one-way',
  limit: '--limit',
  spi: '--spi',
  replica: '--replica',
  count: '--count',
};

export function chainCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
): Command {
  const option = (group: string, flags: string, help: string) =>
    new Option(flags, help).helpGroup(`${group}:`);
  return new Command('tunconnector chain')
    .description('Shows, changes, traces and watches service chains.')
    .usage('show|set|trace|watch [WORD...] [options]')
    .addArgument(new Argument('<action>', 'show, set, trace or watch'))
    .addArgument(new Argument('[words...]', 'what to show, set, trace or watch: see below'))
    .addOption(
      option(
        'Roulette',
        '--roulette <url>',
        'where it is; several with commas ($TUNCONNECTOR_ROULETTE, loopback)',
      ),
    )
    .addOption(option('Roulette', '--tenant <n>', 'whose chains; the only one when left out'))
    .addOption(
      option('Roulette', '--token-file <file>', 'the token to show; TUNCONNECTOR_TOKEN does as well'),
    )
    .addOption(option('Roulette', '--ca <file>', 'authority that signed Roulette’s certificate, PEM'))
    .addOption(option('show', '--limit <n>', 'flows at most (20)'))
    .addOption(option('show', '--spi <n>', 'flows of this chain'))
    .addOption(option('show', '--replica <id>', 'flows through this replica'))
    .addOption(
      option('set', '--if-rev <rev>', 'only if it has this revision; that which was read when left out'),
    )
    .addOption(option('set', '--one-way', 'replies pass other replicas as it comes'))
    .addOption(option('trace', '--count <n>', 'probes, one after the other (1)'))
    .addOption(option('The command', '--json', 'JSON instead of tables'))
    .addHelpText(
      'after',
      `
show                      chains, functions, replicas and rules
show chains|functions|replicas|rules|flows|tenants
show SPI                  one chain with its revisions and replicas
set SPI FUNCTION...       the functions of a chain, in the order of the packets
set end SPI               no new flows; it goes when no packet can carry it
set function NAME [TEXT]  declares a function
set rules FILE            all rules, from a YAML or JSON list
set replica ID ready|draining
set tenant [TEXT]         makes the tenant
trace FLOW|WORD...        a probe along a flow’s path: each hop, its time
watch [KIND...]           what changes, as it happens: chain, replica, flow, ...

Examples:
  tunconnector chain set 7 fw dpi --tenant 42
  tunconnector chain show flows --spi 7 --limit 5
  tunconnector chain trace 00f1a2b3c4d5e6f7 --count 10
  tunconnector chain trace tcp 10.0.0.1:40000 10.0.0.2:80
  tunconnector chain watch chain replica --json`,
    )
    .action(async (name: string, words: string[], options: ChainOptions) => {
      const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
      if (!action) throw unknownAction(name);
      for (const [key, flag] of Object.entries(SPECIAL))
        if (
          options[key as keyof ChainOptions] !== undefined &&
          !action.options.includes(key as keyof ChainOptions)
        )
          throw usageError(`${flag} has no effect with chain ${name}`, 'leave it out');
      const { asError, connect } = await import('./connect.ts');
      const run = await action.load();
      const connected = connect(options);
      try {
        done(await run(connected, words, options));
      } catch (error) {
        throw asError(error);
      } finally {
        connected.close();
      }
    });
}

function unknownAction(name: string): Error {
  const known = Object.keys(ACTIONS);
  const near = suggestion(name, known);
  return usageError(
    `chain: found "${name}"${near ? `; did you mean ${near}?` : `, expected ${known.join(', ')}`}`,
  );
}

/** A whole number of an option or a word. @throws ERR_USAGE */
export function numberOf(text: string, what: string, low: number, high: number): number {
  const number = Number(text);
  if (/^\d{1,16}$/.test(text) && number >= low && number <= high) return number;
  throw usageError(`${what}: found "${text}", expected a number from ${low} to ${high}`);
}

export const MAX_SPI = 0x7fffff;
export const MAX_REPLICA = 0xffff;
