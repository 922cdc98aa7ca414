import { describe, expect, it } from 'vitest';
import { ChainClient, Egress, Ingress } from '../../src/proxy/index.ts';

const roulette = { roulette: ['http://127.0.0.1:1'], tenant: 42 };
const tunnel = { addresses: ['10.8.0.1/24'] };

describe('an end of chains, before anything is done', () => {
  it.each([
    ['a Roulette', () => new Ingress({ roulette: [], tenant: 42, tunnel }), 'roulette: found []'],
    ['a tenant', () => new Ingress({ ...roulette, tenant: 1 << 24, tunnel }), 'tenant: found 16777216'],
    ['where clients come from', () => new Ingress(roulette), 'expected one of tunnel and tun'],
    ['one way in', () => new Ingress({ ...roulette, tunnel, tun: {} }), 'expected one of tunnel and tun'],
    ['where replies come back', () => new Egress(roulette), 'expected nat or routes'],
    [
      'one way out',
      () => new Egress({ ...roulette, deliver: 'sockets', nat: ['10.0.0.1'] }),
      'found nat or routes with deliver: sockets',
    ],
    [
      'sockets for what they are',
      () => new Egress({ ...roulette, nat: ['10.0.0.1'], allow: ['127.0.0.0/8'] }),
      'without deliver: sockets',
    ],
    ['a prefix', () => new Egress({ ...roulette, nat: ['10.0.0.1/8'] }), 'nat.0'],
    ['what it knows', () => new Egress({ ...roulette, nats: [] } as never), 'unknown key "nats"'],
    ['networks', () => new ChainClient({ ingress: 'x', addresses: ['10.8.0.2/24'], to: [] }), 'to: found'],
  ])('wants %s', (_what, make, message) => {
    expect(make).toThrow(
      expect.objectContaining({ code: 'ERR_CONFIG', message: expect.stringContaining(message) }),
    );
  });
});
