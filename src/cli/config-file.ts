/** Configuration files: YAML or JSON, the keys are the long option names. Every complaint names file, path, found, expected. */
import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { TunconnectorError } from '../errors.ts';
import { reading, shown } from './expected.ts';
import { OPTION_NAMES, type OptionName, parseOption, type Settings, specOf } from './options.ts';
import { suggestion } from './suggest.ts';

/** Reads a file. @throws ERR_CONFIG */
export function readConfigFile(file: string): Settings {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const remedies: Record<string, string> = {
      ENOENT: 'check the path of --config',
      EACCES: 'make it readable for this user',
      EISDIR: 'name the file in it',
    };
    throw new TunconnectorError('ERR_CONFIG', `${file}: cannot be read (${code})`, {
      remedy: remedies[code ?? ''],
      cause: error,
    });
  }
  return parseConfig(text, file);
}

/** @param file its name in messages */
export function parseConfig(text: string, file: string): Settings {
  const document = parseDocument(text, { prettyErrors: true });
  const [problem] = document.errors;
  if (problem) {
    const line = problem.linePos?.[0].line;
    const what = problem.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '');
    throw new TunconnectorError('ERR_CONFIG', `${file}${line ? `, line ${line}` : ''}: ${what}`);
  }
  const content: unknown = document.toJS() ?? {};
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new TunconnectorError('ERR_CONFIG', `${file}: found ${shown(content)}, expected keys and values`);
  }
  const settings: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(content)) {
    const name = OPTION_NAMES.find((each) => each === key && !specOf(each).commandLineOnly);
    if (!name) {
      const known = OPTION_NAMES.filter((each) => !specOf(each).commandLineOnly);
      const near = suggestion(key, known);
      const expected = near ? `; did you mean "${near}"?` : `, expected one of ${known.join(', ')}`;
      throw new TunconnectorError('ERR_CONFIG', `${file}: found the unknown key "${key}"${expected}`);
    }
    const parsed = parseValue(name, value, file);
    if (parsed !== undefined) settings[name] = parsed;
  }
  return settings as Settings;
}

function parseValue(name: OptionName, value: unknown, file: string): unknown {
  const spec = specOf(name);
  const refuse = (path: string, found: unknown, expected: string) =>
    new TunconnectorError('ERR_CONFIG', `${file}: ${path}: found ${shown(found)}, expected ${expected}`);
  if (spec.value === undefined) {
    if (typeof value !== 'boolean') throw refuse(name, value, 'true or false');
    return value ? true : undefined;
  }
  const inFile = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      throw new TunconnectorError('ERR_CONFIG', error.message, { cause: error });
    }
  };
  const { parseObject } = spec;
  if (parseObject && typeof value === 'object' && value !== null) {
    return inFile(() => reading(`${file}: ${name}`, shown(value), () => parseObject(value)));
  }
  const values: unknown[] = Array.isArray(value) ? value : [value];
  if (Array.isArray(value) && !spec.list) throw refuse(name, value, 'one value');
  const texts = values.map((each, i) => {
    if (typeof each === 'string' || typeof each === 'number') return String(each);
    throw refuse(
      Array.isArray(value) ? `${name}.${i}` : name,
      each,
      spec.list ? 'text or a list of texts' : 'text or a number',
    );
  });
  return inFile(() => {
    const parsed = texts.map((text, i) =>
      parseOption(name, [text], `${file}: ${Array.isArray(value) ? `${name}.${i}` : name}`),
    );
    return spec.list ? parsed.flat() : parsed[0];
  });
}
