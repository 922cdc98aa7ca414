/**
 * `npm run demo`: a client and a server that know nothing of it, and between them a chain of functions, by the real commands, every process on
 * a throw-away host of its own. A download goes through the chain while a replica is killed, one is added, and the chain is edited;
 * its hash is the same at both ends. Nothing is left behind.
 *
 *     npm run demo [-- --pcap FILE.pcapng]      # writes down what crosses the links between the chain's hosts
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DemoChain, makeHosts, PATIENCE, SERVER, SPI } from './demo-chain.mjs';
import { root, SetupError, withSetup } from './setup.mjs';

const MEGABYTES = 60;
/** Bytes every 10 ms until all has been shown, and the rest at once: what is done to the chain is done to the download. */
const STEP = 20_000;

/** Block n of the file, 1 MB. */
const block = (n) => createHash('shake256', { outputLength: 1_000_000 }).update(String(n)).digest();

/** Serves the file to whoever asks, at a steady pace until it is told otherwise on its input. */
const FILE_SERVER = `
const { createHash } = require('crypto');
const block = ${block};
let isPaced = true;
let hurry = () => {};
process.stdin.on('data', () => { isPaced = false; hurry(); });
require('http').createServer((request, response) => {
  let left = Buffer.alloc(0), n = 0;
  // One step; false when there is no more, or no room.
  const write = () => {
    if (left.length < ${STEP} && n < ${MEGABYTES}) left = Buffer.concat([left, block(n++)]);
    if (left.length === 0) {
      if (!response.writableEnded) response.end();
      return false;
    }
    const hasRoom = response.write(left.subarray(0, ${STEP}));
    left = left.subarray(${STEP});
    return hasRoom;
  };
  const timer = setInterval(() => isPaced && !response.writableNeedDrain && write(), 10);
  hurry = () => { if (!isPaced) while (write()); };
  response.on('drain', () => hurry());
  response.on('close', () => clearInterval(timer));
}).listen(8080, () => console.log('ready'));`;

/** Fetches it; says how much there is every 200 ms, and in the end its hash and the longest pause. */
const DOWNLOAD = `
const hash = require('crypto').createHash('sha256');
let bytes = 0, pause = 0, last = 0;
const began = performance.now();
const timer = setInterval(() => console.log(JSON.stringify({ bytes })), 200);
require('http').get('http://${SERVER}:8080/', (response) => {
  response.on('data', (chunk) => {
    const now = performance.now();
    if (last > 0) pause = Math.max(pause, now - last);
    last = now;
    bytes += chunk.length;
    hash.update(chunk);
  });
  response.on('end', () => {
    clearInterval(timer);
    console.log(JSON.stringify({ bytes, pause, ms: performance.now() - began, hash: hash.digest('hex') }));
  });
}).on('error', (error) => { console.error(error.message); process.exit(1); });`;

const file = pcapOption(process.argv.slice(2));
const terminal = process.stderr.isTTY;
const rows = [];

await withSetup({ need: ['ip', 'ping', 'curl', 'unshare', 'nsenter'] }, async () => {
  const scratch = await mkdtemp(path.join(tmpdir(), 'tunconnector-demo-'));
  const clean = () => rm(scratch, { recursive: true, force: true });
  // The hosts end with this process; the directory would not.
  const stop = () => clean().finally(() => process.exit(130));
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, stop);
  try {
    return await demo(scratch);
  } catch (error) {
    if (error.name !== 'TunconnectorError') throw error;
    throw new SetupError(`the demo stopped: ${error.message}`);
  } finally {
    await clean();
  }
});

async function demo(scratch) {
  const { createWorld, snapshotSystem } = await import('../dist/testing/index.js');
  const started = performance.now();
  const before = await snapshotSystem();
  const { world, hosts, lan } = await step('ten throw-away hosts', () => makeHosts(createWorld));
  const where = world.rootless ? 'namespaces inside a user namespace (no root)' : 'network namespaces';
  rows.push(['hosts', `10 ${where}, every process on its own`]);
  try {
    const capture = file && (await startCapture(lan, hosts));
    await traffic(hosts, scratch);
    if (capture) await endCapture(capture);
  } finally {
    await step('removing the hosts', () => world.close());
  }
  const same = (await snapshotSystem()) === before;
  rows.push([
    'left behind',
    same ? 'nothing' : 'the system is NOT as before: compare `ip address`, `ip route`',
  ]);
  rows.push(['took', `${((performance.now() - started) / 1000).toFixed(1)} s`]);
  const { default: Table } = await import('cli-table3');
  const table = new Table({
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    style: { head: [], border: [] },
  });
  table.push(...rows);
  console.log(table.toString());
  if (file) console.log(`the capture is in ${file}; look at it with: tshark -r ${file} -Y nsh`);
  return same ? 0 : 1;
}

async function traffic(hosts, scratch) {
  const chain = new DemoChain(hosts, (host, line) => say(`  ${host}$ ${line}`));
  await step('the registry', () => chain.startRoulette(scratch));
  await step('the members of the chain', () => chain.startMembers());
  await step('the client’s way to it', () => chain.startClient());
  rows.push(['chain', `${SPI}: client, ingress, firewall, counter (2 replicas), egress, server`]);
  await step('ping through the chain, 20 times', () => ping(hosts.client));
  const server = hosts.server.spawn([process.execPath, '-e', FILE_SERVER]);
  await server.waitFor('ready', PATIENCE);

  const download = hosts.client.spawn([process.execPath, '-e', DOWNLOAD]);
  const flow = await step(`a download of ${MEGABYTES} MB over HTTP has begun`, async () => {
    await download.waitFor('bytes', PATIENCE);
    return until('the flow to be registered', () => chain.flowTo(8080));
  });
  const [, hit] = flow.path.map((id) => chain.nameOf(id));
  say(`  its path: ${pathOf(chain, flow)}`);
  await step(`${hit}, which it passes, is killed`, () => killed(chain, hit));
  await step('another replica of the counter', async () => {
    await chain.startFunction('counter-3', ['counter']);
    rows.push(['added', 'counter-3: no flow moves to it, new ones do']);
  });
  await step('a function more in the chain', async () => {
    await chain.startFunction('mark', ['rewrite', '--function', 'mark', '--option', 'dscp=10']);
    await chain.edit('firewall', 'mark', 'counter');
    await sleep(500);
  });
  server.child.stdin.write('now\n');
  await step('the rest of the download at full speed, its hash checked', () => arrived(download));
  await step('what the new function had of it', async () => {
    const packets = await chain.passed('mark');
    if (packets === 0) throw new SetupError('the download did not pass the function that came');
    rows.push(['edited', `firewall, mark, counter: ${packets} packets of the download passed mark`]);
  });
}

function pathOf(chain, { path: ids }) {
  return ids.map((id) => chain.nameOf(id)).join(', ');
}

async function ping(client) {
  const { stdout } = await client.exec(['ping', '-c', '20', '-i', '0.05', SERVER], { check: true });
  const [, lost] = /(\d+)% packet loss/.exec(stdout);
  const [, average] = /= [\d.]+\/([\d.]+)\//.exec(stdout);
  rows.push(['ping', `${Number(average).toFixed(2)} ms on average, ${lost} % lost`]);
}

async function killed(chain, name) {
  chain.kill(name);
  const { id } = chain.replicas[name];
  const moved = await until('the flow to move', async () => {
    const now = await chain.flowTo(8080);
    return now && !now.path.includes(id) && now;
  });
  say(`  its path: ${pathOf(chain, moved)}`);
  rows.push(['killed', `${name} (kill -9): the download went on through ${chain.nameOf(moved.path[1])}`]);
}

async function arrived(download) {
  const { code } = await download.ended;
  const { bytes, pause, ms, hash } = JSON.parse(download.stdout.trim().split('\n').at(-1));
  const expected = createHash('sha256');
  for (let n = 0; n < MEGABYTES; n++) expected.update(block(n));
  if (code !== 0 || bytes !== MEGABYTES * 1_000_000)
    throw new SetupError(`the download ended early: ${bytes} bytes ${download.stderr}`);
  if (hash !== expected.digest('hex'))
    throw new SetupError('the download arrived changed: its SHA-256 is another');
  const took = `${(ms / 1000).toFixed(1)} s`;
  rows.push(['download', `${MEGABYTES} MB in ${took}, SHA-256 equal, longest pause ${pause.toFixed(0)} ms`]);
}

/** Of the switch between the members. They cut what they send themselves, so that it shows packets as a wire would. */
async function startCapture(lan, hosts) {
  for (const { name } of lan.members) await hosts[name].ip('link set chain gso_max_segs 1');
  const words = ['capture', 'br0', file, '--snaplen', '256', '--verbose', '--json'];
  const capture = lan.host.node(path.join(root, 'bin', 'tunconnector.js'), words);
  await until('the capture to begin', () => capture.stderr.includes('is an interface'));
  return capture;
}

async function endCapture(capture) {
  await step('the capture', async () => {
    const { code } = await capture.stop('SIGINT', PATIENCE);
    const { packets, missed, kernelDrops = 0 } = JSON.parse(capture.stderr.trim().split('\n').at(-1));
    const missing = missed + kernelDrops > 0 ? `, ${missed + kernelDrops} missed` : '';
    rows.push(['capture', `${packets} packets between the hosts of the chain, as pcapng${missing}`]);
    if (code !== 0) throw new SetupError(`the capture failed: ${capture.stderr}`);
  });
}

/** Asks until there is an answer. */
async function until(what, ask) {
  const limit = performance.now() + PATIENCE;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (performance.now() > limit) throw new SetupError(`the demo stopped: waited in vain for ${what}`);
    await sleep(50);
  }
}

/** Shows what is being done while it is, and how long it took. */
async function step(title, work) {
  const started = performance.now();
  if (terminal) process.stderr.write(`… ${title}`);
  const result = await work();
  const took = ((performance.now() - started) / 1000).toFixed(1);
  process.stderr.write(`${terminal ? '\r\x1b[K' : ''}✓ ${title} (${took} s)\n`);
  return result;
}

function say(line) {
  process.stderr.write(`${terminal ? '\r\x1b[K' : ''}${line}\n`);
}

function pcapOption(words) {
  const at = words.indexOf('--pcap');
  if (at >= 0 && words[at + 1] && words.length === 2) return path.resolve(words[at + 1]);
  if (words.length === 0) return undefined;
  process.stderr.write('usage: npm run demo [-- --pcap FILE.pcapng]\n');
  process.exit(2);
}
