import { describe, expect, it } from 'vitest';
import { testServer } from './served.ts';

const TOKEN = 'correct-horse-battery-staple';
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

describe('without a token', () => {
  it.each(['localhost', 'localhost:7580', '127.0.0.1:7580', '[::1]:7580', '192.168.6.9'])(
    'the host %s is answered',
    async (host) => {
      await using served = await testServer();
      expect((await served.ask('GET', '/api/v1/spec', undefined, { host })).status).toBe(200);
    },
  );

  it.each(['evil.test', 'evil.test:7580', '127.0.0.1.evil.test', 'localhost.evil.test'])(
    'the host %s is not: any name may be made to point here',
    async (host) => {
      await using served = await testServer();
      const { status, body } = await served.ask('GET', '/api/v1/spec', undefined, { host });
      expect([status, body.error.code]).toEqual([421, 'ERR_HOST']);
    },
  );
});

describe('another site’s page', () => {
  it.each(['http://evil.test', 'http://localhost:9999', 'null', 'nonsense'])(
    '%s changes nothing',
    async (origin) => {
      await using served = await testServer({}, { token: TOKEN });
      const { status, body } = await served.ask(
        'PUT',
        '/api/v1/spec',
        { up: 'loss 1%' },
        { origin, ...bearer(TOKEN) },
      );
      expect([status, body.error.code]).toEqual([403, 'ERR_ORIGIN']);
      expect(served.link.revision).toBe(1);
    },
  );

  it('is told apart from ours', async () => {
    await using served = await testServer();
    const own = { origin: 'http://localhost:7580', host: 'localhost:7580' };
    expect((await served.ask('PUT', '/api/v1/spec', { up: 'loss 1%' }, own)).status).toBe(200);
  });

  it('gets no leave to read what we say', async () => {
    await using served = await testServer();
    const { headers } = await served.ask('GET', '/api/v1/spec', undefined, { origin: 'http://evil.test' });
    expect(headers).not.toHaveProperty('access-control-allow-origin');
    expect(headers['cross-origin-resource-policy']).toBe('same-origin');
  });
});

describe('with a token', () => {
  it.each([
    ['none', {}],
    ['a wrong one', bearer('correct-horse-battery-stable')],
    ['a part of it', bearer(TOKEN.slice(0, -1))],
    ['more than it', bearer(`${TOKEN}x`)],
    ['the wrong scheme', { authorization: `Basic ${TOKEN}` }],
    ['another server’s cookie', { cookie: `tunconnector-1=${TOKEN}` }],
  ])('who shows %s is refused everywhere', async (_what, headers) => {
    await using served = await testServer({}, { token: TOKEN });
    for (const url of [
      '/',
      '/api/v1/spec',
      '/openapi.json',
      '/metrics',
      '/api/v1/stream',
      '/client/index.js',
      '/nothing',
    ]) {
      const { status, body, headers: answered } = await served.ask('GET', url, undefined, headers);
      expect([url, status, body.error.code]).toEqual([url, 401, 'ERR_TOKEN']);
      expect(answered['www-authenticate']).toBe('Bearer');
      expect(JSON.stringify(body)).not.toContain(TOKEN);
    }
    expect((await served.ask('GET', '/healthz', undefined, headers)).status).toBe(200);
  });

  it('the token is a bearer’s, a WebSocket’s, or a browser’s that opened the address with it', async () => {
    await using served = await testServer({}, { token: TOKEN });
    const host = 'impaired.example:7580';
    expect((await served.ask('GET', '/api/v1/spec', undefined, { host, ...bearer(TOKEN) })).status).toBe(200);
    const opened = await served.ask('GET', `/?token=${TOKEN}`, undefined, { host });
    expect([opened.status, opened.headers.location]).toEqual([303, '/']);
    const cookie = String(opened.headers['set-cookie']);
    expect(cookie).toBe(`tunconnector-7580=${TOKEN}; Path=/; HttpOnly; SameSite=Strict`);
    const kept = { host, cookie: `other=1; ${cookie.split(';')[0]}` };
    expect((await served.ask('GET', '/api/v1/spec', undefined, kept)).status).toBe(200);
    const protocols = { host, 'sec-websocket-protocol': `tunconnector.v1, tunconnector.token.${TOKEN}` };
    expect((await served.ask('GET', '/api/v1/stream', undefined, protocols)).status).toBe(426);
  });

  it('a token in the address counts only where a person opens it', async () => {
    await using served = await testServer({}, { token: TOKEN });
    expect((await served.ask('GET', `/api/v1/stats?token=${TOKEN}`)).status).toBe(401);
    expect((await served.ask('GET', '/?token=wrong-wrong-wrong-wrong')).status).toBe(401);
  });
});

describe('every answer', () => {
  it.each(['/api/v1/spec', '/nothing', '/', '/uplot/uPlot.esm.js'])(
    'of %s has the headers that browsers heed',
    async (url) => {
      await using served = await testServer();
      const { headers } = await served.ask('GET', url);
      expect(headers['content-security-policy']).toMatch(
        /^default-src 'none'; script-src 'self'; .*frame-ancestors 'none'$/,
      );
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
      });
    },
  );

  it('comes from no file beside those of the page', async () => {
    await using served = await testServer();
    for (const url of [
      '/uplot/../../package.json',
      '/uplot/..%2f..%2fpackage.json',
      '/client/..%2fhttp/token.js',
      '/uplot/.x',
    ])
      expect([url, (await served.ask('GET', url)).status]).toEqual([
        url,
        expect.toSatisfy((code) => code >= 400),
      ]);
    expect((await served.ask('GET', '/uplot/uPlot.min.css')).status).toBe(200);
  });
});
