import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { type StreamMessage, streamMessage } from '../../src/control/impair/contract.ts';
import { datagram, messagesOf, settled, type TestServer, testServer, until } from './served.ts';

const TOKEN = 'correct-horse-battery-staple';

async function opened(served: TestServer, query = '', protocols: string[] = [], headers = {}) {
  if (!served.server.server.listening) await served.server.listen({ host: '127.0.0.1', port: 0 });
  const { port } = served.server.server.address() as AddressInfo;
  const socket = new WebSocket(`ws://127.0.0.1:${port}/api/v1/stream${query}`, protocols, { headers });
  const messages = messagesOf(socket) as unknown as StreamMessage[];
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('unexpected-response', (_request, response) =>
      reject(new Error(`status ${response.statusCode}`)),
    );
    socket.once('error', reject);
  });
  return { socket, messages };
}

const ofType = <Type extends StreamMessage['type']>(messages: StreamMessage[], type: Type) =>
  messages.filter((each): each is Extract<StreamMessage, { type: Type }> => each.type === type);

describe('a stream', () => {
  it('begins with who is there, and goes on with what the contract says', async () => {
    await using served = await testServer({ up: 'delay 1ms loss 50%' });
    const { socket, messages } = await opened(served, '?interval=100ms');
    await until(served, () => messages.length > 0);
    expect(messages[0]).toMatchObject({
      type: 'hello',
      version: 1,
      revision: 1,
      left: 'a',
      right: 'b',
      seed: 7,
      interval: 100,
    });
    await until(served, () => ofType(messages, 'stats').length > 0);
    for (let i = 0; i < 50; i++) served.pair.a.send(datagram(1000 + i));
    const types = () => new Set(messages.map(({ type }) => type));
    await until(
      served,
      () =>
        types().size === 4 &&
        ofType(messages, 'flows').some(({ total }) => total > 0) &&
        ofType(messages, 'stats').length > 5,
    );
    await served.ask('PUT', '/api/v1/spec', { up: 'delay 2ms' });
    await until(served, () => types().has('spec'));
    for (const message of messages) expect(streamMessage.safeParse(message).error).toBeUndefined();
    expect(ofType(messages, 'spec')).toEqual([{ type: 'spec', revision: 2 }]);
    expect(ofType(messages, 'stats').at(-1)).toMatchObject({ up: { packets: 50 }, skipped: 0 });
    expect(ofType(messages, 'flows').at(-1)).toMatchObject({ total: 50 });
    socket.terminate();
  });

  it('comes at its interval, and what was not asked for does not come', async () => {
    await using served = await testServer({ up: 'loss 100%' });
    const { socket, messages } = await opened(served, '?interval=500ms&parts=stats');
    await until(served, () => messages.length > 0);
    served.pair.a.send(datagram());
    const start = served.pair.runtime.now();
    await until(served, () => served.pair.runtime.now() - start >= 10e9);
    expect(new Set(messages.map(({ type }) => type))).toEqual(new Set(['hello', 'stats']));
    const count = ofType(messages, 'stats').length;
    expect([count >= 19, count <= 21]).toEqual([true, true]);
    socket.terminate();
  });

  it('tells drops as they happen, with their flow, stage and reason, while somebody watches', async () => {
    await using served = await testServer({
      up: 'loss list 2',
      rules: [{ label: 'big', match: '*:udp:53', down: 'mtu 100' }],
    });
    const { socket, messages } = await opened(served, '?interval=100ms&parts=drops');
    await until(served, () => messages.length > 0);
    // The first look begins to watch.
    served.pair.runtime.advance('200ms');
    await settled();
    for (let i = 0; i < 3; i++) served.pair.a.send(datagram());
    served.pair.runtime.advance('1ms');
    const at = served.pair.runtime.now() - 1_000_000;
    await until(served, () => ofType(messages, 'drops').length > 0);
    const drop = {
      at,
      direction: 'up',
      flow: 'udp 10.0.0.1:1000 > 10.0.0.2:53',
      rule: 'default',
      stage: 'loss',
      why: 'loss',
    };
    expect(ofType(messages, 'drops')).toEqual([
      { type: 'drops', drops: [{ ...drop, packets: 1, bytes: 128 }], more: 0 },
    ]);
    socket.terminate();
  });

  it('shows some of many drops, and counts the others', async () => {
    await using served = await testServer({ up: 'loss 100%' });
    const { socket, messages } = await opened(served, '?interval=100ms&parts=drops');
    await until(served, () => messages.length > 0);
    served.pair.runtime.advance('200ms');
    await settled();
    for (let i = 0; i < 1000; i++) {
      served.pair.a.send(datagram());
      served.pair.runtime.advance('1us');
    }
    await until(served, () => ofType(messages, 'drops').length > 0);
    const all = ofType(messages, 'drops');
    const shown = all.flatMap(({ drops }) => drops);
    expect(shown.length + all.reduce((sum, { more }) => sum + more, 0)).toBe(1000);
    expect(shown.length).toBeGreaterThanOrEqual(100);
    for (const { drops } of all) expect(drops.length).toBeLessThanOrEqual(200);
    // Evenly chosen: the last are among them, not the first alone.
    const times = shown.map(({ at }) => at);
    expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(950_000);
    socket.terminate();
  });

  it('watches drops no longer than somebody looks', async () => {
    await using served = await testServer({ up: 'loss 100%' });
    const { socket, messages } = await opened(served, '?interval=100ms&parts=drops');
    await until(served, () => messages.length > 0);
    served.pair.runtime.advance('200ms');
    await settled();
    served.pair.a.send(datagram());
    await until(served, () => ofType(messages, 'drops').length === 1);
    socket.terminate();
    await until(served, () => served.streams.size === 0);
    await settled();
    served.pair.a.send(datagram());
    served.pair.runtime.advance('1ms');
    const [up] = await served.link.drops();
    expect(up).toEqual({ drops: [], total: 0 });
  });

  it.each([
    ['interval=50ms', 400],
    ['interval=2m', 400],
    ['parts=stats,secrets', 400],
    ['rules=-1', 400],
    ['what=1', 400],
  ])('with %s is refused', async (query, status) => {
    await using served = await testServer();
    await expect(opened(served, `?${query}`)).rejects.toThrow(`status ${status}`);
    expect(served.streams.size).toBe(0);
  });

  it('needs the token, and does not send it back', async () => {
    await using served = await testServer({}, { token: TOKEN });
    await expect(opened(served)).rejects.toThrow('status 401');
    await expect(opened(served, '', ['tunconnector.v1', 'tunconnector.token.wrong'])).rejects.toThrow(
      'status 401',
    );
    const { socket, messages } = await opened(served, '', ['tunconnector.v1', `tunconnector.token.${TOKEN}`]);
    expect(socket.protocol).toBe('tunconnector.v1');
    await until(served, () => messages.length > 0);
    socket.terminate();
  });

  it('is not for another site’s page, nor for another host', async () => {
    await using served = await testServer();
    await expect(opened(served, '', [], { origin: 'http://evil.test' })).rejects.toThrow('status 403');
    await expect(opened(served, '', [], { host: 'evil.test' })).rejects.toThrow('status 421');
  });

  it('is for so many readers and no more', async () => {
    await using served = await testServer();
    const sockets = [];
    for (let i = 0; i < 32; i++) sockets.push((await opened(served)).socket);
    await until(served, () => served.streams.size === 32);
    await expect(opened(served)).rejects.toThrow('status 503');
    sockets[0].terminate();
    await until(served, () => served.streams.size === 31);
    sockets.push((await opened(served)).socket);
    for (const socket of sockets) socket.terminate();
  });

  it('takes no messages', async () => {
    await using served = await testServer();
    const { socket } = await opened(served);
    const closed = new Promise<number>((resolve) => socket.once('close', resolve));
    socket.send('{}');
    expect(await closed).toBe(1008);
  });

  it('ends with the server, also for who does not answer', async () => {
    const served = await testServer();
    const { socket } = await opened(served);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const start = performance.now();
    await served[Symbol.asyncDispose]();
    await closed;
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

describe('a reader that does not read', () => {
  const many = Array.from({ length: 1000 }, (_, i) => ({
    label: `r${i}`,
    match: `*:udp:${i + 1}`,
    both: 'delay 1ms loss 1%',
  }));

  it('gets fewer messages, is disconnected at last, and holds up nobody', async () => {
    await using served = await testServer({ rules: many });
    const { server, streams } = served;
    const slow = await opened(served, '?interval=100ms&parts=stats&rules=1000');
    const quick = await opened(served, '?interval=100ms&parts=stats&rules=0');
    await until(served, () => slow.messages.length > 0 && quick.messages.length > 0);
    slow.socket.pause();
    const buffered = () =>
      Math.max(...[...server.websocketServer.clients].map((each) => each.bufferedAmount));
    let most = 0;
    await until(
      served,
      () => {
        most = Math.max(most, buffered());
        return streams.counts.late === 1;
      },
      '100ms',
    );
    expect(streams.counts.skipped).toBeGreaterThan(50);
    // The bound, and the message that went over it.
    expect(most).toBeLessThan(4 << 20);
    await until(served, () => streams.size === 1);
    const before = quick.messages.length;
    await until(served, () => quick.messages.length > before + 5);
    expect(ofType(quick.messages, 'stats').at(-1)!.skipped).toBe(0);
    const { body } = await served.ask('GET', '/metrics');
    expect(body).toContain('\ntunconnector_impair_stream_late_readers_total 1\n');
    slow.socket.terminate();
    quick.socket.terminate();
  });

  it('and is quick again gets messages again, which say how many it missed', async () => {
    await using served = await testServer({ rules: many });
    const { socket, messages } = await opened(served, '?interval=100ms&parts=stats&rules=1000');
    await until(served, () => messages.length > 0);
    socket.pause();
    await until(served, () => served.streams.counts.skipped > 5, '100ms');
    socket.resume();
    await until(served, () => (ofType(messages, 'stats').at(-1)?.skipped ?? 0) > 5, '100ms');
    expect(served.streams.counts.late).toBe(0);
    socket.terminate();
  });

  it('is disconnected also where it owes nothing but an answer to a ping', async () => {
    await using served = await testServer();
    const { socket, messages } = await opened(served, '?interval=60s&parts=stats');
    await until(served, () => messages.length > 0);
    socket.pause();
    await until(served, () => served.streams.counts.late === 1, '500ms');
    await until(served, () => served.streams.size === 0);
    expect(served.streams.counts).toMatchObject({ late: 1, skipped: 0 });
    socket.terminate();
  });
});
