import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HostProcess } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { type RunningChain, runningChain, SERVER } from './chain-world.ts';
import { pings, scratchDirectory, until } from './cli-world.ts';

const programs = ['ping', 'ab', 'dig', 'traceroute', 'tracepath', 'ssh', 'sshd', 'ssh-keygen', 'scp'];
const services = fileURLToPath(new URL('fixtures/chain-services.mjs', import.meta.url));
const hashOf = async (file: string) =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

interface Talk {
  sent: number;
  received: number;
  wrong: number;
  gap: number;
  connections: number;
}

/** The number of a replica, as it said itself. */
const idOf = ({ stdout }: HostProcess): number =>
  JSON.parse(stdout.split('\n').find((line) => line.includes('"up"'))!).id;

describe.skipIf(needs('netns', 'tun', 'ip', 'root', 'curl', ...programs))('programs through a chain', () => {
  let chain: RunningChain;
  let folder: Awaited<ReturnType<typeof scratchDirectory>>;

  beforeAll(async () => {
    folder = await scratchDirectory();
    chain = await runningChain();
    await chain.server.node(services).waitFor('ready');
    expect(await pings(chain.client, SERVER.v4)).toBe(true);
  }, 90_000);
  afterAll(async () => {
    await chain?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
  });

  const edit = (...functions: string[]) => chain.ask('chain.put', { spi: 7, functions });
  const isThere = (text: string, pattern: RegExp) => expect(text).toMatch(pattern);

  /** A server of ssh with keys of its own, and how to log in. */
  async function sshServer() {
    const key = `${folder.path}/key`;
    await chain.client.exec(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key], { check: true });
    await mkdir('/run/sshd', { recursive: true });
    const settings = [
      `HostKey ${key}`,
      `AuthorizedKeysFile ${key}.pub`,
      'StrictModes no',
      'UsePAM no',
      'PermitRootLogin yes',
      'PasswordAuthentication no',
      'PrintMotd no',
      `PidFile ${folder.path}/pid`,
      'Subsystem sftp internal-sftp',
      `ListenAddress ${SERVER.v4}:2222`,
    ];
    await writeFile(`${folder.path}/sshd_config`, settings.join('\n'));
    const server = chain.server.spawn(['/usr/sbin/sshd', '-D', '-e', '-f', `${folder.path}/sshd_config`]);
    await server.waitFor(/Server listening/);
    const options = ['StrictHostKeyChecking=no', `UserKnownHostsFile=${folder.path}/known`, 'BatchMode=yes'];
    return ['-F', 'none', '-i', key, ...options.flatMap((each) => ['-o', each])];
  }

  it('ssh outlives edits, a replica that drains and a reload, and echoes every key', async () => {
    const { client, firewall, counter } = chain;
    const login = await sshServer();
    const session = client.spawn(['ssh', '-tt', ...login, '-p', '2222', `root@${SERVER.v4}`, 'echo on; cat']);
    await session.waitFor('on');
    await sleep(300);
    let typed = '';
    let slowest = 0;
    let isTyping = true;
    const from = session.stdout.length;
    const typing = (async () => {
      for (let n = 0; isTyping; n++) {
        const key = String.fromCharCode(97 + (n % 26));
        const before = session.stdout.length;
        const begin = performance.now();
        typed += key;
        session.child.stdin!.write(key);
        // The terminal at the far end echoes it.
        if (!(await until(() => session.stdout.length > before, 10_000))) break;
        slowest = Math.max(slowest, performance.now() - begin);
        await sleep(20);
      }
    })();
    const another = await chain.another(2);
    await edit('dpi');
    await sleep(400);
    await edit('dpi', 'fw');
    await sleep(400);
    await edit('fw', 'dpi');
    await sleep(400);
    const flow = (await chain.flows()).find(({ key }) => key.includes(`${SERVER.v4}:2222`))!;
    const [through, free] = flow.path.includes(idOf(counter)) ? [counter, another] : [another, counter];
    expect(flow.path).toContain(idOf(through));
    through.kill('SIGTERM');
    expect((await through.ended).code).toBe(0);
    free.kill('SIGHUP');
    firewall.kill('SIGHUP');
    await Promise.all([free.waitFor('"reloaded"', 20_000), firewall.waitFor('"reloaded"', 20_000)]);
    await sleep(400);
    isTyping = false;
    await typing;
    console.log(`ssh: ${typed.length} keys, the slowest echo came after ${slowest.toFixed(0)} ms`);
    expect(session.stdout.slice(from)).toBe(typed);
    session.child.stdin!.write('\n\x04');
    expect((await session.ended).code).toBe(0);

    await writeFile(`${folder.path}/sent`, randomBytes(8 << 20));
    const place = `root@${SERVER.v4}:${folder.path}`;
    const copy = (from: string, to: string) =>
      client.exec(['scp', ...login, '-q', '-P', '2222', from, to], { check: true, timeout: 30_000 });
    const copying = copy(`${folder.path}/sent`, `${place}/stored`);
    await sleep(200);
    await edit('dpi');
    await edit('fw', 'dpi');
    await copying;
    await copy(`${place}/stored`, `${folder.path}/back`);
    const hashes = await Promise.all(
      ['sent', 'stored', 'back'].map((name) => hashOf(`${folder.path}/${name}`)),
    );
    expect(new Set(hashes).size).toBe(1);
  }, 90_000);

  it('ab counts no failed request, kept connections and WebSockets live on, while the chain is edited', async () => {
    const { client } = chain;
    const talks = ['ws', 'get'].map((what) => client.node(services, [what, SERVER.v4]));
    await Promise.all(talks.map((each) => each.waitFor('ready')));
    const ab = (...words: string[]) =>
      client.exec(['ab', '-q', '-s', '20', ...words, `http://${SERVER.v4}:8080/2000`], { timeout: 60_000 });
    const still = await ab('-n', '1000', '-c', '10');
    const moving = ab('-n', '2000', '-c', '10');
    const kept = ab('-n', '2000', '-c', '10', '-k');
    for (const functions of [['dpi'], ['fw', 'dpi'], ['fw'], ['dpi', 'fw'], ['fw', 'dpi']]) {
      await sleep(150);
      await edit(...functions);
    }
    for (const [n, each] of [
      [1000, still],
      [2000, await moving],
      [2000, await kept],
    ] as const) {
      expect(each.stderr).toBe('');
      isThere(each.stdout, new RegExp(`Complete requests: +${n}\n`));
      isThere(each.stdout, /Failed requests: +0\n/);
      console.log(`ab: ${/Requests per second.*/.exec(each.stdout)![0].replace(/ +/g, ' ')}`);
    }
    for (const each of talks) {
      each.child.stdin!.write('\n');
      await each.ended;
      const told: Talk = JSON.parse(each.stdout.trim().split('\n').at(-1)!);
      expect(told).toMatchObject({ wrong: 0, connections: 1, received: told.sent });
      expect(told.sent).toBeGreaterThan(20);
    }
  }, 90_000);

  it('names are found, IPv4 and IPv6, also when the answer comes in fragments', async () => {
    const dig = async (...words: string[]) =>
      (await chain.client.exec(['dig', '+tries=2', '+time=2', ...words], { check: true })).stdout;
    for (const server of [SERVER.v4, SERVER.v6]) {
      expect(await dig(`@${server}`, '+short', 'www.example', 'A')).toBe('203.0.113.77\n');
      expect(await dig(`@${server}`, '+short', 'www.example', 'AAAA')).toBe('2001:db8:1::77\n');
      const long = await dig(`@${server}`, '+bufsize=4096', 'www.example', 'TXT');
      isThere(long, /MSG SIZE {2}rcvd: 30\d\d/);
      expect(long.split('x').length - 1).toBeGreaterThan(2900);
    }
  }, 30_000);

  it('ping, traceroute and tracepath find the server, and the routers in front of it', async () => {
    const { client } = chain;
    expect(await pings(client, SERVER.v4)).toBe(true);
    expect(await pings(client, SERVER.v6, '-6')).toBe(true);
    const trace = async (...words: string[]) =>
      (await client.exec(['traceroute', '-n', '-q', '1', '-w', '2', ...words], { check: true })).stdout;
    // The ingress, the egress by the address that clients leave with, the host that it runs on, and the server.
    const four =
      /\n 1 {2}10\.8\.0\.1 .*\n 2 {2}198\.51\.100\.80 .*\n 3 {2}10\.9\.0\.3 .*\n 4 {2}203\.0\.113\.9 .*\n$/;
    const six =
      /\n 1 {2}fd08::1 .*\n 2 {2}2001:db8:80::1 .*\n 3 {2}2001:db8:1::1 .*\n 4 {2}2001:db8:1::9 .*\n$/;
    for (const how of [[], ['-I'], ['-T', '-p', '8080']]) {
      isThere(await trace(...how, SERVER.v4), four);
      isThere(await trace('-6', ...how, SERVER.v6), six);
    }
    for (const address of [SERVER.v4, SERVER.v6]) {
      const { stdout } = await client.exec(['tracepath', '-n', address], { check: true });
      isThere(stdout, /Resume: pmtu 1424 hops 4 back 4/);
    }
  }, 60_000);
});
