import { describe, expect, it } from 'vitest';
import { isLoopback, parseListenAddress, urlOf } from '../../src/control/http/address.ts';
import { listen, makeServer } from '../../src/control/http/server.ts';
import { checkToken, drawToken, Tokens } from '../../src/control/http/token.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';

describe('an address to listen on', () => {
  it.each([
    ['', '127.0.0.1', 7580],
    ['80', '127.0.0.1', 80],
    ['0', '127.0.0.1', 0],
    ['192.168.6.9', '192.168.6.9', 7580],
    ['192.168.6.9:1', '192.168.6.9', 1],
    ['localhost', 'localhost', 7580],
    ['*:65535', '0.0.0.0', 65535],
    ['[::1]:2', '::1', 2],
    ['[::]', '::', 7580],
    ['a-host.example.com:443', 'a-host.example.com', 443],
  ])('"%s" is %s and %i', (text, host, port) => {
    expect(parseListenAddress(text, 7580)).toEqual({ host, port });
  });

  it.each([
    '65536',
    '1.2.3',
    '1.2.3.256',
    '::1',
    '[1.2.3.4]',
    '[::1',
    'veth0:',
    ':80',
    'a b',
    '-x',
    'http://x',
    '127.0.0.1:99999',
  ])('"%s" is none', (text) => {
    expect(() => parseListenAddress(text, 7580)).toThrow(
      'expected an address to listen on; give PORT, HOST or HOST:PORT',
    );
  });

  it('is loopback or not, and an address that can be opened', () => {
    const loopback = [
      '127.0.0.1',
      '127.8.8.8',
      '::1',
      'localhost',
      '0.0.0.0',
      '::',
      '192.168.6.9',
      'example.com',
    ].map(isLoopback);
    expect(loopback).toEqual([true, true, true, true, false, false, false, false]);
    expect(urlOf({ host: '::1', port: 1 })).toBe('http://[::1]:1');
  });
});

describe('listening', () => {
  const make = () => makeServer({ title: 't', description: 'd', version: '1', unexpected: () => {} });

  it('takes a free port for 0, and says which', async () => {
    await using server = await make();
    const { host, port } = await listen(server, { host: '127.0.0.1', port: 0 }, undefined);
    expect([host, port > 0]).toEqual(['127.0.0.1', true]);
    await using other = await make();
    await expect(listen(other, { host, port }, undefined)).rejects.toMatchObject({
      code: 'ERR_PORT_IN_USE',
      message: `another program listens on 127.0.0.1:${port}; choose another port; 0 takes one that is free`,
    });
  });

  it('is refused where others could ask without a token', async () => {
    await using server = await make();
    await expect(listen(server, { host: '0.0.0.0', port: 0 }, undefined)).rejects.toMatchObject({
      code: 'ERR_CONFIG',
    });
  });

  it('on an address that is another machine’s says so', async () => {
    await using server = await make();
    const found = listen(server, { host: '192.0.2.1', port: 0 }, 'a-token-of-some-length');
    await expect(found).rejects.toMatchObject({
      code: 'ERR_SOCKET',
      message: expect.stringContaining('192.0.2.1 is no address of this machine'),
    });
  });
});

describe('a token', () => {
  it('is what fits everywhere, and long enough not to be guessed', () => {
    expect(checkToken(' 0123456789abcdef\n', 'x')).toBe('0123456789abcdef');
    for (const text of ['', 'short', 'with spaces in between', 'semi;colon;semi;colon', 'x'.repeat(513)])
      expect(() => checkToken(text, 'secret.txt')).toThrow('secret.txt: this is no token; give 16 to 512');
  });

  it('is drawn anew each time, and compared as a whole', () => {
    const runtime = new VirtualRuntime({ seed: 1 });
    const [one, two] = [drawToken(runtime), drawToken(runtime)];
    expect(checkToken(one, 'x')).toHaveLength(32);
    const tokens = new Tokens([
      [one, 'all'],
      [two, new Set([42])],
    ]);
    expect([one, two, `${one}x`, ''].map((each) => tokens.grantOf(each))).toEqual([
      'all',
      new Set([42]),
      undefined,
      undefined,
    ]);
  });
});
