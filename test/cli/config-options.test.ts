import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Command } from 'commander';
import { afterAll, describe, expect, it } from 'vitest';
import { withConfigFile } from '../../src/cli/config-options.ts';
import { allCommands } from '../../src/cli/main.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'config-options-'));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
function fileWith(text: string): string {
  const file = path.join(directory, `${++files}.yaml`);
  writeFileSync(file, text);
  return file;
}

const commands: ReadonlyMap<string, Command> = await allCommands();
const command = (name: string) => commands.get(name)!;
/** What a command line becomes with a file of this text. */
const expanded = (name: string, text: string, ...words: string[]) => {
  const file = fileWith(text);
  return withConfigFile(command(name), ['--config', file, ...words]).filter(
    (word) => word !== '--config' && word !== file,
  );
};

describe('--config of a command', () => {
  it('has its long options as keys, and its arguments by their names', () => {
    const text =
      'left: veth0\nright: veth1\ndelay: 50ms\nup-loss: [1%, 2%]\nseed: 7\njson: true\nverbose: false';
    expect(expanded('impair', text)).toEqual([
      ...['--delay=50ms', '--up-loss=1%', '--up-loss=2%', '--seed=7', '--json'],
      ...['--', 'veth0', 'veth1'],
    ]);
  });

  it('is JSON too, and says nothing when it is empty', () => {
    expect(expanded('top', '{"interval": 0.5, "name": "tun0"}')).toEqual(['--interval=0.5', '--', 'tun0']);
    expect(expanded('doctor', '', '--json')).toEqual(['--json']);
  });

  it('gives way to the command line, option by option and argument by argument', () => {
    const text = 'name: tun0\nfile: a.pcapng\ncount: 5\nsnaplen: 96';
    expect(expanded('capture', text, '--count=9', 'tun1')).toEqual([
      ...['--snaplen=96', '--count=9', 'tun1'],
      ...['--', 'a.pcapng'],
    ]);
    expect(expanded('capture', text, '--snaplen', '100', 'tun1', 'b.pcapng')).toEqual([
      ...['--count=5', '--snaplen', '100', 'tun1', 'b.pcapng'],
    ]);
  });

  it('leaves the words of a program behind a shell alone', () => {
    const text = 'delay: 5ms\ncommand: [ping, -c, 3, a.test]';
    expect(expanded('shell', text)).toEqual(['--delay=5ms', '--', 'ping', '-c', '3', 'a.test']);
    const words = ['curl', '--config', 'curl.conf', '--delay', '1'];
    expect(withConfigFile(command('shell'), words)).toEqual(words);
    expect(expanded('shell', text, '--', 'curl', '--delay', '1')).toEqual([
      ...['--delay=5ms', '--', 'curl', '--delay', '1'],
    ]);
  });

  it.each([
    ['impair', 'dealy: 5ms', 'found the unknown key "dealy"; did you mean "delay"?'],
    ['top', 'nothing: 1', 'expected one of name, interval'],
    ['doctor', 'json: maybe', 'json: found "maybe", expected true or false'],
    ['capture', 'count: [1, 2]', 'count: found [1,2], expected one value'],
    ['capture', 'count: {a: 1}', 'count: found {"a":1}, expected text or a number'],
    ['bench', '[1]', 'found [1], expected keys and values'],
    ['bench', 'seconds: [', ':1:11: '],
    ['shell', 'config: other.yaml', 'found the unknown key "config"'],
  ])('of %s tells where %j is wrong', (name, text, message) => {
    expect(() => expanded(name, text)).toThrow(message);
    expect(() => expanded(name, text)).toThrow(directory);
  });

  it('is an error when it cannot be read', () => {
    expect(() => withConfigFile(command('top'), ['--config', `${directory}/none`])).toThrow('ENOENT');
  });
});
