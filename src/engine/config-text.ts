/**
 * A network's configuration as text: YAML (of which JSON is a part), the same text for the same network whatever the
 * order in which it was put together. For files, for people, and to see what a change changes.
 *
 *     apps:
 *       odd: { module: ./odd.js, export: dropOdd, options: {} }
 *     links:
 *       - left.out -> odd.in
 */
import { LineCounter, parseDocument, stringify } from 'yaml';
import { z } from 'zod';
import { TunconnectorError } from '../errors.ts';
import { isSpec } from './app.ts';
import { configError, formatLink, type NetworkConfig, parseLink } from './config.ts';
import { checkOptions } from './options.ts';

const schema = z.strictObject({
  apps: z.record(
    z.string(),
    z.strictObject({ module: z.string(), export: z.string(), options: z.unknown().default({}) }),
  ),
  links: z.array(z.string()).default([]),
});

/** @param file named in errors @throws ERR_CONFIG with file, place, what was found and what was expected */
export function parseConfig(text: string, file = 'configuration'): NetworkConfig {
  return readYaml(text, file, (value) => {
    const config = checkOptions(schema, value);
    return { apps: config.apps, links: config.links.map((link) => formatLink(parseLink(link))) };
  });
}

/** What `check` makes of a text in YAML; its errors, and those of the text, name the file. @throws ERR_CONFIG */
export function readYaml<T>(text: string, file: string, check: (value: unknown) => T): T {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [problem] = document.errors;
  if (problem) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw configError(`${file}:${line}:${col}: ${problem.message.split('\n')[0]}`);
  }
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    // Aliases of aliases that would stand for more than memory holds.
    throw configError(`${file}: ${(error as Error).message.split('\n')[0]}`);
  }
  try {
    return check(value);
  } catch (error) {
    if (!(error instanceof TunconnectorError)) throw error;
    throw new TunconnectorError('ERR_CONFIG', `${file}: ${error.message}`, { place: error.place });
  }
}

/** Names in order, links in order. An app that is an instance is shown by its class; such text cannot be parsed back. */
export function formatConfig(config: NetworkConfig): string {
  const apps: Record<string, unknown> = {};
  for (const name of Object.keys(config.apps).sort()) {
    const app = config.apps[name];
    apps[name] = isSpec(app)
      ? { module: app.module, export: app.export, options: app.options }
      : `instance of ${app.constructor.name}`;
  }
  const links = config.links.map((link) => formatLink(parseLink(link))).sort();
  return stringify({ apps, links }, { lineWidth: 0, sortMapEntries: true });
}

/** What changes from one configuration to another: lines of `formatConfig` with `- ` and `+ ` in front, or none. */
export function diffConfig(before: NetworkConfig, after: NetworkConfig): string[] {
  const removed = entries(before);
  const added = entries(after);
  const changes: string[] = [];
  for (const [key, text] of removed) if (added.get(key) !== text) changes.push(`- ${text}`);
  for (const [key, text] of added) if (removed.get(key) !== text) changes.push(`+ ${text}`);
  return changes;
}

function entries({ apps, links }: NetworkConfig): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of Object.keys(apps).sort()) {
    const one = formatConfig({ apps: { [name]: apps[name] }, links: [] });
    // Without the line "apps:" in front and the empty list of links behind.
    const text = one.split('\n').slice(1, -2);
    found.set(`app ${name}`, text.map((line) => line.slice(2)).join('\n'));
  }
  for (const link of links.map((l) => formatLink(parseLink(l))).sort()) found.set(`link ${link}`, link);
  return found;
}
