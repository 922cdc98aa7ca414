import { describe, expect, test } from 'vitest';
import { createWorld } from '../../src/testing/index.ts';
import { configureInterface, readInterface, readRoutes, routeTo } from '../../src/tun/system/live-ip.ts';
import { needs } from '../needs.ts';

async function twoHosts() {
  const world = await createWorld();
  const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
  await world.wire(a, b, { b: '10.1.0.2/24' });
  return { world, a, b, netns: a.path, [Symbol.asyncDispose]: () => world.close() };
}

describe.skipIf(needs('netns', 'userns', 'ip', 'sysctl'))('interfaces through iproute2', () => {
  test('addresses, MTU, queue length and routes are set and read back', async () => {
    await using hosts = await twoHosts();
    const { netns } = hosts;
    await configureInterface({
      name: 'eth0',
      netns,
      addresses: ['10.1.0.1/24', '10.1.0.7/32', 'fd00:1::1/64'],
      mtu: 1380,
      txQueueLength: 77,
      addressGeneration: 'none',
      up: true,
      routes: [
        { prefix: '10.20.0.0/16', via: '10.1.0.2', metric: 50 },
        { prefix: '10.30.0.0/16', source: '10.1.0.7' },
        { prefix: '10.40.0.0/16', table: 99 },
        { prefix: '10.50.0.0/16', via: 'fd00:1::2' },
        { prefix: 'fd00:2::/64', via: 'fd00:1::2' },
        { prefix: '0.0.0.0/0', via: '10.1.0.2' },
      ],
    });
    expect(await readInterface('eth0', { netns })).toMatchObject({
      name: 'eth0',
      mtu: 1380,
      up: true,
      txQueueLength: 77,
      mac: expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
    });
    const { addresses } = await readInterface('eth0', { netns });
    expect(addresses.filter((address) => !address.startsWith('fe80'))).toEqual([
      '10.1.0.1/24',
      '10.1.0.7/32',
      'fd00:1::1/64',
    ]);
    const routes = await readRoutes({ netns });
    const find = (prefix: string) => routes.find((route) => route.prefix === prefix);
    expect(find('10.20.0.0/16')).toMatchObject({
      via: '10.1.0.2',
      device: 'eth0',
      metric: 50,
      protocol: 'boot',
    });
    expect(find('10.30.0.0/16')).toMatchObject({ source: '10.1.0.7', via: undefined });
    expect(find('10.50.0.0/16')).toMatchObject({ via: 'fd00:1::2', dead: false });
    expect(find('fd00:2::/64')).toMatchObject({ via: 'fd00:1::2' });
    expect(find('0.0.0.0/0')).toMatchObject({ via: '10.1.0.2', type: 'unicast' });
    expect(find('10.40.0.0/16')).toBeUndefined();
    expect(await readRoutes({ netns, table: 99 })).toMatchObject([{ prefix: '10.40.0.0/16', table: '99' }]);
    expect(await readRoutes({ netns, table: 12345 })).toEqual([]);
  });

  test('an IPv6 address is usable at once', async () => {
    await using hosts = await twoHosts();
    const { a, b, netns } = hosts;
    await a.exec(['sysctl', '-qw', 'net.ipv6.conf.eth0.accept_dad=1']);
    await configureInterface({ name: 'eth0', netns, addresses: ['fd00:1::1/64'], up: true });
    await configureInterface({ name: 'eth0', netns: b.path, addresses: ['fd00:1::2/64'] });
    expect((await a.exec(['ip', '-6', '-o', 'addr', 'show', 'scope', 'global'])).stdout).not.toMatch(
      /tentative/,
    );
  });

  test('the way to an address is the one the kernel takes', async () => {
    await using hosts = await twoHosts();
    const { a, netns } = hosts;
    expect(await routeTo('10.1.0.2', { netns })).toBeNull();
    await configureInterface({ name: 'eth0', netns, addresses: ['10.1.0.1/24', 'fd00:1::1/64'], up: true });
    expect(await routeTo('192.0.2.1', { netns })).toBeNull();
    expect(await routeTo('2001:db8::1', { netns })).toBeNull();
    await a.ip(['route add default via 10.1.0.2', 'route add 192.0.2.66 via 10.1.0.3 table 77']);
    await a.ip('rule add to 192.0.2.66 lookup 77');
    expect(await routeTo('192.0.2.1', { netns })).toEqual({
      device: 'eth0',
      via: '10.1.0.2',
      source: '10.1.0.1',
      local: false,
      table: 'main',
    });
    expect(await routeTo('192.0.2.66', { netns })).toMatchObject({ via: '10.1.0.3', table: '77' });
    expect(await routeTo('10.1.0.99', { netns })).toMatchObject({ device: 'eth0', via: undefined });
    expect(await routeTo('10.1.0.1', { netns })).toMatchObject({ device: 'lo', local: true });
    expect(await routeTo('fe80::5%eth0', { netns })).toMatchObject({ device: 'eth0' });
    await a.ip('route add unreachable 203.0.113.0/24');
    expect(await routeTo('203.0.113.5', { netns })).toBeNull();
  });

  describe('what cannot be set is named with its remedy', () => {
    test('an address that is there already, a device that is not, a next hop out of reach', async () => {
      await using hosts = await twoHosts();
      const { netns } = hosts;
      const configure = (more: object) => configureInterface({ name: 'eth0', netns, ...more });
      await configure({ addresses: ['10.1.0.1/24'] });
      await expect(configure({ addresses: ['10.1.0.9/24', '10.1.0.1/24'] })).rejects.toMatchObject({
        code: 'ERR_INTERFACE',
        message: expect.stringMatching(/addr add 10\.1\.0\.1\/24 dev eth0: .*; remove the other one/),
      });
      await expect(configure({ name: 'tun9', mtu: 1400 })).rejects.toThrow(
        /link set dev tun9 mtu 1400: Cannot find/,
      );
      await expect(readInterface('tun9', { netns })).rejects.toMatchObject({ code: 'ERR_INTERFACE' });
      await expect(
        configure({ up: true, routes: [{ prefix: '10.9.0.0/16', via: '10.8.0.1' }] }),
      ).rejects.toThrow(
        /route add 10\.9\.0\.0\/16 via 10\.8\.0\.1 dev eth0.*; the next hop must be reachable/,
      );
      await expect(configure({ mtu: 1000, addresses: ['fd00::1/64'] })).rejects.toThrow(
        /at least 1280, not 1000/,
      );
    });

    test('a namespace that is not there, and one that belongs to somebody else', async () => {
      await expect(configureInterface({ name: 'lo', netns: '/nowhere', up: true })).rejects.toThrow(
        /no such network namespace .*\/nowhere/,
      );
      await using world = await createWorld({ rootless: true });
      const a = await world.host('a');
      const module = new URL('../../dist/tun/system/live-ip.js', import.meta.url);
      const script = `import { configureInterface } from '${module}';
      await configureInterface({ name: 'lo', netns: '/proc/1/ns/net', mtu: 1400 }).catch(
        ({ code, message }) => console.log(code, message));`;
      const refused = await a.exec([process.execPath, '--input-type=module', '-e', script]);
      expect(refused.stdout).toMatch(/^ERR_PERMISSION .*run it as root, or give it CAP_NET_ADMIN\n$/);
    });
  });

  test('a batch cannot be extended through a name, an address or a route', async () => {
    await using hosts = await twoHosts();
    const { a, netns } = hosts;
    const before = await a.snapshot();
    const evil = [
      'eth0\nlink set lo down',
      'eth0 up',
      'eth0"',
      "eth0'",
      '#',
      'a\\',
      '-force',
      '',
      '.',
      'a/b',
      'sixteen-bytes-xy',
    ];
    for (const name of evil) {
      await expect(configureInterface({ name, netns, mtu: 1400 })).rejects.toMatchObject({
        code: 'ERR_INTERFACE',
      });
      await expect(configureInterface({ name, netns, gsoMaxSize: 65536 })).rejects.toMatchObject({
        code: 'ERR_INTERFACE',
      });
    }
    const dirt = [
      '10.0.0.1/24\nlink set lo down',
      '10.0.0.1/24 dev lo',
      '10.0.0.1/33',
      '10.0.0.01/24',
      '10.0.0.1/24/2',
      'fe80::1%eth0/64',
      '',
      'default',
      '10.0.0.1/-1',
      '10.0.0.1/1e1',
    ];
    for (const address of dirt) {
      const refused = { code: 'ERR_ADDRESS' };
      await expect(configureInterface({ name: 'eth0', netns, addresses: [address] })).rejects.toMatchObject(
        refused,
      );
      const routes = [{ prefix: address }];
      await expect(configureInterface({ name: 'eth0', netns, routes })).rejects.toMatchObject(refused);
      const via = [{ prefix: '10.0.0.0/8', via: `${address}\n` }];
      await expect(configureInterface({ name: 'eth0', netns, routes: via })).rejects.toThrow(/is not an/);
    }
    await expect(configureInterface({ name: 'eth0', netns, mtu: Number.NaN })).rejects.toThrow(/MTU NaN/);
    await expect(readRoutes({ netns, table: 'main\nlink' })).rejects.toThrow(/not a plain word/);
    expect(await a.snapshot()).toBe(before);
  });

  test('the limits of superframes are set before the interface goes up, for both families', async () => {
    await using hosts = await twoHosts();
    const { a, netns } = hosts;
    const limits = { gsoMaxSize: 61_612, gsoMaxSegments: 45 };
    expect(await configureInterface({ name: 'eth0', netns, ...limits, up: true })).toEqual([]);
    expect(await readInterface('eth0', { netns })).toMatchObject(limits);
    const shown = (await a.exec(['ip', '-d', 'link', 'show', 'eth0'])).stdout;
    // Linux 6.3 and later show a limit of their own for IPv4.
    expect(shown).toMatch(/gso_max_size 61612/);
    expect(shown).not.toMatch(/gso_ipv4_max_size (?!61612)/);
  });

  test('a limit of superframes that the kernel refuses is told, and everything else is set', async () => {
    await using hosts = await twoHosts();
    const { netns } = hosts;
    const refused = await configureInterface({
      name: 'eth0',
      netns,
      gsoMaxSize: 0xffffffff,
      gsoMaxSegments: 45,
      mtu: 1400,
      addresses: ['10.1.0.1/24'],
    });
    expect(refused).toEqual([expect.stringMatching(/^eth0: gso_max_size 4294967295 was refused \(.+\)$/)]);
    expect(await readInterface('eth0', { netns })).toMatchObject({
      mtu: 1400,
      gsoMaxSegments: 45,
      addresses: expect.arrayContaining(['10.1.0.1/24']),
    });
    const configure = (more: object) => configureInterface({ name: 'tun9', netns, ...more });
    await expect(configure({ gsoMaxSize: 61_612, mtu: 1400 })).rejects.toThrow(/Cannot find device/);
    await expect(configure({ gsoMaxSize: -1 })).rejects.toThrow(/gso_max_size -1 is not/);
  });
});
