/** What a function is told: `--option key=value` of the command line, and `options` of a file, which gives way key by key. */
import { type Command, Option } from 'commander';
import { configError } from '../../engine/config.ts';
import { keepConfigKey } from '../config-options.ts';
import { usageError } from '../exit.ts';
import { shown } from '../expected.ts';

type Options = Record<string, unknown>;

const fromFile = new WeakMap<Command, Options>();

export function addOptionFlag(command: Command, add: (option: Option) => void): void {
  add(new Option('--option <key=value>', 'what the function is told; a key several times is a list'));
  keepConfigKey(command, 'options', (value, place) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw configError(`${place}: found ${shown(value)}, expected keys and values`);
    fromFile.set(command, value as Options);
  });
}

/** @param texts of the command line @throws ERR_USAGE */
export function functionOptions(command: Command, texts: readonly string[]): Options {
  const given: Options = {};
  for (const text of texts) {
    const at = text.indexOf('=');
    if (at <= 0) throw usageError(`--option: found "${text}", expected KEY=VALUE`);
    const key = text.slice(0, at);
    const value = text.slice(at + 1);
    const before = given[key];
    given[key] = before === undefined ? value : [before, value].flat();
  }
  return { ...fromFile.get(command), ...given };
}
