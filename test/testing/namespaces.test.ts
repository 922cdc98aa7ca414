import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { chmod, cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createWorld, snapshotSystem } from '../../src/testing/index.ts';
import { runCommand } from '../../src/tun/system/live-command.ts';
import { needs, unmet } from '../needs.ts';

const alive = (pid: number) => {
  try {
    // A zombie is gone for everybody but the process that has to collect it.
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
};

async function until(condition: () => boolean, limit = 3000): Promise<void> {
  for (const end = performance.now() + limit; performance.now() < end && !condition(); ) await sleep(10);
  expect(condition()).toBe(true);
}

/** Network namespaces that any process of this machine is in. */
const namespaces = () =>
  new Set(
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => {
        try {
          return readlinkSync(`/proc/${pid}/ns/net`);
        } catch {
          return '';
        }
      }),
  );

async function temporaryDirectory() {
  const path = await mkdtemp(`${tmpdir()}/tunconnector-`);
  await chmod(path, 0o755);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/** createWorld takes a user namespace where network namespaces alone are not to be had. */
const worlds = unmet('netns') === undefined ? 'netns' : 'userns';

for (const rootless of [false, true]) {
  const where = rootless ? 'in a user namespace' : 'as root';
  describe.skipIf(needs(rootless ? 'userns' : 'netns', 'ip', 'tc', 'ping'))(
    `throw-away hosts ${where}`,
    () => {
      test('two wired hosts reach each other over IPv4 and IPv6 at once', async () => {
        await using world = await createWorld({ rootless });
        const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
        await world.wire(a, b, {
          a: ['10.1.0.1/24', 'fd00:1::1/64'],
          b: ['10.1.0.2/24', 'fd00:1::2/64'],
          mtu: 1300,
        });
        expect((await a.exec(['ping', '-c', '1', '-W', '1', '10.1.0.2'])).code).toBe(0);
        const echo = await b.exec(['ping', '-c', '1', '-W', '1', 'fd00:1::1'], { check: true });
        // A neighbour solicitation that is lost is repeated after a second.
        expect(Number(/time=([\d.]+) ms/.exec(echo.stdout)?.[1])).toBeLessThan(500);
        expect(
          (await a.exec(['ping', '-c', '1', '-W', '1', '-M', 'do', '-s', '1272', '10.1.0.2'])).code,
        ).toBe(0);
        expect(
          (await a.exec(['ping', '-c', '1', '-W', '1', '-M', 'do', '-s', '1273', '10.1.0.2'])).code,
        ).toBe(1);
      });

      test('a bridge joins three hosts', async () => {
        await using world = await createWorld({ rootless });
        const hosts = await Promise.all(['a', 'b', 'c'].map((name) => world.host(name)));
        await world.bridge(hosts.map((host, n) => ({ host, addresses: `10.2.0.${n + 1}/24` })));
        for (const address of ['10.2.0.2', '10.2.0.3']) {
          expect((await hosts[0]!.exec(['ping', '-c', '1', '-W', '1', address])).code).toBe(0);
        }
      });

      test('a cut wire loses packets, not addresses and routes, and a restored one neither', async () => {
        await using world = await createWorld({ rootless });
        const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
        const wire = await world.wire(a, b, { a: '10.1.0.1/24', b: ['10.1.0.2/24'] });
        await a.ip('route add 10.9.0.0/16 via 10.1.0.2');
        const before = await a.snapshot();
        await wire.cut();
        expect((await a.exec(['ping', '-c', '1', '-W', '0.2', '10.1.0.2'])).code).toBe(1);
        await wire.restore();
        expect((await a.exec(['ping', '-c', '1', '-W', '1', '10.1.0.2'])).code).toBe(0);
        expect(await a.snapshot()).toBe(before);
      });

      test('closing ends every process, also one that left its session and ignores signals', async () => {
        const world = await createWorld({ rootless });
        const a = await world.host('a');
        const stubborn = a.spawn(['sh', '-c', "trap '' TERM INT HUP; setsid sleep 1000 & echo $!; wait"]);
        // In the middle of its own namespace, where only the mark in its environment gives it away.
        const moved = a.spawn(['unshare', '-n', 'sh', '-c', 'echo $$; exec sleep 1000']);
        const daemon = Number((await stubborn.waitFor(/\d+/))[0]);
        const hidden = Number((await moved.waitFor(/\d+/))[0]);
        expect([daemon, hidden, stubborn.pid!].map(alive)).toEqual([true, true, true]);
        await Promise.all([world.close(), world.close()]);
        expect([daemon, hidden, stubborn.pid!, a.pid].map(alive)).toEqual([false, false, false, false]);
        await world.close();
        await expect(world.host('late')).rejects.toMatchObject({ code: 'ERR_CLOSED' });
      });

      test('nothing is left after kill -9 of the process that made the world', async () => {
        const script = fileURLToPath(new URL('./fixtures/world-and-wait.mjs', import.meta.url));
        const child = spawn(process.execPath, [script, String(rootless)], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        const line = await new Promise<string>((resolve) =>
          child.stdout.once('data', (data) => resolve(`${data}`)),
        );
        const { pids, net } = JSON.parse(line) as { pids: number[]; net: string[] };
        expect(pids.map(alive)).toEqual(pids.map(() => true));
        expect(net).toHaveLength(2);
        child.kill('SIGKILL');
        await until(() => !pids.some(alive));
        const left = namespaces();
        expect(net.filter((name) => left.has(name))).toEqual([]);
      });
    },
  );
}

describe.skipIf(needs(worlds, 'ip', 'ping', 'setpriv', 'sysctl'))('a throw-away host', () => {
  test('without root, a world needs nothing but a user namespace', async () => {
    // The checkout may be where only its owner reads, so nobody gets a copy of what is compiled.
    await using directory = await temporaryDirectory();
    const dist = fileURLToPath(new URL('../../dist/', import.meta.url));
    await cp(dist, `${directory.path}/dist`, { recursive: true });
    const fixture = fileURLToPath(new URL('./fixtures/world-unprivileged.mjs', import.meta.url));
    for (const name of ['yaml', 'zod']) {
      const from = fileURLToPath(new URL(`../../node_modules/${name}`, import.meta.url));
      await cp(from, `${directory.path}/node_modules/${name}`, { recursive: true });
    }
    await cp(fixture, `${directory.path}/test/testing/fixtures/script.mjs`);
    await writeFile(`${directory.path}/package.json`, '{"type":"module"}');
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];
    const canDrop = (await runCommand([...nobody, 'true'])).code === 0;
    const run = (argv: string[]) => runCommand([...(canDrop ? nobody : []), ...argv], { cwd: '/' });
    let node = process.execPath;
    if ((await run([node, '--version'])).code !== 0) await cp(node, (node = `${directory.path}/node`));
    const { stdout, stderr } = await run([node, `${directory.path}/test/testing/fixtures/script.mjs`]);
    expect(JSON.parse(stdout || JSON.stringify(stderr))).toEqual({
      // Root of a user namespace that maps nobody else cannot become nobody, and needs no second one.
      rootless: canDrop || process.geteuid!() !== 0,
      ping: 0,
    });
  });

  test('hosts that are made side by side are listed in the order in which they were asked for', async () => {
    await using world = await createWorld();
    const names = Array.from({ length: 12 }, (_, n) => `host${n}`);
    const hosts = await Promise.all(names.map((name) => world.host(name)));
    expect(world.hosts).toEqual(hosts);
    expect(world.hosts.map((host) => host.name)).toEqual(names);
  });

  test('the path of a host is a namespace that setns takes', async () => {
    await using world = await createWorld();
    const a = await world.host('a');
    expect(existsSync(a.path)).toBe(true);
    expect((await a.exec(['readlink', '/proc/self/ns/net'])).stdout.trim()).toBe(readlinkSync(a.path));
    if (!world.rootless) expect(await snapshotSystem({ netns: a.path })).toBe(await a.snapshot());
  });

  test('a command that takes too long is killed, and one that is missing says what to install', async () => {
    await using world = await createWorld();
    const a = await world.host('a');
    const started = performance.now();
    await expect(a.exec(['sh', '-c', 'sleep 50 & wait'], { timeout: 100 })).rejects.toThrow(
      /did not end within 100 ms/,
    );
    expect(performance.now() - started).toBeLessThan(2000);
    await expect(a.exec(['no-such-program-here'])).rejects.toThrow(
      /no-such-program-here: no such program; install/,
    );
    const abort = AbortSignal.timeout(50);
    await expect(a.exec(['sleep', '50'], { signal: abort })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await expect(a.exec(['sh', '-c', 'echo oops >&2; exit 3'], { check: true })).rejects.toThrow(
      /ended with 3: oops/,
    );
    expect(await a.exec(['sh', '-c', 'cat; exit 4'], { input: 'in' })).toMatchObject({
      code: 4,
      stdout: 'in',
    });
  });

  test('a failing ip command is named', async () => {
    await using world = await createWorld();
    const a = await world.host('a');
    await expect(a.ip(['link set lo mtu 1400', 'addr add 127.0.0.1/8 dev lo'])).rejects.toThrow(
      /^ip addr add 127\.0\.0\.1\/8 dev lo on a: .*(exists|assigned)/,
    );
    expect(() => a.claimInterface('sixteen-bytes-xy')).toThrow(/not 1 to 15/);
    expect(() => a.claimInterface('lo')).toThrow(/already/);
  });

  test('a node script runs inside, its end is known and its output kept', async () => {
    await using world = await createWorld();
    const a = await world.host('a');
    await a.ip('addr add 10.3.0.1/32 dev lo');
    const script = fileURLToPath(new URL('./fixtures/addresses.mjs', import.meta.url));
    const process = a.node(script, ['hello']);
    await process.waitFor('hello 10.3.0.1');
    await expect(process.waitFor('never', 50)).rejects.toThrow(/did not write/);
    expect(await process.stop('SIGINT')).toEqual({ code: null, signal: 'SIGINT' });
    await expect(process.waitFor('never')).rejects.toThrow(/ended without it/);
  });

  test('a snapshot shows a changed address, route, rule, sysctl and nftables table', async () => {
    await using world = await createWorld();
    const a = await world.host('a');
    const before = await a.snapshot();
    expect(await a.snapshot()).toBe(before);
    const changes: [undo: string[], change: string[]][] = [
      [
        ['ip', 'addr', 'del', '10.0.0.1/32', 'dev', 'lo'],
        ['ip', 'addr', 'add', '10.0.0.1/32', 'dev', 'lo'],
      ],
      [
        ['ip', 'route', 'del', '10.8.0.0/16', 'dev', 'lo'],
        ['ip', 'route', 'add', '10.8.0.0/16', 'dev', 'lo'],
      ],
      [
        ['ip', '-6', 'rule', 'del', 'pref', '9'],
        ['ip', '-6', 'rule', 'add', 'pref', '9', 'lookup', '77'],
      ],
      [
        ['sysctl', '-qw', 'net.ipv4.ip_forward=0'],
        ['sysctl', '-qw', 'net.ipv4.ip_forward=1'],
      ],
      [
        ['ip', 'link', 'set', 'lo', 'mtu', '65536'],
        ['ip', 'link', 'set', 'lo', 'mtu', '1500'],
      ],
    ];
    for (const [undo, change] of changes) {
      await a.exec(change, { check: true });
      expect(await a.snapshot(), change.join(' ')).not.toBe(before);
      await a.exec(undo, { check: true });
      expect(await a.snapshot(), undo.join(' ')).toBe(before);
    }
  });

  test('a world of two wired hosts is there in a fraction of a second', async () => {
    const started = performance.now();
    await using world = await createWorld();
    const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
    await world.wire(a, b, { a: '10.1.0.1/24', b: '10.1.0.2/24' });
    const took = performance.now() - started;
    console.log(`world of two hosts: ${took.toFixed(0)} ms`);
    expect(took).toBeLessThan(2000);
  });
});

test.skipIf(needs('userns'))('where user namespaces are not allowed, the error says what to do', async () => {
  await using world = await createWorld({ rootless: true });
  const a = await world.host('a');
  const module = new URL('../../dist/testing/index.js', import.meta.url);
  const script = `import { createWorld } from '${module}';
    await createWorld({ rootless: true }).catch(({ code, message }) => console.log(code, message));`;
  await a.exec(['sh', '-c', 'echo 0 >/proc/sys/user/max_user_namespaces'], { check: true });
  const { stdout } = await a.exec([process.execPath, '--input-type=module', '-e', script]);
  expect(stdout).toMatch(/^ERR_PERMISSION cannot make a network namespace: .*; run as root, or allow user/);
});
