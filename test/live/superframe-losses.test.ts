/** What the kernel loses is counted and told, and a tunnel outlives what happens to its interfaces. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADDRESSES,
  compileFlows,
  compileProgram,
  type Program,
  sendFlows,
  serveFlows,
  startPair,
  twoEnds,
} from '../../scripts/flows.mjs';
import { createWorld } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { until } from './cli-world.ts';
import { Joined, ping, type TunnelEnd, untilPing } from './tunnel-end.ts';

const MB = 1 << 20;

const counter = (end: TunnelEnd, app: 'tun' | 'udp', name: string) =>
  Number(end.net.report().apps.find((each) => each.app === app)?.report[name] ?? 0);

describe.skipIf(needs('root', 'tun', 'ping', 'gcc'))('a tunnel and what happens around it', () => {
  let flows: Program;
  let generator: Program;

  beforeAll(async () => {
    [flows, generator] = await Promise.all([compileFlows(), compileProgram('bench/c/udpgen.c')]);
  });
  afterAll(() => Promise.all([flows.close(), generator.close()]));

  it('the report names what the kernel dropped at both ends of a process that was not there for a while', async () => {
    await using world = await createWorld({ name: 'drops' });
    const { server, client } = await twoEnds(world);
    const { far } = await startPair(server, client, { family: 4 });
    await server.ip('link set tun0 txqueuelen 10');
    const { outer, client: inner } = ADDRESSES[4];
    process.kill(far.child.pid!, 'SIGSTOP');
    // More than its socket's 8 MiB, and more than its interface's ten packets.
    await client.exec([generator.program, 'send', outer.server, '55555', '1400', '0.5'], { check: true });
    await server.exec(['ping', '-q', '-c', '200', '-l', '200', '-W', '0.1', inner]);
    process.kill(far.child.pid!, 'SIGCONT');
    expect((await far.stop('SIGINT')).code).toBe(0);
    expect(far.stdout).toMatch(/udp-kernel-queue-full/);
    expect(far.stdout).toMatch(/tun-kernel-queue-full/);
  });

  it.each([
    ['with superframes', {}],
    ['without', { offload: false }],
  ])(
    'an interface that goes down and comes back costs packets, which are counted, and no more: %s',
    async (_, device) => {
      await using joined = await Joined.open({ device });
      const { a, b, client, server, addresses } = joined;
      await serveFlows(flows.program, b, addresses[4].server);
      const flowing = sendFlows(flows.program, a, addresses[4].server, { flows: 4, bytes: 16 * MB });
      await b.ip('link set tun0 down');
      // They are sent, arrive, and cannot be written.
      expect(await ping(a, addresses[4].server, 10, '-W', '0.2')).toBe(0);
      expect(counter(server, 'tun', 'txDown')).toBeGreaterThanOrEqual(10);
      const dropped = counter(server, 'tun', 'txDown');
      // The kernel forgets IPv6 addresses of what goes down.
      await b.ip(['link set tun0 up', `addr add ${addresses[6].server}/64 dev tun0 nodad`]);
      expect((await flowing).equal).toBe(4);
      expect(await untilPing(a, addresses[4].server, 3000)).toBeLessThan(3000);
      expect(await ping(b, addresses[4].client)).toBe(3);
      expect(await untilPing(a, addresses[6].server, 3000)).toBeLessThan(3000);
      expect(server.events.concat(client.events).map(({ type }) => type)).not.toContain('silent');
      expect(counter(server, 'tun', 'txDown')).toBeGreaterThanOrEqual(dropped);
    },
  );

  it('a path that gets narrower costs trains, which go out one by one, and TCP arrives both ways', async () => {
    await using joined = await Joined.open();
    const { a, b, client, server, addresses } = joined;
    for (const family of [4, 6] as const) {
      await serveFlows(flows.program, b, addresses[family].server);
      await serveFlows(flows.program, a, addresses[family].client);
    }
    const both = async () => {
      for (const family of [4, 6] as const) {
        for (const [from, to] of [
          [a, addresses[family].server],
          [b, addresses[family].client],
        ] as const) {
          const { equal } = await sendFlows(flows.program, from, to, { flows: 4, bytes: MB });
          expect(equal).toBe(4);
        }
      }
    };
    await both();
    expect(counter(client, 'udp', 'gsoFallbacks') + counter(server, 'udp', 'gsoFallbacks')).toBe(0);
    const told = client.events.length;
    // Trains of datagrams are under way both ways when they no longer fit, so that nobody notices before a port refuses one.
    const load = [
      a.spawn([generator.program, 'send', addresses[4].server, '9', '1400', '10']),
      b.spawn([generator.program, 'send', addresses[4].client, '9', '1400', '10']),
    ];
    const sent = [client, server].map((end) => counter(end, 'udp', 'txPackets'));
    await until(() => [client, server].every((end, i) => counter(end, 'udp', 'txPackets') > sent[i] + 1000));
    await Promise.all([a, b].map((host) => host.ip('link set eth0 mtu 1300')));
    // From what the port refused, not from a confirmation that fails some seconds later.
    expect((await client.event('pmtu', 2000, told)).datagram).toBeLessThanOrEqual(1272);
    for (const each of load) await each.stop();
    await both();
    const fallbacks = [client, server].map((end) => counter(end, 'udp', 'gsoFallbacks'));
    // The end that is told by the other one may hear of it before its own port refuses a train.
    expect(Math.max(...fallbacks)).toBeGreaterThan(0);
    for (const end of [client, server]) {
      // It was the path and not the kernel: trains that fit leave as such.
      expect(end.net.report().apps.find(({ app }) => app === 'udp')?.report.gso).toBe(true);
    }
  });
});
