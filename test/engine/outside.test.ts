import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Channel, ChannelHandlers, ConnectOptions, ListenOptions } from '../../src/engine/outside.ts';
import type { TunconnectorError } from '../../src/errors.ts';
import { bytes, text, type World, worlds } from './outside-worlds.ts';

describe.each(worlds)('outside, %s', (_, makeWorld) => {
  let world: World;
  const closers: { close(): void }[] = [];
  const kept = <T extends { close(): void }>(each: T): T => {
    closers.push(each);
    return each;
  };
  beforeEach(() => {
    world = makeWorld();
  });
  afterEach(() => {
    for (const each of closers.splice(0)) each.close();
    world.end();
  });

  /** One end of a channel that writes down what happens to it. */
  class Recorder implements ChannelHandlers {
    log: string[] = [];
    error: TunconnectorError | undefined;
    channel!: Channel;
    onOpen() {
      this.log.push('open');
    }
    onMessage(message: Uint8Array) {
      this.log.push(message.length > 100 ? `${message.length} bytes` : text(message));
    }
    onDrain() {
      this.log.push('drain');
    }
    onClose(error?: TunconnectorError) {
      this.error = error;
      this.log.push(error ? `broken ${error.code}` : 'closed');
    }
  }

  async function listening(bind: string, options?: ListenOptions) {
    const accepted: Recorder[] = [];
    const listener = kept(
      world.runtime.listen(
        bind,
        {
          onChannel(channel) {
            const recorder = new Recorder();
            recorder.channel = kept(channel);
            accepted.push(recorder);
            return recorder;
          },
        },
        options,
      ),
    );
    await world.until(() => listener.address !== '');
    return { listener, accepted };
  }

  function connected(to: string, options?: ConnectOptions) {
    const recorder = new Recorder();
    recorder.channel = kept(world.runtime.connect(to, recorder, options));
    return recorder;
  }

  async function pair(listenOptions?: ListenOptions, connectOptions?: ConnectOptions, bind = '127.0.0.1:0') {
    const { listener, accepted } = await listening(bind, listenOptions);
    const client = connected(listener.address, connectOptions);
    await world.until(() => accepted.length === 1 && client.log.includes('open'));
    return { client, server: accepted[0], listener, accepted };
  }

  describe('datagrams', () => {
    const addresses = [
      ['127.0.0.1:0', /^127\.0\.0\.1:\d+$/],
      ['[::1]:0', /^\[::1\]:\d+$/],
    ] as const;

    it.each(addresses)('go to %s and are answered', async (bind, shape) => {
      const got: string[] = [];
      const a = kept(
        world.runtime.datagrams(bind, { onMessage: (from, m) => got.push(`a ${from} ${text(m)}`) }),
      );
      const b = kept(
        world.runtime.datagrams(bind, {
          onMessage(from, m) {
            got.push(`b ${from} ${text(m)}`);
            b.send(from, bytes('pong'));
          },
        }),
      );
      expect(a.address).toMatch(shape);
      expect(a.address).not.toBe(b.address);
      a.send(b.address, bytes('ping'));
      await world.until(() => got.length === 2);
      expect(got).toEqual([`b ${a.address} ping`, `a ${b.address} pong`]);
      expect(a.counters).toEqual({ sent: 1, received: 1, dropped: 0, failed: 0 });
    });

    it('reach a socket that is bound to all addresses, IPv4 through an IPv6 one too', async () => {
      const got: string[] = [];
      const all = kept(
        world.runtime.datagrams('[::]:0', { onMessage: (from, m) => got.push(`${from} ${text(m)}`) }),
      );
      const port = all.address.split(':').at(-1);
      const four = kept(world.runtime.datagrams('127.0.0.1:0', { onMessage: (_, m) => got.push(text(m)) }));
      four.send(`127.0.0.1:${port}`, bytes('four'));
      await world.until(() => got.length === 1);
      expect(got).toEqual([`${four.address} four`]);
      all.send(four.address, bytes('back'));
      await world.until(() => got.length === 2);
      expect(got[1]).toBe('back');
    });

    it('leave the sender its bytes, and never call back from within send', async () => {
      const got: string[] = [];
      const a = kept(world.runtime.datagrams('127.0.0.1:0', { onMessage: (_, m) => got.push(text(m)) }));
      const message = bytes('first');
      a.send(a.address, message);
      expect(got).toEqual([]);
      message.fill(0x78);
      await world.until(() => got.length === 1);
      expect(got).toEqual(['first']);
    });

    it('are refused a port that is taken', () => {
      const a = kept(world.runtime.datagrams('127.0.0.1:0', { onMessage() {} }));
      expect(() => world.runtime.datagrams(a.address, { onMessage() {} })).toThrow(
        expect.objectContaining({ code: 'ERR_PORT_IN_USE' }),
      );
      a.close();
      closers.length = 0;
      kept(world.runtime.datagrams(a.address, { onMessage() {} }));
    });

    it('that cannot be sent are counted and told, and the socket goes on', async () => {
      const errors: TunconnectorError[] = [];
      const got: string[] = [];
      const a = kept(
        world.runtime.datagrams('127.0.0.1:0', {
          onMessage: (_, m) => got.push(text(m)),
          onError: (error) => errors.push(error),
        }),
      );
      a.send('127.0.0.1:9', new Uint8Array(65508));
      a.send('[::1]:9', bytes('x'));
      a.send('127.0.0.1:0', bytes('x'));
      expect(errors).toEqual([]);
      a.send(a.address, bytes('still there'));
      await world.until(() => errors.length === 3 && got.length === 1);
      expect(errors.map((error) => error.code)).toEqual(['ERR_SOCKET', 'ERR_SOCKET', 'ERR_SOCKET']);
      expect(a.counters.failed).toBe(3);
      expect(() => a.send('localhost', bytes('x'))).toThrow(expect.objectContaining({ code: 'ERR_ADDRESS' }));
    });

    it('are dropped and counted when the queue is full', () => {
      const a = kept(world.runtime.datagrams('127.0.0.1:0', { onMessage() {} }, { queueLimit: 100 }));
      a.send(a.address, new Uint8Array(101));
      expect(a.counters.dropped).toBe(1);
    });

    it('are neither sent nor told of after close', async () => {
      const got: string[] = [];
      const a = world.runtime.datagrams('127.0.0.1:0', { onMessage: (_, m) => got.push(text(m)) });
      const b = kept(world.runtime.datagrams('127.0.0.1:0', { onMessage() {} }));
      b.send(a.address, bytes('late'));
      a.close();
      a.close();
      a.send(b.address, bytes('never'));
      await world.pass(20);
      expect(got).toEqual([]);
      expect(b.counters.received).toBe(0);
    });
  });

  describe('channels', () => {
    const binds = () => ['127.0.0.1:0', '[::1]:0', path.join(world.folder, 'a.sock')];

    it('carry messages both ways, whole and in order, over IPv4, IPv6 and Unix sockets', async () => {
      for (const bind of binds()) {
        const { client, server } = await pair(undefined, undefined, bind);
        const sizes = [0, 1, 3, 70_000, 2, 500_000, 0, 101];
        for (const [i, size] of sizes.entries()) {
          expect(client.channel.send(new Uint8Array(size).fill(i))).toBe(true);
          expect(server.channel.send(bytes(`answer ${i}`))).toBe(true);
        }
        await world.until(() => server.log.length === sizes.length && client.log.length === sizes.length + 1);
        expect(server.log).toEqual([
          '',
          '\x01',
          '\x02\x02\x02',
          '70000 bytes',
          '\x04\x04',
          '500000 bytes',
          '',
          '101 bytes',
        ]);
        expect(client.log).toEqual(['open', ...sizes.map((_, i) => `answer ${i}`)]);
      }
    });

    it('take messages before they are open, and leave the sender its bytes', async () => {
      const { listener, accepted } = await listening('127.0.0.1:0');
      const client = connected(listener.address);
      const message = bytes('early');
      expect(client.channel.send(message)).toBe(true);
      message.fill(0);
      expect(client.log).toEqual([]);
      await world.until(() => accepted[0]?.log.length === 1);
      expect(accepted[0].log).toEqual(['early']);
      expect(accepted[0].channel.peer).toMatch(/^127\.0\.0\.1:\d+$/);
      expect(client.channel.peer).toBe(listener.address);
    });

    it('that are closed deliver what was sent, end for the other side, and tell their own side nothing', async () => {
      const { client, server } = await pair();
      server.channel.send(bytes('crosses the close'));
      for (let i = 0; i < 10; i++) client.channel.send(new Uint8Array(50_000));
      client.channel.close();
      client.channel.close();
      expect(client.channel.send(bytes('never'))).toBe(false);
      await world.until(() => server.log.includes('closed'));
      expect(server.log).toEqual([...Array(10).fill('50000 bytes'), 'closed']);
      expect(server.channel.send(bytes('never'))).toBe(false);
      await world.pass(20);
      expect(client.log).toEqual(['open']);
    });

    it('to where nobody listens end with ERR_SOCKET', async () => {
      const { listener } = await listening('127.0.0.1:0');
      listener.close();
      await world.pass(5);
      for (const to of [listener.address, path.join(world.folder, 'nobody.sock')]) {
        const client = connected(to);
        client.channel.send(bytes('x'));
        expect(client.log).toEqual([]);
        await world.until(() => client.log.length > 0);
        expect(client.log).toEqual(['broken ERR_SOCKET']);
        expect(client.error?.message).toContain(to);
        expect(client.channel.buffered).toBe(0);
      }
    });

    it('come from the address that is asked for', async () => {
      const { server } = await pair(undefined, { bind: '127.0.0.7:0' });
      expect(server.channel.peer).toMatch(/^127\.0\.0\.7:/);
    });

    it('refuse what their buffer cannot hold, and say when there is room again', async () => {
      const bufferLimit = 100_000;
      const { client, server } = await pair(undefined, { bufferLimit });
      server.channel.pause();
      await world.pass(5);
      let taken = 0;
      // The kernel's buffers fill first, where there is a kernel.
      for (let turn = 0; turn < 5000; turn++) {
        while (client.channel.send(new Uint8Array(30_000))) taken++;
        expect(client.channel.buffered).toBeLessThanOrEqual(bufferLimit);
        if (!client.log.includes('drain') && turn > 20) break;
        client.log = client.log.filter((each) => each !== 'drain');
        await world.pass(2);
      }
      expect(taken).toBeGreaterThanOrEqual(3);
      expect(client.channel.send(new Uint8Array(30_000))).toBe(false);
      expect(client.log).toEqual(['open']);
      server.channel.resume();
      await world.until(() => client.log.includes('drain'));
      expect(client.channel.send(bytes('last'))).toBe(true);
      await world.until(() => server.log.includes('last'));
      expect(server.log).toEqual([...Array(taken).fill('30000 bytes'), 'last']);
    });

    it('take a message longer than the buffer when it is empty, and none after it', async () => {
      const { client, server } = await pair(undefined, { bufferLimit: 1000 });
      expect(client.channel.send(new Uint8Array(3_000_000))).toBe(true);
      expect(client.channel.send(new Uint8Array(1))).toBe(false);
      await world.until(() => server.log.length === 1 && client.log.includes('drain'));
      expect(server.log).toEqual(['3000000 bytes']);
    });

    it('deliver nothing while paused, also of what arrived in one piece, and the rest afterwards', async () => {
      const { client, server } = await pair();
      const { onMessage } = server;
      server.onMessage = (message) => {
        onMessage.call(server, message);
        server.channel.pause();
      };
      for (const each of ['a', 'b', 'c']) client.channel.send(bytes(each));
      client.channel.close();
      for (const log of [['a'], ['a', 'b'], ['a', 'b', 'c']]) {
        await world.until(() => server.log.length === log.length);
        await world.pass(10);
        expect(server.log).toEqual(log);
        server.channel.resume();
        expect(server.log).toEqual(log);
      }
      await world.until(() => server.log.includes('closed'));
    });

    it('throw at who sends more than the limit, and end when the other side does', async () => {
      const { client, server, listener, accepted } = await pair({ maxMessage: 1000 }, { maxMessage: 2000 });
      const other = connected(listener.address);
      expect(() => client.channel.send(new Uint8Array(2001))).toThrow(
        expect.objectContaining({ code: 'ERR_LIMIT' }),
      );
      client.channel.send(new Uint8Array(1000));
      client.channel.send(new Uint8Array(1001));
      await world.until(() => server.error !== undefined && client.error !== undefined);
      expect(server.log).toEqual(['1000 bytes', 'broken ERR_SOCKET']);
      expect(client.log).toEqual(['open', 'broken ERR_SOCKET']);
      await world.until(() => accepted.length === 2);
      other.channel.send(bytes('well'));
      await world.until(() => accepted[1].log.length === 1);
    });

    it('are refused an address that is taken', async () => {
      for (const bind of binds()) {
        const { listener } = await listening(bind);
        const errors: TunconnectorError[] = [];
        kept(
          world.runtime.listen(listener.address, {
            onChannel: () => undefined,
            onListening: () => errors.push(new Error('it listens') as TunconnectorError),
            onError: (error) => errors.push(error),
          }),
        );
        expect(errors).toEqual([]);
        await world.until(() => errors.length > 0);
        expect(errors.map((error) => error.code)).toEqual(['ERR_PORT_IN_USE']);
        // Who holds it was not disturbed.
        const client = connected(listener.address);
        await world.until(() => client.log.includes('open'));
      }
    });

    it('are turned away by a listener that wants none, or has enough', async () => {
      const { listener, accepted } = await listening('127.0.0.1:0', { maxChannels: 1 });
      const first = connected(listener.address);
      await world.until(() => accepted.length === 1);
      const second = connected(listener.address);
      await world.until(() => second.log.at(-1) !== 'open' && second.log.length > 0);
      expect(accepted.length).toBe(1);
      expect(first.log).toEqual(['open']);
      first.channel.close();
      await world.until(() => accepted[0].log.includes('closed'));
      const third = connected(listener.address);
      await world.until(() => accepted.length === 2);
      expect(third.error).toBeUndefined();

      const none = kept(world.runtime.listen('127.0.0.1:0', { onChannel: () => undefined }));
      await world.until(() => none.address !== '');
      const refused = connected(none.address);
      await world.until(() => refused.log.includes('closed'));
    });

    it('outlive the listener that they came through', async () => {
      const { client, server, listener } = await pair();
      listener.close();
      await world.pass(5);
      client.channel.send(bytes('still here'));
      await world.until(() => server.log.length === 1);
      const again = await listening(listener.address);
      expect(again.listener.address).toBe(listener.address);
    });

    it('of a listener that is closed at once never come', async () => {
      const seen: string[] = [];
      const listener = world.runtime.listen('127.0.0.1:0', {
        onChannel: () => undefined,
        onListening: (address) => seen.push(address),
        onError: (error) => seen.push(error.code),
      });
      listener.close();
      await world.pass(20);
      expect(seen).toEqual([]);
      expect(listener.address).toBe('');
    });

    it('want an address that can be one', () => {
      const handlers = { onMessage() {}, onClose() {} };
      const bad = ['localhost:1', '10.0.0.1', `/${'x'.repeat(108)}`, ''];
      for (const to of bad) {
        expect(() => world.runtime.connect(to, handlers)).toThrow(
          expect.objectContaining({ code: 'ERR_ADDRESS' }),
        );
        expect(() => world.runtime.listen(to, { onChannel: () => handlers })).toThrow(
          expect.objectContaining({ code: 'ERR_ADDRESS' }),
        );
      }
    });
  });
});
