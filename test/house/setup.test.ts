import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../needs.ts';
import { root } from './sources.ts';

const setup = path.join(root, 'scripts', 'setup.mjs');

describe.skipIf(needs('flock'))('the lock around installing and building', () => {
  let directory: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-lock-'));
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });

  /** A process that takes the lock, says so, and then does `body`. */
  function contender(body: string): { child: ChildProcess; held: Promise<unknown> } {
    const file = path.join(directory, 'lock');
    const code = `const { lock } = await import(${JSON.stringify(setup)});
      const release = await lock(${JSON.stringify(file)}, 'the test'); console.log('held'); ${body}`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    children.push(child);
    return { child, held: once(child.stdout!, 'data') };
  }
  const soon = (milliseconds: number) =>
    new Promise((resolve) => setTimeout(resolve, milliseconds, 'not yet'));

  it('keeps a second run waiting, and is free again after kill -9 of the first', async () => {
    const first = contender('await new Promise(() => setInterval(() => {}, 1000));');
    await first.held;
    const second = contender('release();');
    expect(await Promise.race([second.held, soon(500)])).toBe('not yet');
    first.child.kill('SIGKILL');
    expect(String(await second.held)).toContain('held');
  });

  it('is released for the next', async () => {
    const first = contender('release(); await new Promise(() => setInterval(() => {}, 1000));');
    await first.held;
    expect(String(await contender('release();').held)).toContain('held');
  });
});

describe('the set-up', () => {
  it('names a program that is missing and cannot be installed, in one line, and fails', () => {
    const { status, stderr } = spawnSync(process.execPath, [setup, '--no-build', 'no-such-program'], {
      encoding: 'utf8',
    });
    expect(status).toBe(1);
    expect(stderr.trim().split('\n').at(-1)).toBe(
      'setup: missing programs (Debian package): no-such-program; install with: apt-get install no-such-program',
    );
  });
});
