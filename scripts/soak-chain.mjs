/**
 * `npm run soak -- chain [--minutes 60 | --bytes 1G]`: a whole chain by the real commands, every member on a throw-away host of its own, with downloads
 * through it without a pause. Every 5 s a replica comes, is drained or is killed; now and then the chain is edited and Roulette stands
 * still. Every download must arrive as it was sent, and what the members that stay hold in memory must stay what it was. Roulette keeps
 * its last changes, for members that come back: so many are made beforehand that no room for them is left to be taken. With `--bytes` there
 * is one download of that size, and memory is only shown.
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from './setup.mjs';

const COMMAND = path.join(root, 'bin', 'tunconnector.js');
const ROULETTE = 'http://10.9.0.1:7590';
const TOKEN = 'soak-0123456789abcdef';
const STEP = 5_000;
const MB = 1 << 20;
const FILE_MB = 16;
/** That one download may take. */
const MOST_MINUTES = 60;
/** Of what was resident after the warm-up. */
const GROWTH = 0.1;
const REPLICA_HOSTS = 4;

/** Serves a file, or so many bytes that nothing repeats in. */
const SERVER = `
const fs = require('fs'), [file, address] = process.argv.slice(1), none = Buffer.alloc(1 << 20);
require('http').createServer((request, answer) => {
  let left = Number(request.url.slice(1));
  if (!left) return fs.createReadStream(file).pipe(answer);
  const cipher = require('crypto').createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
  const more = () => {
    while (left > 0) {
      const bytes = cipher.update(none.subarray(0, Math.min(left, none.length)));
      left -= bytes.length;
      if (!answer.write(bytes)) return answer.once('drain', more);
    }
    answer.end();
  };
  more();
}).listen(80, address, () => console.log('ready'));`;
/** Downloads again and again, or once, each in a connection of its own; says the hash of each, or what went wrong. */
const CLIENT = `
const [url, once] = process.argv.slice(1);
const { createHash } = require('crypto');
const next = () => {
  const hash = createHash('sha256');
  const get = require('http').get(url, { agent: false, timeout: 30000 }, (answer) => {
    answer.on('data', (d) => hash.update(d)).on('end', () => { console.log(hash.digest('hex')); if (!once) next(); });
    answer.on('error', (e) => { console.log(e.message); setTimeout(next, 500); });
  });
  get.on('timeout', () => get.destroy(new Error('30 s without a byte')));
  get.on('error', (e) => { console.log(e.message); setTimeout(next, 500); });
};
next();`;

/** Replicas that come and go before anything is measured: each is some changes, and Roulette remembers 4096. */
const FORMER_REPLICAS = 1500;
const FORMER = `
const [base, token, count] = process.argv.slice(1);
const ask = async (method, path, body) => {
  const headers = { authorization: 'Bearer ' + token, ...(body && { 'content-type': 'application/json' }) };
  const answer = await fetch(base + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};
(async () => {
  await ask('PUT', '/functions/former', {});
  for (let n = 0; n < count; n++) {
    const { lease } = await ask('POST', '/leases', { term: '5s' });
    await ask('POST', '/replicas', { function: 'former', address: '10.9.0.99', port: 1000 + n, lease });
    await ask('DELETE', '/leases/' + lease);
  }
})();`;

/** @returns {Promise<number>} the exit code */
export async function soakChain({ minutes, bytes: size }, scratch) {
  const { createWorld } = await import('../dist/testing/index.js');
  const world = await createWorld({ name: 'soak' });
  try {
    const bytes = randomBytes(FILE_MB * MB);
    const sent = path.join(scratch, 'sent');
    await writeFile(sent, bytes);
    const hash = size ? hashOf(size) : createHash('sha256').update(bytes).digest('hex');
    const chain = await start(world, scratch, sent, size);
    const samples = await underLoad(chain, size ? MOST_MINUTES : minutes, size !== undefined);
    return await report(chain, samples, hash, size);
  } finally {
    await world.close();
  }
}

/** Of what the server makes of this size. */
function hashOf(size) {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
  const hash = createHash('sha256');
  const none = Buffer.alloc(MB);
  for (let left = size; left > 0; left -= MB)
    hash.update(cipher.update(none.subarray(0, Math.min(left, MB))));
  return hash.digest('hex');
}

async function start(world, scratch, sent, size) {
  const names = ['client', 'server', 'registry', 'ingress', 'egress', 'fw'];
  const free = Array.from({ length: REPLICA_HOSTS }, (_, n) => `counter${n}`);
  const made = await Promise.all([...names, ...free].map((name) => world.host(name)));
  const [client, server, ...members] = made;
  const [registry, ingress, egress, fw, ...hosts] = members;
  await world.bridge(members.map((host, n) => ({ host, addresses: [`10.9.0.${n + 1}/24`] })));
  await world.wire(client, ingress, { a: '192.0.2.1/24', b: '192.0.2.10/24' });
  await world.wire(egress, server, { a: '203.0.113.1/24', b: '203.0.113.9/24' });
  await server.ip('route add 198.51.100.80 via 203.0.113.1');

  const tokens = path.join(scratch, 'tokens.yaml');
  const config = path.join(scratch, 'registry.yaml');
  await writeFile(tokens, `${TOKEN}: all\n`, { mode: 0o600 });
  await writeFile(
    config,
    'tenants: { 42: { functions: [firewall, counter], chains: { 7: [firewall, counter] }, rules: [{ name: all, match: "*", chain: 7 }] } }\n',
  );
  const run = async (host, words, up) => {
    const env = { ...process.env, TUNCONNECTOR_TOKEN: TOKEN, TUNCONNECTOR_ROULETTE: ROULETTE };
    const running = host.node(COMMAND, [...words.split(' '), '--json'], { env });
    await running.waitFor(up, 30_000);
    return running;
  };
  const up = /"event":"up"/;
  const store = path.join(scratch, 'registry');
  const stay = {};
  stay.roulette = await run(
    registry,
    `roulette --listen 10.9.0.1:7590 --tokens ${tokens} --store ${store} --config ${config}`,
    up,
  );
  const former = [process.execPath, '-e', FORMER, `${ROULETTE}/v1/tenants/42`, TOKEN, `${FORMER_REPLICAS}`];
  const { code, stderr } = await registry.exec(former, { timeout: 120_000 });
  if (code !== 0) throw new Error(`replicas before the load: ${stderr}`);
  stay.egress = await run(egress, 'egress --tenant 42 --nat 198.51.100.80', up);
  stay.firewall = await run(fw, 'vnf firewall --option default=allow --tenant 42', up);
  const replica = (host) => run(host, 'vnf counter --tenant 42 --drain 3s', up);
  const replicas = await Promise.all(
    hosts.slice(0, 2).map(async (host) => ({ host, running: await replica(host) })),
  );
  stay.ingress = await run(ingress, 'ingress --tenant 42 --tunnel 10.8.0.1/24', up);
  await run(client, 'client --ingress 192.0.2.10 --address 10.8.0.2/24 --to 203.0.113.0/24', up);
  await server.spawn([process.execPath, '-e', SERVER, sent, '203.0.113.9']).waitFor('ready');
  const downloads = client.spawn([
    process.execPath,
    '-e',
    CLIENT,
    `http://203.0.113.9/${size ?? ''}`,
    ...(size ? ['once'] : []),
  ]);
  const chainSet = async (...functions) => {
    const argv = [process.execPath, COMMAND, 'chain', 'set', '7', ...functions, '--tenant', '42'];
    const env = { ...process.env, TUNCONNECTOR_TOKEN: TOKEN, TUNCONNECTOR_ROULETTE: ROULETTE };
    const { code, stderr } = await registry.exec(argv, { env });
    if (code !== 0) throw new Error(`chain set failed: ${stderr}`);
  };
  return { stay, hosts, replicas, replica, downloads, chainSet };
}

/** One change every 5 s, in a fixed order; after each, how much memory there is. */
async function underLoad(chain, minutes, isOne) {
  const { hosts, replicas, stay, downloads } = chain;
  const samples = [];
  const begin = performance.now();
  const end = begin + minutes * 60_000;
  const changes = {
    add: async () => {
      const host = hosts.find((each) => replicas.every(({ host }) => host !== each));
      replicas.push({ host, running: await chain.replica(host) });
    },
    kill: async () => replicas.shift().running.stop('SIGKILL'),
    drain: async () => {
      const { code, stderr } = await replicas.shift().running.stop('SIGTERM', 10_000);
      if (code !== 0) throw new Error(`a replica that drained ended with ${code}: ${stderr}`);
    },
    shorten: () => chain.chainSet('counter'),
    lengthen: () => chain.chainSet('firewall', 'counter'),
    still: async () => {
      stay.roulette.child.kill('SIGSTOP');
      await sleep(3_000);
      stay.roulette.child.kill('SIGCONT');
    },
  };
  const order = [
    'add',
    'kill',
    'add',
    'drain',
    'shorten',
    'add',
    'kill',
    'lengthen',
    'add',
    'drain',
    'still',
  ];
  const isOver = () => performance.now() >= end || (isOne && downloads.stdout.includes('\n'));
  for (let n = 0; !isOver(); n++) {
    const name = order[n % order.length];
    const next = performance.now() + STEP;
    await changes[name]();
    await sleep(Math.max(0, Math.min(next, end) - performance.now()));
    const rss = {};
    for (const [member, { child }] of Object.entries(stay)) {
      const [, pages] = (await readFile(`/proc/${child.pid}/statm`, 'utf8')).split(' ');
      rss[member] = Number(pages) * 4096;
    }
    samples.push(rss);
    const done = downloads.stdout.split('\n').length - 1;
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    const memory = Object.entries(rss).map(([member, bytes]) => `${member} ${mib(bytes)}`);
    process.stderr.write(
      `${name}: ${replicas.length} replicas, ${done} downloads; ${memory.join(', ')}; ${left} s to go\n`,
    );
  }
  return samples;
}

async function report({ stay, replicas, downloads }, samples, hash, size) {
  const problems = [];
  const lines = downloads.stdout.split('\n').slice(0, -1);
  const wrong = lines.filter((line) => line !== hash);
  if (lines.length === 0) problems.push('no download was finished');
  if (wrong.length > 0) problems.push(`${wrong.length} of ${lines.length} downloads: ${wrong[0]}`);
  await downloads.stop('SIGKILL');
  for (const { running } of replicas) await running.stop('SIGINT');
  for (const [member, running] of Object.entries(stay).reverse()) {
    const { code, stderr } = await running.stop('SIGINT', 5_000);
    if (code !== 0) problems.push(`${member} ended with ${code}: ${stderr.trim()}`);
  }
  const { default: Table } = await import('cli-table3');
  const table = new Table({ head: ['', 'warm', 'at the end', 'growth'], style: { head: [], border: [] } });
  const after = samples.slice(Math.floor(samples.length / 5));
  const edge = Math.max(1, Math.min(12, Math.floor(after.length / 3)));
  for (const member of Object.keys(stay)) {
    const values = after.map((sample) => sample[member]);
    const [warm, last] = [median(values.slice(0, edge)), median(values.slice(-edge))];
    const growth = last / warm - 1;
    table.push([member, mib(warm), mib(last), `${(100 * growth).toFixed(1)} %`]);
    if (growth > GROWTH && !size)
      problems.push(`${member} grew by ${(100 * growth).toFixed(1)} %; allowed ${100 * GROWTH} %`);
  }
  console.log(
    `${table}\n${lines.length - wrong.length} downloads of ${mib(size ?? FILE_MB * MB)} with equal hash, ${samples.length} changes`,
  );
  for (const problem of problems) console.log(`FAILED: ${problem}`);
  return problems.length > 0 ? 1 : 0;
}

const mib = (bytes) => `${(bytes / MB).toFixed(1)} MiB`;

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
