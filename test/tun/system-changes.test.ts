import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createWorld, type Host, type World } from '../../src/testing/index.ts';
import { readRecords } from '../../src/tun/system/live-records.ts';
import { doctorClean, resolvePeerRoute, SystemChanges } from '../../src/tun/system/live-system.ts';
import { needs } from '../needs.ts';

/** client 10.1.0.1 - gateway 10.1.0.254 | 10.2.0.254 - server 10.2.0.1; a second way over 10.3.0.0/24. */
let world: World;
let client: Host;
let gateway: Host;
let server: Host;

const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));

/** What is wrong one second after the end is wrong for good. */
async function expectAsBefore(host: Host, before: string): Promise<void> {
  const end = performance.now() + 1000;
  while ((await host.snapshot()) !== before && performance.now() < end) await sleep(20);
  expect(await host.snapshot()).toBe(before);
}

const forwarding = async (host: Host) =>
  (await host.exec(['sysctl', '-n', 'net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'])).stdout
    .split('\n')
    .join('');

/** A stand-in for a tunnel's interface that swallows everything. */
const addTunnel = (host: Host) =>
  host.ip([
    'link add tun0 type veth peer name tun0peer',
    'link set tun0 up',
    'link set tun0peer up',
    'addr add 10.9.0.2/24 dev tun0',
  ]);

describe.skipIf(needs('netns', 'userns', 'ip', 'nft', 'ping', 'sysctl'))('changes to the system', () => {
  beforeEach(async () => {
    world = await createWorld();
    [client, gateway, server] = (await Promise.all(
      ['client', 'gateway', 'server'].map((name) => world.host(name)),
    )) as [Host, Host, Host];
    await world.wire(client, gateway, {
      a: ['10.1.0.1/24', 'fd00:1::1/64'],
      b: ['10.1.0.254/24', 'fd00:1::254/64'],
    });
    await world.wire(gateway, server, {
      a: ['10.2.0.254/24', 'fd00:2::254/64'],
      b: ['10.2.0.1/24', 'fd00:2::1/64'],
    });
    await world.wire(client, gateway, { a: '10.3.0.1/24', b: '10.3.0.254/24' });
    await client.ip(['route add default via 10.1.0.254', 'route add default via fd00:1::254']);
  });
  afterEach(() => world.close());

  describe('routes', () => {
    test('the default goes through the tunnel, the way to the peer does not, undo restores', async () => {
      await addTunnel(client);
      const before = await client.snapshot();
      const changes = SystemChanges.open({ netns: client.path });
      expect(await changes.pinPeer('10.2.0.1')).toMatchObject({ device: 'eth0', via: '10.1.0.254' });
      expect(await changes.pinPeer('fd00:2::1')).toMatchObject({ device: 'eth0', via: 'fd00:1::254' });
      await changes.routeDefault('tun0', [4, 6]);
      const way = async (to: string) => (await client.exec(['ip', 'route', 'get', to])).stdout;
      expect(await way('192.0.2.1')).toMatch(/dev tun0/);
      expect(await way('8.8.8.8')).toMatch(/dev tun0/);
      expect(await way('2001:db8::1')).toMatch(/dev tun0/);
      expect(await way('10.2.0.1')).toMatch(/via 10\.1\.0\.254 dev eth0/);
      expect(await way('fd00:2::1')).toMatch(/via fd00:1::254 dev eth0/);
      await changes.undo();
      await changes.undo();
      expect(await client.snapshot()).toBe(before);
      await expect(changes.addRoute({ prefix: '10.8.0.0/16', via: '10.1.0.254' })).rejects.toMatchObject({
        code: 'ERR_CLOSED',
      });
    });

    test('undo is complete also when the interface has gone first', async () => {
      const before = await client.snapshot();
      await addTunnel(client);
      await using changes = SystemChanges.open({ netns: client.path });
      await changes.pinPeer('10.2.0.1');
      await changes.routeDefault('tun0', [4]);
      await client.ip('link del tun0');
      await changes.undo();
      expect(await client.snapshot()).toBe(before);
    });

    test('a route that somebody else made is neither replaced nor removed', async () => {
      await client.ip(['route add 10.8.0.0/16 via 10.1.0.254', 'route add 10.2.0.1 via 10.1.0.254 dev eth0']);
      const before = await client.snapshot();
      const changes = SystemChanges.open({ netns: client.path });
      await expect(changes.addRoute({ prefix: '10.8.0.0/16', via: '10.1.0.254' })).rejects.toThrow(
        /route add 10\.8\.0\.0\/16 via 10\.1\.0\.254 proto 84: File exists; remove the other one/,
      );
      await changes.pinPeer('10.2.0.1');
      expect(await client.snapshot()).toBe(before);
      await changes.undo();
      expect(await client.snapshot()).toBe(before);
    });

    test('a peer whose gateway changes, or that loses its way and gets it back, is pinned anew', async () => {
      await addTunnel(client);
      const before = await client.snapshot();
      await using changes = SystemChanges.open({ netns: client.path });
      const moves: unknown[] = [];
      await changes.pinPeer('10.2.0.1', { avoid: ['tun0'] });
      await changes.routeDefault('tun0', [4]);
      expect(await changes.refresh()).toEqual([]);
      await changes.watchRoutes((move) => moves.push(move.path && [move.path.device, move.path.via]));
      const way = async () => (await client.exec(['ip', 'route', 'get', '10.2.0.1'])).stdout;
      const settled = async (count: number) => {
        for (const end = performance.now() + 3000; moves.length < count && performance.now() < end; )
          await sleep(20);
      };
      await sleep(150); // the monitor starts
      await client.ip('route replace default via 10.3.0.254');
      await settled(1);
      expect(await way()).toMatch(/via 10\.3\.0\.254 dev eth1/);
      // With the interface the kernel drops the routes through it, ours as well.
      const loss = 'ip link set eth1 down; ip route get 10.2.0.1';
      const { stdout, stderr } = await client.exec(['sh', '-c', loss]);
      expect(stdout + stderr).toMatch(/No route to host/);
      await settled(2);
      expect((await client.exec(['ip', 'route', 'get', '10.2.0.1'])).stderr).toMatch(/No route to host/);
      await client.ip(['link set eth1 up', 'route add default via 10.1.0.254']);
      await settled(3);
      expect(await way()).toMatch(/via 10\.1\.0\.254 dev eth0/);
      expect(moves).toEqual([['eth1', '10.3.0.254'], null, ['eth0', '10.1.0.254']]);
      await changes.unpinPeer('10.2.0.1');
      expect(await way()).toMatch(/dev tun0/);
      await changes.undo();
      expect(await client.snapshot()).toBe(before);
    });

    test('an IPv6 peer follows its gateway as well', async () => {
      await addTunnel(client);
      await using changes = SystemChanges.open({ netns: client.path });
      await changes.pinPeer('fd00:2::1');
      await changes.routeDefault('tun0', [6]);
      const way = async () => (await client.exec(['ip', 'route', 'get', 'fd00:2::1'])).stdout;
      await client.ip('route del default via fd00:1::254');
      expect(await changes.refresh()).toEqual([{ address: 'fd00:2::1', path: null }]);
      expect(await way()).not.toMatch(/tun0/);
      await client.ip('route add default via fd00:1::253');
      expect(await changes.refresh()).toMatchObject([{ path: { via: 'fd00:1::253' } }]);
      expect(await way()).toMatch(/via fd00:1::253 dev eth0/);
      const routes = (await client.exec(['ip', '-6', 'route', 'show', 'fd00:2::1', 'type', 'unicast'])).stdout
        .trim()
        .split('\n');
      expect(routes).toHaveLength(1);
    });

    test('the way to a peer is the most specific of the lowest metric, without ours', async () => {
      const { path: netns } = client;
      expect(await resolvePeerRoute('10.1.0.77', { netns })).toMatchObject({
        device: 'eth0',
        via: undefined,
      });
      expect(await resolvePeerRoute('10.1.0.1', { netns })).toMatchObject({ local: true });
      await client.ip([
        'route add 10.2.0.0/16 via 10.3.0.254 metric 10',
        'route add 10.2.0.0/16 via 10.1.0.254 metric 5',
        'route add 10.2.0.0/24 via 10.3.0.253 proto 84',
        'route add unreachable 203.0.113.0/24',
      ]);
      expect(await resolvePeerRoute('10.2.0.1', { netns })).toMatchObject({ via: '10.1.0.254' });
      expect(await resolvePeerRoute('10.2.0.1', { netns, avoid: ['eth0'] })).toMatchObject({
        via: '10.3.0.254',
      });
      expect(await resolvePeerRoute('203.0.113.7', { netns })).toBeNull();
      await client.ip('route del default');
      expect(await resolvePeerRoute('192.0.2.1', { netns })).toBeNull();
    });
  });

  describe('a server that lets clients out', () => {
    test('masquerade and forwarding carry a ping between three hosts, and undo restores', async () => {
      // The server knows no way back to 10.1.0.0/24: only translation gets answers home.
      const before = await gateway.snapshot();
      const ping = async (to: string) => (await client.exec(['ping', '-c', '1', '-W', '0.3', to])).code;
      expect(await ping('10.2.0.1')).toBe(1);
      const changes = SystemChanges.open({ netns: gateway.path });
      await changes.enableForwarding();
      expect(await ping('10.2.0.1')).toBe(1);
      const { table, owned } = await changes.masquerade(['10.1.0.0/24', 'fd00:1::/64'], 'eth0');
      expect(owned).toBe(true);
      expect((await gateway.exec(['nft', 'list', 'tables'])).stdout.trim()).toBe(`table inet ${table}`);
      expect(await ping('10.2.0.1')).toBe(0);
      expect(await ping('fd00:2::1')).toBe(0);
      await changes.undo();
      expect(await gateway.snapshot()).toBe(before);
      expect(await ping('10.2.0.1')).toBe(1);
    });

    test('an nft that cannot hold the table open gets one that the janitor removes', async () => {
      const before = await gateway.snapshot();
      const path = await mkdtemp(`${tmpdir()}/tunconnector-`);
      const nft = (await gateway.exec(['which', 'nft'])).stdout.trim();
      await writeFile(`${path}/nft`, `#!/bin/sh\n[ "$1" != -i ] && exec ${nft} "$@"\necho no >&2; exit 1\n`);
      await chmod(`${path}/nft`, 0o755);
      const env = { ...process.env, PATH: `${path}:${process.env.PATH}` };
      const command = gateway.node(fixture('system-changes.mjs'), ['10.2.0.77', 'eth0', '10.1.0.0/24'], {
        env,
      });
      await command.waitFor('ready');
      const ruleset = (await gateway.exec(['nft', 'list', 'ruleset'])).stdout;
      expect(ruleset).toMatch(/ip saddr 10\.1\.0\.0\/24 oifname != "eth0" masquerade/);
      expect(ruleset).not.toMatch(/owner/);
      expect((await client.exec(['ping', '-c', '1', '-W', '1', '10.2.0.1'])).code).toBe(0);
      command.kill('SIGKILL');
      await expectAsBefore(gateway, before);
      await rm(path, { recursive: true });
    });

    test('the table goes even when every process is killed at once', async () => {
      const command = gateway.node(fixture('system-changes.mjs'), ['10.2.0.77', 'eth0', '10.1.0.0/24']);
      const [, janitor] = await command.waitFor(/^ready (\d+)$/m);
      expect((await gateway.exec(['nft', 'list', 'tables'])).stdout).toMatch(/tunconnector_/);
      process.kill(Number(janitor), 'SIGKILL');
      command.kill('SIGKILL');
      await command.ended;
      for (const end = performance.now() + 1000; performance.now() < end; await sleep(20)) {
        if ((await gateway.exec(['nft', 'list', 'tables'])).stdout === '') break;
      }
      expect((await gateway.exec(['nft', 'list', 'tables'])).stdout).toBe('');
      await doctorClean({ netns: gateway.path });
    });

    test('what cannot be translated is refused before anything is done', async () => {
      const changes = SystemChanges.open({ netns: gateway.path });
      const evil = changes.masquerade(['10.0.0.0/8 drop; flush ruleset; add'], 'eth0');
      await expect(evil).rejects.toMatchObject({ code: 'ERR_ADDRESS' });
      await expect(changes.masquerade(['10.0.0.0/8'], 'a"; flush ruleset')).rejects.toMatchObject({
        code: 'ERR_INTERFACE',
      });
      expect(changes.janitorPid).toBeUndefined();
      await changes.undo();
    });

    test('settings that forwarding changes along with it are restored too', async () => {
      const settings = [
        'net.ipv4.conf.eth0.forwarding=1',
        'net.ipv4.conf.all.accept_redirects=0',
        'net.ipv6.conf.eth1.forwarding=1',
      ];
      await gateway.exec(['sysctl', '-qw', ...settings], { check: true });
      const before = await gateway.snapshot();
      const changes = SystemChanges.open({ netns: gateway.path });
      await changes.enableForwarding();
      expect(await forwarding(gateway)).toBe('11');
      // A default route learned from a router advertisement must survive.
      expect((await gateway.exec(['sysctl', '-n', 'net.ipv6.conf.eth0.accept_ra'])).stdout.trim()).toBe('2');
      await changes.undo();
      expect(await gateway.snapshot()).toBe(before);
    });

    test('forwarding that was on before stays on', async () => {
      await gateway.exec(['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
      const before = await gateway.snapshot();
      const changes = SystemChanges.open({ netns: gateway.path });
      await changes.enableForwarding([4]);
      expect(await gateway.snapshot()).toBe(before);
      await changes.undo();
      expect(await gateway.snapshot()).toBe(before);
    });

    test('of several commands at once the last one turns forwarding off', async () => {
      const before = await gateway.snapshot();
      const all = Array.from({ length: 4 }, () => SystemChanges.open({ netns: gateway.path }));
      await Promise.all(all.map((changes) => changes.enableForwarding()));
      expect(await forwarding(gateway)).toBe('11');
      for (const changes of all.slice(1)) {
        await changes.undo();
        expect(await forwarding(gateway)).toBe('11');
      }
      await all[0]!.undo();
      expect(await gateway.snapshot()).toBe(before);
      expect(readRecords().filter(({ pid }) => all.some((changes) => changes.janitorPid === pid))).toEqual(
        [],
      );
    });
  });

  describe('after the end of a command', () => {
    test('by kill -9, everything is as before within a second, terminal signals or not', async () => {
      await addTunnel(gateway);
      const before = await gateway.snapshot();
      for (const signal of ['SIGKILL', 'SIGINT', 'SIGHUP'] as const) {
        const command = gateway.node(fixture('system-changes.mjs'), ['10.2.0.77', 'tun0', '10.9.0.0/24']);
        const [, janitor] = await command.waitFor(/^ready (\d+)$/m);
        expect(await gateway.snapshot()).not.toBe(before);
        // What Ctrl-C and a closed terminal send to a whole process group, and systemd to a whole unit.
        for (const each of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(Number(janitor), each);
        command.kill(signal);
        await command.ended;
        await expectAsBefore(gateway, before);
      }
    });

    test('the other of two keeps forwarding when one is killed', async () => {
      const before = await gateway.snapshot();
      const [one, other] = [1, 2].map(() => gateway.node(fixture('system-changes.mjs'), []));
      await Promise.all([one!.waitFor('ready'), other!.waitFor('ready')]);
      one!.kill('SIGKILL');
      await sleep(500);
      expect(await forwarding(gateway)).toBe('11');
      other!.kill('SIGKILL');
      await expectAsBefore(gateway, before);
    });

    test('by returning without undo, everything is as before', async () => {
      const before = await gateway.snapshot();
      const command = gateway.node(fixture('system-changes.mjs'), ['--return']);
      expect(await command.ended).toEqual({ code: 0, signal: null });
      expect(command.stdout).toMatch(/ready/);
      await expectAsBefore(gateway, before);
    });

    test('doctor cleans what a janitor left that was killed itself, and nothing of the living', async () => {
      const before = await gateway.snapshot();
      const command = gateway.node(fixture('system-changes.mjs'), ['10.2.0.77']);
      const [, janitor] = await command.waitFor(/^ready (\d+)$/m);
      const clean = (dryRun: boolean) => doctorClean({ dryRun, netns: gateway.path });
      expect(await clean(true)).toEqual([]);
      command.kill('SIGSTOP');
      process.kill(Number(janitor), 'SIGKILL');
      command.kill('SIGKILL');
      await command.ended;
      expect(await forwarding(gateway)).toBe('11');
      const left = await gateway.snapshot();
      const found = [
        expect.stringMatching(/^route 10\.2\.0\.77\/32 /),
        expect.stringMatching(/^route unreachable 10\.2\.0\.77\/32 /),
        'sysctl net.ipv4.ip_forward (was 0)',
        'sysctl net.ipv6.conf.all.forwarding (was 0)',
      ];
      expect(await clean(true)).toEqual(found);
      expect(await gateway.snapshot()).toBe(left);
      expect(await clean(false)).toEqual(found);
      expect(await gateway.snapshot()).toBe(before);
      expect(await clean(false)).toEqual([]);
    });

    test('undo still works when somebody killed the janitor', async () => {
      const before = await gateway.snapshot();
      const changes = SystemChanges.open({ netns: gateway.path });
      await changes.addRoute({ prefix: '10.7.0.0/16', via: '10.2.0.1' });
      await changes.enableForwarding([4]);
      process.kill(changes.janitorPid!, 'SIGKILL');
      await sleep(100);
      await changes.undo();
      expect(await gateway.snapshot()).toBe(before);
    });
  });

  test('closing a throw-away host lets the janitors in it remove their records', async () => {
    const command = gateway.node(fixture('system-changes.mjs'), ['10.2.0.77']);
    const [, janitor] = await command.waitFor(/^ready (\d+)$/m);
    const records = () => readRecords().filter(({ pid }) => pid === Number(janitor));
    expect(records()).toHaveLength(1);
    await world.close();
    expect(records()).toEqual([]);
  });

  test('without any change there is no janitor and nothing to wait for', async () => {
    const changes = SystemChanges.open();
    await changes.undo();
    expect(changes.janitorPid).toBeUndefined();
  });

  test('a janitor is gone after undo, and takes little memory before', async () => {
    const changes = SystemChanges.open({ netns: gateway.path });
    const started = performance.now();
    await changes.addRoute({ prefix: '10.7.0.0/16', via: '10.2.0.1' });
    const first = performance.now() - started;
    const status = readFileSync(`/proc/${changes.janitorPid}/status`, 'latin1');
    const resident = Number(/^VmRSS:\s*(\d+)/m.exec(status)![1]) / 1024;
    const undoing = performance.now();
    await changes.undo();
    const last = performance.now() - undoing;
    console.log(
      `janitor: first ${first.toFixed(0)} ms, undo ${last.toFixed(0)} ms, ${resident.toFixed(0)} MB`,
    );
    expect(() => process.kill(changes.janitorPid!, 0)).toThrow(/ESRCH/);
    expect(resident).toBeLessThan(100);
  });

  test('in a user namespace the same works without touching /run', async () => {
    await using rootless = await createWorld({ rootless: true });
    const [a, b] = await Promise.all([rootless.host('a'), rootless.host('b')]);
    await rootless.wire(a, b, { a: '10.1.0.1/24', b: '10.1.0.2/24' });
    const before = await a.snapshot();
    const command = a.node(fixture('system-changes.mjs'), ['10.1.0.77', 'eth0', '10.9.0.0/24']);
    await command.waitFor('ready');
    expect(await forwarding(a)).toBe('11');
    expect((await a.exec(['nft', 'list', 'ruleset'])).stdout).toMatch(/masquerade/);
    command.kill('SIGKILL');
    await command.ended;
    await expectAsBefore(a, before);
  });
});
