import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { App } from '../../src/engine/app.ts';
import { createWorld, type Host, type Wire, type World } from '../../src/testing/namespaces.ts';
import { rawTunnel } from '../../src/tunnel/raw.ts';
import { needs } from '../needs.ts';
import { PORT, ping, TunnelEnd, untilPing } from './tunnel-end.ts';

const SERVER = `192.168.6.9:${PORT}`;
const MB = 1 << 20;

/** Sends `megabytes` from one host to a listening socat on another and compares hashes. */
async function transfer(from: Host, to: Host, address: string, megabytes: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'transfer-'));
  try {
    const sent = join(folder, 'sent');
    const received = join(folder, 'received');
    const bytes = randomBytes(megabytes * MB);
    await writeFile(sent, bytes);
    const family = address.includes(':') ? 6 : 4;
    const host = family === 6 ? `[${address}]` : address;
    const listener = to.spawn([
      'socat',
      '-d',
      '-d',
      '-u',
      `TCP${family}-LISTEN:7000,reuseaddr`,
      `CREATE:${received}`,
    ]);
    await listener.waitFor(/listening on/);
    await from.exec(['socat', '-u', `FILE:${sent}`, `TCP${family}:${host}:7000`], {
      check: true,
      timeout: 60_000,
    });
    await listener.ended;
    const hash = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');
    expect(hash(await readFile(received))).toBe(hash(bytes));
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe.skipIf(needs('root', 'tun', 'ping', 'socat'))('a tunnel between two hosts', () => {
  let world: World;
  let a: Host;
  let b: Host;
  let wire: Wire;
  const ends: TunnelEnd[] = [];

  beforeEach(async () => {
    world = await createWorld();
    a = await world.host('a');
    b = await world.host('b');
    wire = await world.wire(a, b, {
      a: ['192.168.6.8/24', 'fd06::8/64'],
      b: ['192.168.6.9/24', 'fd06::9/64'],
    });
  });

  afterEach(async () => {
    for (const end of ends.splice(0)) await end.net.close();
    await world.close();
  });

  const at = (host: Host) => {
    const end = new TunnelEnd(host);
    ends.push(end);
    return end;
  };

  it('carries ping, IPv4 and IPv6, over IPv4', async () => {
    await at(b).server({ addresses: ['10.0.0.2/24', 'fd00::2/64'] });
    const client = await at(a).client({ addresses: ['10.0.0.3/24', 'fd00::3/64'], server: SERVER });
    await client.event('up');
    expect(await ping(a, '10.0.0.2')).toBe(3);
    expect(await ping(b, '10.0.0.3')).toBe(3);
    expect(await ping(a, 'fd00::2')).toBe(3);
    expect(await ping(b, 'fd00::3')).toBe(3);
  });

  it('carries ping over IPv6', async () => {
    await at(b).server({ addresses: ['10.0.0.2/24'], maxDatagram: 1452 }, { mtu: 1452 }, `[::]:${PORT}`);
    const server = `[fd06::9]:${PORT}`;
    const client = await at(a).client(
      { addresses: ['10.0.0.3/24'], server, maxDatagram: 1452 },
      { mtu: 1452 },
    );
    await client.event('up');
    expect(await ping(a, '10.0.0.2')).toBe(3);
    expect(await ping(b, '10.0.0.3', 3, '-s', '1424', '-M', 'do')).toBe(3);
  });

  it('carries Ethernet between TAPs, ARP and IPv6 neighbours and all', async () => {
    await at(b).server({ layer: 'L2', addresses: ['10.0.0.2/24', 'fd00::2/64'] }, { mtu: 1450 });
    const addresses = ['10.0.0.3/24', 'fd00::3/64'];
    const client = await at(a).client({ layer: 'L2', addresses, server: SERVER }, { mtu: 1450 });
    await client.event('up');
    expect(await ping(a, '10.0.0.2')).toBe(3);
    expect(await ping(b, '10.0.0.3')).toBe(3);
    expect(await ping(a, 'fd00::2')).toBe(3);
    await transfer(a, b, '10.0.0.2', 10);
  });

  for (const offload of [true, false]) {
    it(`carries 100 MB each way unharmed, with offloads ${offload ? 'on' : 'off'}`, {
      timeout: 120_000,
    }, async () => {
      await at(b).server({ addresses: ['10.0.0.2/24', 'fd00::2/64'] }, { offload });
      const addresses = ['10.0.0.3/24', 'fd00::3/64'];
      const client = await at(a).client({ addresses, server: SERVER }, { offload });
      await client.event('pmtu');
      await Promise.all([transfer(a, b, '10.0.0.2', 100), transfer(b, a, 'fd00::3', 100)]);
      expect(client.drops()).toEqual({});
    });
  }

  it('finds the MTU of a narrow path that tells nobody, and TCP just works', {
    timeout: 60_000,
  }, async () => {
    // The router in the middle drops what is too long, and its ICMP errors are lost as well.
    const middle = await world.host('m');
    await world.wire(a, middle, { a: '172.16.1.1/24', b: '172.16.1.2/24' });
    await world.wire(middle, b, { a: '172.16.2.2/24', b: '172.16.2.1/24', mtu: 1400 });
    await b.exec([
      'ip',
      'link',
      'set',
      (await b.exec(['sh', '-c', "ip -o -4 addr show to 172.16.2.1 | awk '{print $2}'"])).stdout.trim(),
      'mtu',
      '1500',
    ]);
    await middle.exec(['sysctl', '-qw', 'net.ipv4.ip_forward=1'], { check: true });
    await middle.exec(
      [
        'nft',
        'add table ip f; add chain ip f o { type filter hook output priority 0; }; add rule ip f o ip protocol icmp drop',
      ],
      { check: true },
    );
    await a.ip('route add 172.16.2.0/24 via 172.16.1.2');
    await b.ip('route add 172.16.1.0/24 via 172.16.2.2');
    await at(b).server({ addresses: ['10.0.0.2/24', 'fd00::2/64'] });
    const server = `172.16.2.1:${PORT}`;
    const client = await at(a).client({ addresses: ['10.0.0.3/24', 'fd00::3/64'], server });
    const { datagram } = await client.event('pmtu', 8000);
    // 1400 less 20 of IPv4 and 8 of UDP, found to within 8 bytes.
    expect(datagram).toBeGreaterThan(1372 - 8);
    expect(datagram).toBeLessThanOrEqual(1372);
    await transfer(a, b, '10.0.0.2', 5);
    await transfer(b, a, 'fd00::3', 5);
    // What may not be fragmented is answered with the size that fits; what may be is fragmented.
    const { stdout, stderr } = await a.exec(
      ['ping', '-c', '2', '-W', '1', '-s', '1440', '-M', 'do', '10.0.0.2'],
      {
        check: false,
      },
    );
    expect(stdout + stderr).toMatch(
      new RegExp(`Frag needed and DF set \\(mtu = ${datagram}\\)|message too long, mtu=${datagram}`),
    );
    expect(await ping(a, '10.0.0.2', 3, '-s', '1440', '-M', 'dont')).toBe(3);
    expect(await ping(a, 'fd00::2', 3, '-s', '1200')).toBe(3);
  });

  it('heals within 3 s after the path was cut for 5 s', { timeout: 40_000 }, async () => {
    await at(b).server({ addresses: ['10.0.0.2/24'] });
    const client = await at(a).client({ addresses: ['10.0.0.3/24'], server: SERVER });
    await client.event('up');
    await wire.cut();
    const cutAt = performance.now();
    await client.event('silent', 6000);
    await sleep(cutAt + 5001 - performance.now());
    expect(performance.now() - cutAt).toBeGreaterThanOrEqual(5000);
    await wire.restore();
    expect(await untilPing(a, '10.0.0.2', 4000)).toBeLessThan(3000);
    await client.event('back');
  });

  it('heals within 3 s when either end starts anew, and the other end stays as it is', {
    timeout: 40_000,
  }, async () => {
    const first = await at(b).server({ addresses: ['10.0.0.2/24'] });
    const client = await at(a).client({ addresses: ['10.0.0.3/24'], server: SERVER });
    await client.event('up');
    const index = async () => (await a.exec(['ip', '-o', 'link', 'show', 'tun0'])).stdout.split(':')[0];
    const before = await index();
    // A crash: nothing is said, the descriptors just close.
    first.net.get<App>('tunnel').finish = undefined;
    ends.splice(ends.indexOf(first), 1);
    await first.net.close();
    await sleep(500);
    await at(b).server({ addresses: ['10.0.0.2/24'] });
    expect(await untilPing(a, '10.0.0.2', 4000)).toBeLessThan(3000);
    expect(await index()).toBe(before);

    client.net.get<App>('tunnel').finish = undefined;
    ends.splice(ends.indexOf(client), 1);
    await client.net.close();
    const again = await at(a).client({ addresses: ['10.0.0.3/24'], server: SERVER });
    await again.event('up', 3000);
    expect(await untilPing(a, '10.0.0.2', 3000)).toBeLessThan(3000);
  });

  it('keeps the session of a client whose address changes', { timeout: 30_000 }, async () => {
    const server = await at(b).server({ addresses: ['10.0.0.2/24'] });
    const client = await at(a).client({ addresses: ['10.0.0.3/24'], server: SERVER });
    await client.event('up');
    const device = (
      await a.exec(['sh', '-c', "ip -o -4 addr show to 192.168.6.8 | awk '{print $2}'"])
    ).stdout.trim();
    await a.ip([`addr del 192.168.6.8/24 dev ${device}`, `addr add 192.168.6.77/24 dev ${device}`]);
    const moved = await server.event('moved', 5000);
    expect(moved.outer).toMatch(/^192\.168\.6\.77:/);
    expect(await untilPing(a, '10.0.0.2', 3000)).toBeLessThan(3000);
    expect(server.events.filter((e) => e.type === 'up')).toHaveLength(1);
  });

  it('refuses a taken inner address while its holder answers, and gives it away when the holder is silent', {
    timeout: 30_000,
  }, async () => {
    const c = await world.host('c');
    const { b: cEnd } = await world.wire(b, c, { a: '192.168.7.9/24', b: '192.168.7.7/24' });
    expect(cEnd.name).toBeTruthy();
    await at(b).server({ addresses: ['10.0.0.2/24'] });
    const holder = await at(a).client({ addresses: ['10.0.0.3/24'], server: SERVER });
    await holder.event('up');
    const newcomer = await at(c).client({ addresses: ['10.0.0.3/24'], server: `192.168.7.9:${PORT}` });
    const refused = await newcomer.event('refused');
    expect(refused.reason).toBe('taken');
    expect(refused.text).toMatch(/10\.0\.0\.3/);
    expect(await ping(a, '10.0.0.2')).toBe(3);
    await wire.cut();
    await newcomer.event('up', 8000);
    expect(await untilPing(c, '10.0.0.2', 3000)).toBeLessThan(3000);
  });

  it('interoperates with socat in the raw format, both ways', { timeout: 30_000 }, async () => {
    const socat = b.spawn([
      'socat',
      '-d',
      '-d',
      'UDP-LISTEN:7777,bind=192.168.6.9',
      'TUN:10.0.0.2/24,tun-name=tun0,iff-no-pi,iff-up',
    ]);
    await socat.waitFor(/listening on|starting/i);
    const client = at(a);
    await client.start(rawTunnel({ peer: '192.168.6.9:7777', mtu: 1472 }), '0.0.0.0:0', ['10.0.0.3/24']);
    expect(await ping(a, '10.0.0.2', 5)).toBeGreaterThanOrEqual(4);
    await b.exec(['ip', 'link', 'set', 'tun0', 'mtu', '1472'], { check: true });
    await transfer(a, b, '10.0.0.2', 5);
    await transfer(b, a, '10.0.0.3', 5);
  });

  it('answers socat when socat speaks first in the raw format', { timeout: 30_000 }, async () => {
    await at(b).start(rawTunnel({}), '0.0.0.0:7777', ['10.0.0.2/24']);
    const socat = a.spawn([
      'socat',
      '-d',
      '-d',
      'UDP:192.168.6.9:7777',
      'TUN:10.0.0.3/24,tun-name=tun0,iff-no-pi,iff-up',
    ]);
    await socat.waitFor(/starting data transfer/);
    expect(await ping(a, '10.0.0.2')).toBe(3);
    expect(await ping(b, '10.0.0.3')).toBe(3);
  });
});

describe.skipIf(needs('root', 'tun', 'ping'))('a server with many clients', () => {
  it('serves 16 at once, routes between them, and drops what nobody owns', { timeout: 60_000 }, async () => {
    await using world = await createWorld();
    const hub = await world.host('hub');
    await using server = await new TunnelEnd(hub).server({ addresses: ['10.0.0.1/24'] });
    const clients: { host: Host; end: TunnelEnd }[] = [];
    await using _cleanup = {
      [Symbol.asyncDispose]: async () => void (await Promise.all(clients.map((c) => c.end.net.close()))),
    };
    for (let i = 0; i < 16; i++) {
      const host = await world.host(`c${i}`);
      await world.wire(hub, host, { a: `172.20.${i}.1/30`, b: `172.20.${i}.2/30` });
      const end = await new TunnelEnd(host).client({
        addresses: [`10.0.0.${10 + i}/24`],
        server: `172.20.${i}.1:${PORT}`,
      });
      clients.push({ host, end });
    }
    await Promise.all(clients.map((c) => c.end.event('up')));
    const answers = await Promise.all(clients.map((c) => ping(c.host, '10.0.0.1')));
    expect(answers).toEqual(clients.map(() => 3));
    const across = await Promise.all(clients.map((c, i) => ping(c.host, `10.0.0.${10 + ((i + 5) % 16)}`)));
    expect(across).toEqual(clients.map(() => 3));
    // Between clients one hop is taken off, and a packet at its last hop is answered.
    const { stdout } = await clients[0].host.exec(['ping', '-c', '1', '-W', '1', '-t', '1', '10.0.0.12'], {
      check: false,
    });
    expect(stdout).toMatch(/From 10\.0\.0\.1 .*Time to live exceeded/);
    const ttl = await clients[0].host.exec(['ping', '-c', '1', '-W', '1', '10.0.0.12'], { check: false });
    expect(ttl.stdout).toMatch(/ttl=62|ttl=63/);
    await hub.exec(['ping', '-c', '2', '-i', '0.1', '-W', '1', '10.0.0.200'], { check: false });
    expect(server.drops()['no-route']).toBe(2);
  });
});
