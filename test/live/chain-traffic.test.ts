import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Host, HostProcess } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { chainHosts, EGRESS, INGRESS, SERVER, TO_SERVER } from './chain-world.ts';
import { pings, until } from './cli-world.ts';

const skip = needs('netns', 'tun', 'ip', 'ping', 'curl', 'tcpdump', 'tshark');

/** Bytes of a file, by how many there are. */
const contentOf = (length: number): Buffer => {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i += 4) bytes.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
  return bytes;
};

/** Sends as many bytes as the path says. */
const FILES = `
const contentOf = ${contentOf};
require('node:http').createServer((request, response) => response.end(contentOf(Number(request.url.slice(1)))))
  .listen(80, '::', () => console.log('listening'));`;

async function running() {
  const hosts = await chainHosts();
  const replicas: HostProcess[] = [
    await hosts.replica(0),
    await hosts.replica(1),
    await hosts.replica(3, 'dpi'),
  ];
  await hosts.start(hosts.egress, EGRESS);
  const ingress = await hosts.start(hosts.ingress, INGRESS);
  await hosts.start(hosts.client, TO_SERVER);
  await hosts.server.spawn(['node', '-e', FILES]).waitFor('listening');
  return { ...hosts, replicas, into: ingress };
}

/** A download: the hash of what came, beside that of what was to come. */
async function download(client: Host, bytes: number, address = SERVER.v4) {
  const url = `http://${address.includes(':') ? `[${address}]` : address}/${bytes}`;
  const get = `curl -g -sS -m 90 '${url}' | sha256sum`;
  const { stdout, stderr } = await client.exec(['sh', '-c', get], { timeout: 100_000 });
  const sent = createHash('sha256').update(contentOf(bytes)).digest('hex');
  return { found: stdout.slice(0, 64), sent, stderr };
}

describe.skipIf(skip)('traffic through a chain of replicas', () => {
  it('is whole while replicas die and come, the chain is edited and Roulette stands still, and tshark reads all of it', async () => {
    await using hosts = await running();
    const { client, server, lan, replicas } = hosts;
    const file = `/tmp/chain-${process.pid}.pcap`;
    const dump = lan.spawn(['tcpdump', '-i', 'br0', '-U', '-s', '256', '-w', file, 'udp port 4790']);
    await dump.waitFor('listening on');
    // IPv4 and IPv6, and a path that is narrower than the interface says.
    expect(await pings(client, SERVER.v4)).toBe(true);
    expect(await pings(client, SERVER.v6)).toBe(true);
    expect(await pings(client, SERVER.v4, '-s', '1372', '-M', 'do')).toBe(true);
    const wide = await client.exec(['ping', '-c', '2', '-W', '1', '-s', '1420', '-M', 'do', SERVER.v4]);
    expect(wide.stdout + wide.stderr).toMatch(/mtu ?= ?1432|message too long/i);
    // As traceroute does it: the ingress, the egress, then the host behind its TUN.
    const hop = async (ttl: number) =>
      (await client.exec(['ping', '-n', '-c', '1', '-W', '2', '-t', String(ttl), SERVER.v4])).stdout;
    expect(await hop(1)).toMatch(/From 10\.8\.0\.1 .*Time to live exceeded/);
    expect(await hop(2)).toMatch(/Time to live exceeded/);
    expect(await hop(5)).toContain(`from ${SERVER.v4}`);
    for (const address of [SERVER.v4, SERVER.v6]) {
      const small = await download(client, 300_000, address);
      expect(small.found, small.stderr).toBe(small.sent);
    }
    // Small downloads, some through each replica.
    for (let n = 0; n < 8; n++) expect(await download(client, 1000)).toMatchObject({ stderr: '' });
    const large = download(client, 100_000_000);
    await sleep(300);
    replicas[0]!.kill('SIGKILL');
    replicas.push(await hosts.replica(2));
    // Its lease, and some more: these replicas answer no probes, so nobody notices before.
    await sleep(7000);
    hosts.roulette.kill('SIGSTOP');
    await sleep(1500);
    // New flows, too: from what is known.
    expect(await pings(client, SERVER.v4)).toBe(true);
    hosts.roulette.kill('SIGCONT');
    expect(await hosts.ask('chain.put', { spi: 7, functions: ['dpi', 'fw'] })).toMatchObject({ revision: 2 });
    const { found, sent } = await large;
    expect(found).toBe(sent);
    expect(await until(async () => (await download(client, 1000)).stderr === '')).toBe(true);
    await dump.stop('SIGINT');
    // What is in the files looks like anything to a reader of HTTP.
    const only = ['--disable-protocol', 'http', '-c', '20000'];
    const bad = await server.exec(['tshark', '-r', file, '-Y', '_ws.malformed', ...only], {
      timeout: 60_000,
    });
    expect(bad.stdout).toBe('');
    const fields = ['-T', 'fields', '-e', 'nsh.spi', '-e', 'nsh.si'];
    const read = await server.exec(['tshark', '-r', file, '-c', '2000', ...fields], { timeout: 60_000 });
    const hops = new Set(
      read.stdout
        .trim()
        .split('\n')
        // Roulette asks suspected replicas on path 1.
        .filter((line) => /\d/.test(line) && !line.startsWith('1\t')),
    );
    expect([...hops].sort()).toEqual(['7\t254', '7\t255', '8388615\t254', '8388615\t255']);
    await server.exec(['rm', '-f', file]);
  }, 180_000);
});
