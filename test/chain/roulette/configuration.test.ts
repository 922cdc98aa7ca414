import { describe, expect, it } from 'vitest';
import { readFlowSecret } from '../../../src/chain/flow-id.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { TENANT, World } from './roulette-world.ts';

const error = (code: string, message: string | RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe('what Roulette is told', () => {
  it('is refused with path, found and expected when it does not fit', () => {
    const world = new World();
    world.set({ fw: [] });
    const wrong: [string, object, string][] = [
      ['chain.put', { spi: 0, functions: ['fw'] }, 'spi: found 0, expected a whole number from 1 to 8388607'],
      ['chain.put', { spi: 8388608, functions: ['fw'] }, 'spi: found 8388608'],
      ['chain.put', { spi: 7, functions: [] }, 'functions: found .*expected at least one function'],
      ['chain.put', { spi: 7, functions: ['fw', 'FW'] }, 'functions.1: found "FW", expected a name'],
      ['chain.put', { spi: 7, functions: ['fw', 'dpi'] }, 'functions.1: found "dpi", expected one of fw'],
      ['chain.put', { spi: 7, sfs: ['fw'] }, 'functions: found'],
      ['chain.put', { spi: 7, functions: ['fw'], x: 1 }, 'found the unknown key "x", expected one of spi'],
      ['function.put', { name: 'egress' }, 'name: found "egress", expected another name'],
      ['lease.grant', { term: '1ms' }, 'term: found "1ms", expected a time from 500ms to 1h'],
      ['flows.register', { flows: [] }, 'flows: found .*expected 1 to 64 flows'],
      [
        'flows.register',
        { flows: [{ id: 'x', key: 'k', spi: 7 }] },
        'flows.0.id: found "x", expected 16 hex',
      ],
      ['flows.register', { flows: 7 }, 'flows: found 7'],
    ];
    for (const [name, body, message] of wrong) {
      expect(() => world.ask(name, body), message).toThrow(error('ERR_CONFIG', message));
    }
    expect(() => world.ask('chain.erase')).toThrow(error('ERR_NOT_FOUND', 'no request "chain.erase"'));
    expect(() => world.ask('constructor')).toThrow(error('ERR_NOT_FOUND', 'no request'));
    expect(() => world.ask('tenant.put', {}, 1 << 24)).toThrow(error('ERR_CONFIG', 'found 16777216'));
  });

  it('gives each tenant a secret of its own for flow ids, and keeps it', () => {
    const world = new World();
    const secretOf = (tenant: number) => world.roulette.view(tenant).tenant?.secret;
    world.ask('tenant.put', {});
    world.ask('tenant.put', {}, 7);
    const secret = secretOf(TENANT);
    expect(secret).toMatch(/^[0-9a-f]{16}$/);
    expect(secretOf(7)).not.toBe(secret);
    world.ask('tenant.put', { description: 'another' });
    world.ask('function.put', { name: 'fw' });
    expect(world.roulette.view(TENANT).tenant).toMatchObject({ description: 'another', secret });
    expect(readFlowSecret('00000001fffffffe')).toEqual({ high: 1, low: -2 });
  });

  it('is refused for an address that is none', () => {
    const world = new World();
    const lease = world.set({ fw: [] });
    const put = (more: object) => () => world.replica('fw', 1, { lease, ...more });
    expect(put({ address: 'fw.example' })).toThrow(error('ERR_CONFIG', 'address: found "fw.example"'));
    expect(put({ port: 0 })).toThrow(error('ERR_CONFIG', 'port: found 0'));
    expect(put({ lease: '999' })).toThrow(error('ERR_NOT_FOUND', 'no lease 999'));
    expect(put({ address: '2001:db8::1' })()).toMatchObject({ id: 1 });
  });

  it('can be made conditional on a revision, and says which there is', () => {
    const world = new World();
    world.set({ fw: [], dpi: [] });
    const put = (functions: string[], ifRev?: number) => world.ask('chain.put', { spi: 7, functions, ifRev });
    const { rev } = put(['fw'], 0);
    expect(() => put(['dpi'], 0)).toThrow(error('ERR_REVISION', `chain 7 has revision ${rev}, ifRev is 0`));
    const second = put(['dpi'], rev);
    expect(second.rev).toBeGreaterThan(rev);
    expect(() => put(['fw'], rev)).toThrow(error('ERR_REVISION', `has revision ${second.rev}`));
    expect(() => world.ask('chain.end', { spi: 9, ifRev: 3 })).toThrow(
      error('ERR_REVISION', 'does not exist'),
    );
  });

  it('lets one of two editors win who saw the same revision', () => {
    const world = new World();
    world.set({ fw: [], dpi: [] });
    const { rev } = world.ask('chain.put', { spi: 7, functions: ['fw'] });
    const edits = [['dpi'], ['fw', 'dpi'], ['dpi', 'fw']].map((functions) =>
      world.send('chain.put', { spi: 7, functions, ifRev: rev }),
    );
    world.runtime.advance(SECOND);
    expect(edits.map(({ error }) => error?.code)).toEqual([undefined, 'ERR_REVISION', 'ERR_REVISION']);
  });

  it('makes nothing new when it is as it was', () => {
    const world = new World();
    const lease = world.set({ fw: [1] });
    const rules = [{ name: 'web', match: { protocol: 'tcp' }, chain: 7 }];
    const twice: [string, object][] = [
      ['tenant.put', {}],
      ['function.put', { name: 'fw' }],
      ['chain.put', { spi: 7, functions: ['fw'] }],
      ['classifier.put', { rules }],
      ['replica.put', { id: 1, function: 'fw', address: '127.0.0.1', port: 10_001, lease }],
    ];
    for (const [name, body] of twice) {
      const first = world.ask(name, body);
      const { rev } = world.roulette;
      expect(world.ask(name, body)).toEqual(first);
      expect(world.roulette.rev).toBe(rev);
    }
  });

  it('keeps tenants apart', () => {
    const world = new World();
    const lease = world.set({ fw: [1] });
    world.ask('chain.put', { spi: 7, functions: ['fw'] });
    world.set({ dpi: [1] }, 43);
    expect(() => world.ask('chain.put', { spi: 7, functions: ['fw'] }, 43)).toThrow('expected one of dpi');
    expect(() => world.ask('lease.keep', { lease }, 43)).toThrow(error('ERR_NOT_FOUND', 'no lease'));
    expect(() => world.ask('lease.end', { lease }, 43)).toThrow(error('ERR_NOT_FOUND', 'no lease'));
    expect(() => world.replica('dpi', 2, { lease }, 43)).toThrow(error('ERR_NOT_FOUND', 'no lease'));
    expect(world.ask('lease.keep', { lease })).toEqual({ lease });
    expect(() => world.ask('function.put', { name: 'fw' }, 44)).toThrow(
      error('ERR_NOT_FOUND', 'no tenant 44'),
    );
    expect(() => world.ask('lease.grant', { term: '1s' }, 44)).toThrow(
      error('ERR_NOT_FOUND', 'no tenant 44'),
    );
  });

  it('cannot take away what something else needs', () => {
    const world = new World();
    const lease = world.set({ fw: [], dpi: [1] });
    world.ask('chain.put', { spi: 7, functions: ['fw'] });
    world.ask('classifier.put', { rules: [{ name: 'all', match: {}, chain: 7 }] });
    expect(() => world.ask('function.remove', { name: 'fw' })).toThrow('that chain 7 does not use');
    expect(() => world.ask('function.remove', { name: 'dpi' })).toThrow('a function without replicas');
    expect(() => world.ask('chain.end', { spi: 7 })).toThrow('that the rule all does not lead to');
    expect(() => world.ask('tenant.remove')).toThrow('expected one that is empty');
    expect(() => world.ask('classifier.put', { rules: [{ name: 'all', match: {}, chain: 8 }] })).toThrow(
      'rules.0.chain: found 8, expected a chain that is there',
    );
    expect(() => world.ask('classifier.put', { rules: [{ name: 'all', match: 'tcp', chain: 7 }] })).toThrow(
      'rules.0.match: found "tcp", expected an object',
    );
    world.ask('classifier.put', { rules: [{ name: 'all', match: {}, chain: null }] });
    world.ask('chain.end', { spi: 7 });
    world.runtime.advance(40 * SECOND);
    world.ask('lease.end', { lease });
    world.ask('function.remove', { name: 'fw' });
    world.ask('function.remove', { name: 'dpi' });
    expect(() => world.ask('tenant.remove')).toThrow('classifier: 1');
    world.ask('classifier.put', { rules: [] });
    world.ask('tenant.remove');
    expect(() => world.ask('tenant.remove')).toThrow(error('ERR_NOT_FOUND', 'no tenant'));
  });

  it('is planned anew when something it relies on goes at the same instant', () => {
    const world = new World();
    world.set({ fw: [] });
    const gone = world.send('function.remove', { name: 'fw' });
    const used = world.send('chain.put', { spi: 7, functions: ['fw'] });
    world.runtime.advance(SECOND);
    expect(gone.error).toBeUndefined();
    expect(used.error).toMatchObject({ code: 'ERR_CONFIG' });
  });

  it('is bounded for each tenant', () => {
    const limits = { tenants: 2, functions: 2, chains: 1, replicas: 1, leases: 1, rules: 1, flows: 3 };
    const world = new World({ limits });
    const lease = world.set({ fw: [1], dpi: [] });
    world.ask('tenant.put', {}, 43);
    const limit = (name: string, body: object, tenant = TENANT) =>
      expect(() => world.ask(name, body, tenant)).toThrow(/limit is|at most/);
    limit('tenant.put', {}, 44);
    limit('function.put', { name: 'nat' });
    world.ask('chain.put', { spi: 7, functions: ['fw'] });
    limit('chain.put', { spi: 8, functions: ['fw'] });
    limit('replica.put', { id: 2, function: 'fw', address: '::1', port: 1, lease });
    limit('lease.grant', { term: '1s' });
    const rules = ['a', 'b'].map((name) => ({ name, match: {}, chain: 7 }));
    limit('classifier.put', { rules });
    limit('classifier.put', { rules: [{ name: 'a', match: { text: 'x'.repeat(3000) }, chain: 7 }] });
    const answers = world.register(1, 5);
    expect(answers.map((each) => each.error?.code)).toEqual([
      ...[undefined, undefined, undefined],
      ...['ERR_LIMIT', 'ERR_LIMIT'],
    ]);
    world.ask('function.put', { name: 'fw' }, 43);
  });

  it('checks a rule with the schema that it is given', async () => {
    const { z } = await import('zod');
    const world = new World({ match: z.strictObject({ port: z.int({ error: 'expected a port' }) }) });
    world.set({ fw: [] });
    world.ask('chain.put', { spi: 7, functions: ['fw'] });
    const put = (match: unknown) =>
      world.ask('classifier.put', {
        rules: [
          { name: 'a', match: { port: 1 }, chain: 7 },
          { name: 'b', match, chain: 7 },
        ],
      });
    expect(() => put({ port: 'x' })).toThrow('rules.1.match.port: found "x", expected a port');
    put({ port: 2 });
    expect(world.roulette.view(TENANT).classifier!.rules[1].match).toEqual({ port: 2 });
  });
});

describe('a chain', () => {
  it('gets a new revision with every edit, and the old one stays as long as packets carry it', () => {
    const world = new World({ packetLifetime: 5 * SECOND });
    world.set({ fw: [], dpi: [] });
    const first = world.ask('chain.put', { spi: 7, functions: ['fw'] }).revision;
    const second = world.ask('chain.put', { spi: 7, functions: ['fw', 'dpi'] }).revision;
    expect(second).toBe(first + 1);
    const view = () => world.roulette.view(TENANT);
    expect(view().chainRevision(7)).toEqual({ revision: second, functions: ['fw', 'dpi'], symmetric: true });
    world.runtime.advance(4 * SECOND);
    expect(view().chainRevision(7, first)?.functions).toEqual(['fw']);
    world.runtime.advance(3 * SECOND);
    expect(view().chainRevision(7, first)).toBeUndefined();
    expect(view().chainRevision(7, second)?.functions).toEqual(['fw', 'dpi']);
  });

  it('that has ended takes no flows, goes later, and comes back with a higher revision', () => {
    const world = new World({ packetLifetime: 5 * SECOND });
    world.set({ fw: [1] });
    const { revision } = world.ask('chain.put', { spi: 7, functions: ['fw'] });
    world.ask('chain.end', { spi: 7 });
    expect(world.register(1, 1)[0].error).toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(world.roulette.view(TENANT).chainRevision(7, revision)?.functions).toEqual(['fw']);
    world.runtime.advance(7 * SECOND);
    expect(world.roulette.view(TENANT).chain(7)).toBeUndefined();
    const again = world.ask('chain.put', { spi: 7, functions: ['fw'] });
    expect(again.revision).toBeGreaterThan(revision);
  });

  it('cannot be edited more often than revisions are kept', () => {
    const world = new World({ limits: { revisions: 3 }, packetLifetime: 5 * SECOND });
    world.set({ fw: [], dpi: [] });
    const edit = (i: number) => world.ask('chain.put', { spi: 7, functions: [['fw'], ['dpi']][i % 2] });
    for (let i = 0; i < 3; i++) edit(i);
    expect(() => edit(3)).toThrow(error('ERR_LIMIT', 'revisions of chain 7'));
    world.runtime.advance(7 * SECOND);
    expect(edit(3).revision).toBe(4);
  });
});
