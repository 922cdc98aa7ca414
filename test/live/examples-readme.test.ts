import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { createWorld } from '../../src/testing/index.ts';
import { read, root } from '../house/sources.ts';
import { needs } from '../needs.ts';
import { ping } from './tunnel-end.ts';

const page = read('README.md');
const blocks = (language: string) =>
  [...page.matchAll(new RegExp(`^ *\`\`\`${language}\\n(.*?)\`\`\``, 'gms'))].map((found) => found[1]!);

/** The only block in which a word occurs. */
function block(language: string, word: string): string {
  const found = blocks(language).filter((text) => text.includes(word));
  expect(found, `one block of ${language} with "${word}"`).toHaveLength(1);
  return found[0]!;
}

describe.skipIf(needs('root', 'tun', 'ping', 'ip', 'unshare', 'mount'))('the README', () => {
  it('answers pings with the program of its first ten lines', async () => {
    const cache = path.join(root, '.cache');
    await mkdir(cache, { recursive: true });
    const folder = await mkdtemp(path.join(cache, 'readme-'));
    await using world = await createWorld();
    try {
      const file = path.join(folder, 'answer.mjs');
      await writeFile(file, block('js', 'openTun'));
      expect(block('js', 'openTun').trim().split('\n').length).toBeLessThanOrEqual(12);
      const host = await world.host('host');
      const running = host.node(file);
      await running.waitFor('tun0 is up: ping 10.9.0.2');
      expect(await ping(host, '10.9.0.2')).toBe(3);
      expect(await ping(host, '10.9.0.200', 3, '-s', '1000')).toBe(3);
      expect(running.stderr).toBe('');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('has a recipe for two hosts in which odd pings are lost and even ones pass', async () => {
    await using world = await createWorld();
    const host = await world.host('machine');
    // Names of namespaces are files in /run: in a mount namespace of its own, nobody else sees them.
    const recipe = `mount --make-rprivate / && mount -t tmpfs none /run\n${block('sh', 'ip netns add')}`;
    const { code, stdout, stderr } = await host.exec(['unshare', '--mount', 'sh', '-e', '-c', recipe], {
      cwd: root,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.match(/(\d+) received/g)).toEqual(['3 received', '0 received']);
    expect(stdout).toMatch(/odd dropped \{ 'odd-length': 3 \}/);
  });

  it('says of the two commands what they print', async () => {
    await using world = await createWorld();
    const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
    await world.wire(a, b, { a: '192.168.6.8/24', b: '192.168.6.9/24' });
    const command = path.join(root, 'bin', 'tunconnector.js');
    const [server, client] = blocks('console').filter((text) => text.includes('tunconnector'));
    const start = async (host: typeof a, text: string) => {
      const [, words, printed] = /\$ sudo tunconnector (.*)\n *(.*)\n/.exec(text)!;
      const running = host.node(command, words!.split(' '));
      await running.waitFor(printed!);
      return running;
    };
    const far = await start(b, server!);
    const near = await start(a, client!);
    expect(await ping(a, '10.0.0.2')).toBe(3);
    const [, came] = /`(tun0: .* came from .*):\d+`/.exec(page)!;
    await far.waitFor(came!);
    await near.stop('SIGINT');
    await far.stop('SIGINT');
    // The short form at the top is the same.
    const [top] = blocks('sh').filter((text) => text.startsWith('tunconnector -p'));
    for (const text of [server!, client!]) {
      expect(top).toContain(/tunconnector .*/.exec(text)![0]);
    }
  });
});
