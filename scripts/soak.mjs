/**
 * `npm run soak`: a tunnel by the real command between two throw-away hosts, under load for minutes. Its memory must
 * stay what it was after the first minute, files must arrive as they were sent, and nothing may be left behind.
 *
 *     npm run soak [-- --minutes 10]
 *     npm run soak -- transfer [--bytes 10G]     (soak-transfer.mjs)
 *     npm run soak -- page [--minutes 60]        (soak-page.mjs)
 *     npm run soak -- chain [--minutes 60 | --bytes 1G]   (soak-chain.mjs)
 *     npm run soak -- sim [tunnel|path|store|chain] [--seeds 10000] [--workers 2]   (soak-sim.mjs)
 *     npm run soak -- stack                      (soak-stack.mjs)
 *
 * iperf3 alternates between the directions, with a hash-checked transfer in between. Every 5 s both processes are
 * looked at: resident memory, JavaScript heap, and the pool's slots.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root, SetupError, withSetup } from './setup.mjs';
import { soakChain } from './soak-chain.mjs';
import { soakPage } from './soak-page.mjs';
import { HUNTS, soakSim } from './soak-sim.mjs';
import { soakStack } from './soak-stack.mjs';
import { parseSize, soakTransfer } from './soak-transfer.mjs';

const COMMAND = path.join(root, 'bin', 'tunconnector.js');
const SERVER_WORDS = '-p soak1 -s 10.0.0.2 -i 55555 -m server';
const CLIENT_WORDS = '-n soak0 -c 10.0.0.3 -o 55555 -r 192.168.6.9 -m client';
const SAMPLE = 5_000;
const TRANSFER_MB = 32;
const MB = 1 << 20;
/** What each kind of memory may grow by after the warm-up: bytes, and a part of what was there. */
const KINDS = {
  rss: { title: 'resident', bytes: 8 * MB, part: 0.05 },
  // Some MiB that come and go with each collection.
  heapUsed: { title: 'heap', bytes: 8 * MB, part: Infinity },
  arrayBuffers: { title: 'buffers', bytes: 8 * MB, part: 0.05 },
};

/** Runs inside both ends and tells what only the process itself knows. */
const PROBE = `data:text/javascript,${encodeURIComponent(`
import { writeSync } from 'node:fs';
setInterval(() => writeSync(3, JSON.stringify(process.memoryUsage()) + '\\n'), ${SAMPLE}).unref();`)}`;

/** Sends a file to the first who connects. */
const SENDER = `
const fs = require('fs'), [file, address] = process.argv.slice(1);
const server = require('net').createServer((s) => { server.close(); fs.createReadStream(file).pipe(s); })
  .listen(7000, address, () => console.log('ready'));`;
/** Says the hash of what it gets. */
const RECEIVER = `
const hash = require('crypto').createHash('sha256');
require('net').connect(7000, process.argv[1]).on('data', (d) => hash.update(d))
  .on('end', () => console.log(hash.digest('hex')));`;

const { job, minutes, bytes, hunts, seeds, workers } = wordsOption(process.argv.slice(2));
const terminal = process.stderr.isTTY;
const problems = [];

async function main() {
  if (job === 'sim') return soakSim({ hunts, seeds, workers });
  const scratch = await mkdtemp(path.join(tmpdir(), 'tunconnector-soak-'));
  const clean = () => rm(scratch, { recursive: true, force: true });
  const stop = () => clean().finally(() => process.exit(130));
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, stop);
  // The control sockets of the two ends, and nobody else's.
  process.env.XDG_RUNTIME_DIR = scratch;
  try {
    if (job === 'transfer') return await soakTransfer(bytes);
    if (job === 'stack') return await soakStack();
    if (job === 'page') return await soakPage(minutes, scratch);
    if (job === 'chain') return await soakChain({ minutes, bytes }, scratch);
    await soak(scratch);
  } catch (error) {
    if (error.name !== 'TunconnectorError') throw error;
    throw new SetupError(`it stopped: ${error.message}`);
  } finally {
    await clean();
  }
  for (const problem of problems) console.log(`FAILED: ${problem}`);
  return problems.length > 0 ? 1 : 0;
}

async function soak(scratch) {
  const { createWorld } = await import('../dist/testing/index.js');
  const world = await createWorld({ name: 'soak' });
  try {
    const [server, client] = await Promise.all([world.host('server'), world.host('client')]);
    await world.wire(server, client, { a: '192.168.6.9/24', b: '192.168.6.8/24' });
    const before = await Promise.all([server.snapshot(), client.snapshot()]);
    const file = path.join(scratch, 'sent');
    const bytes = randomBytes(TRANSFER_MB * MB);
    await writeFile(file, bytes);
    const sent = { file, hash: createHash('sha256').update(bytes).digest('hex') };

    const far = new End('server', 'soak1', server, SERVER_WORDS);
    await far.process.waitFor('is up');
    const near = new End('client', 'soak0', client, CLIENT_WORDS);
    await near.process.waitFor('is up');
    const load = await underLoad(server, client, [far, near], sent);

    await sleep(1000);
    for (const end of [far, near]) await end.look();
    await near.stop();
    await far.stop();
    await sleep(1000);
    const after = await Promise.all([server.snapshot(), client.snapshot()]);
    const sockets = await readdir(path.join(scratch, 'tunconnector')).catch(() => []);
    if (after.join() !== before.join())
      problems.push('interfaces, routes or settings of a host are not as before');
    if (sockets.length > 0) problems.push(`left behind: ${sockets.join(', ')}`);
    await report([far, near], load);
  } finally {
    await world.close();
  }
}

/** One process of the command, and what was seen of it. */
class End {
  samples = [];
  #pending = '';

  constructor(name, network, host, words) {
    this.name = name;
    this.network = network;
    this.process = host.spawn([process.execPath, '--import', PROBE, COMMAND, ...words.split(' ')], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    this.process.child.stdio[3].setEncoding('utf8').on('data', (text) => this.#heard(text));
  }

  #heard(text) {
    const lines = (this.#pending + text).split('\n');
    this.#pending = lines.pop();
    for (const line of lines)
      this.samples.push({ time: performance.now(), ...JSON.parse(line), ...this.pool });
    void this.look();
  }

  /** Asks for the pool's use, which goes into the next sample. */
  async look() {
    const { connectControl } = await import('../dist/tun/index.js');
    try {
      const control = await connectControl(this.network);
      const { memory } = await control.report();
      await control.close();
      this.pool = { small: memory.smallUsed, large: memory.largeUsed };
    } catch (error) {
      // It may be about to end; that it never told anything is noticed in the report.
      if (error.name !== 'TunconnectorError') throw error;
    }
  }

  async stop() {
    const { code } = await this.process.stop('SIGINT', 5000);
    if (code !== 0) problems.push(`the ${this.name} ended with ${code}: ${this.process.stderr.trim()}`);
  }
}

/** The whole time: iperf3 in one direction, a transfer, iperf3 in the other, a transfer. */
async function underLoad(server, client, ends, sent) {
  const begin = performance.now();
  const end = begin + minutes * 60_000;
  const round = Math.max(5, Math.min(30, (minutes * 60) / 4));
  const rates = { 'client to server': [], 'server to client': [] };
  let transfers = 0;
  for (let n = 0; performance.now() < end - 1000; n++) {
    const direction = n % 2 === 0 ? 'client to server' : 'server to client';
    const seconds = Math.ceil(Math.min(round, (end - performance.now()) / 1000));
    const rate = await throughput(server, client, seconds, n % 2 === 0 ? [] : ['--reverse']);
    rates[direction].push(rate);
    const [from, to, address] = n % 2 === 0 ? [client, server, '10.0.0.3'] : [server, client, '10.0.0.2'];
    const hash = await transfer(from, to, address, sent.file);
    if (hash === sent.hash) transfers++;
    else problems.push(`a file of ${TRANSFER_MB} MiB arrived changed (${direction})`);
    const seen = ends.map(({ name, samples }) => {
      const { rss = 0, heapUsed = 0 } = samples.at(-1) ?? {};
      return `${name} ${mib(rss)} resident, ${mib(heapUsed)} heap`;
    });
    const done = `${clock(performance.now() - begin)} of ${clock(minutes * 60_000)}`;
    say(`${done}: ${direction} ${gigabit(rate)}, hash equal: ${hash === sent.hash}; ${seen.join('; ')}`);
  }
  return { begin, rates, transfers };
}

async function throughput(server, client, seconds, options) {
  const listener = server.spawn(['iperf3', '--server', '--one-off', '--bind', '10.0.0.2', '--forceflush']);
  await listener.waitFor('listening');
  const argv = ['iperf3', '--client', '10.0.0.2', '--time', `${seconds}`, '--json', ...options];
  const { code, stdout } = await client.exec(argv, { timeout: (seconds + 30) * 1000 });
  await listener.stop();
  const result = JSON.parse(stdout);
  if (code === 0) return result.end.sum_received.bits_per_second;
  problems.push(`iperf3 failed: ${result.error}`);
  return 0;
}

async function transfer(from, to, address, file) {
  const sender = from.spawn([process.execPath, '-e', SENDER, file, address]);
  await sender.waitFor('ready');
  const { stdout } = await to.exec([process.execPath, '-e', RECEIVER, address], { timeout: 60_000 });
  await sender.stop();
  return stdout.trim();
}

async function report(ends, { begin, rates, transfers }) {
  const { default: Table } = await import('cli-table3');
  const warm = begin + Math.min(60_000, minutes * 20_000);
  const style = { head: [], border: [] };
  const memory = new Table({ head: ['', '', 'warm', 'at the end', 'most', 'growth'], style });
  for (const { name, samples, pool } of ends) {
    const after = samples.filter(({ time }) => time >= warm);
    if (after.length < 4) {
      problems.push(`the ${name} was seen ${after.length} times after the warm-up: let it run longer`);
      continue;
    }
    const edge = Math.max(2, Math.min(12, Math.floor(after.length / 3)));
    for (const [key, { title, bytes, part }] of Object.entries(KINDS)) {
      const values = after.map((sample) => sample[key]);
      const first = median(values.slice(0, edge));
      const last = median(values.slice(-edge));
      const allowed = Math.min(bytes, first * part);
      memory.push([name, title, mib(first), mib(last), mib(Math.max(...values)), mib(last - first)]);
      if (last - first > allowed) {
        problems.push(`the ${name}'s ${title} memory grew by ${mib(last - first)}; allowed ${mib(allowed)}`);
      }
    }
    if (pool === undefined) {
      problems.push(`the ${name} did not tell what its pool holds`);
      continue;
    }
    const used = after.map(({ small = 0, large = 0 }) => small + large);
    const idle = pool.small + pool.large;
    memory.push([name, 'packets', median(used), `${idle} when idle`, Math.max(...used), '']);
    if (idle > 0) problems.push(`the ${name} holds ${idle} packets though nothing flows`);
  }
  const traffic = new Table({ style });
  for (const [direction, each] of Object.entries(rates)) {
    if (each.length > 0) traffic.push([direction, `${gigabit(median(each))} (median of ${each.length})`]);
  }
  traffic.push(['transfers with equal hash', `${transfers} of ${TRANSFER_MB} MiB`]);
  console.log(`${memory}\n${traffic}`);
}

// ── plumbing

const mib = (bytes) => `${(bytes / MB).toFixed(1)} MiB`;
const gigabit = (rate) => `${(rate / 1e9).toFixed(2)} Gbit/s`;
const clock = (ms) => `${Math.floor(ms / 60_000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, '0')}`;
const say = (line) => process.stderr.write(`${terminal ? '✓ ' : ''}${line}\n`);

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** `--seeds 10000`, or `501..1000`, and `--workers 4`. Undefined: something else. */
function sim(words) {
  const given = { seeds: [1, 10_000] };
  for (let n = 0; n < words.length; n += 2) {
    const [, from, to] = /^([1-9]\d{0,6})(?:\.\.([1-9]\d{0,6}))?$/.exec(words[n + 1] ?? '') ?? [];
    if (words[n] === '--seeds' && from) given.seeds = to ? [Number(from), Number(to)] : [1, Number(from)];
    else if (words[n] === '--workers' && from && !to && from <= 64) given.workers = Number(from);
    else return undefined;
  }
  return given.seeds[0] <= given.seeds[1] ? given : undefined;
}

function wordsOption(words) {
  const job = ['transfer', 'page', 'chain', 'sim', 'stack'].find((each) => each === words[0]);
  if (job === 'sim') {
    const hunts = HUNTS.includes(words[1]) ? [words[1]] : HUNTS;
    const given = sim(words.slice(hunts === HUNTS ? 1 : 2));
    if (given) return { job, hunts, ...given };
  }
  const [option, value, ...more] = job ? words.slice(1) : words;
  if (job === 'stack' && option === undefined) return { job, minutes: 0, bytes: 0 };
  const asked = job !== 'stack' && more.length === 0 && (option === undefined || value !== undefined);
  if (asked && (job === 'transfer' || (job === 'chain' && option === '--bytes'))) {
    const bytes = option === undefined ? 10e9 : option === '--bytes' ? parseSize(value) : undefined;
    if (bytes !== undefined) return { job, minutes: 0, bytes };
  } else if (asked && job !== 'sim') {
    const minutes = option === undefined ? 10 : option === '--minutes' ? Number(value) : Number.NaN;
    if (minutes >= 0.5 && minutes <= 1440) return { job, minutes };
  }
  process.stderr.write(
    'usage: npm run soak [-- --minutes 10]               (0.5 to 1440)\n' +
      '       npm run soak -- transfer [--bytes 10G]      (2 to 1000T; half in each direction)\n' +
      '       npm run soak -- page [--minutes 10]         (0.5 to 1440)\n' +
      '       npm run soak -- chain [--minutes 10]        (0.5 to 1440)\n' +
      '       npm run soak -- chain --bytes 1G            (one download; 2 to 1000T)\n' +
      '       npm run soak -- sim [tunnel|path|store|chain] [--seeds 10000] [--workers 2]\n' +
      '       npm run soak -- stack\n',
  );
  process.exit(2);
}

const programs = { transfer: ['gcc', 'ping'], page: ['chromium'], chain: [], sim: [], stack: ['ab'] }[
  job
] ?? ['iperf3'];
await withSetup({ need: job === 'sim' ? [] : ['ip', 'unshare', 'nsenter', ...programs] }, main);
