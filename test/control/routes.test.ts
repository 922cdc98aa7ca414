import { describe, expect, it } from 'vitest';
import * as contract from '../../src/control/impair/contract.ts';
import { compileSpec } from '../../src/impair/spec/spec.ts';
import { datagram, SEED, testServer } from './served.ts';

const yaml = { 'content-type': 'application/yaml' };
const json = { 'content-type': 'application/json' };

describe('the spec', () => {
  it('is given back as it was written, with its revision and seed', async () => {
    await using served = await testServer({
      up: 'delay 5ms',
      rules: [{ label: 'dns', match: '*:udp:53', both: 'loss 1%' }],
    });
    const { status, headers, body } = await served.ask('GET', '/api/v1/spec');
    expect(status).toBe(200);
    expect(headers.etag).toBe('"1"');
    expect(body).toEqual({
      revision: 1,
      spec: { up: 'delay 5ms', rules: [{ label: 'dns', match: '*:udp:53', both: 'loss 1%' }] },
      seed: SEED,
    });
  });

  it('that is put is in force for the next packet', async () => {
    await using served = await testServer('delay 5ms');
    const { pair } = served;
    const { status, body } = await served.ask('PUT', '/api/v1/spec', { up: 'delay 30ms' });
    expect([status, body]).toEqual([200, { revision: 2, spec: { up: 'delay 30ms' }, seed: SEED }]);
    pair.a.send(datagram());
    pair.b.send(datagram());
    pair.runtime.advance('100ms');
    expect(pair.b.received.map(({ time }) => time)).toEqual([30_000_000]);
    expect(pair.a.received.map(({ time }) => time)).toEqual([0]);
  });

  it('may be YAML, text, and that of a synthetic-network deployment', async () => {
    await using served = await testServer();
    const qos = { rate: 8000, loss: 0, latency: 20, jitter: 0, jitter_strength: 0, reorder_packets: false };
    const deployment = { default_link: { ingress: qos, egress: qos }, flows: [] };
    const bodies = [
      ['up: delay 9ms\nseed: 3\n', yaml],
      ['delay 9ms loss 1%', yaml],
      [JSON.stringify('delay 9ms loss 1%'), { 'content-type': 'application/json' }],
      [JSON.stringify(deployment), { 'content-type': 'application/json' }],
    ] as const;
    const specs = [];
    for (const [body, headers] of bodies)
      specs.push((await served.ask('PUT', '/api/v1/spec', body, headers)).body.spec);
    expect(specs.slice(0, 3)).toEqual([
      { up: 'delay 9ms', seed: 3 },
      { both: 'delay 9ms loss 1%' },
      { both: 'delay 9ms loss 1%' },
    ]);
    expect(compileSpec(specs[3])).toEqual(compileSpec(deployment));
  });

  it('that is bad changes nothing, and says where and why', async () => {
    await using served = await testServer('delay 5ms');
    const rule = { label: 'x', match: '*', up: ['loss 1%', { kind: 'delay', time: 'soon' }] };
    const down = { label: 'up-only', match: '*', down: 'delay 1ms' };
    const { status, body } = await served.ask('PUT', '/api/v1/spec', {
      both: 'delay 9ms',
      rules: [down, rule],
    });
    expect(status).toBe(400);
    expect(body.error).toEqual({
      code: 'ERR_CONFIG',
      message: 'rules.1.up.1.time: found "soon", expected a time such as 50ms',
      path: 'rules.1.up.1.time',
      found: '"soon"',
      expected: 'a time such as 50ms',
    });
    const { body: after } = await served.ask('GET', '/api/v1/spec');
    expect(after).toEqual({ revision: 1, spec: { both: 'delay 5ms' }, seed: SEED });
    served.pair.a.send(datagram());
    served.pair.runtime.advance('50ms');
    expect(served.pair.b.received.map(({ time }) => time)).toEqual([5_000_000]);
  });

  const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
  const aliases = `a: &a [1,1,1]\nb: &b [${'*a,'.repeat(99)}]\nc: [${'*b,'.repeat(99)}]`;

  it.each([
    ['JSON that breaks off', '{"both": "delay', json, 400, 'ERR_USAGE'],
    ['YAML that breaks off', 'both: [', yaml, 400, 'ERR_CONFIG'],
    ['a number', '7', json, 400, 'ERR_CONFIG'],
    ['a list', '[1]', json, 400, 'ERR_CONFIG'],
    ['a prototype', '{"__proto__": {"both": "loss 100%"}}', json, 400, 'ERR_USAGE'],
    ['deep JSON', deep(100_000), json, 400, 'ERR_CONFIG'],
    ['deep YAML', deep(20_000), yaml, 400, 'ERR_CONFIG'],
    ['YAML of aliases of aliases', aliases, yaml, 400, 'ERR_CONFIG'],
    ['plain text', 'delay 1ms', { 'content-type': 'text/plain' }, 415, 'ERR_MEDIA_TYPE'],
    ['more than a body may hold', 'x'.repeat(9 << 20), yaml, 413, 'ERR_TOO_LARGE'],
  ])('that is %s is refused', async (_what, text, headers, status, code) => {
    await using served = await testServer('delay 5ms');
    const { status: found, body } = await served.ask('PUT', '/api/v1/spec', text, headers);
    expect([found, body.error.code]).toEqual([status, code]);
    expect(contract.errorDocument.safeParse(body).success).toBe(true);
    expect(served.link.revision).toBe(1);
    expect(served.faults).toEqual([]);
  });

  it('is changed only from the revision that the change was made for', async () => {
    await using served = await testServer('delay 5ms');
    const put = (revision: string) =>
      served.ask('PUT', '/api/v1/spec', { up: 'loss 1%' }, { 'if-match': revision });
    expect((await put('"1"')).status).toBe(200);
    const { status, body } = await put('"1"');
    expect([status, body.error.code]).toEqual([412, 'ERR_REVISION']);
    expect((await put('*')).body.revision).toBe(3);
    expect((await put('"x"')).body.error.code).toBe('ERR_USAGE');
  });

  it('that would need more memory than there is is refused with the arithmetic', async () => {
    await using served = await testServer('delay 5ms');
    const { status, body } = await served.ask('PUT', '/api/v1/spec', {
      both: 'delay 9ms',
      packets: 10_000_000,
    });
    expect([status, body.error.code]).toEqual([400, 'ERR_LIMIT']);
    expect((await served.ask('PUT', '/api/v1/spec', { both: 'delay 1ms' })).status).toBe(200);
  });
});

describe('a rule', () => {
  const rules = [
    { label: 'a', match: '10.0.0.2:udp:1', both: 'delay 1ms' },
    { label: 'b', match: '10.0.0.2:udp:2', up: 'delay 2ms' },
  ];

  it('is changed in what is given; the rest stays', async () => {
    await using served = await testServer({ both: 'delay 9ms', rules });
    const { body } = await served.ask('PATCH', '/api/v1/rules/a', { down: 'loss 5%', match: '*' });
    const rule = { label: 'a', match: '*', both: 'delay 1ms', down: 'loss 5%' };
    expect(body).toEqual({ revision: 2, rule, position: 0 });
    expect(served.link.document().spec).toEqual({ both: 'delay 9ms', rules: [rule, rules[1]] });
    await served.ask('PATCH', '/api/v1/rules/a', { both: null });
    expect(served.link.document().spec.rules![0]).toEqual({ label: 'a', match: '*', down: 'loss 5%' });
  });

  it('is made where it does not exist, last or at its position', async () => {
    await using served = await testServer({ rules });
    const labels = () => served.link.document().spec.rules!.map(({ label }) => label);
    await served.ask('PATCH', '/api/v1/rules/c', { match: '*', up: 'delay 3ms' });
    expect(labels()).toEqual(['a', 'b', 'c']);
    const { body } = await served.ask('PATCH', '/api/v1/rules/d', { match: '*', up: 'pass', position: 1 });
    expect(body.position).toBe(1);
    expect(labels()).toEqual(['a', 'd', 'b', 'c']);
    await served.ask('PATCH', '/api/v1/rules/c', { position: 0 });
    expect(labels()).toEqual(['c', 'a', 'd', 'b']);
  });

  it('ends, and the others go on', async () => {
    await using served = await testServer({ rules });
    expect((await served.ask('DELETE', '/api/v1/rules/a')).body).toEqual({ revision: 2 });
    expect(served.link.document().spec.rules).toEqual([rules[1]]);
    const { status, body } = await served.ask('DELETE', '/api/v1/rules/a');
    expect([status, body.error.code]).toEqual([404, 'ERR_NOT_FOUND']);
  });

  it.each([
    ['new', { up: 'delay 1ms' }, 'match'],
    ['new', { match: '*' }, 'both'],
    ['a', { match: 'nonsense:' }, 'rules.0.match'],
    ['a', { up: 'delay soon' }, 'rules.0.up'],
    ['a', { speed: 'high' }, ''],
    ['default', { match: '*' }, 'match'],
    ['default', { position: 0 }, 'position'],
    ['no%20label', { match: '*', up: 'pass' }, 'rules.2.label'],
  ])('%s with %j is refused, by its place', async (label, patch, path) => {
    await using served = await testServer({ rules });
    const { status, body } = await served.ask('PATCH', `/api/v1/rules/${label}`, patch);
    expect([status, body.error.code, body.error.path]).toEqual([400, 'ERR_CONFIG', path]);
    expect(served.link.revision).toBe(1);
  });

  it('of all other packets is called default', async () => {
    await using served = await testServer({ both: 'delay 9ms', rules });
    const { body } = await served.ask('PATCH', '/api/v1/rules/default', { up: 'loss 1%' });
    expect(body).toEqual({
      revision: 2,
      rule: { label: 'default', both: 'delay 9ms', up: 'loss 1%' },
      position: -1,
    });
    expect(served.link.document().spec).toEqual({ both: 'delay 9ms', up: 'loss 1%', rules });
  });

  it('is read into stages, which can be put back and mean the same', async () => {
    const spec = {
      seed: 1,
      preset: 'lte',
      rules: [...rules, { label: 'c', match: '*', down: ['loss 1%', 'delay 1ms delay 2ms'] }],
    };
    await using served = await testServer(spec as never);
    const { body } = await served.ask('GET', '/api/v1/rules');
    const [first, , , last] = body.rules;
    expect(first.up.map(({ kind, name }: { kind: string; name: string }) => [kind, name])).toEqual([
      ['rate', 'rate'],
      ['delay', 'delay'],
    ]);
    expect(last).toMatchObject({
      label: 'c',
      up: null,
      down: [{ name: 'loss' }, { name: 'delay' }, { name: 'delay-2', time: '2ms' }],
    });
    const { up, down } = first;
    const back = {
      seed: 1,
      up,
      down,
      rules: body.rules
        .slice(1)
        .map((rule: object) => JSON.parse(JSON.stringify(rule, (_, value) => value ?? undefined))),
    };
    const stages = (spec: unknown) => compileSpec(spec).up.rules!.length;
    expect(stages(back)).toBe(stages(spec));
    expect((await served.ask('PUT', '/api/v1/spec', back)).status).toBe(200);
    served.pair.a.send(datagram());
    served.pair.runtime.advance('100ms');
    // 128 bytes at 12 Mbit/s, and 35 ms.
    expect(served.pair.b.received.map(({ time }) => time)).toEqual([
      Math.ceil((128 * 8 * 1e9) / 12e6) + 35_000_000,
    ]);
  });
});

describe('what the link does', () => {
  it('is told by rule and stage, with the delay that packets had', async () => {
    await using served = await testServer({
      up: 'delay 10ms',
      rules: [{ label: 'lost', match: '*:udp:53', up: 'loss 100%' }],
    });
    const { a, runtime } = served.pair;
    for (let i = 0; i < 5; i++) a.send(datagram());
    a.send(datagram().fill(0, 0, 1));
    runtime.advance('50ms');
    const { body } = await served.ask('GET', '/api/v1/stats');
    expect(contract.stats.safeParse(body).error).toBeUndefined();
    expect(body).toMatchObject({
      revision: 1,
      at: 50_000_000,
      up: { packets: 6, packetsOut: 1, dropped: 5, delay: 10_000_000, ruleCount: 2 },
    });
    const [other, lost] = body.up.rules;
    expect(other).toMatchObject({ label: 'default', packets: 1, delay: 10_000_000, dropped: 0 });
    expect(lost).toMatchObject({
      label: 'lost',
      packets: 5,
      packetsOut: 0,
      stages: [{ drops: { loss: 5 }, dropped: 5 }],
    });
  });

  it('never counts back when rules and stages go', async () => {
    await using served = await testServer({ rules: [{ label: 'lost', match: '*', up: 'loss 100%' }] });
    served.pair.a.send(datagram());
    served.pair.runtime.advance('1ms');
    await served.ask('DELETE', '/api/v1/rules/lost');
    served.pair.a.send(datagram());
    served.pair.runtime.advance('1ms');
    const { body } = await served.ask('GET', '/api/v1/stats');
    expect(body.up).toMatchObject({ packets: 2, packetsOut: 1, dropped: 1, ruleCount: 1 });
  });

  it('is shown of the busiest of a thousand rules', async () => {
    const rules = Array.from({ length: 1000 }, (_, i) => ({
      label: `r${i}`,
      match: `*:udp:${i + 1}`,
      both: 'delay 1ms',
    }));
    await using served = await testServer({ rules });
    served.pair.a.send(datagram());
    served.pair.runtime.advance('5ms');
    const { body } = await served.ask('GET', '/api/v1/stats?rules=2');
    expect(body.up.rules.map(({ label }: { label: string }) => label).slice(0, 2)).toEqual([
      'default',
      'r52',
    ]);
    expect([body.up.rules.length, body.up.ruleCount]).toEqual([3, 1001]);
    const { body: all } = await served.ask('GET', '/api/v1/stats');
    expect(all.up.rules.slice(0, 3)).toEqual(body.up.rules);
    expect(new Set(all.up.rules.map(({ label }: { label: string }) => label)).size).toBe(1001);
    expect((await served.ask('GET', '/metrics')).body).toContain(
      'rule_packets_total{direction="down",rule="r999"} 0\n',
    );
    const { status } = await served.ask('PATCH', '/api/v1/rules/r999', { up: 'delay 7ms' });
    expect(status).toBe(200);
  });

  it('is there for Prometheus', async () => {
    await using served = await testServer({ up: 'rate 1mbit loss 100%' });
    served.pair.a.send(datagram());
    served.pair.runtime.advance('50ms');
    for (let i = 0; i < 2; i++) {
      const { headers, body } = await served.ask('GET', '/metrics');
      expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
      expect(body).toContain('\ntunconnector_impair_rule_packets_total{direction="up",rule="default"} 1\n');
      const drops =
        'stage_dropped_packets_total{direction="up",rule="default",stage="loss",kind="loss",reason="loss"} 1';
      expect(body).toContain(`\ntunconnector_impair_${drops}\n`);
      expect(body).toContain('# TYPE tunconnector_impair_rule_packets_total counter');
    }
  });

  it('can be asked for in no other way', async () => {
    await using served = await testServer();
    for (const url of [
      '/api/v1/stats?rules=x',
      '/api/v1/flows?top=0',
      '/api/v1/flows?sort=age',
      '/api/v1/stats?more=1',
    ]) {
      const { status, body } = await served.ask('GET', url);
      expect([url, status, body.error.code]).toEqual([url, 400, 'ERR_USAGE']);
    }
    expect((await served.ask('GET', '/api/v2/spec')).body.error.code).toBe('ERR_NOT_FOUND');
    expect((await served.ask('GET', '/api/v1/stream')).status).toBe(426);
  });
});

describe('what there is to choose from', () => {
  it('are presets that can be put, with their sources', async () => {
    await using served = await testServer();
    const { body } = await served.ask('GET', '/api/v1/presets');
    expect(contract.presetList.safeParse(body).success).toBe(true);
    const lte = body.presets.find(({ name }: { name: string }) => name === 'lte');
    expect(lte).toMatchObject({
      up: 'rate 12mbit delay 35ms',
      source: expect.stringContaining('WebPageTest'),
    });
    for (const { up, down } of body.presets)
      expect((await served.ask('PUT', '/api/v1/spec', { up, down })).status).toBe(200);
  });

  it('are kinds of stages with their keys', async () => {
    await using served = await testServer();
    const { body } = await served.ask('GET', '/api/v1/kinds');
    const byKind = new Map(
      body.kinds.map(({ kind, schema }: { kind: string; schema: object }) => [kind, schema]),
    );
    expect([...byKind.keys()]).toContain('loss');
    expect(byKind.get('delay')).toMatchObject({
      required: ['kind', 'time'],
      properties: { order: { enum: ['preserve', 'allow'] } },
    });
  });
});

describe('the OpenAPI document', () => {
  it('lists every route, with what it takes and answers', async () => {
    await using served = await testServer();
    const { body } = await served.ask('GET', '/openapi.json');
    expect(body.openapi).toBe('3.1.0');
    expect(body.info.version).toBe('1.2.3');
    const routes = Object.entries(body.paths as Record<string, object>).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    expect(routes.sort()).toEqual([
      'delete /api/v1/rules/{label}',
      'get /api/v1/flows',
      'get /api/v1/kinds',
      'get /api/v1/presets',
      'get /api/v1/rules',
      'get /api/v1/spec',
      'get /api/v1/stats',
      'get /api/v1/stream',
      'get /healthz',
      'get /metrics',
      'patch /api/v1/rules/{label}',
      'put /api/v1/spec',
    ]);
    expect(body.paths['/api/v1/flows'].get.parameters.map(({ name }: { name: string }) => name)).toEqual([
      ...['top', 'offset', 'sort', 'rule', 'search'],
    ]);
    expect(body.paths['/api/v1/spec'].put.requestBody.content['application/yaml']).toBeDefined();
  });

  it('holds no reference that leads nowhere', async () => {
    await using served = await testServer();
    const { body } = await served.ask('GET', '/openapi.json');
    const references = [...JSON.stringify(body).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path]) => path!);
    const lost = references.filter(
      (path) =>
        path.split('/').reduce<Record<string, never> | undefined>((at, key) => at?.[key], body) === undefined,
    );
    expect(lost).toEqual([]);
  });
});
