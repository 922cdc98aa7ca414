import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LiveRuntime } from '../../src/engine/live-runtime.ts';
import { MessageReader } from '../../src/engine/message-reader.ts';
import type { Channel } from '../../src/engine/outside.ts';
import type { TunconnectorError } from '../../src/errors.ts';
import { bytes, text } from './outside-worlds.ts';

describe('messages in a byte stream', () => {
  it('are found wherever the stream is cut', () => {
    const messages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });
    const cuts = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(messages, cuts, (sent, pieces) => {
        const stream = Buffer.concat(
          sent.flatMap((message) => {
            const header = Buffer.alloc(4);
            header.writeUInt32BE(message.length);
            return [header, message];
          }),
        );
        const reader = new MessageReader(300);
        const found: Uint8Array[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const piece = stream.subarray(at, at + pieces[i % pieces.length]);
          for (let from = 0; from < piece.length; ) {
            from = reader.read(piece, from);
            const message = reader.take();
            if (message) found.push(message);
          }
          at += piece.length;
        }
        expect(found.map((each) => [...each])).toEqual(sent.map((each) => [...each]));
        expect(reader.insideMessage).toBe(false);
      }),
      { seed: 2, numRuns: 500 },
    );
  });

  it('take memory as they arrive, not as they are announced', () => {
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 200 }, () => {
      const reader = new MessageReader(16 << 20);
      reader.read(Uint8Array.of(1, 0, 0, 0, 7), 0);
      return reader;
    });
    expect(readers.every((reader) => reader.insideMessage)).toBe(true);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 << 20);
  });
});

describe('live channels', () => {
  let folder: string;
  const runtime = new LiveRuntime();
  const closers: (() => void)[] = [];
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'channel-'));
  });
  afterEach(() => {
    for (const close of closers.splice(0)) close();
    rmSync(folder, { recursive: true, force: true });
  });

  const until = async (condition: () => boolean) => {
    for (const start = performance.now(); !condition(); ) {
      if (performance.now() - start > 8000) throw new Error(`not within 8 s: ${condition}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };

  async function listening(bind = '127.0.0.1:0', maxMessage = 1000) {
    const log: string[] = [];
    const errors: TunconnectorError[] = [];
    const channels: Channel[] = [];
    const listener = runtime.listen(
      bind,
      {
        onChannel(channel) {
          const id = channels.push(channel) - 1;
          closers.push(() => channel.close());
          return {
            onMessage: (m) => log.push(`${id} ${text(m)}`),
            onClose(error) {
              log.push(`${id} ${error?.code ?? 'closed'}`);
              if (error) errors.push(error);
            },
          };
        },
      },
      { maxMessage },
    );
    closers.push(() => listener.close());
    await until(() => listener.address !== '');
    return { log, errors, channels, listener };
  }

  /** A peer that is none of ours. */
  function stranger(address: string): Promise<Socket> {
    const socket = address.includes('/')
      ? connect(address)
      : connect({ host: '127.0.0.1', port: Number(address.split(':').at(-1)) });
    closers.push(() => socket.destroy());
    socket.on('error', () => {});
    return new Promise((resolve) => socket.once('connect', () => resolve(socket)));
  }

  it('have four bytes of length, big-endian, in front of each message', async () => {
    const { log, channels, listener } = await listening();
    const socket = await stranger(listener.address);
    const received: Buffer[] = [];
    socket.on('data', (chunk) => received.push(chunk));
    socket.write(Buffer.from([0, 0, 0, 2, 0x68, 0x69]));
    await until(() => log.length === 1);
    expect(log).toEqual(['0 hi']);
    channels[0].send(bytes('you'));
    channels[0].send(bytes(''));
    await until(() => Buffer.concat(received).length === 11);
    expect([...Buffer.concat(received)]).toEqual([0, 0, 0, 3, 0x79, 0x6f, 0x75, 0, 0, 0, 0]);
  });

  it.each(['127.0.0.1:0', 'unix'])('end alone when their peer misbehaves (%s)', async (bind) => {
    const { log, errors, channels, listener } = await listening(
      bind === 'unix' ? path.join(folder, 'a.sock') : bind,
    );
    const good = await stranger(listener.address);
    await until(() => channels.length === 1);
    const hostile: (string | number[])[] = [
      [0xff, 0xff, 0xff, 0xff],
      [0, 0, 3, 0xe9],
      'GET / HTTP/1.1\r\nHost: example.com\r\n\r\n',
      [0x80, 0, 0, 0, 1, 2, 3],
    ];
    for (const [i, attack] of hostile.entries()) {
      const socket = await stranger(listener.address);
      let ended = false;
      socket.on('close', () => {
        ended = true;
      });
      socket.resume();
      socket.write(Buffer.from(attack as number[]));
      await until(() => ended && errors.length === i + 1);
    }
    expect(
      errors.every((error) => /announced a message of \d+ bytes, the limit is 1000/.test(error.message)),
    ).toBe(true);
    // Ended within a header, and within a message.
    for (const [i, part] of [[0], [0, 0, 0, 4, 1, 2]].entries()) {
      const socket = await stranger(listener.address);
      socket.end(Buffer.from(part));
      await until(() => errors.length === hostile.length + i + 1);
    }
    expect(errors.at(-1)?.message).toContain('within a message');
    good.write(Buffer.from([0, 0, 0, 2, 0x6f, 0x6b]));
    await until(() => log.includes('0 ok'));
    expect(log.filter((line) => line.startsWith('0 '))).toEqual(['0 ok']);
  });

  it('tell of a reset', async () => {
    const { errors, channels, listener } = await listening();
    const socket = await stranger(listener.address);
    await until(() => channels.length === 1);
    socket.resetAndDestroy();
    await until(() => errors.length === 1);
    expect(errors[0]).toMatchObject({ code: 'ERR_SOCKET', errno: 'ECONNRESET' });
  });

  it('give up connecting when the time is over', async () => {
    // A program that is stopped takes nobody; when its queue is full, the kernel answers no further request.
    const script = `require('net').createServer().listen({ host: '127.0.0.1', port: 0, backlog: 1 },
      function () { console.log(this.address().port); })`;
    const program = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    closers.push(() => program.kill('SIGKILL'));
    const port = Number(String(await new Promise((resolve) => program.stdout.once('data', resolve))));
    program.kill('SIGSTOP');
    const answered = await Promise.all(
      Array.from({ length: 6 }, () => {
        const opened: string[] = [];
        const channel = runtime.connect(
          `127.0.0.1:${port}`,
          {
            onOpen: () => opened.push('open'),
            onMessage() {},
            onClose: (error) => opened.push(`${error?.errno}`),
          },
          { timeout: 300_000_000 },
        );
        closers.push(() => channel.close());
        return until(() => opened.length > 0).then(() => opened[0]);
      }),
    );
    expect(new Set(answered)).toEqual(new Set(['open', 'ETIMEDOUT']));
  });

  it('by path are for their owner alone, and take the place of a dead socket only', async () => {
    const file = path.join(folder, 'a.sock');
    // A program that is killed leaves its socket behind.
    const script = `require('net').createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, 9))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(existsSync(file)).toBe(true);
    const { listener } = await listening(file);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const socket = await stranger(file);
    expect(socket.destroyed).toBe(false);
    listener.close();
    await until(() => !existsSync(file));

    writeFileSync(file, 'a file of somebody');
    const errors: TunconnectorError[] = [];
    runtime.listen(file, { onChannel: () => undefined, onError: (error) => errors.push(error) });
    await until(() => errors.length === 1);
    expect(errors[0].code).toBe('ERR_PORT_IN_USE');
    expect(existsSync(file)).toBe(true);
  });

  it('tell what is wrong with an address that is not of this machine', async () => {
    const errors: TunconnectorError[] = [];
    runtime.listen('192.0.2.1:0', { onChannel: () => undefined, onError: (error) => errors.push(error) });
    await until(() => errors.length === 1);
    expect(errors[0]).toMatchObject({ code: 'ERR_SOCKET', errno: 'EADDRNOTAVAIL' });
    expect(() => runtime.datagrams('192.0.2.1:0', { onMessage() {} })).toThrow(
      expect.objectContaining({ code: 'ERR_SOCKET', errno: 'EADDRNOTAVAIL' }),
    );
  });
});
