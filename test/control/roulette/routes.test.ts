import { describe, expect, it } from 'vitest';
import { ROUTES } from '../../../src/chain/roulette/remote/api.ts';
import { TunconnectorError } from '../../../src/errors.ts';
import { flowId, T, testRoulette } from './served.ts';

describe('a chain over HTTP', () => {
  it('is made from nothing, read, edited and ended', async () => {
    await using served = await testRoulette();
    const { ask } = served;
    expect((await ask('PUT', T, { description: 'a shop' })).status).toBe(200);
    for (const name of ['fw', 'dpi'])
      expect((await ask('PUT', `${T}/functions/${name}`, {})).status).toBe(200);
    const made = await ask('PUT', `${T}/chains/7`, { functions: ['fw', 'dpi'], ifRev: 0 });
    expect(made).toMatchObject({ status: 200, body: { revision: 1 } });
    const rule = { name: 'web', match: '*:tcp:443', chain: 7 };
    const rules = await ask('PUT', `${T}/classifier`, { rules: [rule] });
    expect(rules.status).toBe(200);
    const edited = await ask('PUT', `${T}/chains/7`, { functions: ['dpi'], ifRev: made.body.rev });
    expect(edited.body.revision).toBe(2);
    expect((await ask('GET', `${T}/chains/7`)).body).toEqual({
      spi: 7,
      rev: edited.body.rev,
      ended: false,
      flows: 0,
      revisions: [
        { revision: 1, functions: ['fw', 'dpi'], symmetric: true },
        { revision: 2, functions: ['dpi'], symmetric: true },
      ],
    });
    expect((await ask('GET', `${T}/classifier`)).body).toEqual({ rev: rules.body.rev, rules: [rule] });
    expect((await ask('DELETE', `${T}/chains/7`)).body.error).toMatchObject({
      code: 'ERR_CONFIG',
      path: 'spi',
    });
    await ask('PUT', `${T}/classifier`, { rules: [] });
    expect((await ask('DELETE', `${T}/chains/7?ifRev=1`)).status).toBe(412);
    expect((await ask('DELETE', `${T}/chains/7?ifRev=${edited.body.rev}`)).status).toBe(200);
    expect((await ask('GET', `${T}/chains`)).body.chains).toMatchObject([{ spi: 7, ended: true }]);
    expect(served.faults).toEqual([]);
  });

  it('whose revision has moved on is not written, and the answer says where it is', async () => {
    await using served = await testRoulette();
    await served.set({ fw: [] });
    const { body } = await served.ask('PUT', `${T}/chains/7`, { functions: ['fw'] });
    const late = await served.ask('PUT', `${T}/chains/7`, { functions: ['fw'], symmetric: false, ifRev: 1 });
    expect(late).toMatchObject({
      status: 412,
      body: { error: { code: 'ERR_REVISION', path: 'ifRev', expected: String(body.rev) } },
    });
  });
});

describe('replicas, leases and flows over HTTP', () => {
  it('come, drain and go with their lease', async () => {
    await using served = await testRoulette();
    const { ask } = served;
    await served.set({ fw: [] });
    const { lease } = (await ask('POST', `${T}/leases`, { term: '10s' })).body;
    const body = { function: 'fw', address: '::1', port: 4790, lease };
    const first = await ask('POST', `${T}/replicas`, body);
    expect(first.body.id).toBeGreaterThan(0);
    expect((await ask('PUT', `${T}/replicas/17`, { ...body, weight: 3 })).body.id).toBe(17);
    expect((await ask('PUT', `${T}/replicas/17/state`, { state: 'draining' })).status).toBe(200);
    expect((await ask('GET', `${T}/replicas/17`)).body).toMatchObject({
      id: 17,
      weight: 3,
      state: 'draining',
      flows: 0,
    });
    expect((await ask('GET', `${T}/functions`)).body.functions.at(-1)).toMatchObject({
      name: 'fw',
      ready: 1,
      draining: 1,
    });
    expect((await ask('POST', `${T}/leases/${lease}/keep`)).body).toEqual({ lease });
    expect((await ask('DELETE', `${T}/leases/${lease}`)).status).toBe(200);
    expect((await ask('GET', `${T}/replicas`)).body.replicas).toEqual([]);
    expect((await ask('POST', `${T}/leases/${lease}/keep`)).status).toBe(404);
  });

  it('flows are registered, pinned, read page by page, by chain and by replica', async () => {
    await using served = await testRoulette();
    const { ask } = served;
    await served.set({ fw: [1, 2], egress: [9] });
    await ask('PUT', `${T}/chains/7`, { functions: ['fw'] });
    await ask('PUT', `${T}/chains/8`, { functions: ['fw'] });
    for (const spi of [7, 8]) {
      const flows = Array.from({ length: 30 }, (_, i) => ({
        id: flowId(spi * 100 + i),
        key: `${spi} ${i}`,
        spi,
      }));
      expect((await ask('POST', `${T}/flows/register`, { flows })).body.flows).toHaveLength(30);
    }
    const ids: string[] = [];
    for (let next: string | undefined = ''; next !== undefined; ) {
      const { body } = await ask('GET', `${T}/flows?limit=7${next && `&after=${next}`}`);
      expect(body.total).toBe(60);
      ids.push(...body.flows.map(({ id }: { id: string }) => id));
      next = body.next;
    }
    expect(ids).toEqual([...new Set(ids)].sort());
    expect(ids).toHaveLength(60);
    expect((await ask('GET', `${T}/flows?spi=8&limit=1`)).body).toMatchObject({
      total: 30,
      next: flowId(800),
    });
    const through = (await ask('GET', `${T}/flows?replica=1`)).body;
    const other = (await ask('GET', `${T}/flows?replica=2`)).body;
    expect(through.total + other.total).toBe(60);
    const [mine] = through.flows;
    const pinned = await ask('PUT', `${T}/flows/${mine.id}/pin`, { path: [2] });
    expect(pinned.body).toMatchObject({ id: mine.id, path: [2], pinned: true, generation: 2 });
    expect((await ask('GET', `${T}/flows/${mine.id}`)).body).toMatchObject({ path: [2], key: mine.key });
    expect((await ask('POST', `${T}/flows/touch`, { ids: [flowId(1)] })).body.missing).toEqual([flowId(1)]);
  });

  it('a tenant that others place flows for has a secret, which is not read here', async () => {
    await using served = await testRoulette();
    await served.set({});
    expect(JSON.stringify((await served.ask('GET', T)).body)).not.toContain('secret');
    expect((await served.ask('GET', '/v1/tenants')).body.tenants).toMatchObject([{ tenant: 42, chains: 0 }]);
  });
});

describe('what does not fit', () => {
  it.each([
    ['PUT', `${T}/chains/0`, { functions: ['fw'] }, 400, 'ERR_CONFIG'],
    ['PUT', `${T}/chains/x`, { functions: ['fw'] }, 400, 'ERR_CONFIG'],
    ['PUT', `${T}/chains/7`, { functions: ['fw'], colour: 1 }, 400, 'ERR_CONFIG'],
    ['PUT', `${T}/chains/7`, { functions: ['fw'], spi: 8 }, 400, 'ERR_CONFIG'],
    ['PUT', `${T}/chains/7`, { functions: ['nobody'] }, 400, 'ERR_CONFIG'],
    ['PUT', `${T}/chains/7`, '[1, 2]', 400, 'ERR_CONFIG'],
    ['PUT', `${T}/chains/7`, '"text"', 400, 'ERR_CONFIG'],
    ['PUT', `${T}/chains/7`, '{"functions": [', 400, 'ERR_USAGE'],
    ['PUT', `${T}/chains/7`, '{"__proto__": {"functions": []}}', 400, 'ERR_USAGE'],
    ['PUT', `${T}/classifier`, { rules: [{ name: 'a', match: '*:quic', chain: null }] }, 400, 'ERR_CONFIG'],
    ['PUT', `/v1/tenants/16777216`, {}, 400, 'ERR_USAGE'],
    ['PUT', `/v1/tenants/-1`, {}, 400, 'ERR_USAGE'],
    ['PUT', `/v1/tenants/43/functions/fw`, {}, 404, 'ERR_NOT_FOUND'],
    ['GET', `/v1/tenants/43`, undefined, 404, 'ERR_NOT_FOUND'],
    ['GET', `${T}/flows?limit=0`, undefined, 400, 'ERR_USAGE'],
    ['GET', `${T}/flows?after=x`, undefined, 400, 'ERR_USAGE'],
    ['GET', `${T}/flows/${flowId(1)}`, undefined, 404, 'ERR_NOT_FOUND'],
    ['GET', `${T}/chains/constructor`, undefined, 404, 'ERR_NOT_FOUND'],
    ['GET', `${T}/watch`, undefined, 426, 'ERR_USAGE'],
    ['GET', `/v1/nothing`, undefined, 404, 'ERR_NOT_FOUND'],
  ] as const)('%s %s %j gets %i %s', async (method, url, body, status, code) => {
    await using served = await testRoulette();
    await served.set({ fw: [] });
    const rev = served.roulette.rev;
    const headers = typeof body === 'string' ? { 'content-type': 'application/json' } : {};
    const answer = await served.ask(method, url, body, headers);
    expect([answer.status, answer.body.error.code]).toEqual([status, code]);
    expect(served.roulette.rev).toBe(rev);
    expect(served.faults).toEqual([]);
  });

  it('is not read further than a classifier can be long', async () => {
    await using served = await testRoulette();
    const { status, body } = await served.ask('PUT', T, { description: 'y'.repeat(2 << 20) });
    expect([status, body.error.code]).toEqual([413, 'ERR_TOO_LARGE']);
  });

  it('a body that a page could send without asking is none', async () => {
    await using served = await testRoulette();
    const { status } = await served.ask('PUT', T, '{}', { 'content-type': 'text/plain' });
    expect(status).toBe(415);
  });
});

describe('tokens', () => {
  const [ALL, MINE, OTHER] = ['all-all-all-all-all', 'mine-mine-mine-mine', 'other-other-other-other'];
  const tokens = { [ALL]: 'all' as const, [MINE]: [42], [OTHER]: [43, 44] };
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

  it('keep tenants apart, whether they are there or not', async () => {
    await using served = await testRoulette({ tokens });
    await served.set({ fw: [1] });
    await served.set({}, 43);
    for (const [name, [route]] of Object.entries(ROUTES)) {
      const url = `${T}${route.path.replace(/:\w+/g, '1')}`;
      const { status, body } = await served.ask(
        route.method,
        url,
        route.method === 'DELETE' ? undefined : {},
        bearer(OTHER),
      );
      expect([name, status, body.error.code]).toEqual([name, 403, 'ERR_FORBIDDEN']);
    }
    for (const below of ['', '/functions', '/chains', '/replicas', '/classifier', '/flows', '/watch'])
      for (const tenant of [42, 99])
        expect(
          (await served.ask('GET', `/v1/tenants/${tenant}${below}`, undefined, bearer(OTHER))).status,
        ).toBe(403);
    const list = async (token: string) =>
      (await served.ask('GET', '/v1/tenants', undefined, bearer(token))).body.tenants.map(
        ({ tenant }: { tenant: number }) => tenant,
      );
    expect([await list(ALL), await list(MINE), await list(OTHER)]).toEqual([[42, 43], [42], [43]]);
    expect((await served.ask('GET', `${T}/replicas`, undefined, bearer(MINE))).body.replicas).toHaveLength(1);
  });

  it('that are wrong or missing are refused, but for the question whether it is well', async () => {
    await using served = await testRoulette({ tokens });
    for (const headers of [{}, bearer('mine-mine-mine-minf')]) {
      const { status, body } = await served.ask('GET', T, undefined, headers);
      expect([status, body.error.code]).toEqual([401, 'ERR_TOKEN']);
      expect((await served.ask('GET', '/healthz', undefined, headers)).status).toBe(200);
    }
  });

  it('for some tenants do not read what is of all', async () => {
    await using served = await testRoulette({ tokens });
    expect((await served.ask('GET', '/metrics', undefined, bearer(MINE))).status).toBe(403);
    expect((await served.ask('GET', '/metrics', undefined, bearer(ALL))).status).toBe(200);
  });
});

describe('beside requests', () => {
  it('metrics say what there is, and what was asked', async () => {
    await using served = await testRoulette();
    await served.set({ fw: [1, 2] });
    await served.ask('PUT', `${T}/replicas/2/state`, { state: 'draining' });
    await served.ask('PUT', `${T}/chains/7`, { functions: ['nobody'] });
    for (let i = 0; i < 2; i++) {
      const { body } = await served.ask('GET', '/metrics');
      expect(body).toContain('tunconnector_roulette_replicas{tenant="42",function="fw",state="ready"} 1');
      expect(body).toContain('tunconnector_roulette_replicas{tenant="42",function="fw",state="draining"} 1');
      expect(body).toContain(
        'tunconnector_roulette_requests_total{request="chain.put",outcome="ERR_CONFIG"} 1',
      );
      expect(body).toContain('tunconnector_roulette_ready 1');
    }
  });

  it('the description has every request with its fields', async () => {
    await using served = await testRoulette();
    const { body } = await served.ask('GET', '/openapi.json');
    const chain = body.paths['/v1/tenants/{tenant}/chains/{spi}'];
    expect(Object.keys(chain).sort()).toEqual(['delete', 'get', 'put']);
    const fields = chain.put.requestBody.content['application/json'].schema.properties;
    expect(Object.keys(fields).sort()).toEqual(['functions', 'ifRev', 'symmetric']);
    const operations = Object.values(body.paths).flatMap((path) => Object.values(path as object));
    const ids = operations.map(({ operationId }) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const name of Object.keys(ROUTES)) expect(ids.some((id) => id.startsWith(name))).toBe(true);
  });
});

describe('rates over HTTP', () => {
  const told = (replica: number, time: number, packets: number, chains?: object[]) => ({
    ...{ replica, time, packetsIn: packets, bytesIn: packets, packetsOut: 0, bytesOut: 0, drops: 0 },
    ...(chains && { chains }),
  });

  it('are those of replicas and of chains, with who has told nothing', async () => {
    await using served = await testRoulette();
    const { ask } = served;
    const lease = await served.set({ fw: [1, 2], ingress: [8, 9], egress: [10] });
    const passing = (packets: number) => [
      { spi: 7, packetsIn: packets, bytesIn: packets, packetsOut: 0, bytesOut: 0 },
    ];
    for (const n of [1, 2]) {
      const figures = [8, 9, 10].map((id) => told(id, n * 1e9, n * 5, passing(n * 5)));
      const kept = await ask('POST', `${T}/leases/${lease}/keep`, {
        figures: [told(1, n * 1e9, n), ...figures],
      });
      expect(kept.status).toBe(200);
    }
    const { body } = await ask('GET', `${T}/rates`);
    expect(body.replicas).toMatchObject([
      { replica: 1, packetsIn: 1, bitsIn: 8 },
      { replica: 8, packetsIn: 5 },
      { replica: 9, packetsIn: 5 },
      { replica: 10, packetsIn: 5 },
    ]);
    expect(body.silent).toEqual([2]);
    expect(body.chains).toEqual([{ spi: 7, ends: 2, packetsIn: 10, bitsIn: 80, packetsOut: 0, bitsOut: 0 }]);
    expect(served.faults).toEqual([]);
  });
});

describe('flows', () => {
  it('are found by words of their key and by their id', async () => {
    await using served = await testRoulette();
    await served.set({ fw: [1] });
    await served.ask('PUT', `${T}/chains/7`, { functions: ['fw'] });
    const keys = ['tcp 10.0.0.1:443 10.0.0.2:5000', 'UDP 10.0.0.1:53 10.0.0.2:5001'];
    const flows = keys.map((key, i) => ({ id: flowId(i + 1), key, spi: 7 }));
    expect((await served.ask('POST', `${T}/flows/register`, { flows })).status).toBe(200);
    const found = async (search: string) =>
      (await served.ask('GET', `${T}/flows?search=${encodeURIComponent(search)}`)).body;
    expect(await found('udp  10.0.0.2')).toMatchObject({ total: 1, flows: [{ id: flowId(2) }] });
    expect((await found(flowId(1))).flows).toMatchObject([{ key: keys[0] }]);
    expect(await found('10.0.0.')).toMatchObject({ total: 2 });
    expect(await found('sctp')).toMatchObject({ total: 0, flows: [] });
    expect((await served.ask('GET', `${T}/flows?search=${'x'.repeat(101)}`)).status).toBe(400);
  });
});

describe('a store that takes nothing more', () => {
  it('is 507, and what is known can still be read', async () => {
    await using good = await testRoulette();
    await good.set({ fw: [1] });
    const full = new Proxy(good.store, {
      get(store, name) {
        const value = Reflect.get(store, name) as unknown;
        if (name !== 'txn') return typeof value === 'function' ? value.bind(store) : value;
        return (...asked: unknown[]) => {
          const done = asked.at(-1) as (error: Error) => void;
          setTimeout(() => done(new TunconnectorError('ERR_STORAGE', 'there is no room on the disk')));
        };
      },
    });
    await using served = await testRoulette({ store: full });
    const { status, body } = await served.ask('PUT', `${T}/chains/7`, { functions: ['fw'] });
    expect([status, body.error.code]).toEqual([507, 'ERR_STORAGE']);
    expect((await served.ask('GET', `${T}/functions`)).status).toBe(200);
    expect((await served.ask('GET', '/metrics')).body).toContain(
      'tunconnector_roulette_requests_total{request="chain.put",outcome="ERR_STORAGE"} 1',
    );
  });
});

describe('the page', () => {
  const TOKEN = 'a-token-of-all-tenants';

  it('comes without a token, and what it shows does not', async () => {
    await using served = await testRoulette({ tokens: { [TOKEN]: 'all' } });
    for (const path of ['/', '/page/shared/page.css', '/page/chain/chain.css']) {
      const { status, headers } = await served.ask('GET', path);
      expect([path, status]).toEqual([path, 200]);
      expect(headers['content-security-policy']).toContain("script-src 'self'");
    }
    for (const path of ['/v1/tenants', T, `${T}/rates`, `${T}/watch`, '/metrics', '/openapi.json'])
      expect([path, (await served.ask('GET', path)).status]).toEqual([path, 401]);
    expect((await served.ask('PUT', '/page/shared/page.css')).status).toBe(401);
    const wrong = await served.ask('GET', '/', undefined, { authorization: 'Bearer another-wrong-token' });
    expect(wrong.status).toBe(200);
  });

  it('is not for names that others make point here, nor for paths outside of its folders', async () => {
    await using served = await testRoulette();
    expect((await served.ask('GET', '/', undefined, { host: 'evil.test' })).status).toBe(421);
    for (const path of ['/page/impair/main.js', '/page/../serve.js', '/chain/roulette/roulette.js'])
      expect([path, (await served.ask('GET', path)).status]).toEqual([path, 404]);
  });
});
