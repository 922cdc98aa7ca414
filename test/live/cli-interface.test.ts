import { describe, expect, it } from 'vitest';
import type { Host } from '../../src/testing/index.ts';
import { superframeLimit } from '../../src/tunnel/connector/superframes.ts';
import { needs } from '../needs.ts';
import { SERVER, tunconnector, twoHosts } from './cli-world.ts';

interface Link {
  mtu: number;
  txqlen: number;
  gso_max_size: number;
}

async function linkOf(host: Host, name: string): Promise<Link> {
  const { stdout } = await host.exec(['ip', '-d', '-j', 'link', 'show', 'dev', name], { check: true });
  return (JSON.parse(stdout) as [Link])[0];
}

describe.skipIf(needs('netns', 'tun', 'ip', 'ping'))('the interface of a tunnel', () => {
  it('takes superframes that leave in one send each, also when its MTU changes', async () => {
    await using hosts = await twoHosts();
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    const { mtu, ...rest } = await linkOf(hosts.server, 'tun1');
    expect([mtu, rest.txqlen, rest.gso_max_size]).toEqual([1472, 2000, superframeLimit(1472, 0)]);
    // The far side of the wire carries less than this one knows.
    await hosts.server.ip('link set eth0 mtu 1300');
    await using client = tunconnector(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER} --json`);
    await client.waitFor('"event":"mtu"', 15_000);
    const followed = await linkOf(hosts.client, 'tun0');
    expect(followed.mtu).toBeLessThan(1280);
    expect(followed.gso_max_size).toBe(superframeLimit(followed.mtu, 0));
    expect(followed.gso_max_size).not.toBe(rest.gso_max_size);
  });

  it.each(['--forward', '--nat', '--tap', '--no-gso', '--no-vnet-hdr', '--format stream'])(
    'takes superframes of any size with %s',
    async (option) => {
      await using hosts = await twoHosts();
      await using server = tunconnector(hosts.server, `-m server -s 10.0.0.2 -i 55555 ${option}`);
      await server.waitFor('is up');
      expect((await linkOf(hosts.server, 'tun1')).gso_max_size).toBe(65_536);
    },
  );

  it('shows in the report what its full queue dropped', async () => {
    await using hosts = await twoHosts();
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555 --stats 0.2');
    await server.waitFor('is up');
    await hosts.server.ip('link set tun1 txqueuelen 10');
    server.kill('SIGSTOP');
    await hosts.server.exec(['ping', '-q', '-i', '0.002', '-c', '100', '-W', '1', '10.0.0.3']);
    server.kill('SIGCONT');
    await server.waitFor(/dropped [1-9]/);
    await server.stop('SIGINT');
    const dropped = Number(/dropped: tun-kernel-queue-full\D+(\d+)/.exec(server.stdout)?.[1]);
    expect(dropped).toBeGreaterThanOrEqual(80);
    expect(dropped).toBeLessThanOrEqual(100);
  });

  it('takes superframes of any size on a host that forwards already', async () => {
    await using hosts = await twoHosts();
    await hosts.server.exec(['sysctl', '-qw', 'net.ipv4.ip_forward=1'], { check: true });
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    expect((await linkOf(hosts.server, 'tun1')).gso_max_size).toBe(65_536);
  });
});
