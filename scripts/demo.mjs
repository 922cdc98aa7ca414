/**
 * `npm run demo`: two throw-away hosts, joined by a wire, and a tunnel between them by the real command: ping, a
 * download with its hash checked, throughput in both directions, a capture, and a table. Nothing is left behind.
 *
 *     npm run demo [-- --keep FILE.pcapng]      # keeps the capture
 */
import { createHash } from 'node:crypto';
import { copyFile, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { root, SetupError, withSetup } from './setup.mjs';

const COMMAND = path.join(root, 'bin', 'tunconnector.js');
const DOWNLOAD_MB = 48;
/** For what takes a second on a machine that has nothing else to do, ms. */
const PATIENCE = 30_000;
const SERVER_WORDS = '-p tun0 -s 10.0.0.2 -i 55555 -m server';
const CLIENT_WORDS = '-n tun0 -c 10.0.0.3 -o 55555 -r 192.168.6.9 -m client';

/** Serves one file to whoever asks, on the tunnel's address. */
const FILE_SERVER = `
const fs = require('fs'), [file] = process.argv.slice(1);
require('http').createServer((q, s) => fs.createReadStream(file).pipe(s))
  .listen(8080, '10.0.0.2', () => console.log('ready'));`;

const keep = keepOption(process.argv.slice(2));
const terminal = process.stderr.isTTY;
const rows = [];

await withSetup({ need: ['ip', 'ping', 'curl', 'iperf3', 'unshare', 'nsenter'] }, async () => {
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
  const world = await step('two throw-away hosts, joined by a wire', () => makeWorld(createWorld));
  try {
    await traffic(world, scratch);
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
  if (keep) console.log(`the capture is in ${keep}; look at it with: tshark -r ${keep}`);
  return same ? 0 : 1;
}

async function makeWorld(createWorld) {
  const world = await createWorld({ name: 'demo' });
  const [server, client] = await Promise.all([world.host('server'), world.host('client')]);
  await world.wire(server, client, { a: '192.168.6.9/24', b: '192.168.6.8/24' });
  const where = world.rootless
    ? 'two namespaces inside a user namespace (no root)'
    : 'two network namespaces';
  rows.push(['hosts', `${where}, 192.168.6.9 and 192.168.6.8`]);
  return world;
}

async function traffic(world, scratch) {
  const [server, client] = world.hosts;
  const capture = path.join(scratch, 'tunnel.pcapng');
  say(`  server$ tunconnector ${SERVER_WORDS}`);
  say(`  client$ tunconnector ${CLIENT_WORDS} --pcap tunnel.pcapng`);
  const far = server.node(COMMAND, SERVER_WORDS.split(' '));
  const near = await step('the tunnel is up', async () => {
    await far.waitFor('is up', PATIENCE);
    const near = client.node(COMMAND, [...CLIENT_WORDS.split(' '), '--json', '--pcap', capture]);
    await near.waitFor('"event":"up"', PATIENCE).catch(async (error) => {
      // What became of the packets is in the reports that they end with.
      await Promise.all([far, near].map((each) => each.stop('SIGINT')));
      throw new SetupError(`${error.message}\nthe server said: ${far.stdout}the client said: ${near.stdout}`);
    });
    rows.push(['tunnel', far.stdout.trim().split('\n')[0]]);
    return near;
  });

  await step('ping, 20 times', async () => {
    const { stdout } = await client.exec(['ping', '-c', '20', '-i', '0.05', '10.0.0.2'], { check: true });
    const [, lost] = /(\d+)% packet loss/.exec(stdout);
    const [, average] = /= [\d.]+\/([\d.]+)\//.exec(stdout);
    rows.push(['ping', `${Number(average).toFixed(2)} ms on average, ${lost} % lost`]);
  });
  await step(`download of ${DOWNLOAD_MB} MB over HTTP, its hash checked`, () =>
    download(server, client, scratch),
  );
  await step('the capture', async () => {
    await near.stop('SIGINT');
    const report = JSON.parse(near.stdout.trim().split('\n').at(-1));
    const [{ packets, missed }] = report.captures;
    const missing = missed > 0 ? `, ${missed} missed (the disk was too slow)` : '';
    rows.push(['capture', `${packets} packets and superframes as pcapng${missing}`]);
    if (keep) await copyFile(capture, keep);
  });

  say(`  client$ tunconnector ${CLIENT_WORDS}`);
  const again = client.node(COMMAND, CLIENT_WORDS.split(' '));
  await step('the client is back, without a capture', () => again.waitFor('is up', PATIENCE));
  await step('TCP from client to server, 2 s', () => throughput(server, client, 'client to server'));
  await step('TCP from server to client, 2 s', () =>
    throughput(server, client, 'server to client', '--reverse'),
  );
  await Promise.all([far, again].map((each) => each.stop('SIGINT')));
}

async function download(server, client, scratch) {
  const source = path.join(scratch, 'source');
  const copy = path.join(scratch, 'copy');
  const file = await open(source, 'w');
  const hash = createHash('sha256');
  for (let i = 0; i < DOWNLOAD_MB; i++) {
    const block = createHash('shake256', { outputLength: 1_000_000 }).update(String(i)).digest();
    hash.update(block);
    await file.write(block);
  }
  await file.close();
  const files = server.spawn([process.execPath, '-e', FILE_SERVER, source]);
  await files.waitFor('ready', PATIENCE);
  const options = ['--silent', '--show-error', '--max-time', '20', '--output', copy];
  const fetch = ['curl', ...options, '--write-out', '%{speed_download}', 'http://10.0.0.2:8080/'];
  const { stdout } = await client.exec(fetch, { check: true });
  await files.stop();
  const equal =
    createHash('sha256')
      .update(await readFile(copy))
      .digest('hex') === hash.digest('hex');
  if (!equal) throw new SetupError('the download arrived changed: its SHA-256 is another');
  rows.push([
    'download',
    `${DOWNLOAD_MB} MB, SHA-256 equal, ${(Number(stdout) / 1e6).toFixed(0)} MB/s while captured`,
  ]);
}

async function throughput(server, client, direction, ...options) {
  const listener = server.spawn(['iperf3', '--server', '--one-off', '--bind', '10.0.0.2', '--forceflush']);
  await listener.waitFor('listening');
  const argv = ['iperf3', '--client', '10.0.0.2', '--time', '2', '--json', ...options];
  const { stdout } = await client.exec(argv, { check: true });
  await listener.ended;
  const rate = JSON.parse(stdout).end.sum_received.bits_per_second;
  rows.push([`TCP, ${direction}`, `${(rate / 1e9).toFixed(2)} Gbit/s`]);
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
  process.stderr.write(`${line}\n`);
}

function keepOption(words) {
  const at = words.indexOf('--keep');
  if (at >= 0 && words[at + 1] && words.length === 2) return path.resolve(words[at + 1]);
  if (words.length === 0) return undefined;
  process.stderr.write('usage: npm run demo [-- --keep FILE.pcapng]\n');
  process.exit(2);
}
