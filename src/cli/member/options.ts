/** Options that the members of chains have in common. */
import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { parseListenAddress } from '../../control/http/address.ts';
import { checkToken } from '../../control/http/token.ts';
import type { Thread } from '../../engine/live-hosted.ts';
import { duration } from '../../engine/units.ts';
import { usageError } from '../exit.ts';

/** Of every command that has something to say. */
export interface CommandFlags {
  json?: boolean;
  pcap?: string;
  metrics?: string | true;
  verbose?: boolean;
}

/** Of every member of a chain. */
export interface MemberFlags extends CommandFlags {
  roulette?: string;
  tenant: string;
  tokenFile?: string;
  ca?: string;
  bind?: string;
  encapsulation: 'vxlan-gpe' | 'geneve';
  drain: string;
}

export interface EndFlags extends MemberFlags {
  mtu?: string;
  flowIdle?: string;
  thread: Thread;
}

const METRICS_PORT = 9479;
const TOKEN_VARIABLE = 'TUNCONNECTOR_TOKEN';
const ROULETTE_VARIABLE = 'TUNCONNECTOR_ROULETTE';

export const many = (text: string, before: string[] | undefined): string[] => [...(before ?? []), text];

/** @param drain what it does on SIGTERM, with its usual value */
export function addMemberFlags(command: Command, drain: { help: string; usual: string }): Command {
  const chain = (option: Option) => command.addOption(option.helpGroup('The chain:'));
  chain(
    new Option(
      '--roulette <urls>',
      `where the registry is; several with commas between; ${ROULETTE_VARIABLE} in the environment does as well`,
    ),
  );
  chain(new Option('--tenant <number>', 'whose chains').default('0'));
  chain(
    new Option(
      '--token-file <file>',
      `the secret to show to Roulette; ${TOKEN_VARIABLE} in the environment does as well`,
    ),
  );
  chain(new Option('--ca <file>', "PEM of who signed Roulette's certificate"));
  chain(
    new Option(
      '--bind <address>',
      'ADDRESS[:PORT] of the chain port; the one that leads to Roulette otherwise',
    ),
  );
  chain(
    new Option('--encapsulation <name>', 'what chain packets are in')
      .choices(['vxlan-gpe', 'geneve'])
      .default('vxlan-gpe'),
  );
  return command.addOption(
    new Option('--drain <time>', drain.help).default(drain.usual).helpGroup('The chain:'),
  );
}

export function addEndFlags(command: Command): Command {
  addMemberFlags(command, { help: 'on SIGTERM: how long what is under way goes on', usual: '1s' });
  const chain = (option: Option) => command.addOption(option.helpGroup('The chain:'));
  chain(new Option('--mtu <bytes>', 'of the links between the hosts of the chain'));
  chain(new Option('--flow-idle <time>', 'silence after which a flow ends, as Roulette has it (300s)'));
  return addThreadFlag(addCommandFlags(command));
}

export function addThreadFlag(command: Command): Command {
  return command.addOption(
    new Option('--thread <thread>', 'where packets are moved: a thread of its own, or the main one')
      .choices(['worker', 'main'])
      .default('worker')
      .helpGroup('The command:'),
  );
}

/** @param pcap what `--pcap` shows */
export function addCommandFlags(command: Command, pcap = 'as it is outside of the chain'): Command {
  const own = (option: Option) => command.addOption(option.helpGroup('The command:'));
  own(new Option('--json', 'one JSON object per line for what happens, and the report'));
  own(new Option('--pcap <file>', `write what passes into a pcapng file, ${pcap}`));
  own(new Option('--metrics [address]', `figures for Prometheus over HTTP (127.0.0.1:${METRICS_PORT})`));
  own(new Option('--verbose', 'say more about what happens, on standard error'));
  return command;
}

/** What all members have, as the library has it. @throws ERR_USAGE */
export function memberOptions(flags: MemberFlags) {
  const { tenant, tokenFile, ca, bind, encapsulation } = flags;
  const roulette = flags.roulette ?? process.env[ROULETTE_VARIABLE];
  if (!roulette) throw usageError('--roulette is missing', 'name the URL of the registry');
  const token = tokenOf(tokenFile);
  return {
    roulette: roulette.split(','),
    tenant: wholeNumber('--tenant', tenant, 0xffffff),
    encapsulation,
    ...(token !== undefined && { token }),
    ...(ca !== undefined && { ca: textOf('--ca', ca) }),
    ...(bind !== undefined && { bind }),
  };
}

/** @throws ERR_USAGE */
export function endOptions(flags: EndFlags) {
  const { mtu, flowIdle, thread } = flags;
  return {
    ...memberOptions(flags),
    thread,
    ...(mtu !== undefined && { mtu: wholeNumber('--mtu', mtu, 65_535) }),
    ...(flowIdle !== undefined && { flowIdle }),
  };
}

export function metricsAddress(metrics: string | true | undefined) {
  return metrics === undefined
    ? undefined
    : parseListenAddress(metrics === true ? '' : metrics, METRICS_PORT);
}

export function wholeNumber(flag: string, text: string, most: number): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number <= most) return number;
  throw usageError(`${flag}: found "${text}", expected a whole number, 0 to ${most}`);
}

/** ns. */
export function timeOf(flag: string, text: string): number {
  try {
    return duration(text);
  } catch {
    throw usageError(`${flag}: found "${text}", expected a time such as 2s`);
  }
}

export function tokenOf(file: string | undefined): string | undefined {
  if (file !== undefined) return checkToken(textOf('--token-file', file), file);
  const text = process.env[TOKEN_VARIABLE];
  return text === undefined || text === '' ? undefined : checkToken(text, TOKEN_VARIABLE);
}

function textOf(flag: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`${flag}: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`);
  }
}
