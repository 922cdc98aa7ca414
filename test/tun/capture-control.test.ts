import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { App, Ports } from '../../src/engine/app.ts';
import { Network } from '../../src/engine/network.ts';
import { reason } from '../../src/engine/reasons.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { connectControl, listNetworks } from '../../src/tun/control/live-client.ts';
import { serveControl } from '../../src/tun/control/live-server.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { join, readAll } from '../packet/pcap-helpers.ts';

let base: string;
const runtimeDirectory = process.env.XDG_RUNTIME_DIR;
beforeEach(() => {
  base = mkdtempSync(path.join(tmpdir(), 'tunconnector-control-'));
  process.env.XDG_RUNTIME_DIR = base;
});
afterEach(() => {
  if (runtimeDirectory === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = runtimeDirectory;
  rmSync(base, { recursive: true });
});

const Odd = reason('odd-length');

class DropOdd implements App {
  push({ pool, input, output }: Ports) {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      if (pool.length[packet]! & 1) pool.drop(packet, Odd);
      else output.out.put(packet);
    }
  }
}

/** a -> odd -> b, and its control socket. */
async function setup(name = 'net0') {
  const runtime = new VirtualRuntime();
  const net = new Network(runtime, { memory: 32 << 20 });
  const [a, b] = [new MemoryPort(), new MemoryPort()];
  net.app('a', a).app('b', b).app('odd', new DropOdd());
  await net.link('a.out -> odd.in').link('odd.out -> b.in').start();
  const control = await serveControl(net, name);
  const send = (...lengths: number[]) => {
    for (const length of lengths) a.send(new Uint8Array(length).fill(0x45));
    runtime.advance('100ms');
  };
  const close = async () => {
    await control.close();
    await net.close();
  };
  return { runtime, net, control, send, close, [Symbol.asyncDispose]: close };
}

async function all(bytes: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return join(chunks);
}

/** Everything the socket answers to raw bytes. */
function talk(file: string, ...parts: (string | Uint8Array)[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(file);
    let answer = '';
    socket.setEncoding('utf8').on('data', (text: string) => (answer += text));
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
    for (const part of parts) socket.write(part);
    socket.end();
  });
}

describe('the control socket of a network', () => {
  it('tells what the network did, and which links it has', async () => {
    await using run = await setup();
    run.send(20, 21);
    await using client = await connectControl('net0');
    expect((await client.report()).links.map((each) => each.packets)).toEqual([2, 1]);
    expect(await client.links()).toEqual([
      { name: 'a.out -> odd.in', layer: 'L3' },
      { name: 'odd.out -> b.in', layer: 'L3' },
    ]);
    expect((await client.report()).apps.find((each) => each.app === 'odd')!.drops).toEqual({
      'odd-length': 1,
    });
  });

  it('streams captures to several clients, each complete when its client ends it', async () => {
    await using run = await setup();
    const clients = await Promise.all([connectControl('net0'), connectControl('net0')]);
    const captures = [
      await clients[0]!.capture({ links: 'all', drops: true }),
      await clients[1]!.capture({ links: 'odd.out', snaplen: 24 }),
    ];
    expect(captures.map((each) => each.links.length)).toEqual([2, 1]);
    const files = captures.map((each) => all(each.bytes));
    run.send(20, 21, 60);
    captures[0]!.end();
    const first = readAll(await files[0]!);
    expect(first.map((each) => [each.interface.name, each.bytes.length, ...each.comments])).toEqual([
      ['a.out -> odd.in', 20],
      ['a.out -> odd.in', 21],
      ['a.out -> odd.in', 60],
      ['odd.out -> b.in', 20],
      ['drops', 21, 'dropped: odd-length (odd)'],
      ['odd.out -> b.in', 60],
    ]);
    run.send(22);
    captures[1]!.end();
    expect(readAll(await files[1]!).map((each) => [each.bytes.length, each.originalLength])).toEqual([
      [20, 20],
      [24, 60],
      [22, 22],
    ]);
    expect(run.net.links().every(({ link }) => link.witness === null)).toBe(true);
    await Promise.all(clients.map((each) => each.close()));
  });

  it('ends a capture by itself after so many packets', async () => {
    await using run = await setup();
    await using client = await connectControl('net0');
    const { bytes } = await client.capture({ links: 'a', count: 3 });
    run.send(20, 22, 24, 26);
    expect(readAll(await all(bytes))).toHaveLength(3);
  });

  it('ends captures whose client disappears, and completes those of a network that ends', async () => {
    const run = await setup();
    const gone = await connectControl('net0');
    await gone.capture();
    await using stays = await connectControl('net0');
    const { bytes } = await stays.capture();
    await gone.close();
    run.send(20);
    await run.control.close();
    expect(readAll(await all(bytes))).toHaveLength(2);
    expect(run.net.links().every(({ link }) => link.witness === null)).toBe(true);
    await run.close();
  });

  it('is for its owner alone, and leaves nothing behind', async () => {
    const run = await setup();
    expect(statSync(run.control.path).mode & 0o777).toBe(0o600);
    expect(statSync(path.dirname(run.control.path)).mode & 0o777).toBe(0o700);
    await run.close();
    expect(existsSync(path.join(base, 'tunconnector'))).toBe(false);
  });

  it('leaves a directory that was there', async () => {
    const directory = path.join(base, 'tunconnector');
    mkdirSync(directory, { mode: 0o700 });
    await (await setup()).close();
    expect(existsSync(directory)).toBe(true);
  });

  it('never puts a socket where others could replace it', async () => {
    const directory = path.join(base, 'tunconnector');
    mkdirSync(directory);
    chmodSync(directory, 0o777);
    // Root goes on to /run, anybody else learns why it cannot be.
    const run = await setup(`test-${process.pid}`).catch((error: unknown) => error);
    if (run instanceof Error)
      expect(run.message).toContain('is not a directory that only this user can write to');
    else await (run as Awaited<ReturnType<typeof setup>>).close();
    expect(readdirSync(directory)).toEqual([]);
  });

  it('lists the networks that live, and names them to who asks for another', async () => {
    await using one = await setup('one');
    await using two = await setup('two');
    const names = (await listNetworks()).filter((each) => each.path.startsWith(base));
    expect(names).toEqual([
      { name: 'one', path: one.control.path },
      { name: 'two', path: two.control.path },
    ]);
    await expect(connectControl('three')).rejects.toThrow(
      /no network "three" is running; choose one of .*one.*two/,
    );
  });

  it('takes the place of a process that was killed, and not that of a living one', async () => {
    const file = path.join(base, 'tunconnector', 'net0.sock');
    mkdirSync(path.dirname(file), { mode: 0o700 });
    const code = `require('node:net').createServer().listen(${JSON.stringify(file)}, () => console.log('up'))`;
    const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await expect(setup()).rejects.toMatchObject({
      code: 'ERR_SOCKET',
      message: expect.stringContaining('running already'),
    });
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    expect(existsSync(file)).toBe(true);
    await using run = await setup();
    await using client = await connectControl('net0');
    expect((await client.links()).length).toBe(2);
    expect(run.control.path).toBe(file);
  });

  it.each([
    ['no JSON', 'hello\n', 'ERR_USAGE', 'a request is not JSON'],
    ['no object', '[1]\n', 'ERR_USAGE', 'a request is not a JSON object'],
    [
      'nothing known',
      '{"do":"reboot"}\n',
      'ERR_USAGE',
      'found the request "reboot", expected report, links or capture',
    ],
    ['an unknown key', '{"do":"capture","link":"a"}\n', 'ERR_CONFIG', 'found the unknown key "link"'],
    ['a link that is not there', '{"do":"capture","links":"x"}\n', 'ERR_CONFIG', 'no link matches "x"'],
    ['a negative length', '{"do":"capture","snaplen":-1}\n', 'ERR_CONFIG', 'snaplen: found -1'],
  ])('refuses a request with the reason: %s', async (_name, line, code, message) => {
    await using run = await setup();
    const lines = (await talk(run.control.path, line, '{"do":"links"}\n')).trim().split('\n');
    expect(JSON.parse(lines[0]!)).toMatchObject({
      ok: false,
      code,
      message: expect.stringContaining(message),
    });
    // The connection lives on.
    expect(JSON.parse(lines[1]!)).toMatchObject({ ok: true });
  });

  it('ends a connection whose request has no end', async () => {
    await using run = await setup();
    const answer = await talk(run.control.path, 'x'.repeat(1 << 20));
    expect(JSON.parse(answer)).toMatchObject({ ok: false, message: 'a request is longer than 65536 bytes' });
    await using client = await connectControl('net0');
    expect((await client.links()).length).toBe(2);
  });

  it('keeps no answers for a client that asks without reading', async () => {
    await using run = await setup();
    const socket = connect(run.control.path);
    socket.on('error', () => {});
    socket.pause();
    let accepted = 0;
    const requests = '{"do":"report"}\n'.repeat(1000);
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
    while (accepted < 2000 && socket.write(requests)) accepted++;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before).toBeLessThan(
      64 << 20,
    );
    socket.destroy();
    await using client = await connectControl('net0');
    expect((await client.links()).length).toBe(2);
  });

  it.each(['', '.', '../x', 'a/b', 'a b', 'x'.repeat(65)])('has no such name: %j', async (name) => {
    await expect(setup(name)).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    expect(existsSync(path.join(base, 'tunconnector'))).toBe(false);
  });
});
