import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { createConnection, StackServer, type StackSocket, undiciConnect } from '../../../src/stack/index.ts';
import { LEFT, type Pair, pair, RIGHT } from './pair.ts';

/** Virtual time goes on until a promise of the world outside is settled. */
async function until<T>({ runtime }: Pair, promise: Promise<T>, step = '5ms'): Promise<T> {
  let settled = false;
  const done = () => {
    settled = true;
  };
  promise.then(done, done);
  for (let i = 0; !settled && i < 20_000; i++) {
    runtime.advance(step);
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (!settled) throw new Error('nothing came of it');
  return promise;
}

const bytesOf = (n: number) => Buffer.from(Uint8Array.from({ length: n }, (_, i) => (i * 31) >>> 3));
const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** By events: an iterator would destroy the stream, and with it the other direction. */
function collect(stream: Readable): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  stream.on('data', (chunk) => chunks.push(chunk));
  return new Promise((resolve, reject) => {
    stream.once('end', () => resolve(Buffer.concat(chunks)));
    stream.once('error', reject);
  });
}

describe('http', () => {
  it('is served and asked for, over a keep-alive agent and a link that loses', async () => {
    await using world = await pair({ way: 'delay 5ms loss 1%', keep: false });
    const body = bytesOf(2_000_000);
    const web = http.createServer(async (request, response) => {
      const got = await collect(request);
      response.setHeader('x-hash', hash(got));
      response.end(body);
    });
    const server = new StackServer(world.right, (socket) => web.emit('connection', socket));
    let connections = 0;
    server.on('connection', () => connections++);
    server.listen(80);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
    agent.createConnection = createConnection(world.left) as unknown as typeof agent.createConnection;
    const ask = async (size: number) => {
      const request = http.request({ host: RIGHT, port: 80, method: 'POST', agent });
      request.end(bytesOf(size));
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      expect(hash(await collect(response))).toBe(hash(body));
      expect(response.headers['x-hash']).toBe(hash(bytesOf(size)));
    };
    await until(world, Promise.all([ask(10), ask(500_000), ask(0), ask(1)]));
    expect(connections).toBe(2);
    agent.destroy();
    web.closeIdleConnections();
    await until(world, new Promise<void>((resolve) => server.close(resolve)));
    world.runtime.advance('61s');
    expect(world.left.tcp).toMatchObject({ connections: 0, timeWaits: 0, memory: 0 });
    expect(world.right.tcp).toMatchObject({ connections: 0, timeWaits: 0, memory: 0 });
  });
});

describe('ws', () => {
  it('talks both ways', async () => {
    await using world = await pair({ way: 'delay 5ms' });
    const web = http.createServer();
    const sockets = new WebSocketServer({ server: web });
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
    new StackServer(world.right, (socket) => web.emit('connection', socket)).listen(80);
    const options = { createConnection: createConnection(world.left) };
    const socket = new WebSocket(`ws://${RIGHT}/`, options as never);
    await until(world, once(socket, 'open'));
    socket.send(bytesOf(300_000));
    const [data] = await until(world, once(socket, 'message'));
    expect(hash(data)).toBe(hash(bytesOf(300_000)));
    const ended = once(socket, 'close');
    socket.close();
    await until(world, ended);
  });
});

describe('a socket', () => {
  const connect = (world: Pair, port: number, more = {}) =>
    createConnection(world.left, more)({ host: RIGHT, port });

  it('reads into memory of the caller, as long as that says so, and ends', async () => {
    await using world = await pair({ way: 'delay 5ms' });
    const body = bytesOf(300_000);
    new StackServer(world.right, (socket) => socket.end(body)).listen(80);
    const own = [Buffer.alloc(1000), Buffer.alloc(7000)];
    const got: Buffer[] = [];
    let asked = 0;
    let calls = 0;
    const onread = {
      buffer: () => own[asked++ % 2]!,
      callback: (bytes: number, buffer: Uint8Array) => {
        expect(buffer).toBe(own[(asked - 1) % 2]);
        got.push(Buffer.from(buffer.subarray(0, bytes)));
        return ++calls % 10 !== 0;
      },
    };
    const socket = createConnection(world.left)({ host: RIGHT, port: 80, onread });
    let data = 0;
    let resumed = 0;
    socket.on('data', () => data++);
    const ended = once(socket, 'end');
    await until(world, once(socket, 'connect'));
    // It stands still where the caller has had enough.
    const length = () => got.reduce((sum, each) => sum + each.length, 0);
    const stands = async () => {
      const before = calls;
      world.runtime.advance('1s');
      await new Promise((resolve) => setImmediate(resolve));
      return calls === before && calls % 10 === 0;
    };
    for (let i = 0; i < 100 && length() < body.length; i++) {
      world.runtime.advance('1s');
      await new Promise((resolve) => setImmediate(resolve));
      if (length() === body.length) break;
      expect(await stands()).toBe(true);
      resumed++;
      socket.resume();
    }
    socket.resume();
    await until(world, ended);
    expect(hash(Buffer.concat(got))).toBe(hash(body));
    expect({ data, bytesRead: socket.bytesRead }).toEqual({ data: 0, bytesRead: body.length });
    expect(resumed).toBeGreaterThan(5);
  });

  it('reads into one buffer again and again, pauses, and is destroyed from within', async () => {
    await using world = await pair({ way: 'delay 5ms' });
    new StackServer(world.right, (socket) => {
      socket.on('error', () => {});
      socket.write(bytesOf(100_000));
    }).listen(80);
    const buffer = Buffer.alloc(4096);
    let calls = 0;
    const callback = (bytes: number, into: Uint8Array) => {
      expect(into).toBe(buffer);
      expect(bytes).toBeGreaterThan(0);
      calls++;
      if (calls === 3) socket.pause();
      if (calls === 6) socket.destroy();
      return true;
    };
    const socket = createConnection(world.left, { onread: { buffer, callback } })({ host: RIGHT, port: 80 });
    world.runtime.advance('1s');
    await until(world, once(socket, 'connect'));
    world.runtime.advance('2s');
    expect(calls).toBe(3);
    const closed = once(socket, 'close');
    socket.resume();
    await until(world, closed);
    expect(calls).toBe(6);
  });

  it('fails as those of net do', async () => {
    await using world = await pair();
    const refused = connect(world, 9);
    await expect(until(world, once(refused, 'connect'))).rejects.toMatchObject({
      code: 'ECONNREFUSED',
      syscall: 'connect',
      address: RIGHT,
      port: 9,
      message: `connect ECONNREFUSED ${RIGHT}:9`,
    });
    const nowhere = createConnection(world.left)({ host: '192.0.2.1', port: 80 });
    await expect(until(world, once(nowhere, 'connect'))).rejects.toMatchObject({ code: 'ENETUNREACH' });
    const server = new StackServer(world.right).listen(80);
    await expect(once(new StackServer(world.right).listen(80), 'listening')).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
    server.on('connection', (socket: StackSocket) => socket.resetAndDestroy());
    const reset = connect(world, 80);
    reset.resume();
    await expect(until(world, once(reset, 'end'))).rejects.toMatchObject({
      code: 'ECONNRESET',
      syscall: 'read',
    });
  });

  it('times out when the peer says nothing', async () => {
    await using world = await pair();
    world.taps.left.judge = () => false;
    const socket = connect(world, 80);
    await expect(until(world, once(socket, 'connect'), '100ms')).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    expect(world.runtime.now() / 1e9).toBeCloseTo(31, 0);
  });

  it('knows its addresses, and both ends of silence', async () => {
    await using world = await pair();
    const server = new StackServer(world.right).listen(80, RIGHT);
    const came = once(server, 'connection');
    const socket = connect(world, 80);
    expect(socket.readyState).toBe('opening');
    await until(world, once(socket, 'connect'));
    const [other] = (await until(world, came)) as [StackSocket];
    expect(socket).toMatchObject({
      remoteAddress: RIGHT,
      remotePort: 80,
      remoteFamily: 'IPv4',
      localAddress: LEFT,
    });
    expect(other).toMatchObject({ remoteAddress: LEFT, remotePort: socket.localPort, localPort: 80 });
    expect(server.address()).toEqual({ address: RIGHT, port: 80, family: 'IPv4' });
    const start = world.runtime.now();
    const silent = once(socket, 'timeout');
    socket.setTimeout(1000);
    world.runtime.advance('500ms');
    socket.write('x');
    await until(world, silent);
    expect((world.runtime.now() - start) / 1e6).toBeCloseTo(1500, -1);
  });

  it('holds a writer back until the reader reads', async () => {
    await using world = await pair();
    const tcp = { sendBuffer: 65_536, receiveBuffer: 65_536 };
    const server = new StackServer(world.right, undefined, { tcp }).listen(80);
    const came = once(server, 'connection');
    const socket = connect(world, 80, { tcp });
    const [other] = (await until(world, came)) as [StackSocket];
    let more = true;
    for (let i = 0; i < 100 && more; i++) more = socket.write(bytesOf(100_000));
    expect(more).toBe(false);
    world.runtime.advance('10s');
    expect(socket.bytesWritten).toBeLessThan(200_000);
    socket.end();
    socket.resume();
    const ended = once(socket, 'close');
    expect(await until(world, collect(other))).toHaveLength(100_000);
    await until(world, ended);
  });

  it('stays half open when it is told to', async () => {
    await using world = await pair();
    const server = new StackServer(world.right, undefined, { allowHalfOpen: true }).listen(80);
    const came = once(server, 'connection');
    const socket = connect(world, 80);
    socket.end('question');
    const [other] = (await until(world, came)) as [StackSocket];
    expect((await until(world, collect(other))).toString()).toBe('question');
    other.end('answer');
    expect((await until(world, collect(socket))).toString()).toBe('answer');
  });

  it('is what undici asks for', async () => {
    await using world = await pair();
    new StackServer(world.right, (socket) => socket.end('hello')).listen(80);
    const ask = (port: string) =>
      new Promise<StackSocket>((resolve, reject) => {
        undiciConnect(world.left)({ hostname: RIGHT, port }, (error, socket) =>
          error ? reject(error) : resolve(socket!),
        );
      });
    expect((await until(world, ask('80').then(collect))).toString()).toBe('hello');
    await expect(until(world, ask('81'))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
