/**
 * `npm run soak -- sim [tunnel|path|store|chain] [--seeds 10000 | --seeds 501..1000] [--workers 2]`: real parts of this package in virtual time by many seeds, with
 * faults that each seed draws (test/sim/hunts). What fails is shrunk, and printed with the seed. Seeds run in pieces, each in a process of its own, as
 * many at a time as there are processors: what one that dies was at is said, and the others go on.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { root } from './setup.mjs';

export const HUNTS = ['tunnel', 'path', 'store', 'chain'];
/** Seeds of one process: it takes some seconds to start. */
const PIECE = 500;

/**
 * @param {{ hunts: string[], seeds: [number, number], workers?: number }} options
 * @returns {Promise<number>} exit code
 */
export async function soakSim({ hunts, seeds: [first, last], workers = availableParallelism() }) {
  const { default: Table } = await import('cli-table3');
  const table = new Table({ head: ['', 'seeds', 'a second', ''], style: { head: [], border: [] } });
  const all = last - first + 1;
  const size = Math.min(PIECE, Math.ceil(all / workers));
  let failed = false;
  for (const name of hunts) {
    const pieces = [];
    for (let from = first; from <= last; from += size) pieces.push([from, Math.min(last, from + size - 1)]);
    const begin = performance.now();
    const progress = new Progress(name, all);
    const codes = [];
    const work = async () => {
      for (let piece = pieces.shift(); piece; piece = pieces.shift())
        codes.push(await hunt(name, piece, progress));
    };
    await Promise.all(Array.from({ length: workers }, work));
    progress.clear();
    const rate = (all * 1000) / (performance.now() - begin);
    const isGood = codes.every((code) => code === 0);
    failed ||= !isGood;
    table.push([name, all, rate.toFixed(1), isGood ? 'nothing found' : 'found something: see above']);
  }
  console.log(`${table}`);
  return failed ? 1 : 0;
}

/** On a terminal: seeds of all processes. */
class Progress {
  #name;
  #all;
  #done = 0;
  #begin = performance.now();

  constructor(name, all) {
    this.#name = name;
    this.#all = all;
  }

  step() {
    this.#done++;
    if (!process.stderr.isTTY) return;
    const rate = (this.#done * 1000) / (performance.now() - this.#begin);
    process.stderr.write(
      `\r${this.#name}: ${this.#done} of ${this.#all} seeds, ${rate.toFixed(1)} a second\x1b[K`,
    );
  }

  say(line) {
    this.clear();
    process.stderr.write(`${this.#name}: ${line}\n`);
  }

  clear() {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  }
}

function hunt(name, [from, to], progress) {
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
    let at;
    let done = false;
    child.stdout.setEncoding('utf8').on('data', (text) => {
      const lines = (pending + text).split('\n');
      pending = lines.pop();
      for (const line of lines) {
        const begun = /^at seed (\d+)$/.exec(line);
        if (begun) {
          if (at !== undefined) progress.step();
          at = Number(begun[1]);
        } else {
          all += `${line}\n`;
          if (line === 'all seeds are done') done = true;
          // What it found.
          if (/^(seed \d| {2}\[\{)/.test(line)) progress.say(line);
        }
      }
    });
    child.on('close', (code, signal) => {
      if (at !== undefined) progress.step();
      if (!done) progress.say(`seed ${at ?? from}: its process has ended: ${signal ?? `exit code ${code}`}`);
      if (code !== 0) process.stderr.write(all);
      resolve(code ?? 1);
    });
  });
}
