import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { ControlError, ImpairClient, type StreamMessage } from '../../src/control/client/index.ts';
import { datagram, settled, type TestServer, testServer } from './served.ts';

const TOKEN = 'correct-horse-battery-staple';

async function listening(served: TestServer): Promise<string> {
  await served.server.listen({ host: '127.0.0.1', port: 0 });
  return `http://127.0.0.1:${(served.server.server.address() as AddressInfo).port}`;
}

/** Lets virtual time pass while something real is waited for. */
async function passing<T>(served: TestServer, work: Promise<T>): Promise<T> {
  let done = false;
  const ended = work.finally(() => {
    done = true;
  });
  while (!done) {
    served.pair.runtime.advance('50ms');
    await settled(5);
  }
  return ended;
}

describe('the client', () => {
  it('has a method for every route', async () => {
    await using served = await testServer('delay 5ms', { token: TOKEN });
    const link = new ImpairClient({ url: `${await listening(served)}/`, token: TOKEN });
    expect(await link.spec()).toEqual({ revision: 1, spec: { both: 'delay 5ms' }, seed: 7 });
    expect((await link.putSpec({ up: 'delay 9ms' }, { revision: 1 })).revision).toBe(2);
    expect((await link.putSpec('both: loss 1%')).spec).toEqual({ both: 'loss 1%' });
    expect((await link.patchRule('dns', { match: '*:udp:53', up: 'delay 1ms' })).position).toBe(0);
    expect((await link.rules()).rules.map(({ label }) => label)).toEqual(['default', 'dns']);
    expect(await link.deleteRule('dns', { revision: 4 })).toEqual({ revision: 5 });
    served.pair.a.send(datagram());
    served.pair.runtime.advance('1ms');
    expect((await link.stats({ rules: 1 })).up.packets).toBe(1);
    expect((await link.flows({ top: 1, sort: 'last' })).total).toBe(1);
    expect((await link.presets()).presets.map(({ name }) => name)).toContain('lte');
    expect((await link.kinds()).kinds.map(({ kind }) => kind)).toContain('rate');
    expect(await link.metrics()).toContain('tunconnector_impair_spec_revision 5');
    expect(Object.keys((await link.openapi()).paths as object)).toContain('/api/v1/spec');
  });

  it('throws what the server has against a change', async () => {
    await using served = await testServer();
    const url = await listening(served);
    const link = new ImpairClient({ url });
    const wrong = await link
      .putSpec({ up: ['delay 1ms', { kind: 'rate', rate: 'fast' }] })
      .catch((error) => error);
    expect(wrong).toBeInstanceOf(ControlError);
    expect(wrong).toMatchObject({
      status: 400,
      code: 'ERR_CONFIG',
      path: 'up.1.rate',
      found: '"fast"',
      expected: 'a rate such as 5mbit',
    });
    await expect(link.putSpec({}, { revision: 9 })).rejects.toMatchObject({
      status: 412,
      code: 'ERR_REVISION',
    });
    await expect(link.deleteRule('a b/c')).rejects.toMatchObject({ status: 404 });
  });

  it('streams, and connects again when the connection is lost', async () => {
    await using served = await testServer();
    const link = new ImpairClient({ url: await listening(served) });
    const connections: boolean[] = [];
    const found: StreamMessage['type'][] = [];
    const read = async () => {
      for await (const { type } of link.stream({
        interval: '100ms',
        parts: 'stats',
        onConnection: (is) => connections.push(is),
      })) {
        found.push(type);
        if (found.length === 3)
          for (const client of served.server.websocketServer.clients) client.terminate();
        if (found.filter((each) => each === 'hello').length === 2) break;
      }
    };
    await passing(served, read());
    expect(found.slice(0, 3)).toEqual(['hello', 'stats', 'stats']);
    expect(found.at(-1)).toBe('hello');
    expect(connections).toEqual([true, false, true]);
    await passing(
      served,
      (async () => {
        while (served.streams.size > 0) await settled();
      })(),
    );
    expect(served.streams.size).toBe(0);
  });

  it('ends its stream when it is aborted, and when it is told not to connect again', async () => {
    await using served = await testServer();
    const link = new ImpairClient({ url: await listening(served) });
    const abort = new AbortController();
    const read = async () => {
      let count = 0;
      for await (const _ of link.stream({ interval: '100ms', signal: abort.signal }))
        if (++count === 2) abort.abort();
      return count;
    };
    expect(await passing(served, read())).toBe(2);
    const once = async () => {
      let count = 0;
      for await (const _ of link.stream({ interval: '100ms', reconnect: false })) {
        if (++count === 2) for (const client of served.server.websocketServer.clients) client.terminate();
      }
      return count;
    };
    expect(await passing(served, once())).toBeGreaterThanOrEqual(2);
  });

  it('says why a stream is refused, and does not ask for ever', async () => {
    await using served = await testServer({}, { token: TOKEN });
    const url = await listening(served);
    const first = (link: ImpairClient, options = {}) => link.stream(options).next();
    await expect(first(new ImpairClient({ url }))).rejects.toMatchObject({ status: 401, code: 'ERR_TOKEN' });
    const wrong = new ImpairClient({ url, token: TOKEN });
    await expect(first(wrong, { interval: '1ms' })).rejects.toMatchObject({ status: 400, path: 'interval' });
    const nobody = new ImpairClient({ url: 'http://127.0.0.1:1' });
    await expect(first(nobody, { reconnect: false })).rejects.toThrow('fetch failed');
  });

  it('uses a WebSocket and a fetch of its caller’s', async () => {
    const asked: string[] = [];
    class Socket {
      onopen: (() => void) | null = null;
      onmessage: ((event: { data: unknown }) => void) | null = null;
      onclose: ((event: { code: number; reason: string }) => void) | null = null;
      onerror: (() => void) | null = null;
      constructor(url: string, protocols: string[]) {
        asked.push(url, ...protocols);
        queueMicrotask(() => {
          this.onopen?.();
          this.onmessage?.({ data: '{"type":"spec","revision":3}' });
        });
      }
      send() {}
      close() {
        asked.push('closed');
      }
    }
    const fetch = async (input: unknown) => {
      asked.push(String(input));
      return new Response('{"revision":1}');
    };
    const link = new ImpairClient({ url: 'https://a.test', token: TOKEN, WebSocket: Socket, fetch });
    for await (const message of link.stream({ rules: 0 })) {
      expect(message).toEqual({ type: 'spec', revision: 3 });
      break;
    }
    await link.deleteRule('a b');
    expect(asked).toEqual([
      'wss://a.test/api/v1/stream?rules=0',
      'tunconnector.v1',
      `tunconnector.token.${TOKEN}`,
      'closed',
      'https://a.test/api/v1/rules/a%20b',
    ]);
  });
});
