/** A simulation is the same in every process, however that runs its code; another seed is another run. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const FIXTURE = path.join(import.meta.dirname, 'fixtures', 'lossy.mjs');
const run = async (seed: number, ...flags: string[]) =>
  (await promisify(execFile)(process.execPath, [...flags, FIXTURE, String(seed)])).stdout;

it('gives the same events and packets in three processes, also without compiled code', async () => {
  const [first, second, jitless] = [await run(7), await run(7), await run(7, '--jitless')];
  expect(JSON.parse(first)).toMatchObject({ log: expect.stringMatching(/^300000 bytes at \d+$/) });
  expect(second).toBe(first);
  expect(jitless).toBe(first);
}, 60_000);

it('gives another run for each of 5 seeds', async () => {
  const prints = new Set<string>();
  for (let seed = 1; seed <= 5; seed++) prints.add(JSON.parse(await run(seed)).fingerprint);
  expect(prints.size).toBe(5);
}, 60_000);
