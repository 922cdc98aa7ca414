/** `tunconnector sim explore`: what is wrong is found, made small, and said so that it can be run again. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';

const COMMAND = path.join(import.meta.dirname, '..', '..', 'bin', 'tunconnector.js');
const directory = mkdtempSync(path.join(tmpdir(), 'cli-explore-'));
afterAll(() => rmSync(directory, { recursive: true }));

writeFileSync(
  path.join(directory, 'lab.yaml'),
  `
for: 5s
hosts: { a: {}, b: {} }
links:
  wire: { between: [a 10.0.0.1/24, b 10.0.0.2/24], impair: delay 10ms }
flows:
  pings: { kind: ping, from: b, to: a, every: 100ms }
`,
);
writeFileSync(
  path.join(directory, 'check.mjs'),
  `export const check = (sim) => {
    if (sim.log.some(({ text }) => text.includes('crashes'))) throw new Error('a host has crashed');
  };`,
);

function explore(...words: string[]) {
  const argv = [COMMAND, 'sim', 'explore', 'lab.yaml', ...words];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8', cwd: directory });
  return { status, stdout, stderr };
}

it('finds nothing where nothing is wrong, and the one fault that matters where something is', () => {
  const good = explore('--seeds', '1..3', '--kinds', 'loss,pause', '--check', 'check.mjs');
  expect(good).toMatchObject({ status: 0, stderr: '' });
  expect(good.stdout).toMatch(/^3 seeds, \d.* events in .*: nothing found\n$/);

  const words = ['--seeds', '1..20', '--kinds', 'crash,loss,down', '--count', '3..4', '--check', 'check.mjs'];
  const bad = JSON.parse(explore(...words, '--json').stdout);
  expect(bad.failures).toHaveLength(1);
  const [{ seed, error, faults, drawn }] = bad.failures;
  expect(error).toBe('a host has crashed');
  expect(drawn.length).toBeGreaterThan(2);
  expect(faults).toHaveLength(1);
  expect(faults[0]).toHaveProperty('crash');

  const text = explore(...words);
  expect(text.status).toBe(1);
  expect(text.stdout).toContain(`seed ${seed}, `);
  expect(text.stdout).toMatch(
    /smallest script that still fails \(1 of [34] faults, after \d+ runs\):\n {2}faults:\n {4}- \{.*"crash"/,
  );
  expect(text.stdout).toContain(`tunconnector sim run lab.yaml --seed ${seed} --for `);
}, 120_000);

it('finds the same in any number of processes, of which one may die', () => {
  writeFileSync(
    path.join(directory, 'deadly.mjs'),
    `export const check = (sim) => {
      if (sim.seed === 3) process.kill(process.pid, 'SIGKILL');
    };`,
  );
  const words = ['--seeds', '1..8', '--kinds', 'loss', '--check', 'deadly.mjs', '--failures', '9', '--json'];
  const found = ['1', '3'].map((workers) => {
    const { status, stdout } = explore(...words, '--workers', workers);
    expect(status).toBe(1);
    const { took, ...rest } = JSON.parse(stdout);
    expect(took).toBeGreaterThan(0);
    return rest;
  });
  expect(found[1]).toEqual(found[0]);
  expect(found[0]).toMatchObject({
    runs: 8,
    failures: [{ seed: 3, error: 'its process has ended: SIGKILL' }],
  });
}, 60_000);

it('ends with Ctrl-C, with what was found so far, and leaves no process behind', async () => {
  writeFileSync(
    path.join(directory, 'hangs.mjs'),
    `export const check = (sim) => {
      console.log('process', process.pid);
      if (sim.seed > 2) for (;;);
    };`,
  );
  const argv = [
    COMMAND,
    'sim',
    'explore',
    'lab.yaml',
    '--kinds',
    'none',
    '--check',
    'hangs.mjs',
    '--workers',
    '2',
  ];
  const child = spawn(process.execPath, argv, { cwd: directory });
  let out = '';
  let said = '';
  child.stdout.on('data', (text) => (out += text));
  child.stderr.on('data', (text) => (said += text));
  await expect.poll(() => said.match(/process \d+/g)?.length, { timeout: 30_000 }).toBe(4);
  child.kill('SIGINT');
  const [code] = await once(child, 'close');
  expect([code, out]).toEqual([130, expect.stringMatching(/^2 seeds, /)]);
  for (const pid of new Set(said.match(/\d+/g)!.map(Number)))
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
}, 60_000);

it('says what it cannot do', () => {
  expect(explore('--workers', '0').stderr).toContain('--workers: found "0", expected 1 to 64');
  expect(explore('--seeds', '5..1')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('--seeds: found "5..1"'),
  });
  expect(explore('--kinds', 'meteor').stderr).toContain(
    '--kinds: found "meteor", expected none or some of down, loss',
  );
  expect(explore('--out', 'x').stderr).toContain('--out does not go with sim explore');
  expect(explore('--check', 'nothing.mjs').stderr).toContain(
    '--check: found "nothing.mjs", expected a module that loads',
  );
  writeFileSync(path.join(directory, 'empty.mjs'), 'export const x = 1;');
  expect(explore('--check', 'empty.mjs').stderr).toContain(
    'expected it to export a function "check" or "always"',
  );
}, 60_000);
