import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { BIN, runToEnd, SERVER, scratchDirectory, tunconnector, twoHosts } from './cli-world.ts';

const library = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
const skip = needs('netns', 'tun', 'ip', 'ping');

/** Pings as fast as `interval` says, and what came of it: packets received, and round trips in ms. */
async function pinged(host: Host, count: number, interval = 0.01) {
  const argv = ['ping', '-q', '-c', String(count), '-i', String(interval), '-W', '1', '10.0.0.2'];
  const { stdout } = await host.exec(argv);
  const received = Number(/(\d+) received/.exec(stdout)![1]);
  const [least = 0, mean = 0] = /= ([\d.]+)\/([\d.]+)/.exec(stdout)?.slice(1).map(Number) ?? [];
  return { received, least, mean };
}

describe.skipIf(skip)('tunconnector tunnel --impair', () => {
  it('does to packets each way what it is told, and reports what each stage did', async () => {
    await using hosts = await twoHosts();
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    const spec = '{up: delay 30ms loss pattern ..x., down: delay 20ms, seed: 7}';
    const words = ['-m', 'client', '-c', '10.0.0.3', '-r', SERVER, '--impair', spec];
    const client = hosts.client.node(BIN, words);
    await client.waitFor(/tun0 is up: .*, impaired with seed 7\n/);
    const { received, least } = await pinged(hosts.client, 20);
    expect(received).toBe(15);
    expect(least).toBeGreaterThanOrEqual(50);
    expect(least).toBeLessThan(95);
    await client.stop('SIGINT');
    expect(client.stdout).toMatch(/dropped: loss +│ +5 │/);
    expect(client.stdout).toMatch(
      /tun0 to the tunnel.*\n(.*\n)* *│ +delay +│ +20 │ +20 │.*\n *│ +loss +│ +20 │ +15 │.* 5 loss/,
    );
    expect(client.stdout).toMatch(/the tunnel to tun0.*\n(.*\n)* *│ +delay +│ +15 │ +15 │/);
    expect(client.stderr).toBe('');
  });

  it('tells senders how long a packet may be, where its MTU answers', async () => {
    await using hosts = await twoHosts();
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    const words = `-m client -c 10.0.0.3 -r ${SERVER}`.split(' ');
    await using client = hosts.client.node(BIN, [...words, '--impair', 'mtu 1300 answer']);
    await client.waitFor('is up');
    const big = ['ping', '-n', '-c', '2', '-i', '0.2', '-W', '1', '-M', 'do', '-s', '1400', '10.0.0.2'];
    const { stdout, stderr } = await hosts.client.exec(big);
    expect(stdout + stderr).toMatch(/mtu ?= ?1300/);
  });

  it.each(['--thread main', '--tap', '--format stream', '--format raw'])('goes with %s', async (more) => {
    await using hosts = await twoHosts();
    const shared = more.startsWith('--thread') ? '' : more;
    await using server = tunconnector(hosts.server, `-m server -s 10.0.0.2 -i 55555 ${shared}`);
    await server.waitFor('is up');
    const words = `-m client -c 10.0.0.3 -r ${SERVER} ${more}`.split(' ');
    await using client = hosts.client.node(BIN, [...words, '--impair', 'delay 20ms']);
    await client.waitFor('impaired with seed');
    await pinged(hosts.client, 1); // neighbours are found through the impairments too
    const { received, least } = await pinged(hosts.client, 5);
    expect(received).toBe(5);
    expect(least).toBeGreaterThanOrEqual(40);
  });

  it('takes files, and specs in the configuration file, and tells programs what happened', async () => {
    await using hosts = await twoHosts();
    await using directory = await scratchDirectory();
    const spec = `${directory.path}/office.yaml`;
    await writeFile(spec, 'seed: 3\nup: loss pattern x\nrules:\n  - {label: all, match: "*", up: pass}\n');
    const config = `${directory.path}/client.yaml`;
    await writeFile(
      config,
      `mode: client\nclientip: 10.0.0.3\nremoteip: ${SERVER}\nimpair:\n  down: delay 25ms\n`,
    );
    await using server = hosts.server.node(BIN, [
      '-m',
      'server',
      '-s',
      '10.0.0.2',
      '-i',
      '55555',
      '--impair',
      `@${spec}`,
    ]);
    await server.waitFor(/is up: .*, impaired with seed 3\n/);
    const client = tunconnector(hosts.client, `--config ${config} --json`);
    const [, seed] = await client.waitFor(/"event":"up".*"seed":(\d+)/);
    expect(Number(seed)).toBeLessThan(2 ** 32);
    const { received, least } = await pinged(hosts.client, 4);
    expect(received).toBe(4);
    expect(least).toBeGreaterThanOrEqual(25);
    await client.stop('SIGINT');
    const last = JSON.parse(client.stdout.trimEnd().split('\n').at(-1)!);
    expect(last.ends[0].impair).toMatchObject({
      up: { seed: Number(seed), packetsOut: 4 },
      down: { packetsOut: 4, pipelines: [{ label: 'default', stages: [{ name: 'delay', packetsOut: 4 }] }] },
    });
  });

  it('refuses what it does not understand before anything is made', async () => {
    await using hosts = await twoHosts();
    const run = async (impair: string) => {
      const client = hosts.client.node(BIN, ['-m', 'client', '-r', SERVER, '--impair', impair]);
      const { code } = await client.ended;
      return [code, client.stderr];
    };
    expect(await run('dely 50ms')).toEqual([
      2,
      expect.stringMatching(/^tunconnector: --impair: found "dely", expected one of .*delay.*\n$/),
    ]);
    expect(await run('loss 1')).toEqual([
      2,
      expect.stringMatching(/^tunconnector: --impair: loss: found "1"/),
    ]);
    expect(await run('@/nowhere')).toEqual([2, 'tunconnector: --impair: /nowhere cannot be read (ENOENT)\n']);
    expect(await run('{up: [delay')).toEqual([
      2,
      expect.stringMatching(/^tunconnector: --impair: spec:1:\d+: /),
    ]);
    const many = await run('{both: delay 1s, packets: 100000000}');
    expect(many).toEqual([
      2,
      expect.stringMatching(/^tunconnector: the network needs \d+ small packet slots/),
    ]);
    await using directory = await scratchDirectory();
    const config = `${directory.path}/client.yaml`;
    await writeFile(config, 'impair: {upp: delay 1s}\n');
    const { code, stderr } = await runToEnd(hosts.client, `--config ${config}`);
    expect(code).toBe(2);
    expect(stderr).toMatch(/client\.yaml: impair: found the unknown key "upp", expected one of .*up.*\n$/);
  });
});

describe.skipIf(skip)('startTunnel', () => {
  it('takes impairments in words', async () => {
    await using hosts = await twoHosts();
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    const text = `import { startTunnel } from ${JSON.stringify(library)};
      const client = { remote: '${SERVER}', addresses: ['10.0.0.3'] };
      await startTunnel({ client, impair: 'delay 1 fortnight' }).catch((error) => console.log(error.code, error.message));
      const tunnel = await startTunnel({ client, impair: { up: 'delay 20ms', seed: 9 } });
      tunnel.on('up', () => console.log('up'));
      process.once('SIGTERM', async () => {
        const [{ network }] = (await tunnel.report()).ends;
        const { report } = network.apps.find(({ app }) => app === 'up');
        console.log(JSON.stringify(report));
        await tunnel.close();
      });`;
    const client = hosts.client.spawn([process.execPath, '--input-type=module', '-e', text]);
    await client.waitFor(/^ERR_CONFIG .*\nup\n/);
    const { received, least } = await pinged(hosts.client, 4);
    expect(received).toBe(4);
    expect(least).toBeGreaterThanOrEqual(20);
    expect((await client.stop()).code).toBe(0);
    expect(JSON.parse(client.stdout.trimEnd().split('\n').at(-1)!)).toMatchObject({ seed: 9, packetsOut: 4 });
  });
});

describe.skipIf(skip)('tunconnector top', () => {
  it('shows a tunnel from outside, its impairments among the apps', async () => {
    await using hosts = await twoHosts();
    await using directory = await scratchDirectory();
    const env = { ...process.env, XDG_RUNTIME_DIR: directory.path };
    const words = ['-m', 'server', '-s', '10.0.0.2', '-i', '55555', '--impair', '{down: loss pattern x}'];
    await using server = hosts.server.node(BIN, words, { env });
    await server.waitFor('is up');
    await using client = tunconnector(hosts.client, `-m client -c 10.0.0.3 -r ${SERVER}`);
    await client.waitFor('is up');
    // For as long as it takes to start, and then for its second and a half.
    await using pinging = hosts.client.spawn(['ping', '-q', '-i', '0.05', '-w', '30', '10.0.0.2']);
    const top = hosts.server.node(BIN, ['top', 'tun1', '--once', '--interval', '1.5'], { env });
    expect((await top.ended).code).toBe(0);
    await pinging.stop('SIGINT');
    expect(pinging.stdout).toContain(' 0 received');
    expect(top.stdout).toMatch(/^tun1 {3}memory: /);
    expect(top.stdout).toMatch(/\n {2}tunnel\.inside -> down\.in +[1-9][\d.]* k?bit\/s +[1-9]\d* pkt\/s/);
    expect(top.stdout).toMatch(/\n {2}down +\d+ +\d+ {3}loss \d+\n/);
    expect(top.stderr).toBe('');
  });
});

describe.skipIf(needs('userns', 'mount'))('tunconnector top', () => {
  it('says so where no network is running', async () => {
    await using hosts = await twoHosts();
    // Neither this user's networks nor the machine's.
    const hidden = 'mount -t tmpfs none /run && exec "$0" "$@"';
    const argv = ['unshare', '--mount', 'sh', '-c', hidden, process.execPath, BIN, 'top'];
    const top = hosts.client.spawn(argv, { env: { ...process.env, XDG_RUNTIME_DIR: '/run' } });
    expect((await top.ended).code).toBe(5);
    expect(top.stderr).toBe('tunconnector: no network is running; start one first, as the same user\n');
  });
});
