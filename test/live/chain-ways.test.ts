import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { chainHosts, ROULETTE, SERVER, TO_SERVER, TOKEN } from './chain-world.ts';
import { BIN, pings, scratchDirectory, until } from './cli-world.ts';

/** Sends so many bytes, all alike. */
const FILES = `
require('node:http').createServer((request, response) => response.end(Buffer.alloc(Number(request.url.slice(1)), 'chain')))
  .listen(80, '::', () => console.log('listening'));`;
const hashOf = (length: number) => createHash('sha256').update(Buffer.alloc(length, 'chain')).digest('hex');

async function download(client: Host, bytes: number): Promise<string> {
  const get = `curl -sS -m 60 http://${SERVER.v4}/${bytes} | sha256sum`;
  return (await client.exec(['sh', '-c', get], { timeout: 70_000 })).stdout.slice(0, 64);
}

describe.skipIf(needs('netns', 'tun', 'ip', 'ping', 'curl', 'tcpdump', 'tshark'))('a chain', () => {
  it('in Geneve, which clients are routed into and which delivers by plain routing', async () => {
    await using hosts = await chainHosts();
    const { client, ingress, egress, server, lan } = hosts;
    const common = `--roulette ${ROULETTE} --tenant 42 --encapsulation geneve --json`;
    await hosts.start(hosts.functions[0]!, `vnf counter --function fw ${common}`);
    await hosts.start(egress, `egress --route 192.0.2.0/24 ${common}`);
    await hosts.start(ingress, `ingress --tun chain0 --address 10.8.0.1/24 --route 203.0.113.0/24 ${common}`);
    // Neither of the two knows of a chain: they have routes, as anybody has.
    await client.ip('route add 203.0.113.0/24 via 192.0.2.10');
    await server.ip('route add 192.0.2.0/24 via 203.0.113.1');
    await using folder = await scratchDirectory();
    const file = path.join(folder.path, 'geneve.pcap');
    const dump = lan.spawn([
      'tcpdump',
      '-i',
      'br0',
      '-U',
      '--immediate-mode',
      '-s',
      '200',
      '-w',
      file,
      'udp port 6081',
    ]);
    await dump.waitFor('listening on');
    await server.spawn(['node', '-e', FILES]).waitFor('listening');
    expect(await pings(client, SERVER.v4)).toBe(true);
    expect(await download(client, 3_000_000)).toBe(hashOf(3_000_000));
    await sleep(200);
    await dump.stop('SIGINT');
    const read = (filter: string, ...fields: string[]) =>
      server.exec(
        ['tshark', '-r', file, '-c', '3000', '--disable-protocol', 'http', '-Y', filter, ...fields],
        {
          timeout: 60_000,
        },
      );
    expect((await read('_ws.malformed')).stdout).toBe('');
    // Roulette asks suspected replicas on path 1.
    const positions = (await read('nsh.spi != 1', '-T', 'fields', '-e', 'nsh.spi', '-e', 'nsh.si')).stdout
      .trim()
      .split('\n');
    expect(new Set(positions)).toEqual(new Set(['7\t255', '7\t254', '8388615\t255', '8388615\t254']));
  }, 120_000);
});

describe.skipIf(needs('netns', 'tun', 'ip', 'ping', 'curl', 'etcd'))('Roulettes that share an etcd', () => {
  it('may die, one at a time, under a chain that is edited and gets replicas', async () => {
    await using hosts = await chainHosts();
    await using folder = await scratchDirectory();
    const { client, ingress, egress, server, functions } = hosts;
    const [f0, f1, f2, f3] = functions as [Host, Host, Host, Host];
    const at = 'http://10.9.0.7:2379';
    const etcd = f3.spawn([
      'etcd',
      ...['--data-dir', path.join(folder.path, 'etcd'), '--logger', 'zap', '--log-outputs', 'stdout'],
      ...['--listen-client-urls', at, '--advertise-client-urls', at],
      ...[
        '--listen-peer-urls',
        'http://10.9.0.7:2380',
        '--initial-advertise-peer-urls',
        'http://10.9.0.7:2380',
      ],
      ...['--initial-cluster', 'default=http://10.9.0.7:2380'],
    ]);
    await etcd.waitFor(/serving client traffic/, 15_000);
    const tokens = path.join(folder.path, 'tokens.yaml');
    const config = path.join(folder.path, 'registry.yaml');
    await writeFile(tokens, `${TOKEN}: all\n`, { mode: 0o600 });
    await writeFile(
      config,
      'tenants: { 42: { functions: [fw, dpi], chains: { 7: [fw] }, rules: [{ name: all, match: {}, chain: 7 }] } }\n',
    );
    const roulette = (host: Host, address: string) =>
      hosts.start(
        host,
        `roulette --listen ${address}:7590 --tokens ${tokens} --store etcd://10.9.0.7:2379 --config ${config} --json`,
      );
    const first = await roulette(f2, '10.9.0.6');
    const second = await roulette(f3, '10.9.0.7');
    const urls = 'http://10.9.0.6:7590,http://10.9.0.7:7590';
    const common = `--roulette ${urls} --tenant 42 --json`;
    const chain = async (...words: string[]) => {
      const argv = [process.execPath, BIN, 'chain', ...words, '--roulette', urls, '--tenant', '42', '--json'];
      const env = { ...process.env, TUNCONNECTOR_TOKEN: TOKEN };
      const { code, stdout, stderr } = await f0.exec(argv, { env, timeout: 20_000 });
      expect(stderr).toBe('');
      expect(code).toBe(0);
      return stdout;
    };
    const replicas = async () => JSON.parse(await chain('show', 'replicas')).replicas.length as number;
    await hosts.start(f0, `vnf pass --function fw ${common}`);
    await hosts.start(egress, `egress --nat 198.51.100.80 ${common}`);
    await hosts.start(ingress, `ingress --tunnel 10.8.0.1/24 ${common}`);
    await hosts.start(
      client,
      TO_SERVER.replace(' --address fd08::2/64', '').replace(' --to 2001:db8:1::/64', ''),
    );
    await server.spawn(['node', '-e', FILES]).waitFor('listening');
    expect(await pings(client, SERVER.v4)).toBe(true);
    const counted = await hosts.start(f1, `vnf counter --function dpi ${common}`);

    await first.stop('SIGKILL');
    expect(await download(client, 1_000_000)).toBe(hashOf(1_000_000));
    await chain('set', '7', 'fw', 'dpi');
    expect(await download(client, 1_000_000)).toBe(hashOf(1_000_000));
    expect(await replicas()).toBe(4);

    const again = await roulette(f2, '10.9.0.6');
    await second.stop('SIGKILL');
    expect(await download(client, 1_000_000)).toBe(hashOf(1_000_000));
    await hosts.start(f2, `vnf pass --function fw ${common}`);
    expect(await until(async () => (await replicas()) === 5, 10_000)).toBe(true);
    await chain('set', '7', 'dpi');
    expect(await download(client, 1_000_000)).toBe(hashOf(1_000_000));
    expect((await again.stop('SIGTERM', 20_000)).code).toBe(0);
    // What the function has counted: the packets of the downloads since the chain has it.
    await counted.stop('SIGINT', 20_000);
    const report = JSON.parse(counted.stdout.trim().split('\n').at(-1)!);
    const packets = report.links.find(({ link }: { link: string }) =>
      link.startsWith('hop.function'),
    )?.packets;
    expect(packets).toBeGreaterThan(1000);
  }, 240_000);
});
