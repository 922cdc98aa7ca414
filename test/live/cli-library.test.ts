import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { BIN, CLIENT, pings, SERVER, scratchDirectory, tunconnector, twoHosts } from './cli-world.ts';

const library = fileURLToPath(new URL('../../dist/tunnel/index.js', import.meta.url));
const skip = needs('netns', 'tun', 'ip', 'ping');

/** Runs a module with the library's names in scope on a host. */
const program = (host: Host, text: string) =>
  host.spawn([
    process.execPath,
    '--input-type=module',
    '-e',
    `import { startTunnel, TunConnector } from ${JSON.stringify(library)};\n${text}`,
  ]);

describe.skipIf(skip)('the library', () => {
  it('runs a tunnel that an app is put into while it runs, and takes everything back', async () => {
    await using hosts = await twoHosts();
    const before = await hosts.client.snapshot();
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    const client = program(
      hosts.client,
      `
      const tunnel = await startTunnel({ client: { remote: '${SERVER}', addresses: ['10.0.0.3'] } });
      tunnel.on('up', ({ addresses }) => console.log('up', ...addresses));
      process.once('SIGUSR1', async () => {
        const odd = { push({ pool, input, output }) {
          for (let n = input.in.waiting; n > 0; n--) {
            const packet = input.in.take();
            if (pool.length[packet] & 1) pool.drop(packet, 1);
            else output.out.put(packet);
          }
        } };
        const { network } = tunnel.ends[0];
        await network.app('odd', odd).unlink('tun.out -> tunnel.inside')
          .link('tun.out -> odd.in').link('odd.out -> tunnel.inside').commit();
        console.log('changed');
      });
      process.once('SIGTERM', async () => {
        await Promise.all([tunnel.close(), tunnel.close()]);
        const [{ sent, drops, connected }] = (await tunnel.report()).ends;
        console.log(JSON.stringify({ sent, drops, connected }));
      });`,
    );
    await client.waitFor('up 10.0.0.3/24');
    expect(await pings(hosts.client, '10.0.0.2', '-s', '57')).toBe(true);
    client.kill('SIGUSR1');
    await client.waitFor('changed');
    expect(await pings(hosts.client, '10.0.0.2', '-s', '57')).toBe(false);
    expect(await pings(hosts.client, '10.0.0.2', '-s', '56')).toBe(true);
    expect((await client.stop()).code).toBe(0);
    const [, report] = await client.waitFor(/^(\{.*\})$/m).catch(() => /^(\{.*\})$/m.exec(client.stdout)!);
    expect(JSON.parse(report!)).toMatchObject({ sent: { packets: 6 }, connected: true });
    expect(await hosts.client.snapshot()).toBe(before);
  });

  it('rejects with everything as it was, and says what it found and expected', async () => {
    await using hosts = await twoHosts();
    const before = await hosts.server.snapshot();
    const { stdout, code } = await hosts.server.exec([
      process.execPath,
      '--input-type=module',
      '-e',
      `import { startTunnel } from ${JSON.stringify(library)};
      const attempts = [
        {}, { server: { port: 0 } }, { server: { addresses: ['10.0.0'] } }, { server: { colour: 1 } },
        { server: { routes: ['10.0.0.1/8'] } }, { mtu: 1000, server: { addresses: ['fd00::1'] } },
        { format: 'raw', server: { maxClients: 4 } }, { server: { interface: 'x' }, client: { interface: 'x', remote: 'a' } },
        { server: { port: 4000, addresses: ['10.0.0.2', '10.0.0.2'] } },
      ];
      for (const options of attempts) {
        await startTunnel(options).then(() => console.log('ran'), ({ code, message }) => console.log(code, message));
      }`,
    ]);
    const lines = stdout.trimEnd().split('\n');
    const patterns = [
      /^ERR_CONFIG options: found neither server nor client, expected one or both/,
      /^ERR_CONFIG server\.port: found 0, /,
      /^ERR_CONFIG server\.addresses\.0: found "10\.0\.0", /,
      /^ERR_CONFIG server: found the unknown key "colour"/,
      /^ERR_CONFIG server\.routes\.0: found "10\.0\.0\.1\/8", .*10\.0\.0\.0\/8/,
      /^ERR_CONFIG mtu: found 1000, expected at least 1280/,
      /^ERR_CONFIG server\.maxClients: .*format udp alone/,
      /^ERR_CONFIG client\.interface: found x, expected another/,
      /^ERR_INTERFACE ip addr add 10\.0\.0\.2\/24 dev tun1: .*assigned|exists/,
    ];
    expect(lines).toHaveLength(patterns.length);
    for (const [i, pattern] of patterns.entries()) expect(lines[i]).toMatch(pattern);
    expect(code).toBe(0);
    expect(await hosts.server.snapshot()).toBe(before);
  });
});

describe.skipIf(skip || needs('root'))('a host name', () => {
  it('is looked up again when the server is silent, and its new address is used', async () => {
    await using hosts = await twoHosts();
    await using directory = await scratchDirectory();
    await hosts.server.ip('addr add 192.168.6.10/24 dev eth0');
    const names = `${directory.path}/hosts`;
    await writeFile(names, '192.168.6.9 tunnel.test\n');
    const server = tunconnector(hosts.server, `-m server -s 10.0.0.2 -i 55555 --listen ${SERVER}`);
    await server.waitFor('is up');
    const bind = `mount --bind ${names} /etc/hosts && exec "$0" "$@"`;
    const words = '-m client -c 10.0.0.3 -r tunnel.test --route default --json'.split(' ');
    const client = hosts.client.spawn(['unshare', '-m', 'sh', '-c', bind, process.execPath, BIN, ...words]);
    await client.waitFor(/"up".*"outer":"192\.168\.6\.9:55555"/);
    await server.stop();
    await writeFile(names, '192.168.6.10 tunnel.test\n');
    await using moved = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555 --listen 192.168.6.10');
    await moved.waitFor(`10.0.0.3 came from ${CLIENT}`, 15_000);
    await client.waitFor(/"change":"back".*"outer":"192\.168\.6\.10:55555"/);
    expect(await pings(hosts.client, '10.0.0.2')).toBe(true);
    // The way to the new address is kept outside of the tunnel, that to the old one is given up.
    const { stdout } = await hosts.client.exec(['ip', 'route', 'show', 'proto', '84']);
    expect(stdout).toMatch(/^192\.168\.6\.10 dev eth0/m);
    expect(stdout).not.toMatch(/192\.168\.6\.9 dev/);
    await client.stop();
  });
});
