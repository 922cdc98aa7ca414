import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createWorld, type Host, type HostProcess } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { CLIENT, interfaceMtu, pings, SERVER, tunconnector, twoHosts, until } from './cli-world.ts';

const skip = needs('netns', 'tun', 'ip', 'ping', 'nft');

/** Kills it as nobody expects, and gives what is beside it the second it may take. */
async function killNine(process: HostProcess): Promise<void> {
  process.kill('SIGKILL');
  await process.ended;
  await sleep(1000);
}

describe.skipIf(skip)('three hosts in a row', () => {
  it('reach each other through the one in the middle, which is both', async () => {
    await using world = await createWorld({ name: 'row' });
    const [a, b, c] = (await Promise.all(['a', 'b', 'c'].map((name) => world.host(name)))) as [
      Host,
      Host,
      Host,
    ];
    await world.wire(a, b, { a: '192.168.1.1/24', b: '192.168.1.9/24' });
    await world.wire(b, c, { a: '192.168.2.1/24', b: '192.168.2.9/24' });
    const before = await b.snapshot();
    await using last = tunconnector(c, '-m server -p tun0 -s 10.2.0.1 -i 55555 --route 10.1.0.0/24');
    await last.waitFor('is up');
    const both = tunconnector(b, '-s 10.1.0.1 -c 10.2.0.2 -r 192.168.2.9 --announce 10.1.0.0/24 --json');
    await both.waitFor(/"up".*"side":"client"/);
    expect(both.stdout).toMatch(/"up".*"side":"server","interface":"tun1".*:55556"/);
    await using first = tunconnector(a, '-m client -c 10.1.0.2 -o 55556 -r 192.168.1.9 --route 10.2.0.0/24');
    await first.waitFor('is up');
    expect(await pings(a, '10.2.0.1')).toBe(true);
    expect(await pings(c, '10.1.0.2')).toBe(true);
    await both.stop('SIGINT');
    expect(JSON.parse(both.stdout.trimEnd().split('\n').at(-1)!)).toMatchObject({
      event: 'report',
      ends: [{ interface: 'tun1' }, { interface: 'tun0' }],
    });
    expect(await b.snapshot()).toBe(before);
  });
});

describe.skipIf(skip)('all traffic through the tunnel', () => {
  /** A server between its clients' wire and another network. */
  async function withOutside() {
    const hosts = await twoHosts();
    const outside = await hosts.world.host('outside');
    await hosts.world.wire(hosts.server, outside, { a: '198.51.100.1/24', b: '198.51.100.9/24' });
    return { ...hosts, outside };
  }

  it('--route default and --nat take a client out, and the way to the server stays outside', async () => {
    await using hosts = await withOutside();
    const before = await Promise.all([hosts.server.snapshot(), hosts.client.snapshot()]);
    const server = tunconnector(hosts.server, '-m server -s 10.0.0.1 -i 55555 --nat');
    await server.waitFor('is up');
    expect(await pings(hosts.client, '198.51.100.9')).toBe(false);
    const client = tunconnector(hosts.client, `-m client -c 10.0.0.7 -r ${SERVER} --route default`);
    await client.waitFor('is up');
    expect(await pings(hosts.client, '198.51.100.9')).toBe(true);
    expect((await hosts.client.exec(['ip', 'route', 'get', SERVER])).stdout).toContain('dev eth0');
    await client.stop('SIGINT');
    await server.stop('SIGINT');
    expect(await Promise.all([hosts.server.snapshot(), hosts.client.snapshot()])).toEqual(before);
  });

  it('leaves nothing behind a second after kill -9', async () => {
    await using hosts = await withOutside();
    const before = await Promise.all([hosts.server.snapshot(), hosts.client.snapshot()]);
    // A name of its own: other tests' servers would take the socket's path as soon as it is free.
    const server = tunconnector(
      hosts.server,
      `-m server -p k${process.pid} -s 10.0.0.1,fd00::1 -i 55555 --nat --verbose`,
    );
    await server.waitFor('is up');
    const [, socket] = await server.waitFor(/control socket (\S+)/);
    expect(existsSync(socket!)).toBe(true);
    const client = tunconnector(hosts.client, `-m client -c 10.0.0.7,fd00::7 -r ${SERVER} --route default`);
    await client.waitFor('is up');
    expect(await hosts.client.snapshot()).not.toBe(before[1]);
    await Promise.all([killNine(server), killNine(client)]);
    expect(existsSync(socket!)).toBe(false);
    expect(await Promise.all([hosts.server.snapshot(), hosts.client.snapshot()])).toEqual(before);
  });
});

describe.skipIf(needs('netns', 'tun', 'ip', 'ping', 'root', 'setpriv'))('--user', () => {
  it('gives up every privilege when all is set up, and the interface still follows the path', async () => {
    await using hosts = await twoHosts();
    const before = await hosts.client.snapshot();
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555 --user nobody');
    await server.waitFor('is up');
    await hosts.server.ip('link set eth0 mtu 1300');
    const client = tunconnector(
      hosts.client,
      `-m client -c 10.0.0.3 -r ${SERVER} --route default --user nobody --json`,
    );
    await client.waitFor('"event":"mtu"', 15_000);
    expect(await pings(hosts.client, '10.0.0.2')).toBe(true);
    for (const { pid } of [server, client]) {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
      expect(status).toMatch(/^Groups:\t65534 $/m);
      for (const set of ['Inh', 'Prm', 'Eff', 'Amb'])
        expect(status).toMatch(new RegExp(`^Cap${set}:\t0+$`, 'm'));
      // Linux has them for each thread, and packets are moved in one of their own.
      const tasks = readdirSync(`/proc/${pid}/task`);
      expect(tasks.length).toBeGreaterThan(2);
      for (const task of tasks) {
        const each = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
        expect(each).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
        expect(each).toMatch(/^CapEff:\t0+$/m);
      }
    }
    expect(await interfaceMtu(hosts.client, 'tun0')).toBeLessThan(1280);
    expect((await client.stop('SIGINT')).code).toBe(0);
    expect(await hosts.client.snapshot()).toBe(before);
  });
});

describe.skipIf(needs('netns', 'userns', 'tun', 'ip', 'ping', 'setpriv', 'root'))('--rootless', () => {
  const inside = async (process: HostProcess) => Number((await process.waitFor(/-t (\d+) COMMAND/))[1]);
  const enter = (pid: number, ...argv: string[]) => [
    'nsenter',
    '--preserve-credentials',
    '-U',
    '-n',
    '-t',
    `${pid}`,
    ...argv,
  ];

  it('needs no privilege: the interface is in a namespace of its own, the tunnel crosses the network', async () => {
    await using hosts = await twoHosts();
    const before = await Promise.all([hosts.server.snapshot(), hosts.client.snapshot()]);
    const server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555 --rootless');
    const serverInside = await inside(server);
    const client = tunconnector(
      hosts.client,
      `-m client -c 10.0.0.3 -r ${SERVER} --rootless --route default`,
    );
    const clientInside = await inside(client);
    const ping = ['ping', '-c', '1', '-W', '2', '10.0.0.2'];
    expect((await hosts.client.exec(enter(clientInside, ...ping))).code).toBe(0);
    expect((await hosts.server.exec(enter(serverInside, 'ip', '-br', 'addr'))).stdout).toContain(
      '10.0.0.2/24',
    );
    // Nothing of it is to be seen outside.
    expect(await Promise.all([hosts.server.snapshot(), hosts.client.snapshot()])).toEqual(before);
    await server.waitFor(new RegExp(`10\\.0\\.0\\.3 came from ${CLIENT}:`));

    expect((await client.stop('SIGINT')).code).toBe(0);
    expect(client.stdout).toContain('out of the tunnel');
    // The inner process ends with the outer one, however that ends.
    server.kill('SIGKILL');
    const gone = () => {
      try {
        process.kill(serverInside, 0);
        return false;
      } catch {
        return true;
      }
    };
    expect(await until(gone)).toBe(true);
  });

  it('where user namespaces are forbidden it says so', async () => {
    await using hosts = await twoHosts();
    // Nobody in a user namespace of depth 33 may make another; the limit of this one does it as well.
    const forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" "$@"';
    const script = new URL('../../bin/tunconnector.js', import.meta.url).pathname;
    const { code, stderr } = await hosts.server.exec([
      ...['unshare', '--user', '--map-root-user', 'sh', '-c', forbid],
      ...[process.execPath, script, '-m', 'server', '--rootless'],
    ]);
    expect(stderr).toMatch(
      /^tunconnector: --rootless: this system does not allow user namespaces \(.*\); look at .*\n$/,
    );
    expect(code).toBe(3);
  });
});
