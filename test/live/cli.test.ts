import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { needs } from '../needs.ts';
import {
  BIN,
  CLIENT,
  interfaceMtu,
  pings,
  runToEnd,
  SERVER,
  scratchDirectory,
  tunconnector,
  twoHosts,
  until,
} from './cli-world.ts';

const skip = needs('netns', 'tun', 'ip', 'ping');

describe.skipIf(skip)('the two commands of the manual', () => {
  it('connect two hosts, say one line when up and one per peer, and end with a report on Ctrl-C', async () => {
    await using hosts = await twoHosts();
    const before = await Promise.all([hosts.server.snapshot(), hosts.client.snapshot()]);
    const server = tunconnector(hosts.server, '-p tun0 -s 10.0.0.2 -i 55555 -m server');
    await server.waitFor(/^tun0 is up: 10\.0\.0\.2\/24, MTU 1472, listening on UDP port 55555\n/);
    const client = tunconnector(hosts.client, `-n tun0 -c 10.0.0.3 -o 55555 -r ${SERVER} -m client`);
    await client.waitFor(/^tun0 is up: 10\.0\.0\.3\/24, MTU 1472, connected to 192\.168\.6\.9:55555\n$/);
    await server.waitFor(new RegExp(`\ntun0: 10\\.0\\.0\\.3 came from ${CLIENT}:\\d+\n$`));
    expect(await pings(hosts.client, '10.0.0.2')).toBe(true);

    expect(await client.stop('SIGINT')).toEqual({ code: 0, signal: null });
    await server.waitFor('\ntun0: 10.0.0.3 went (goodbye)\n');
    expect(client.stdout).toMatch(/into the tunnel\s+│\s+2 │\s+168 B/);
    expect(client.stdout).toMatch(/out of the tunnel\s+│\s+2 │\s+168 B/);
    expect(await server.stop('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(server.stdout).toContain('no peers at the end');
    expect(server.stderr + client.stderr).toBe('');
    expect(await Promise.all([hosts.server.snapshot(), hosts.client.snapshot()])).toEqual(before);
  });

  it('carry IPv4 and IPv6 at once, inside and outside, over TUN and TAP', async () => {
    await using hosts = await twoHosts();
    for (const tap of ['', '--tap']) {
      await using server = tunconnector(hosts.server, `-m server -s 10.0.0.2,fd00::2 -i 55555 ${tap}`);
      await server.waitFor('is up');
      await using client = tunconnector(hosts.client, `-m client -c 10.0.0.3 -c fd00::3 -r fd06::9 ${tap}`);
      await client.waitFor('connected to [fd06::9]:55555');
      expect(await pings(hosts.client, '10.0.0.2')).toBe(true);
      expect(await pings(hosts.client, 'fd00::2')).toBe(true);
    }
  });

  it.each(['raw', 'stream'])('work with --format %s', async (format) => {
    await using hosts = await twoHosts();
    await using server = tunconnector(hosts.server, `-m server -s 10.0.0.2 -i 55555 --format ${format}`);
    await server.waitFor(`listening on ${format === 'stream' ? 'TCP' : 'UDP'} port 55555`);
    await using client = tunconnector(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER} --format ${format}`);
    await client.waitFor('is up');
    expect(await until(() => pings(hosts.client, '10.0.0.2'))).toBe(true);
    await server.waitFor(new RegExp(`tun1: ${CLIENT}:\\d+ came`));
  });

  it('say that a server does not answer once, and connect when it does', async () => {
    await using hosts = await twoHosts();
    await using client = tunconnector(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER}`);
    await client.waitFor(`tun0: no answer from ${SERVER}:55555; still trying\n`);
    await sleep(6000);
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await client.waitFor('tun0 is up');
    expect(client.stdout.match(/no answer/g)).toHaveLength(1);
    // The server starts anew: told once that it is silent, once that it is back.
    await server.stop();
    await client.waitFor('is silent (goodbye); still trying');
    await using again = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await client.waitFor(`${SERVER}:55555 is back`);
    expect(again.running).toBe(true);
  });

  it('a second Ctrl-C does not wait', async () => {
    await using hosts = await twoHosts();
    const server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    server.kill('SIGINT');
    server.kill('SIGINT');
    // Both may arrive before Node looks: then they are one.
    server.kill('SIGINT');
    const { code } = await server.ended;
    expect([0, 130]).toContain(code);
  });
});

describe.skipIf(skip)('what the command is told', () => {
  it('--json is one object per line, from up to report', async () => {
    await using hosts = await twoHosts();
    const server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555 --json --stats 0.2');
    await server.waitFor('"up"');
    const client = tunconnector(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER} --json`);
    await server.waitFor('"came"');
    // The server may hear of it before the client's interface has an address.
    await client.waitFor('"up"');
    expect(await pings(hosts.client, '10.0.0.2')).toBe(true);
    await sleep(500);
    await client.stop('SIGINT');
    await server.waitFor('"gone"');
    await server.stop('SIGINT');
    const events = server.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown> & { ends: Record<string, unknown>[] });
    expect(events[0]).toMatchObject({
      event: 'up',
      side: 'server',
      interface: 'tun1',
      mtu: 1472,
      format: 'udp',
    });
    expect(events.filter(({ event }) => event === 'peer')).toMatchObject([
      { change: 'came', addresses: ['10.0.0.3'] },
      { change: 'gone', addresses: ['10.0.0.3'], reason: 'goodbye' },
    ]);
    expect(events.filter(({ event }) => event === 'stats').length).toBeGreaterThan(1);
    expect(events.at(-1)).toMatchObject({
      event: 'report',
      ends: [{ received: { packets: 2, bytes: 168 }, sent: { packets: 2, bytes: 168 } }],
    });
  });

  it('--stats writes plain lines where there is no terminal', async () => {
    await using hosts = await twoHosts();
    const server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555 --stats 0.2');
    await server.waitFor(/(\ntun1 {2}out +0 bit\/s.*peers 0){2}/);
    await server.stop('SIGINT');
    expect(server.stdout).not.toContain('\r');
  });

  it('--config holds the options, and the command line wins', async () => {
    await using hosts = await twoHosts();
    await using directory = await scratchDirectory();
    const file = `${directory.path}/server.yaml`;
    await writeFile(
      file,
      'mode: server\nserverinterface: tun7\nserverip: [10.0.0.2, fd00::2]\ninport: 5000\n',
    );
    await using server = tunconnector(hosts.server, `--config ${file} -i 55555`);
    await server.waitFor('tun7 is up: 10.0.0.2/24, fd00::2/64, MTU 1472, listening on UDP port 55555');
    await writeFile(file, '{"mode": "server", "remoteip": "10.1.1.1"}');
    const { code, stderr } = await runToEnd(hosts.client, `--config ${file}`);
    expect(stderr).toBe(
      `tunconnector: ${file}: remoteip is for a client, and the mode is server; leave it out or use -m client\n`,
    );
    expect(code).toBe(2);
  });

  it('--pcap writes what passes the interface, for its owner alone', async () => {
    await using hosts = await twoHosts();
    await using directory = await scratchDirectory();
    const file = `${directory.path}/t.pcapng`;
    const server = tunconnector(hosts.server, `-m server -s 10.0.0.2 -i 55555 --pcap ${file}`);
    await server.waitFor('is up');
    await using client = tunconnector(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER}`);
    await client.waitFor('is up');
    expect(await pings(hosts.client, '10.0.0.2', '-p', 'facade')).toBe(true);
    await server.stop('SIGINT');
    expect(server.stdout).toContain(`${file}: 4 packets`);
    const bytes = await readFile(file);
    expect(bytes.readUInt32LE(0)).toBe(0x0a0d0d0a);
    expect(bytes.includes(Buffer.from('facadefacade', 'hex'))).toBe(true);
    expect((await stat(file)).mode & 0o077).toBe(0);
  });

  it('tunconnector capture finds a running tunnel by its interface', async () => {
    await using hosts = await twoHosts();
    await using directory = await scratchDirectory();
    // Not the machine's own /run: other tests have interfaces of this name.
    const env = { ...process.env, XDG_RUNTIME_DIR: directory.path };
    const file = `${directory.path}/t.pcapng`;
    const server = hosts.server.node(BIN, '-m server -s 10.0.0.2 -i 55555'.split(' '), { env });
    await server.waitFor('is up');
    await using client = tunconnector(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER}`);
    await client.waitFor('is up');
    // Of the kernel's own packets there may be more than of these.
    await using capture = hosts.server.node(BIN, ['capture', 'tun1', file, '--count', '40'], { env });
    expect(await until(async () => (await stat(file).catch(() => ({ size: 0 }))).size > 0, 20_000)).toBe(
      true,
    );
    expect(await pings(hosts.client, '10.0.0.2', '-p', 'facade', '-c', '40', '-i', '0.02')).toBe(true);
    expect((await capture.ended).code).toBe(0);
    expect((await readFile(file)).includes(Buffer.from('facadefacade', 'hex'))).toBe(true);
    await server.stop('SIGINT');
    expect((await readdir(directory.path)).sort()).toEqual(['t.pcapng']);
  });

  it('--mtu is the interface’s, and without it the interface follows the path', async () => {
    await using hosts = await twoHosts();
    const mtuOf = (name: string) => interfaceMtu(hosts.client, name);
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2,fd00::2 -i 55555');
    await server.waitFor('is up');
    await using fixed = tunconnector(hosts.client, `-m client -n t1 -c 10.0.0.3 -r ${SERVER} --mtu 1400`);
    await fixed.waitFor('MTU 1400');
    expect(await mtuOf('t1')).toBe(1400);
    // The far side of the wire carries less than this one knows.
    await hosts.server.ip('link set eth0 mtu 1300');
    await using follows = tunconnector(hosts.client, `-m client -n t2 -c 10.0.0.4 -r ${SERVER} --json`);
    await using ipv6 = tunconnector(hosts.client, `-m client -n t3 -c fd00::3 -r ${SERVER} --json`);
    await follows.waitFor('"event":"mtu"', 15_000);
    expect(await mtuOf('t2')).toBeLessThan(1280);
    expect(await mtuOf('t2')).toBeGreaterThan(1200);
    await ipv6.waitFor('"event":"mtu"', 15_000);
    expect(await mtuOf('t3')).toBe(1280);
  });

  it('--allow and --max-clients keep clients out, who are told so', async () => {
    await using hosts = await twoHosts();
    const only = tunconnector(
      hosts.server,
      '-m server -s 10.0.0.2 -i 55555 --allow 172.16.0.0/12 --max-clients 1',
    );
    await only.waitFor('is up');
    const outside = await runToEnd(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER}`);
    expect(outside.stderr).toMatch(/^tunconnector: the server 192\.168\.6\.9:55555 refused: .*network.*\n$/);
    expect(outside.code).toBe(4);
    await only.stop();
    await using one = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555 --max-clients 1');
    await one.waitFor('is up');
    await using first = tunconnector(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER}`);
    await first.waitFor('is up');
    const second = await runToEnd(hosts.client, `-m client -n tun5 -c 10.0.0.4 -r ${SERVER}`);
    expect(second.stderr).toContain("raise the server's --max-clients");
    expect(second.code).toBe(4);
  });

  it('a client whose address is taken ends with an error that says so', async () => {
    await using hosts = await twoHosts();
    const before = await hosts.client.snapshot();
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    await using holder = tunconnector(hosts.server, `-m client -n tun9 -c 10.0.0.3 -r ${SERVER}`);
    await holder.waitFor('is up');
    const { code, stderr, stdout } = await runToEnd(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER}`);
    expect(stderr).toMatch(
      /^tunconnector: the server .* refused: .*10\.0\.0\.3.*choose another address \(-c\)\n$/,
    );
    expect({ code, stdout }).toEqual({ code: 4, stdout: '' });
    await server.waitFor(new RegExp(`tun1: refused ${CLIENT}:\\d+ as 10\\.0\\.0\\.3: `));
    expect(await hosts.client.snapshot()).toBe(before);
  });
});
