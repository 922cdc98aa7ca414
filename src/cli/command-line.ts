/** The command line of the tunnel, made from the table of options, and its mistakes told in one line. */
import { type Command, type CommanderError, Option } from 'commander';
import type { TunconnectorError } from '../errors.ts';
import { readConfigFile } from './config-file.ts';
import { usageError } from './exit.ts';
import { flagsOf, OPTION_NAMES, type OptionName, parseOption, type Settings, specOf } from './options.ts';
import { suggestion } from './suggest.ts';

/** Headings of the help, each over the options from here to the next. */
const GROUPS: Partial<Record<OptionName, string>> = {
  mode: 'The ends:',
  format: 'What passes:',
  route: 'Where it goes:',
  listen: 'Who may come:',
  config: 'The command:',
};

/** Commander names the key of `--max-clients` maxClients, and stores `--no-gso` as gso: false. */
function attributeOf(name: OptionName): string {
  return name.replace(/^no-/, '').replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** Adds the options of the tunnel to a command. */
export function addTunnelOptions(command: Command): Command {
  let group = 'Options:';
  for (const name of OPTION_NAMES) {
    group = GROUPS[name] ?? group;
    const { short, value, list, help, default: usual } = specOf(name);
    const flags = `${short ? `-${short}, ` : ''}--${name}${value ? ` <${value}>` : ''}`;
    const option = new Option(flags, usual ? `${help} (default: ${usual})` : help);
    if (list) option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
    command.addOption(option.helpGroup(group));
  }
  return command;
}

export interface GivenSettings {
  settings: Settings;
  /** What messages call an option: its flags, or its place in the file it came from. */
  label: (name: OptionName) => string;
}

/** Parses what commander collected; the command line wins over the file. @throws ERR_USAGE, ERR_CONFIG */
export function settingsOf(command: Command): GivenSettings {
  const given = command.opts<Record<string, unknown>>();
  const settings: Record<string, unknown> = {};
  for (const name of OPTION_NAMES) {
    const attribute = attributeOf(name);
    if (command.getOptionValueSource(attribute) !== 'cli') continue;
    const value = given[attribute];
    const texts = typeof value === 'boolean' ? [''] : [value].flat().map(String);
    settings[name] = parseOption(name, texts, flagsOf(name));
  }
  const file = settings.config as string | undefined;
  const fromFile = file === undefined ? {} : readConfigFile(file);
  return {
    settings: { ...fromFile, ...(settings as Settings) },
    label: (name) => (name in settings || !(name in fromFile) ? flagsOf(name) : `${file}: ${name}`),
  };
}

/** A mistake that commander found, in one line that says what was probably meant. */
export function explainMistake(error: CommanderError, command: Command): TunconnectorError {
  const found = /'(.*?)'/.exec(error.message)?.[1] ?? '';
  switch (error.code) {
    case 'commander.unknownOption': {
      const long = found.startsWith('--');
      const known = command.options.flatMap((option) => option.long?.slice(2) ?? []);
      const near = long ? suggestion(found.slice(2).split('=')[0]!, [...known, 'help']) : undefined;
      return usageError(
        `unknown option ${found}${near ? `; did you mean --${near}?` : ''}`,
        near ? undefined : `${command.name()} --help lists the options`,
      );
    }
    case 'commander.optionMissingArgument': {
      const flag = /-[^\s,]+/.exec(found)?.[0] ?? found;
      const value = /<(.*)>/.exec(found)?.[1]?.toLowerCase() ?? 'value';
      return usageError(`${flag} needs a ${value}`);
    }
    case 'commander.excessArguments': {
      const word = command.args.at(-1)!;
      return usageError(
        `unexpected "${word}"`,
        `options begin with "-"; ${command.name()} --help lists them`,
      );
    }
    case 'commander.missingArgument':
      return usageError(`the ${found} is missing`, `${command.name()} --help tells more`);
    default:
      return usageError(error.message.replace(/^error: /, '').replaceAll('\n', ' '));
  }
}

/** Makes a command throw instead of writing and exiting. */
export function quiet(command: Command): Command {
  return command
    .exitOverride()
    .configureOutput({ writeErr: () => {}, outputError: () => {} })
    .showSuggestionAfterError(false)
    .allowExcessArguments(false);
}
