/** Both ends open, and both end, at once: the stack with the kernel's TCP (RFC 9293, figures 7 and 13). */
import { describe, expect, it } from 'vitest';
import type { Connection } from '../../src/stack/index.ts';
import { needs } from '../needs.ts';
import { until } from './cli-world.ts';
import { facing, KERNEL, OURS, sha256 } from './stack-tcp-world.ts';

const KERNEL_PORT = 7001;
const OUR_PORT = 7002;
const BODY = Buffer.alloc(200_000, 'the stack ');
const ANSWER = Buffer.alloc(150_000, 'the kernel ');
/** One way. Long, so that what both do within it crosses, also on a busy machine. */
const DELAY = '700ms';

/** Connects when it is told to, and ends when it is told to. @param argv from, to */
const PEER = `
const [from, to, body] = process.argv.slice(1);
const hash = require('crypto').createHash('sha256');
let socket;
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'end') return socket.end();
  socket = require('net').connect({ host: to, port: ${OUR_PORT}, localAddress: from, localPort: ${KERNEL_PORT}, allowHalfOpen: true });
  let n = 0;
  socket.on('connect', () => { console.log('connected'); socket.write('the kernel '.repeat(20000).slice(0, ${ANSWER.length})); })
    .on('data', (b) => { hash.update(b); n += b.length; if (n === ${BODY.length}) console.log('got', hash.digest('hex')); })
    .on('error', (e) => console.log('error', e.code)).on('end', () => console.log('ended'))
    .on('close', () => { console.log('closed'); process.exit(); });
});
console.log('ready');`;

describe.skipIf(needs('root', 'tun'))('at the same time', () => {
  it.each([
    ['IPv4', KERNEL.v4, OURS.v4],
    ['IPv6', KERNEL.v6, OURS.v6],
  ])('both open, carry bytes both ways, and both end: %s', { timeout: 60_000 }, async (_, from, to) => {
    await using at = await facing({ spec: `{ up: delay ${DELAY}, down: delay ${DELAY} }` });
    const peer = at.kernel.spawn([process.execPath, '-e', PEER, from, to]);
    await peer.waitFor('ready');
    // IPv6 looks for its neighbour, or for its own address elsewhere: then the first packet would wait.
    await at.kernel.exec(['ping', '-c', '1', '-W', '5', to], { check: true });
    const sockets = async (state: string) =>
      (await at.kernel.exec(['ss', '-tanH', 'state', state, 'sport', '=', `:${KERNEL_PORT}`])).stdout.trim();

    const events: string[] = [];
    const chunks: Buffer[] = [];
    const into = Buffer.alloc(65_536);
    peer.child.stdin!.write('connect\n');
    const connection: Connection = at.host.connect(
      { address: from, port: KERNEL_PORT, localAddress: to, localPort: OUR_PORT },
      {
        onConnected: () => {
          events.push('connected');
          expect(connection.write(BODY)).toBe(BODY.length);
        },
        onReadable: () => {
          for (let n = connection.read(into); n > 0; n = connection.read(into))
            chunks.push(Buffer.from(into.subarray(0, n)));
        },
        onEnd: () => events.push('end'),
        onClosed: (error) => events.push(`closed ${error ?? ''}`),
      },
    );
    // The SYNs have crossed: nobody has answered yet.
    expect(await until(() => connection.figures().state === 'syn-received')).toBe(true);
    await peer.waitFor('connected', 10_000);
    await peer.waitFor(`got ${sha256(BODY)}`, 20_000);
    expect(await until(() => chunks.reduce((sum, { length }) => sum + length, 0) === ANSWER.length)).toBe(
      true,
    );
    expect(sha256(Buffer.concat(chunks))).toBe(sha256(ANSWER));
    expect(connection.figures().state).toBe('established');
    expect(await sockets('established')).toContain(`:${OUR_PORT}`);

    peer.child.stdin!.write('end\n');
    connection.end();
    // The FINs have crossed as well.
    expect(await until(() => connection.figures().state === 'closing')).toBe(true);
    await peer.waitFor('closed', 10_000);
    expect(await until(() => events.length === 3)).toBe(true);
    expect(events).toEqual(['connected', 'end', 'closed ']);
    expect(peer.stdout).not.toContain('error');
    expect(at.host.tcp).toMatchObject({ connections: 0, timeWaits: 1, memory: 0 });
    expect(await sockets('time-wait')).toContain(`:${OUR_PORT}`);
  });
});
