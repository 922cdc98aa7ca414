/**
 * `npm run soak -- sim [tunnel|store|chain] [--seeds 10000]`: real parts of this package in virtual time by many seeds, with faults that each seed
 * draws (test/sim/hunts). What fails is shrunk, and printed with the seed; two processes at a time.
 */
import { spawn } from 'node:child_process';
import { root } from './setup.mjs';

export const HUNTS = ['tunnel', 'store', 'chain'];
const PROCESSES = 2;

/**
 * @param {{ hunts: string[], seeds: number }} options
 * @returns {Promise<number>} exit code
 */
export async function soakSim({ hunts, seeds }) {
  const { default: Table } = await import('cli-table3');
  const table = new Table({ head: ['', 'seeds', 'a second', ''], style: { head: [], border: [] } });
  let failed = false;
  for (const name of hunts) {
    const size = Math.ceil(seeds / PROCESSES);
    const parts = [];
    for (let from = 1; from <= seeds; from += size) parts.push([from, Math.min(seeds, from + size - 1)]);
    const begin = performance.now();
    const codes = await Promise.all(parts.map(([from, to]) => hunt(name, from, to)));
    const rate = (seeds * 1000) / (performance.now() - begin);
    const isGood = codes.every((code) => code === 0);
    failed ||= !isGood;
    table.push([name, seeds, rate.toFixed(1), isGood ? 'nothing found' : 'found something: see above']);
  }
  console.log(`${table}`);
  return failed ? 1 : 0;
}

function hunt(name, from, to) {
  const argv = [
    'node_modules/vitest/vitest.mjs',
    'run',
    `test/sim/hunts/${name}.test.ts`,
    '--disable-console-intercept',
  ];
  const env = { ...process.env, TUNCONNECTOR_HUNT_SEEDS: `${from}..${to}` };
  return new Promise((resolve) => {
    const child = spawn(process.execPath, argv, { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] });
    let pending = '';
    let all = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      all += text;
      const lines = (pending + text).split('\n');
      pending = lines.pop();
      // What it found, and how far it is.
      for (const line of lines)
        if (/^(seed \d|\d+ of| {2}\[\{)/.test(line)) process.stderr.write(`${name}: ${line}\n`);
    });
    child.on('close', (code) => {
      if (code !== 0) process.stderr.write(all);
      resolve(code ?? 1);
    });
  });
}
