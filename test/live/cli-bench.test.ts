import { describe, expect, test } from 'vitest';
import { needs } from '../needs.ts';
import { BIN, runToEnd, twoHosts, until } from './cli-world.ts';

describe.skipIf(needs('netns', 'tun', 'ip', 'ping'))('tunconnector bench', () => {
  test('measures the wire and the tunnel, and says what is in use', async () => {
    await using hosts = await twoHosts();
    const before = await hosts.client.snapshot();
    const { code, stdout, stderr } = await runToEnd(hosts.client, 'bench --seconds 5 --json', 50_000);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const result = JSON.parse(stdout);
    for (const figures of [result.wire, result.tunnel]) {
      expect(figures.tcpForward).toBeGreaterThan(1e7);
      expect(figures.tcpReverse).toBeGreaterThan(1e7);
      expect(figures.smallPackets).toBeGreaterThan(1000);
      expect(figures.idle.median).toBeGreaterThan(1);
    }
    expect(result.tunnel.loaded.median).toBeGreaterThan(1);
    expect(result.processorPerGigabyte).toBeGreaterThan(0.01);
    expect(result.active).toMatchObject({ vnetHeader: true, gso: true, gro: true, thread: 'worker' });
    expect(await hosts.client.snapshot()).toBe(before);
  });

  test('ends at once with Ctrl-C, its hosts and programs with it', async () => {
    await using hosts = await twoHosts();
    const bench = hosts.client.node(BIN, ['bench', '--seconds', '60']);
    // Every process of a world carries the mark of the process that made it, holders in their arguments.
    const mark = `TUNCONNECTOR_WORLD=${bench.pid}[.]`;
    const own = async () => {
      const files = ['/proc/[0-9]*/environ', '/proc/[0-9]*/cmdline'];
      const { stdout } = await hosts.client.exec(['sh', '-c', `grep -lsaE '${mark}' ${files.join(' ')}`]);
      return stdout.split('\n').filter((file) => /^\/proc\/\d/.test(file)).length;
    };
    // Two holders and two ends.
    expect(await until(async () => (await own()) >= 4, 20_000)).toBe(true);
    bench.kill('SIGINT');
    const { code } = await bench.ended;
    expect({ code, stdout: bench.stdout }).toEqual({ code: 130, stdout: '' });
    expect(await until(async () => (await own()) === 0, 3000)).toBe(true);
  });

  test('refuses a time that is none', async () => {
    await using hosts = await twoHosts();
    const { code, stderr } = await runToEnd(hosts.client, 'bench --seconds 1');
    expect(code).toBe(2);
    expect(stderr).toContain('--seconds: found "1", expected 5 to 600');
  });
});
