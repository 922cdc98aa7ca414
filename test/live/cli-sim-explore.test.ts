/** `tunconnector sim explore`: what is wrong is found, made small, and said so that it can be run again. */
import { spawnSync } from 'node:child_process';
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

it('says what it cannot do', () => {
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
