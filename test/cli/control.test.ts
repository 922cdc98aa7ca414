import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { removeDead } from '../../src/cli/control.ts';

describe('control sockets of tunnels that were killed with all their helpers', () => {
  let directory: string;
  const file = (name: string) => path.join(directory, name);
  const age = (name: string, seconds: number) => {
    const then = Date.now() / 1000 - seconds;
    utimesSync(file(name), then, then);
  };

  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-control-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('are removed by the next one; those that answer, that are new, or that are no sockets stay', async () => {
    const server = createServer().listen(file('alive.sock'));
    await new Promise((resolve) => server.once('listening', resolve));
    for (const name of ['dead.sock', 'young.sock', 'notes.txt']) writeFileSync(file(name), '');
    for (const name of ['alive.sock', 'dead.sock', 'notes.txt']) age(name, 60);
    await removeDead(directory);
    const left = ['alive.sock', 'dead.sock', 'young.sock', 'notes.txt'].filter((name) =>
      existsSync(file(name)),
    );
    await new Promise((resolve) => server.close(resolve));
    expect(left).toEqual(['alive.sock', 'young.sock', 'notes.txt']);
  });

  it('are not looked for where there is no directory', async () => {
    await expect(removeDead(file('none'))).resolves.toBeUndefined();
  });
});
