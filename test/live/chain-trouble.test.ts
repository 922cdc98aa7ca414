import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWorld, type Host, type HostProcess, type World } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { type ChainHosts, chainHosts, EGRESS, INGRESS, ROULETTE, SERVER, TO_SERVER } from './chain-world.ts';
import { BIN, pings, scratchDirectory, until } from './cli-world.ts';
import { measureLag } from './lag.ts';

/** Counts the packets of each flow; hangs, or tells how many there were, when a datagram says so. */
const HANGING = `
export default {
  name: 'fw',
  state: () => 0,
  process(packet, flow, ctx) {
    flow.state++;
    const text = packet.udp ? packet.payload.text() : '';
    if (text === 'hang') for (;;);
    if (text === 'tell') ctx.note('packets ' + flow.state);
    return 'forward';
  },
};`;

/** For each line of input, a datagram of one flow. */
const TALKER = `
const socket = require('node:dgram').createSocket('udp4');
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => socket.send(line, 9999, '${SERVER.v4}'));
socket.bind(5555, () => console.log('ready'));`;

/** Declares functions one by one; says with which status each was answered. */
const WRITER = `
const write = async (n) => (await fetch('http://127.0.0.1:7590/v1/tenants/42/functions/f' + n, {
  method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ description: 'x'.repeat(250) }),
})).status;
(async () => {
  const statuses = [];
  for (let n = 0; n < 600 && statuses.filter((each) => each !== 200).length < 5; n++) statuses.push(await write(n));
  console.log(JSON.stringify(statuses));
})();`;

/** A folder with little room, in a mount namespace of its own. */
async function smallDisk(host: Host, folder: string, size: string): Promise<HostProcess> {
  const script = `mount -t tmpfs -o size=${size} tmpfs ${folder} && echo mounted && exec sleep 1000`;
  const holder = host.spawn(['unshare', '--mount', 'sh', '-c', script]);
  await holder.waitFor('mounted');
  return holder;
}

describe.skipIf(needs('netns', 'root', 'tun', 'ip', 'ping', 'tshark', 'unshare'))(
  'a chain in trouble',
  () => {
    let hosts: ChainHosts;
    let folder: Awaited<ReturnType<typeof scratchDirectory>>;
    let vnf: HostProcess;
    const ends: Record<string, HostProcess> = {};
    let before: string[];
    const all = () => [hosts.client, hosts.ingress, hosts.egress];
    const snapshots = () => Promise.all(all().map((host) => host.snapshot()));

    beforeAll(async () => {
      hosts = await chainHosts();
      folder = await scratchDirectory();
      before = await snapshots();
      await writeFile(`${folder.path}/hanging.mjs`, HANGING);
      const words = `${folder.path}/hanging.mjs --pcap ${folder.path}/vnf.pcapng`;
      [vnf, ends.egress, ends.ingress] = await Promise.all([
        hosts.replica(0, 'fw', words),
        hosts.start(hosts.egress, EGRESS),
        hosts.start(hosts.ingress, INGRESS),
      ]);
      ends.client = await hosts.start(hosts.client, TO_SERVER);
      expect(await pings(hosts.client, SERVER.v4)).toBe(true);
    }, 90_000);
    afterAll(async () => {
      await hosts?.[Symbol.asyncDispose]();
      await folder?.[Symbol.asyncDispose]();
    });

    it('gets another thread for a function that hangs, with the state that it had, and one file with the packets of both', async () => {
      const talker = hosts.client.spawn(['node', '-e', TALKER]);
      await talker.waitFor('ready');
      const say = (text: string) => void talker.child.stdin!.write(`${text}\n`);
      for (let n = 0; n < 50; n++) {
        say('x');
        await sleep(5);
      }
      await sleep(600);
      say('hang');
      const hung = performance.now();
      const lag = measureLag();
      await vnf.waitFor(/"event":"replaced","why":"hung"/, 15_000);
      const took = performance.now() - hung;
      console.log(`replaced ${took.toFixed(0)} ms after it hung`);
      expect(took).toBeLessThan(1000 + 3 * lag());
      expect(
        await until(() => {
          say('tell');
          return /"packets \d+"/.test(vnf.stdout);
        }, 10_000),
      ).toBe(true);
      expect(Number(/"packets (\d+)"/.exec(vnf.stdout)![1])).toBeGreaterThan(50);
      expect(await pings(hosts.client, SERVER.v4)).toBe(true);
      vnf.kill('SIGHUP');
      await vnf.waitFor('"reloaded"', 15_000);
      expect(await pings(hosts.client, SERVER.v4)).toBe(true);
      // What the thread that hung had not written yet is missing, which is told.
      expect((await vnf.stop('SIGINT', 8000)).code).toBe(1);
      expect(vnf.stderr).toContain('vnf.pcapng was not completed: its network is gone');
      const tshark = spawnSync(
        'tshark',
        ['-r', `${folder.path}/vnf.pcapng`, '-Y', 'icmp.type == 8', '-T', 'fields', '-e', 'icmp.ident'],
        { encoding: 'utf8' },
      );
      expect([tshark.status, tshark.stderr.includes('cut short')]).toEqual([0, false]);
      // Of the pings before the hang, after it and after the reload.
      expect(new Set(tshark.stdout.trim().split('\n')).size).toBe(3);
    }, 60_000);

    it('goes on when there is no room for a capture, and says so', async () => {
      const disk = await smallDisk(hosts.functions[1]!, folder.path, '64k');
      const enter = ['nsenter', '--mount', '-t', String(disk.pid), process.execPath, BIN];
      const words = `vnf pass --function fw --pcap ${folder.path}/full.pcapng --roulette ${ROULETTE} --tenant 42 --json`;
      const env = { ...process.env, TUNCONNECTOR_TOKEN: 'chain-test-token-0123456789' };
      const full = hosts.functions[1]!.spawn([...enter, ...words.split(' ')], { env });
      await full.waitFor('"event":"up"', 40_000);
      await hosts.client.exec(['ping', '-c', '60', '-i', '0.01', '-s', '1300', SERVER.v4]);
      await full.waitFor(/full\.pcapng cannot be written \(ENOSPC\)/, 10_000);
      expect(await pings(hosts.client, SERVER.v4)).toBe(true);
      expect((await full.stop('SIGINT', 8000)).code).toBe(1);
      disk.kill('SIGKILL');
    }, 60_000);

    it('leaves no interface, route or address behind when its ends are killed', async () => {
      for (const name of ['client', 'ingress', 'egress']) await ends[name]!.stop('SIGKILL');
      expect(
        await until(async () => JSON.stringify(await snapshots()) === JSON.stringify(before), 5000),
      ).toBe(true);
    }, 30_000);

    it('tells a second member at one address, and one without the right to make interfaces', async () => {
      const env = { ...process.env, TUNCONNECTOR_TOKEN: 'chain-test-token-0123456789' };
      const run = (argv: string[], words: string) =>
        hosts.egress.exec([...argv, process.execPath, BIN, ...words.split(' ')], { env, timeout: 40_000 });
      const first = await hosts.start(hosts.egress, EGRESS);
      const second = await run([], EGRESS.replace('--json', '--interface chain1'));
      expect([second.code, second.stderr]).toEqual([
        5,
        expect.stringMatching(/^tunconnector: .*10\.9\.0\.3:4790.*\n$/),
      ]);
      const drop = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--reuid=65534', '--regid=65534'];
      const weak = await run([...drop, '--clear-groups'], EGRESS.replace('--json', '--bind 10.9.0.3:4799'));
      expect([weak.code, weak.stderr]).toEqual([3, expect.stringMatching(/^tunconnector: .*\n$/)]);
      expect((await first.stop('SIGINT', 8000)).code).toBe(0);
    }, 60_000);
  },
);

describe.skipIf(needs('netns', 'root', 'unshare', 'curl'))('a Roulette whose disk is full', () => {
  let world: World;
  afterAll(() => world?.close());

  it('refuses what it cannot keep, goes on, and has kept all that it answered', async () => {
    await using folder = await scratchDirectory();
    world = await createWorld({ name: 'full' });
    const host = await world.host('roulette');
    const disk = await smallDisk(host, folder.path, '128k');
    const start = async () => {
      const words = `roulette --json --tenant 42 --store ${folder.path}/store`;
      const enter = ['nsenter', '--mount', '-t', String(disk.pid), process.execPath, BIN];
      const running = host.spawn([...enter, ...words.split(' ')]);
      await running.waitFor('"event":"up"', 30_000);
      return running;
    };
    const first = await start();
    const { stdout } = await host.exec([process.execPath, '-e', WRITER], { timeout: 60_000 });
    const statuses: number[] = JSON.parse(stdout);
    const answered = statuses.flatMap((status, n) => (status === 200 ? [`f${n}`] : []));
    expect(new Set(statuses)).toEqual(new Set([200, 507]));
    expect(answered.length).toBeGreaterThan(50);
    expect(first.running).toBe(true);
    await first.stop('SIGKILL');
    await start();
    const list = await host.exec(['curl', '-s', '127.0.0.1:7590/v1/tenants/42/functions']);
    const there = new Set(JSON.parse(list.stdout).functions.map(({ name }: { name: string }) => name));
    expect(answered.filter((name) => !there.has(name))).toEqual([]);
  }, 120_000);
});
