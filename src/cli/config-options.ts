/**
 * `--config FILE` of commands: YAML or JSON whose keys are the command's long options, and its arguments by their names. They
 * are put in front of what stands on the command line, which has the last word: an option that is there is not taken from
 * the file.
 */
import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { configError } from '../engine/config.ts';
import { readYaml } from '../engine/config-text.ts';
import { usageError } from './exit.ts';
import { shown } from './expected.ts';
import { suggestion } from './suggest.ts';

/** Adds the option itself. */
export function addConfigOption(command: Command): Command {
  const option = new Option('--config <file>', 'options from a YAML or JSON file; those given here win');
  return command.addOption(option.helpGroup('The command:'));
}

/** Options of the command line alone. */
const NOT_IN_FILES = ['config', 'version'];

/** What a command takes from its file that is no option: by the key, with the place for messages. */
const kept = new WeakMap<Command, Map<string, (value: unknown, place: string) => void>>();

/** @param take is called before the command is, and throws ERR_CONFIG for what does not fit */
export function keepConfigKey(
  command: Command,
  key: string,
  take: (value: unknown, place: string) => void,
): void {
  const keys = kept.get(command) ?? new Map();
  kept.set(command, keys.set(key, take));
}

/** A command line with what the file adds that it names, or as it is. @throws ERR_CONFIG, ERR_USAGE */
export function withConfigFile(command: Command, argv: readonly string[]): string[] {
  const { given, operands, file } = scan(command, argv);
  if (file === undefined) return [...argv];
  const content = readYaml(read(file), file, (value) => {
    if (value === null || value === undefined) return {};
    if (typeof value !== 'object' || Array.isArray(value))
      throw configError(`found ${shown(value)}, expected keys and values`);
    return value as Record<string, unknown>;
  });
  const options: string[] = [];
  const words = new Map<string, string[]>();
  for (const [key, value] of Object.entries(content)) {
    const option = command.options.find(({ long }) => long === `--${key}` && !NOT_IN_FILES.includes(key));
    const argument = command.registeredArguments.find((each) => each.name() === key);
    const take = kept.get(command)?.get(key);
    if (take) take(value, `${file}: ${key}`);
    else if (argument) words.set(key, textsOf(value, argument.variadic, `${file}: ${key}`));
    else if (!option) throw unknownKey(command, key, file);
    else if (!given.has(option.long!)) options.push(...tokensOf(option, value, `${file}: ${key}`));
  }
  const more = command.registeredArguments
    .slice(operands.length)
    .flatMap((argument) => words.get(argument.name()) ?? []);
  const last = more.length > 0 ? [...(argv.includes('--') ? [] : ['--']), ...more] : [];
  return [...options, ...argv, ...last];
}

interface Scanned {
  /** Long names of the options that are there. */
  given: Set<string>;
  operands: string[];
  file: string | undefined;
}

function scan(command: Command, argv: readonly string[]): Scanned {
  const given = new Set<string>();
  const operands: string[] = [];
  let file: string | undefined;
  // What stands behind the name of a program is the program's.
  const passesOn = command.registeredArguments.some(({ variadic }) => variadic);
  for (let i = 0; i < argv.length; i++) {
    const [flag = '', ...inline] = argv[i]!.split('=');
    const option = command.options.find(({ long, short }) => flag === long || flag === short);
    if (option?.long) {
      given.add(option.long);
      const takes = option.required || option.optional;
      const value = inline.length > 0 ? inline.join('=') : takes ? argv[++i] : undefined;
      if (option.long === '--config') file = value;
    } else if (flag === '--' || (passesOn && !flag.startsWith('-'))) {
      operands.push(...argv.slice(flag === '--' ? i + 1 : i));
      break;
    } else if (!flag.startsWith('-') || flag === '-') {
      operands.push(argv[i]!);
    }
  }
  return { given, operands, file };
}

function tokensOf(option: Option, value: unknown, place: string): string[] {
  const takesValue = option.required || option.optional;
  if (!takesValue) {
    if (typeof value !== 'boolean') throw refusal(place, value, 'true or false');
    return value ? [option.long!] : [];
  }
  // Those that may stand several times collect what they are given.
  return textsOf(value, option.parseArg !== undefined, place).map((text) => `${option.long}=${text}`);
}

function textsOf(value: unknown, several: boolean, place: string): string[] {
  if (Array.isArray(value) && !several) throw refusal(place, value, 'one value');
  return [value].flat().map((each, i) => {
    if (typeof each === 'string' || typeof each === 'number') return String(each);
    const where = Array.isArray(value) ? `${place}.${i}` : place;
    throw refusal(where, each, several ? 'text, a number or a list of them' : 'text or a number');
  });
}

function unknownKey(command: Command, key: string, file: string): Error {
  const options = command.options.flatMap(({ long, hidden }) => (long && !hidden ? [long.slice(2)] : []));
  const names = command.registeredArguments.map((argument) => argument.name());
  const own = kept.get(command)?.keys() ?? [];
  const known = [...names, ...own, ...options].filter((name) => !NOT_IN_FILES.includes(name));
  const near = suggestion(key, known);
  const expected = near ? `; did you mean "${near}"?` : `, expected one of ${known.join(', ')}`;
  return configError(`${file}: found the unknown key "${key}"${expected}`);
}

const refusal = (place: string, found: unknown, expected: string) =>
  configError(`${place}: found ${shown(found)}, expected ${expected}`);

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw usageError(`--config: cannot read ${file} (${code})`);
  }
}
