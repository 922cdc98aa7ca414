/**
 * TCP flows between two throw-away hosts whose ends agree on count and hash (test/peers/flows.c), and the tunnel
 * command at both hosts for them to go through. Shared by `npm run soak` and the live tests.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root, run } from './setup.mjs';

const COMMAND = path.join(root, 'bin', 'tunconnector.js');
const FLOWS_PORT = '7000';
const TUNNEL_PORT = '55555';

/** Outer and inner addresses of the two hosts, by family. */
export const ADDRESSES = {
  4: { outer: { server: '192.168.6.9', client: '192.168.6.8' }, server: '10.0.0.2', client: '10.0.0.3' },
  6: { outer: { server: 'fd06::9', client: 'fd06::8' }, server: 'fd00::2', client: 'fd00::3' },
};

export const OFFLOADS_OFF = '--no-gso --no-gro --no-vnet-hdr';

/** Every way to carry TCP. */
export const COMBINATIONS = [true, false].flatMap((offloads) =>
  /** @type {const} */ ([4, 6]).flatMap((family) =>
    /** @type {const} */ (['TUN', 'TAP']).map((device) => ({
      title: `offloads ${offloads ? 'on' : 'off'}, IPv${family}, ${device}`,
      family,
      words: [device === 'TAP' ? '--tap' : '', offloads ? '' : OFFLOADS_OFF].filter(Boolean).join(' '),
    })),
  ),
);

/** Compiles a C program of this repository into a folder of its own; `close` removes it. */
export async function compileProgram(source) {
  const folder = await mkdtemp(path.join(tmpdir(), 'tunconnector-program-'));
  const close = () => rm(folder, { recursive: true, force: true });
  const program = path.join(folder, path.basename(source, '.c'));
  const options = ['-std=gnu17', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread'];
  const { code, output } = await run('gcc', [...options, '-o', program, path.join(root, source)], {
    quiet: true,
  });
  if (code === 0) return { program, close };
  await close();
  throw new Error(`${source} does not compile: ${output}`);
}

export const compileFlows = () => compileProgram('test/peers/flows.c');

/** Takes flows until it is stopped. */
export async function serveFlows(program, host, address) {
  const server = host.spawn([program, 'serve', address, FLOWS_PORT]);
  await server.waitFor('listening');
  return server;
}

/** Sends flows, all at once; how many there were, how many arrived equal, bytes in all, seconds. */
export async function sendFlows(program, host, address, options = {}) {
  const { flows = 1, bytes = 1 << 20, seed = 1, choppy = false, timeout = 30_000, onProgress } = options;
  const numbers = ['-f', `${flows}`, '-b', `${bytes}`, '-s', `${seed}`];
  const switches = [choppy ? '-c' : '', onProgress ? '-v' : ''].filter(Boolean);
  const sender = host.spawn([program, 'send', address, FLOWS_PORT, ...numbers, ...switches]);
  sender.child.stderr?.on('data', (text) => {
    const told = /^sent (\d+)/.exec(`${text}`);
    if (told && onProgress) onProgress(Number(told[1]));
  });
  const timer = setTimeout(() => sender.kill('SIGKILL'), timeout);
  await sender.ended;
  clearTimeout(timer);
  const result = /flows (\d+) equal (\d+) bytes (\d+) seconds ([\d.]+)/.exec(sender.stdout);
  if (!result)
    throw new Error(`no flows to ${address}: ${sender.stderr.trim() || `not within ${timeout} ms`}`);
  const [count, equal, total, seconds] = result.slice(1).map(Number);
  return { flows: count, equal, bytes: total, seconds };
}

/** Two hosts and a wire between them, in a world. */
export async function twoEnds(world, options = {}) {
  const [server, client] = await Promise.all([world.host('server'), world.host('client')]);
  const wire = await world.wire(server, client, {
    a: [`${ADDRESSES[4].outer.server}/24`, `${ADDRESSES[6].outer.server}/64`],
    b: [`${ADDRESSES[4].outer.client}/24`, `${ADDRESSES[6].outer.client}/64`],
    ...options,
  });
  return { server, client, wire };
}

/**
 * The command at both hosts, connected, with `words` at both: `--tap --no-gso`. Inside as outside IPv4 or IPv6.
 * Returns when the server's inner address answers.
 */
export async function startPair(server, client, { family, words = '' }) {
  const inner = ADDRESSES[family];
  const more = words.split(' ').filter(Boolean);
  const start = (host, own) => host.spawn([process.execPath, COMMAND, ...own.split(' '), ...more]);
  const far = start(server, `-m server -p tun0 -s ${inner.server} -i ${TUNNEL_PORT}`);
  await far.waitFor('is up');
  const near = start(
    client,
    `-m client -n tun0 -c ${inner.client} -o ${TUNNEL_PORT} -r ${inner.outer.server}`,
  );
  await near.waitFor('is up');
  await untilReachable(client, inner.server);
  return { far, near };
}

/** A TAP's first packets wait for its link-local address and for neighbours to be found. */
export async function untilReachable(host, address, within = 10_000) {
  const end = performance.now() + within;
  for (;;) {
    const { code } = await host.exec(['ping', '-c', '1', '-W', '0.2', address]);
    if (code === 0) return;
    if (performance.now() > end) throw new Error(`${address} does not answer within ${within} ms`);
    await sleep(50);
  }
}
