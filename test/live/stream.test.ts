import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createWorld, type Host, type Wire, type World } from '../../src/testing/namespaces.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { streamTunnel } from '../../src/tunnel/stream/stream.ts';
import { needs } from '../needs.ts';
import { PeerProgram, StreamEnd, transfer } from './stream-end.ts';
import { ping, untilPing } from './tunnel-end.ts';

const PORT = 5555;
const A = '192.168.6.8';
const B = '192.168.6.9';
const MB = 1 << 20;

describe.skipIf(needs('root', 'tun', 'ping', 'socat', 'gcc'))('a stream tunnel and a simpletun', () => {
  let program: PeerProgram;
  let world: World;
  /** Where the library's end is, and where the C peer is. */
  let a: Host;
  let b: Host;
  let wire: Wire;
  const ends: StreamEnd[] = [];

  beforeAll(async () => {
    program = await PeerProgram.compile();
  });

  afterAll(async () => {
    await program[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    world = await createWorld();
    a = await world.host('a');
    b = await world.host('b');
    wire = await world.wire(a, b, { a: `${A}/24`, b: `${B}/24` });
  });

  afterEach(async () => {
    for (const end of ends.splice(0)) await end.net.close();
    await world.close();
  });

  const end = (host: Host) => {
    const made = new StreamEnd(host);
    ends.push(made);
    return made;
  };
  const ours = { server: { listen: `0.0.0.0:${PORT}` }, client: { connect: `${B}:${PORT}` } };
  const theirs = { server: ['-s', `${PORT}`], client: ['-c', `${A}:${PORT}`] };
  const roles = [
    ['server', 'client'],
    ['client', 'server'],
  ] as const;
  const peer = (role: 'server' | 'client', ...more: string[]) =>
    program.start(b, [...theirs[role], ...more], ['10.0.0.2/24', 'fd00::2/64']);
  const here = (role: 'server' | 'client') => end(a).start(ours[role], ['10.0.0.3/24', 'fd00::3/64']);

  for (const [mine, its] of roles) {
    it(`carry ping and 20 MB each way unharmed, as ${mine}`, async () => {
      await peer(its);
      const tunnel = await here(mine);
      await tunnel.event('up');
      expect(await untilPing(a, '10.0.0.2', 3000)).toBeLessThan(3000);
      expect(await ping(a, '10.0.0.2')).toBe(3);
      expect(await ping(b, '10.0.0.3')).toBe(3);
      expect(await ping(a, 'fd00::2')).toBe(3);
      expect(
        await Promise.all([transfer(a, b, '10.0.0.2', 20 * MB), transfer(b, a, '10.0.0.3', 20 * MB)]),
      ).toEqual([true, true]);
      expect(tunnel.drops()['connection-lost']).toBeUndefined();
      expect(tunnel.events.map((e) => e.type)).toEqual(['up']);
    });

    it(`heal within 3 s after the peer was killed and started anew, as ${mine}`, async () => {
      const first = await peer(its);
      const tunnel = await here(mine);
      await tunnel.event('up');
      const index = async () => (await a.exec(['ip', '-o', 'link', 'show', 'tun0'])).stdout.split(':')[0];
      const before = await index();
      first.kill('SIGKILL');
      await first.ended;
      await tunnel.event('gone');
      await sleep(1500);
      const start = performance.now();
      await peer(its);
      await untilPing(a, '10.0.0.2', 4000);
      expect(performance.now() - start).toBeLessThan(3000);
      expect(await index()).toBe(before);
    });

    it(`heal within 3 s after the library's end was closed and started anew, as ${mine}`, async () => {
      const process = await peer(its);
      const first = await here(mine);
      await first.event('up');
      await first.net.close();
      await process.waitFor('down');
      await sleep(500);
      const start = performance.now();
      await here(mine);
      await untilPing(b, '10.0.0.3', 4000);
      expect(performance.now() - start).toBeLessThan(3000);
    });

    it(`heal within 3 s after the path was cut for 5 s, as ${mine}`, async () => {
      await peer(its);
      const tunnel = await here(mine);
      await tunnel.event('up');
      expect(await untilPing(a, '10.0.0.2', 3000)).toBeLessThan(3000);
      // Traffic both ways all along: each kernel doubles its waits.
      const pings = [a.spawn(['ping', '-i', '0.2', '10.0.0.2']), b.spawn(['ping', '-i', '0.2', '10.0.0.3'])];
      await sleep(500);
      await wire.cut();
      await sleep(5000);
      expect(tunnel.events.at(-1)!.type).toBe('gone');
      expect(tunnel.events.at(-1)!.reason).toBe('timeout');
      await wire.restore();
      expect(await untilPing(a, '10.0.0.2', 5000)).toBeLessThan(3000);
      for (const each of pings) await each.stop('SIGKILL');
    });

    it(`understand a peer that dribbles byte by byte, as ${mine}`, async () => {
      await peer(its, '-d');
      const tunnel = await here(mine);
      await tunnel.event('up');
      expect(await untilPing(a, '10.0.0.2', 3000)).toBeLessThan(3000);
      expect(await ping(a, '10.0.0.2', 5, '-s', '1400')).toBe(5);
      expect(await transfer(b, a, '10.0.0.3', 300_000)).toBe(true);
      expect(tunnel.drops()['record-too-short']).toBeUndefined();
    });

    it(`pass over impossible lengths from the peer, as ${mine}`, async () => {
      await peer(its, '-b');
      const tunnel = await here(mine);
      await tunnel.event('up');
      expect(await untilPing(a, '10.0.0.2', 3000)).toBeLessThan(3000);
      expect(await transfer(b, a, '10.0.0.3', 2 * MB)).toBe(true);
      expect(await transfer(a, b, '10.0.0.2', 2 * MB)).toBe(true);
      const {
        'record-too-short': short = 0,
        'record-not-a-packet': none = 0,
        'record-truncated': cut = 0,
      } = tunnel.drops();
      expect(Math.min(short, none, cut)).toBeGreaterThan(100);
      expect(Math.abs(short - 3 * none)).toBeLessThan(5);
      expect(tunnel.events.map((e) => e.type)).toEqual(['up']);
    });

    it(`start again after the peer sent a million bytes without framing, as ${mine}`, async () => {
      const process = await peer(its);
      const tunnel = await here(mine);
      await tunnel.event('up');
      process.kill('SIGUSR1');
      expect((await tunnel.event('gone')).reason).toBe('out-of-step');
      await tunnel.event('up', 3000, 2);
      expect(await untilPing(a, '10.0.0.2', 3000)).toBeLessThan(3000);
      expect(tunnel.report().outOfStep).toBe(1);
    });
  }

  it('carry Ethernet frames of TAPs, ARP and all', async () => {
    await peer('server', '-a');
    const tunnel = await end(a).start({ ...ours.client, layer: 'L2' }, ['10.0.0.3/24', 'fd00::3/64']);
    await tunnel.event('up');
    expect(await untilPing(a, '10.0.0.2', 3000)).toBeLessThan(3000);
    expect(await ping(b, '10.0.0.3')).toBe(3);
    expect(await ping(a, 'fd00::2')).toBe(3);
    expect(await transfer(a, b, '10.0.0.2', 2 * MB)).toBe(true);
    expect(await transfer(b, a, '10.0.0.3', 2 * MB)).toBe(true);
  });

  it('carry traffic between two of ours, with and without offloads, over IPv6', async () => {
    await a.ip(`addr add fd06::8/64 dev ${wire.a.name} nodad`);
    await b.ip(`addr add fd06::9/64 dev ${wire.b.name} nodad`);
    const server = await end(b).start({ listen: `[::]:${PORT}` }, ['10.0.0.2/24'], false);
    const client = await end(a).start({ connect: `[fd06::9]:${PORT}` }, ['10.0.0.3/24']);
    expect((await client.event('up')).outer).toBe(`[fd06::9]:${PORT}`);
    expect((await server.event('up')).outer).toMatch(/^\[fd06::8\]:\d+$/);
    expect(await ping(a, '10.0.0.2')).toBe(3);
    expect(await transfer(a, b, '10.0.0.2', 10 * MB)).toBe(true);
    expect(await transfer(b, a, '10.0.0.3', 10 * MB)).toBe(true);
  });

  it('notice that an idle peer is gone though nobody sends anything', async () => {
    await peer('client');
    const tunnel = await here('server');
    await tunnel.event('up');
    await a.exec(['sysctl', '-qw', 'net.ipv6.conf.tun0.disable_ipv6=1'], { check: true });
    // Lost far away, not in the host's own queue: Linux does not count a keepalive that never left.
    await b.exec(['tc', 'qdisc', 'replace', 'dev', wire.b.name, 'root', 'pfifo', 'limit', '0'], {
      check: true,
    });
    expect((await tunnel.event('gone', 6000)).reason).toBe('timeout');
  });

  it('say which port is taken', async () => {
    await here('server');
    const second = end(a);
    await expect(
      second.net
        .app('tunnel', streamTunnel({ ...ours.server, netns: a.path }))
        .app('port', new MemoryPort())
        .link('port.out -> tunnel.inside')
        .link('tunnel.inside -> port.in')
        .start(),
    ).rejects.toMatchObject({ code: 'ERR_PORT_IN_USE', message: expect.stringContaining(`0.0.0.0:${PORT}`) });
  });
});
