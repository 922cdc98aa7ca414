import { stat } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { openTun as openImpaired } from '../../src/index.ts';
import { createWorld, type Host } from '../../src/testing/index.ts';
import { openTun, type Tun } from '../../src/tun/open-tun.ts';
import { root } from '../house/sources.ts';
import { needs } from '../needs.ts';
import { pingReply } from '../ping-reply.ts';

async function oneHost() {
  const world = await createWorld();
  const host = await world.host('host');
  return { host, netns: host.path, [Symbol.asyncDispose]: () => world.close() };
}

/** Answers pings until the interface is closed; returns how many. */
async function answerPings(tun: Tun): Promise<number> {
  let answered = 0;
  for await (const packet of tun) {
    const reply = pingReply(packet);
    if (!reply) continue;
    await tun.write(reply);
    answered++;
  }
  return answered;
}

const ping = (host: Host, ...argv: string[]) => host.exec(['ping', '-q', '-i', '0.01', '-W', '5', ...argv]);

/** Nothing with this name is left, or was there. */
const exists = async (host: Host, name: string) =>
  (await host.exec(['ip', 'link', 'show', 'dev', name])).code === 0;

describe.skipIf(needs('netns', 'tun', 'ping', 'ip'))('openTun', () => {
  it('reads and writes IP packets: real pings of IPv4 and IPv6 are answered, checksums and all', async () => {
    await using at = await oneHost();
    const tun = await openTun({ netns: at.netns, addresses: ['10.9.0.1/24', 'fd00:9::1/64'], mtu: 9000 });
    expect(tun).toMatchObject({ name: 'tun0', mode: 'tun', mtu: 9000, closed: false });
    const answering = answerPings(tun);
    expect((await ping(at.host, '-c', '50', '10.9.0.77')).stdout).toContain('50 received');
    expect((await ping(at.host, '-c', '50', 'fd00:9::77')).stdout).toContain('50 received');
    expect((await ping(at.host, '-c', '5', '-s', '8000', 'fd00:9::78')).stdout).toContain('5 received');
    const stats = await tun.stats();
    expect(stats).toMatchObject({ unread: 0, unsent: 0, dropped: 0, refused: 0, kernelDropped: 0 });
    expect(stats.sent).toBeGreaterThanOrEqual(105);
    await tun.close();
    expect(await answering).toBe(stats.sent);
    expect(await exists(at.host, 'tun0')).toBe(false);
  });

  it('has impairments between the kernel and the program, each way', async () => {
    await using at = await oneHost();
    const impair = { up: 'delay 20ms', down: 'delay 30ms loss pattern .x', seed: 7 };
    await using tun = await openImpaired({ netns: at.netns, addresses: ['10.9.0.1/24'], impair });
    const answering = answerPings(tun);
    const { stdout } = await at.host.exec(['ping', '-q', '-c', '10', '-i', '0.01', '-W', '1', '10.9.0.77']);
    expect(stdout).toContain(' 5 received');
    expect(Number(/= ([\d.]+)\//.exec(stdout)![1])).toBeGreaterThanOrEqual(50);
    await tun.close();
    expect(await answering).toBe(10);
    await expect(openImpaired({ impair, between: {} })).rejects.toThrow('found impair and between');
  });

  it('has the index, the routes and the name that were asked for', async () => {
    await using at = await oneHost();
    await using tun = await openTun({
      name: 'home',
      netns: at.netns,
      addresses: ['10.9.0.1/24'],
      routes: ['10.20.0.0/16', { prefix: '10.30.0.0/16', via: '10.9.0.2', metric: 7 }],
    });
    const answering = answerPings(tun);
    const routes = await at.host.exec(['ip', 'route']);
    expect(routes.stdout).toContain('10.30.0.0/16 via 10.9.0.2 dev home metric 7');
    expect((await at.host.exec(['cat', '/proc/net/dev_snmp6/home'])).stdout).toContain(`\t${tun.index}\n`);
    expect((await ping(at.host, '-c', '1', '10.20.1.1')).code).toBe(0);
    await tun.close();
    expect(await answering).toBeGreaterThan(0);
  });

  it('makes TAPs, whose packets are Ethernet frames', async () => {
    await using at = await oneHost();
    await using tap = await openTun({ mode: 'tap', netns: at.netns, addresses: ['10.9.0.1/24'] });
    expect(tap.name).toBe('tap0');
    const pinging = ping(at.host, '-c', '1', '10.9.0.2');
    let arp: Uint8Array | undefined;
    for await (const frame of tap) {
      if (frame[12] !== 0x08 || frame[13] !== 0x06) continue;
      arp = frame;
      break;
    }
    // Who has 10.9.0.2? Everybody is asked.
    expect([...arp!.slice(0, 6), ...arp!.slice(38, 42)]).toEqual([255, 255, 255, 255, 255, 255, 10, 9, 0, 2]);
    expect(tap.closed).toBe(false);
    await pinging;
  });

  it('stops reading when the program does: memory stays bounded, and the kernel counts what it drops', async () => {
    await using at = await oneHost();
    await using tun = await openTun({ netns: at.netns, addresses: ['10.9.0.1/24'], queue: 64 });
    await at.host.exec(['python3', '-c', FLOOD], { check: true });
    const stats = await tun.stats();
    expect(stats.unread).toBe(64);
    expect(stats.received).toBe(64);
    expect(stats.kernelDropped).toBeGreaterThan(0);
    // What was waiting is there, in order from the first, and reading goes on.
    let last = -1;
    // How many depends on who had the processor: the kernel keeps 500 by itself, and may have got no further.
    const kept = 20_000 - stats.kernelDropped;
    expect(kept).toBeGreaterThanOrEqual(500);
    for (let n = 0; n < kept; n++) {
      const [high, low] = (await tun.read())!.subarray(28);
      expect(high! * 256 + low!).toBeGreaterThan(last);
      last = high! * 256 + low!;
    }
    const answering = answerPings(tun);
    expect((await ping(at.host, '-c', '3', '10.9.0.3')).stdout).toContain('3 received');
    const after = await tun.stats();
    expect(after.received + after.kernelDropped).toBe(20_003);
    await tun.close();
    expect(await answering).toBe(3);
  });

  it('delivers every written packet of a program that waits', async () => {
    await using at = await oneHost();
    await using tun = await openTun({ netns: at.netns, addresses: ['10.9.0.1/24'] });
    const receiver = at.host.spawn(['python3', '-c', RECEIVER]);
    await receiver.waitFor('ready');
    const packet = udpPacket(1000);
    for (let n = 0; n < 20_000; n++) {
      packet[28] = n;
      packet[29] = n >> 8;
      if ((await tun.write(packet)) !== true) throw new Error(`packet ${n} was not taken`);
    }
    await receiver.waitFor('20000 in order');
    expect(await tun.stats()).toMatchObject({ sent: 20_000, dropped: 0, refused: 0 });
  });

  it('sends what was written before close, and counts what the kernel refuses', async () => {
    await using at = await oneHost();
    const tun = await openTun({ netns: at.netns, addresses: ['10.9.0.1/24'] });
    tun.write(new Uint8Array(40));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await tun.stats()).toMatchObject({ refused: 1 });
    const receiver = at.host.spawn(['python3', '-c', RECEIVER, '3']);
    await receiver.waitFor('ready');
    const packet = udpPacket(100);
    for (let n = 0; n < 3; n++) {
      packet[28] = n;
      tun.write(packet);
    }
    await tun.close();
    await receiver.waitFor('3 in order');
    expect(() => tun.write(packet)).toThrow(/is closed/);
  });

  it('carries TCP, cut into packets with right checksums for a program that knows nothing of superframes', async () => {
    await using at = await oneHost();
    const world = await createWorld();
    const other = await world.host('other');
    await using a = await openTun({ netns: at.netns, addresses: ['10.9.0.1/24'] });
    await using b = await openTun({ netns: other.path, addresses: ['10.9.0.2/24'] });
    let longest = 0;
    const join = async (from: Tun, to: Tun) => {
      for await (const packet of from) {
        longest = Math.max(longest, packet.length);
        if (to.closed) return;
        await to.write(packet);
      }
    };
    const joined = [join(a, b), join(b, a)];
    const server = other.spawn(['python3', '-c', HASH_SERVER]);
    await server.waitFor('ready');
    const client = await at.host.exec(['python3', '-c', HASH_CLIENT], { check: true });
    await server.waitFor(client.stdout.trim());
    expect(longest).toBe(1500);
    await a.close();
    await b.close();
    await Promise.all(joined);
    await world.close();
  });

  it('keeps four devices open without holding up anything else in the process', async () => {
    await using at = await oneHost();
    const tuns = await Promise.all(
      Array.from({ length: 4 }, (_, n) => openTun({ netns: at.netns, addresses: [`10.${n + 1}.0.1/24`] })),
    );
    expect(new Set(tuns.map((each) => each.name)).size).toBe(4);
    const answering = tuns.map(answerPings);
    const pings = tuns.map((_, n) => ping(at.host, '-c', '100', `10.${n + 1}.0.2`));
    // The thread pool, which devices that block would have filled, answers at once.
    const start = performance.now();
    for (let n = 0; n < 20; n++) await stat('/');
    expect(performance.now() - start).toBeLessThan(1000);
    for (const each of await Promise.all(pings)) expect(each.stdout).toContain(' 0% packet loss');
    await Promise.all(tuns.map((each) => each.close()));
    for (const each of await Promise.all(answering)) expect(each).toBeGreaterThanOrEqual(100);
  });

  it('is closed by its signal, which ends the iteration', async () => {
    await using at = await oneHost();
    const controller = new AbortController();
    const tun = await openTun({ netns: at.netns, addresses: ['10.9.0.1/24'], signal: controller.signal });
    const answering = answerPings(tun);
    await ping(at.host, '-c', '2', '10.9.0.2');
    controller.abort();
    expect(await answering).toBe(2);
    await tun.close();
    expect([tun.closed, await exists(at.host, tun.name)]).toEqual([true, false]);
  });

  it('fails with the reason when somebody removes the interface', async () => {
    await using at = await oneHost();
    await using tun = await openTun({ netns: at.netns, addresses: ['10.9.0.1/24'] });
    const answering = answerPings(tun);
    const failed = expect(answering).rejects.toMatchObject({
      code: 'ERR_INTERFACE',
      message: 'the interface "tun0" was removed; open another one',
    });
    await at.host.ip(`link del ${tun.name}`);
    await failed;
    expect(() => tun.write(udpPacket(20))).toThrow(/was removed/);
  });

  it('leaves nothing behind when it cannot be set up', async () => {
    await using at = await oneHost();
    const before = await at.host.snapshot();
    const failing = (options: object) =>
      openTun({ netns: at.netns, ...options }).catch((error: unknown) => error);
    expect(await failing({ addresses: ['10.9.0.1/99'] })).toMatchObject({ code: 'ERR_ADDRESS' });
    expect(await failing({ routes: [{ prefix: '10.30.0.0/16', via: '10.9.0.2' }] })).toMatchObject({
      code: 'ERR_INTERFACE',
    });
    expect(await failing({ mtu: 1000, addresses: ['fd00::1/64'] })).toMatchObject({ code: 'ERR_INTERFACE' });
    expect(await failing({ name: 'lo' })).toMatchObject({
      code: expect.stringMatching(/ERR_TUN_OPEN|ERR_SOCKET/),
    });
    const taken = await openTun({ name: 'mine', netns: at.netns });
    expect(await failing({ name: 'mine' })).toMatchObject({ code: 'ERR_TUN_OPEN' });
    await taken.close();
    expect(await at.host.snapshot()).toBe(before);
  });

  it('disappears with its process, also after kill -9', async () => {
    await using at = await oneHost();
    const example = at.host.node(path.join(root, 'examples/open-tun.mjs'));
    await example.waitFor(/ping 10\.9\.0\.2/);
    expect(await exists(at.host, 'tun0')).toBe(true);
    example.kill('SIGKILL');
    await example.ended;
    expect(await exists(at.host, 'tun0')).toBe(false);
  });
});

describe.skipIf(needs('netns', 'tun', 'ping', 'ip'))('examples/open-tun.mjs', () => {
  it('answers pings to any address of its prefixes', async () => {
    await using at = await oneHost();
    const example = at.host.node(path.join(root, 'examples/open-tun.mjs'));
    await example.waitFor(/ping 10\.9\.0\.2/);
    expect((await ping(at.host, '-c', '5', '10.9.0.200')).stdout).toContain('5 received');
    expect((await ping(at.host, '-c', '5', 'fd00:9::abcd')).stdout).toContain('5 received');
    const { code, signal } = await example.stop('SIGINT');
    expect([code, signal, example.stderr]).toEqual([null, 'SIGINT', '']);
  });
});

/** From 10.9.0.2 to 10.9.0.1, port 5000, without a UDP checksum. */
function udpPacket(payload: number): Uint8Array {
  const length = 28 + payload;
  const packet = new Uint8Array(length);
  packet.set([0x45, 0, length >> 8, length, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1]);
  let sum = 0;
  for (let n = 0; n < 20; n += 2) sum += (packet[n]! << 8) | packet[n + 1]!;
  sum = (sum & 0xffff) + (sum >>> 16);
  packet.set([~sum >> 8, ~sum], 10);
  packet.set([0x13, 0x88, 0x13, 0x88, (8 + payload) >> 8, 8 + payload, 0, 0], 20);
  return packet;
}

const RECEIVER = `
import socket, sys
wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
s.bind(('10.9.0.1', 5000))
s.settimeout(10)
print('ready', flush=True)
for n in range(wanted):
    data = s.recv(2000)
    assert data[0] + 256 * data[1] == n, (n, data[:2])
print(wanted, 'in order', flush=True)
`;

const FLOOD = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 32, 64 << 20)  # SO_SNDBUFFORCE
s.connect(('10.9.0.2', 5000))
for n in range(20000):
    s.send(bytes([n >> 8, n & 255]))
`;

const HASH_SERVER = `
import socket, hashlib
s = socket.create_server(('10.9.0.2', 5000))
print('ready', flush=True)
c, _ = s.accept()
h = hashlib.sha256()
while True:
    data = c.recv(65536)
    if not data: break
    h.update(data)
print(h.hexdigest(), flush=True)
`;

const HASH_CLIENT = `
import socket, hashlib, os
data = os.urandom(1 << 20) * 20
c = socket.create_connection(('10.9.0.2', 5000))
c.sendall(data)
c.close()
print(hashlib.sha256(data).hexdigest())
`;
