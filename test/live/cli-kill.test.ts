import { describe, expect, it } from 'vitest';
import { needs } from '../needs.ts';
import { SERVER, tunconnector, twoHosts } from './cli-world.ts';
import { untilPing } from './tunnel-end.ts';

const indexOf = async (host: { exec: (argv: string[]) => Promise<{ stdout: string }> }) =>
  (await host.exec(['ip', '-o', 'link', 'show', 'tun0'])).stdout.split(':')[0];

describe.skipIf(needs('netns', 'tun', 'ip', 'ping'))('after kill -9 and a new start', () => {
  const serve = '-p tun0 -s 10.0.0.2 -i 55555 -m server';
  const connect = `-n tun0 -c 10.0.0.3 -r ${SERVER} -m client`;

  it('of the server, the tunnel heals within 3 s, and the client keeps its interface', {
    timeout: 30_000,
  }, async () => {
    await using hosts = await twoHosts();
    const first = tunconnector(hosts.server, serve);
    await first.waitFor('is up');
    const client = tunconnector(hosts.client, connect);
    await client.waitFor('is up');
    const before = await indexOf(hosts.client);
    await first.stop('SIGKILL');
    const second = tunconnector(hosts.server, serve);
    await second.waitFor('is up');
    expect(await untilPing(hosts.client, '10.0.0.2', 5000)).toBeLessThan(3000);
    await second.waitFor('10.0.0.3 came from');
    expect(await indexOf(hosts.client)).toBe(before);
  });

  it('of a client, the tunnel heals within 3 s, and the server keeps its interface', {
    timeout: 30_000,
  }, async () => {
    await using hosts = await twoHosts();
    const server = tunconnector(hosts.server, serve);
    await server.waitFor('is up');
    const first = tunconnector(hosts.client, connect);
    await first.waitFor('is up');
    const before = await indexOf(hosts.server);
    await first.stop('SIGKILL');
    const second = tunconnector(hosts.client, connect);
    await second.waitFor('is up', 20_000);
    expect(await untilPing(hosts.client, '10.0.0.2', 5000)).toBeLessThan(3000);
    expect(await indexOf(hosts.server)).toBe(before);
  });
});
