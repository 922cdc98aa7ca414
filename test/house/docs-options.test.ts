import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { allCommands } from '../../src/cli/main.ts';
import { OPTION_NAMES, specOf } from '../../src/cli/options.ts';
import type { TunconnectorError } from '../../src/errors.ts';
import * as everything from '../../src/index.ts';
import { PortCounter } from '../../src/native/binding.ts';
import { ControlDrop } from '../../src/tunnel/control/session.ts';
import { TunnelDrop } from '../../src/tunnel/reasons.ts';
import { StreamDrop } from '../../src/tunnel/stream/reasons.ts';
import { filesUnder, parse, read } from './sources.ts';

const { packetSocket, Reason, reasonName, replay, streamTunnel, tun, udp } = everything;
const { rawTunnel, tunnelClient, tunnelServer } = everything;

/** The part of a page under one heading, until the next of its kind. */
function section(page: string, heading: string): string {
  const text = read(page);
  const start = text.indexOf(`\n## ${heading}\n`);
  expect(start, `${page} has the section ${heading}`).toBeGreaterThan(0);
  const end = text.indexOf('\n## ', start + 4);
  return text.slice(start, end < 0 ? undefined : end);
}

/** `| \`key\` | \`default\` | ... |`: the option tables of a text, by key. */
function optionTable(text: string): Map<string, string> {
  const table = text.slice(text.indexOf('| option | default |'));
  const rows = table.slice(0, table.indexOf('\n\n')).matchAll(/^\| (`[^|]*?) \|(.*?)\|/gm);
  return new Map([...rows].map((row) => [row[1]!.replaceAll('`', ''), row[2]!.trim().replaceAll('`', '')]));
}

interface Factory {
  check(options: unknown): unknown;
}

/** The keys of a schema, as its own error lists them. */
function keysOf({ check }: Factory, required: object): string[] {
  try {
    check({ ...required, 'no such option': 1 });
  } catch (error) {
    const listed = /expected one of (.*)$/.exec((error as TunconnectorError).message)?.[1];
    if (listed) return listed.split(', ');
    throw error;
  }
  throw new Error('an unknown key was accepted');
}

const shown = (value: unknown) => (typeof value === 'string' ? `'${value}'` : JSON.stringify(value));

/** Members of an interface of the sources. */
function members(file: string, name: string): string[] {
  const found: string[] = [];
  parse(file).forEachChild((node) => {
    if (!ts.isInterfaceDeclaration(node) || node.name.text !== name) return;
    for (const member of node.members) found.push(member.name!.getText());
  });
  return found;
}

const documented: [name: string, factory: Factory, page: string, heading: string, required: object][] = [
  ['tun', tun, 'docs/ports.md', 'tun', {}],
  ['packetSocket', packetSocket, 'docs/ports.md', 'packetSocket', { interface: 'eth0' }],
  ['udp', udp, 'docs/ports.md', 'udp', {}],
  ['replay', replay, 'docs/ports.md', 'replay', { file: 'x' }],
  ['tunnelClient', tunnelClient, 'docs/tunnel-apps.md', 'tunnelClient', { server: '192.168.6.9:1' }],
  ['tunnelServer', tunnelServer, 'docs/tunnel-apps.md', 'tunnelServer', {}],
  ['rawTunnel', rawTunnel, 'docs/tunnel-apps.md', 'rawTunnel', {}],
  ['streamTunnel', streamTunnel, 'docs/tunnel-apps.md', 'streamTunnel', { listen: '0.0.0.0:1' }],
];

describe('the option tables', () => {
  it.each(documented)('of %s have every option and no other', (_name, factory, page, heading, required) => {
    expect([...optionTable(section(page, heading)).keys()].sort()).toEqual(keysOf(factory, required).sort());
  });

  it.each(documented)('of %s have the defaults', (_name, factory, page, heading, required) => {
    const checked = factory.check(required) as Record<string, unknown>;
    const table = optionTable(section(page, heading));
    for (const [key, value] of Object.entries(checked)) {
      if (key in required || value === undefined) continue;
      expect([key, table.get(key)]).toEqual([key, shown(value)]);
    }
  });

  it('of openTun have every option and no other', async () => {
    const { openTun } = everything;
    const refused = await openTun({ 'no such option': 1 } as never).catch((error: Error) => error.message);
    const keys = /expected one of (.*)$/.exec(String(refused))![1]!.split(', ');
    const table = [...optionTable(section('docs/open-tun.md', 'Options')).keys()];
    expect(table.sort()).toEqual(keys.sort());
  });

  it('of the stream format’s page have every option and no other', () => {
    const table = optionTable(section('docs/stream-format.md', 'In a network of your own'));
    expect([...table.keys()].sort()).toEqual(keysOf(streamTunnel, {}).sort());
  });

  it('of memory ports have every option and no other', () => {
    const table = [...optionTable(section('docs/ports.md', 'Memory')).keys()];
    expect(table.sort()).toEqual(members('src/tun/memory.ts', 'MemoryPortOptions').sort());
  });
});

describe('the README', () => {
  it('names only options that the command has', async () => {
    const found = [...read('README.md').matchAll(/(?<=[ `])--?([a-z][a-z-]*)/g)].map((option) => option[1]!);
    const commands = [...(await allCommands()).values()].flatMap((command) => [command, ...command.commands]);
    const longOnes = commands.flatMap(({ options }) => options.map(({ long }) => long?.slice(2)));
    const ofTunconnector = new Set([...longOnes, ...OPTION_NAMES.map((name) => specOf(name).short)]);
    const ofOthers = ['global', 'ignore-scripts', 'minutes', 'test', 'c', 'W', 'INT', 'sO'];
    expect(found.length).toBeGreaterThan(20);
    expect(found.filter((name) => !ofTunconnector.has(name) && !ofOthers.includes(name))).toEqual([]);
  });
});

describe('the pages', () => {
  it('name every counter of a port', () => {
    const page = section('docs/ports.md', 'Counters');
    expect(Object.keys(PortCounter).filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });

  it('name every drop reason of the engine and of the tunnels', () => {
    const unnamed = (reasons: object, text: string) =>
      Object.values(reasons)
        .map((number) => reasonName(number as number))
        .filter((name) => !text.includes(`\`${name}\``));
    expect(unnamed(Reason, section('docs/engine.md', 'Networks'))).toEqual([]);
    const tunnels = section('docs/tunnel-apps.md', 'Drop reasons');
    expect(unnamed({ ...TunnelDrop, ...StreamDrop, ...ControlDrop }, tunnels)).toEqual([]);
    expect(unnamed({ one: everything.reason('nobody-knows-this') }, tunnels)).toEqual(['nobody-knows-this']);
  });

  it('name every member that an app may have', () => {
    const page = section('docs/engine.md', 'Apps');
    expect(members('src/engine/app.ts', 'App').filter((name) => !page.includes(`\`${name}`))).toEqual([]);
  });

  it('name every field of a network’s report', () => {
    const page = section('docs/engine.md', 'Networks');
    const fields = ['NetworkReport', 'LinkReport', 'AppStatus'].flatMap((name) =>
      members('src/engine/report.ts', name),
    );
    expect(fields.length).toBeGreaterThan(10);
    expect(fields.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });

  it('are all in the index', () => {
    const index = read('docs/README.md');
    const pages = filesUnder('docs', '.md').map((file) => file.slice('docs/'.length));
    expect(pages.filter((page) => page !== 'README.md' && !index.includes(`(${page})`))).toEqual([]);
  });
});
