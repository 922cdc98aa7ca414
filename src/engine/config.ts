/** A network as data: apps by name, links as text. Everything that can be wrong with it is said here. */
import { TunconnectorError } from '../errors.ts';
import type { App, AppSpec, Layer } from './app.ts';

export interface NetworkConfig {
  apps: Record<string, AppSpec | App>;
  /** `'tun0.out -> delay.in'` */
  links: string[];
}

export interface LinkConfig {
  producer: string;
  output: string;
  consumer: string;
  input: string;
}

const NAME = '[A-Za-z_][\\w:-]*';
const LINK = new RegExp(`^\\s*(${NAME})\\.(\\w+)\\s*->\\s*(${NAME})\\.(\\w+)\\s*$`);

export function parseLink(text: string): LinkConfig {
  const match = LINK.exec(text);
  if (!match) throw configError(`links: found "${text}", expected "app.output -> app.input"`);
  return { producer: match[1], output: match[2], consumer: match[3], input: match[4] };
}

export function formatLink(link: LinkConfig): string {
  return `${link.producer}.${link.output} -> ${link.consumer}.${link.input}`;
}

export function configError(message: string, remedy?: string): TunconnectorError {
  return new TunconnectorError('ERR_CONFIG', message, remedy ? { remedy } : {});
}

/** Checks names: every link joins apps that exist, by inputs and outputs they have, each of them once. */
export function checkLinks(apps: ReadonlyMap<string, App>, links: readonly LinkConfig[]): void {
  const outputs = new Set<string>();
  const inputs = new Set<string>();
  for (const link of links) {
    const text = formatLink(link);
    const producer = apps.get(link.producer);
    const consumer = apps.get(link.consumer);
    if (!producer)
      throw configError(`links: "${text}" names the app "${link.producer}", which does not exist`);
    if (!consumer)
      throw configError(`links: "${text}" names the app "${link.consumer}", which does not exist`);
    checkName(text, link.producer, 'output', link.output, producer.outputs);
    checkName(text, link.consumer, 'input', link.input, consumer.inputs);
    once(outputs, `${link.producer}.${link.output}`, text, 'output', 'tee');
    once(inputs, `${link.consumer}.${link.input}`, text, 'input', 'join');
  }
  for (const [name, app] of apps) {
    for (const port of app.required ?? []) {
      const found =
        (app.inputs?.includes(port) && inputs.has(`${name}.${port}`)) || outputs.has(`${name}.${port}`);
      if (!found)
        throw configError(`apps.${name}: nothing is linked to its "${port}"`, `link ${name}.${port}`);
    }
  }
}

function checkName(
  text: string,
  app: string,
  kind: string,
  found: string,
  allowed: readonly string[] | undefined,
): void {
  if (!allowed || allowed.includes(found)) return;
  const expected = allowed.length === 0 ? `no ${kind}s at all` : `${kind} ${allowed.join(' or ')}`;
  throw configError(`links: "${text}": found ${kind} "${found}", but ${app} has ${expected}`);
}

function once(seen: Set<string>, key: string, text: string, kind: string, app: string): void {
  if (seen.has(key)) {
    throw configError(`links: "${text}" uses the ${kind} ${key} a second time`, `put a ${app} between`);
  }
  seen.add(key);
}

/** The outputs that packets of this input may leave through, of those that are linked. */
export function pathsOf(app: App, input: string, linked: readonly string[]): string[] {
  const paths = app.paths?.[input];
  return paths ? linked.filter((output) => paths.includes(output)) : [...linked];
}

/**
 * Works out what every link carries and refuses to join two layers. An app that declares no layer for an input
 * passes on what it gets.
 */
export function inferLayers(
  apps: ReadonlyMap<string, App>,
  links: readonly LinkConfig[],
): (Layer | undefined)[] {
  const found: (Layer | undefined)[] = links.map(() => undefined);
  const because: string[] = links.map(() => '');
  const settle = (index: number, layer: Layer, why: string): boolean => {
    if (found[index] === layer) return false;
    if (found[index] !== undefined) {
      throw configError(
        `links: "${formatLink(links[index])}" joins ${found[index]} (${because[index]}) and ${layer} (${why})`,
        'put an adapter between them',
      );
    }
    found[index] = layer;
    because[index] = why;
    return true;
  };
  for (let i = 0; i < links.length; i++) {
    const { producer, output, consumer, input } = links[i];
    const out = apps.get(producer)?.layers?.[output];
    if (out) settle(i, out, `${producer}.${output}`);
    const into = apps.get(consumer)?.layers?.[input];
    if (into) settle(i, into, `${consumer}.${input}`);
  }
  for (let changed = true; changed; ) {
    changed = false;
    for (const [name, app] of apps) {
      const ins = indices(links, (l) => l.consumer === name && app.layers?.[l.input] === undefined);
      const outs = indices(links, (l) => l.producer === name && app.layers?.[l.output] === undefined);
      for (const i of ins) {
        const leads = pathsOf(
          app,
          links[i].input,
          outs.map((o) => links[o].output),
        );
        for (const o of outs) {
          if (!leads.includes(links[o].output)) continue;
          const from = found[i];
          const to = found[o];
          if (from) changed = settle(o, from, `through ${name}`) || changed;
          else if (to) changed = settle(i, to, `through ${name}`) || changed;
        }
      }
    }
  }
  return found;
}

function indices(links: readonly LinkConfig[], wanted: (link: LinkConfig) => boolean): number[] {
  const result: number[] = [];
  for (let i = 0; i < links.length; i++) if (wanted(links[i])) result.push(i);
  return result;
}

/** Whether two JSON values are equal, whatever the order of their keys. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keysA = Object.keys(a).filter((k) => (a as Record<string, unknown>)[k] !== undefined);
  const keysB = Object.keys(b).filter((k) => (b as Record<string, unknown>)[k] !== undefined);
  return (
    keysA.length === keysB.length &&
    keysA.every((k) => sameJson((a as Record<string, unknown>)[k], (b as Record<string, unknown>)[k]))
  );
}
