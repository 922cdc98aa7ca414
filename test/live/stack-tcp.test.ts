/** TCP of the stack with the kernel's at the other end of a TUN. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { describe, expect, it } from 'vitest';
import { createConnection } from '../../src/stack/index.ts';
import type { Host } from '../../src/testing/namespaces.ts';
import { needs } from '../needs.ts';
import { until } from './cli-world.ts';
import { type Facing, facing, hashOf, KERNEL, OURS, sha256, website } from './stack-tcp-world.ts';

const PATIENCE = 40_000;
const BODY = randomBytes(8 << 20);

/** What a shell line wrote. */
async function shell(host: Host, line: string, input = ''): Promise<string> {
  const { stdout } = await host.exec(['sh', '-c', line], { input, timeout: PATIENCE, check: true });
  return stdout.trim();
}

/** A program for Node, as text, on the kernel's side. */
const script = (host: Host, text: string, ...words: string[]) =>
  host.spawn([process.execPath, '-e', text, ...words]);

async function downAndUp(at: Facing, url: string): Promise<void> {
  const wanted = sha256(BODY);
  expect(await shell(at.kernel, `curl -sS --max-time 35 '${url}' | sha256sum`)).toContain(wanted);
  // The same bytes go back, as they come.
  const back = `curl -sS --max-time 35 '${url}' | curl -sS --max-time 35 -T - '${url}'`;
  expect(await shell(at.kernel, back)).toBe(wanted);
}

/** What says that bytes have changed on the way. */
const broken = ({ 'tcp-checksum': tcp, 'tcp-malformed': bad, 'ip-checksum': ip }: Record<string, number>) =>
  [tcp, bad, ip].filter((count) => count !== undefined);

describe.skipIf(needs('root', 'tun', 'curl'))('curl', () => {
  it.each([
    ['with superframes', true, 1500],
    ['packet by packet', false, 1500],
    ['over a wide link', true, 65_520],
  ])('carries bytes both ways unchanged, %s', async (_, offload, mtu) => {
    await using at = await facing({ offload, mtu });
    website(at, BODY);
    await downAndUp(at, `http://${OURS.v4}/`);
    await downAndUp(at, `http://[${OURS.v6}]/`);
    expect(broken(at.drops())).toEqual([]);
    await until(() => at.host.tcp.connections === 0);
    expect(at.host.tcp).toMatchObject({ connections: 0, memory: 0 });
  });

  it('does so over a link that loses, doubles and reorders', async () => {
    const way = 'delay 3ms reorder 5% loss 1% duplicate 1%';
    await using at = await facing({ spec: `{ seed: 11, up: ${way}, down: ${way} }` });
    website(at, BODY.subarray(0, 1 << 20));
    const url = `http://${OURS.v4}/`;
    const wanted = sha256(BODY.subarray(0, 1 << 20));
    expect(await shell(at.kernel, `curl -sS --max-time 35 ${url} | sha256sum`)).toContain(wanted);
    const back = `curl -sS --max-time 35 ${url} | curl -sS --max-time 35 -T - ${url}`;
    expect(await shell(at.kernel, back)).toBe(wanted);
  });
});

describe.skipIf(needs('root', 'tun', 'ab'))('ab', () => {
  const ab = async ({ kernel }: Facing, ...words: string[]) => {
    const argv = ['ab', '-q', '-s', '30', ...words, `http://${OURS.v4}/`];
    return (await kernel.exec(argv, { timeout: PATIENCE, check: true })).stdout;
  };

  it('has 200 connections at once', async () => {
    await using at = await facing();
    let asked = 0;
    let most = 0;
    const waiting: http.ServerResponse[] = [];
    const web = http.createServer((_request, response) => {
      waiting.push(response);
      most = Math.max(most, at.host.tcp.connections);
      // ab waits for its first answer. Of the others nobody gets one before 200 are there.
      if (asked++ === 0 || waiting.length === 200) {
        for (const each of waiting.splice(0)) each.end('x'.repeat(5000));
      }
    });
    at.serve(80, (socket) => web.emit('connection', socket));
    const told = await ab(at, '-n', '401', '-c', '200');
    expect(told).toMatch(/Complete requests: +401\n/);
    expect(told).toMatch(/Failed requests: +0\n/);
    expect(most).toBeGreaterThanOrEqual(200);
  });

  it('has 2000 in a row', async () => {
    await using at = await facing();
    website(at, BODY.subarray(0, 1000));
    const told = await ab(at, '-n', '2000', '-c', '1');
    expect(told).toMatch(/Complete requests: +2000\n/);
    expect(told).toMatch(/Failed requests: +0\n/);
    expect(at.host.tcp.accepted).toBeGreaterThanOrEqual(2000);
    await until(() => at.host.tcp.connections === 0);
    expect(at.host.tcp).toMatchObject({ connections: 0, memory: 0 });
  });
});

/** Connects to argv[1]:argv[2], and says what becomes of it. */
const CLIENT = `
const socket = require('net').connect({ host: process.argv[1], port: +process.argv[2], allowHalfOpen: true });
let n = 0;
socket.on('connect', () => console.log('connected')).on('data', (b) => { n += b.length; })
  .on('error', (e) => console.log('error', e.code)).on('end', () => console.log('end after', n)).on('close', () => console.log('closed'));`;

describe.skipIf(needs('root', 'tun', 'socat'))('ends of connections', () => {
  it('half of one closes while the other goes on, whoever begins', async () => {
    await using at = await facing();
    // The kernel ends first, and hears everything that is said then.
    at.serve(
      7,
      async (socket) => {
        const hash = await hashOf(socket);
        socket.write(BODY.subarray(0, 300_000));
        socket.end(hash);
      },
      { allowHalfOpen: true },
    );
    const heard = await shell(at.kernel, `socat -t 20 - TCP:${OURS.v4}:7 | tail -c 64`, 'hello');
    expect(heard).toBe(sha256(Buffer.from('hello')));
    // The stack ends first.
    const server = script(
      at.kernel,
      `require('net').createServer({ allowHalfOpen: true }, (s) => {
        let n = 0;
        s.on('data', (b) => { n += b.length; }).on('end', () => s.end('x'.repeat(300000) + n));
      }).listen(7000, () => console.log('ready'));`,
    );
    await server.waitFor('ready');
    const socket = createConnection(at.host, { allowHalfOpen: true })({ host: KERNEL.v4, port: 7000 });
    socket.end(BODY.subarray(0, 200_000));
    const chunks: Buffer[] = [];
    socket.on('data', (bytes: Buffer) => chunks.push(bytes));
    await once(socket, 'end');
    const text = Buffer.concat(chunks).toString();
    expect([text.length, text.slice(-6)]).toEqual([300_006, '200000']);
  });

  it('a RST is told at the other end, whoever sends it', async () => {
    await using at = await facing();
    const errors: (string | undefined)[] = [];
    at.serve(7, (socket) => {
      socket.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code));
      socket.write('hello');
    });
    const rude = script(
      at.kernel,
      `const s = require('net').connect(7, '${OURS.v4}');
       s.once('data', () => s.resetAndDestroy()).once('close', () => console.log('closed'));`,
    );
    await rude.waitFor('closed');
    expect(await until(() => errors.length > 0)).toBe(true);
    expect(errors).toEqual(['ECONNRESET']);
    at.serve(8, (socket) => socket.resetAndDestroy());
    const client = script(at.kernel, CLIENT, OURS.v4, '8');
    await client.ended;
    expect(client.stdout).toContain('error ECONNRESET');
  });

  it('nobody who listens is told to both', async () => {
    await using at = await facing();
    const client = script(at.kernel, CLIENT, OURS.v4, '99');
    await client.ended;
    expect(client.stdout).toContain('error ECONNREFUSED');
    const socket = createConnection(at.host)({ host: KERNEL.v6, port: 99 });
    const [error] = await once(socket, 'error');
    expect(error).toMatchObject({ code: 'ECONNREFUSED', syscall: 'connect' });
  });
});

describe.skipIf(needs('root', 'tun', 'socat'))('small windows', () => {
  it('of the kernel hold the stack back, and nothing is lost', async () => {
    await using at = await facing({ offload: false });
    at.serve(7, (socket) => socket.end(BODY.subarray(0, 400_000)));
    const line = `socat -u TCP:${OURS.v4}:7,rcvbuf=2048 - | sha256sum`;
    expect(await shell(at.kernel, line)).toContain(sha256(BODY.subarray(0, 400_000)));
  });

  it('of the stack hold the kernel back, and nothing is lost', async () => {
    await using at = await facing();
    const options = { allowHalfOpen: true, tcp: { receiveBuffer: 4096 } };
    at.serve(7, async (socket) => socket.end(await hashOf(socket)), options);
    const line = `head -c 1000000 /dev/zero | socat -t 20 - TCP:${OURS.v4}:7`;
    expect(await shell(at.kernel, line)).toBe(sha256(new Uint8Array(1_000_000)));
  });
});
