import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { createWorld } from '../../src/testing/namespaces.ts';
import { root } from '../house/sources.ts';
import { needs } from '../needs.ts';
import { readAll } from '../packet/pcap-helpers.ts';
import { runToEnd, tunconnector } from './cli-world.ts';
import { ping } from './tunnel-end.ts';

describe.skipIf(needs('root', 'tun', 'ping', 'socat', 'curl'))('tunconnector stack up', () => {
  it('answers on a TUN, writes what passes, and leaves nothing behind', { timeout: 60_000 }, async () => {
    await using world = await createWorld();
    const host = await world.host('host');
    const file = path.join(tmpdir(), `stack-${process.pid}.pcapng`);
    const before = await host.snapshot();
    const up = tunconnector(
      host,
      `stack up --tun st0 --address 10.9.0.2/24 --address fd00:9::2/64 --host-address 10.9.0.1/24 --host-address fd00:9::1/64 --serve ping,echo,http --json --pcap ${file}`,
    );
    try {
      await up.waitFor('"event":"up"');
      expect(await ping(host, '10.9.0.2', 3)).toBe(3);
      expect(await ping(host, 'fd00:9::2', 3, '-s', '20000')).toBe(3);
      const { stdout } = await host.exec(['socat', '-T', '2', '-', 'UDP:10.9.0.2:7'], { input: 'hello' });
      expect(stdout).toBe('hello');
      const stream = await host.exec(['socat', '-T', '2', '-', 'TCP:10.9.0.2:7'], { input: 'hello TCP' });
      expect(stream.stdout).toBe('hello TCP');
      for (const url of ['http://10.9.0.2/', 'http://[fd00:9::2]/']) {
        const page = await host.exec(['curl', '-sS', '-m', '5', url], { check: true });
        expect(JSON.parse(page.stdout)).toMatchObject({
          you: expect.stringMatching(/^(10\.9\.0\.1|fd00:9::1)$/),
        });
      }
      const { code } = await up.stop('SIGINT', 20_000);
      expect({ code, stderr: up.stderr }).toEqual({ code: 0, stderr: '' });
      const events = up.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(events[0]).toMatchObject({ event: 'up', interface: 'st0', services: ['ping', 'echo', 'http'] });
      expect(events.at(-1)).toMatchObject({ event: 'report', stack: { echoes: 6, reassembled: 3 } });
      const records = readAll(await readFile(file));
      expect(records.length).toBeGreaterThan(90);
      expect(await host.snapshot()).toBe(before);
    } finally {
      await rm(file, { force: true });
    }
  });

  it('says what does not fit', async () => {
    await using world = await createWorld();
    const host = await world.host('host');
    const serve = await runToEnd(host, 'stack up --tun st0 --address 10.9.0.2/24 --serve ftp');
    expect(serve).toEqual({
      code: 2,
      stdout: '',
      stderr: 'tunconnector: --serve: found "ftp", expected some of ping, echo, http\n',
    });
    const address = await runToEnd(host, 'stack up --tun st0 --address 127.0.0.1/8');
    expect(address.code).toBe(2);
    const missing = await runToEnd(host, 'stack up --interface nowhere --address 10.9.0.2/24');
    expect(missing.code).toBe(5);
  });
});

describe.skipIf(needs('root', 'tun', 'ping'))('examples of stacks', () => {
  it('stack-ping.mjs pings the kernel and answers it', async () => {
    await using world = await createWorld();
    const host = await world.host('host');
    const running = host.node(path.join(root, 'examples/stack-ping.mjs'));
    await running.waitFor('Ctrl-C ends it');
    expect(running.stdout).toMatch(/10\.9\.0\.1: [\d.]+ ms, ttl 64\nfd00:9::1: [\d.]+ ms, ttl 64\n/);
    expect(running.stdout).toContain('10.9.0.9: timeout');
    expect(await ping(host, 'fd00:9::2', 3)).toBe(3);
    const { code } = await running.stop('SIGINT', 20_000);
    expect({ code, stderr: running.stderr }).toEqual({ code: 0, stderr: '' });
  });

  it('router.mjs joins two networks', async () => {
    await using world = await createWorld();
    const [a, middle, b] = await Promise.all([world.host('a'), world.host('middle'), world.host('b')]);
    await world.wire(a, middle, { a: '10.1.0.2/24', names: { b: 'eth1' } });
    await world.wire(b, middle, { a: '10.2.0.2/24', names: { b: 'eth2' } });
    await a.ip('route add 10.2.0.0/24 via 10.1.0.1');
    await b.ip('route add 10.1.0.0/24 via 10.2.0.1');
    const argv = ['eth1', '10.1.0.1/24', 'eth2', '10.2.0.1/24'];
    const running = middle.node(path.join(root, 'examples/router.mjs'), argv);
    await running.waitFor('are joined');
    expect(await ping(a, '10.2.0.2', 5)).toBe(5);
    expect(await ping(a, '10.2.0.1', 3)).toBe(3);
    const { code } = await running.stop('SIGINT', 20_000);
    expect(code).toBe(0);
    expect(running.stdout).toMatch(/\d+ packets forwarded/);
  });
});
