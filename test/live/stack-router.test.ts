import { describe, expect, it } from 'vitest';
import { liveRuntime, Network } from '../../src/engine/index.ts';
import { Neighbours, Stack } from '../../src/stack/index.ts';
import { createWorld } from '../../src/testing/namespaces.ts';
import { packetSocket } from '../../src/tun/packet-socket.ts';
import { needs } from '../needs.ts';
import { ping } from './tunnel-end.ts';

describe.skipIf(needs('root', 'ping', 'iperf3'))('a router between two kernels', () => {
  it('carries TCP in superframes, and tells of a narrower link', { timeout: 60_000 }, async () => {
    await using world = await createWorld();
    const [a, middle, b] = await Promise.all([world.host('a'), world.host('middle'), world.host('b')]);
    const { b: left } = await world.wire(a, middle, { a: ['10.1.0.2/24', 'fd01::2/64'] });
    const { b: right } = await world.wire(b, middle, { a: ['10.2.0.2/24', 'fd02::2/64'] });
    await a.ip(['route add 10.2.0.0/24 via 10.1.0.1', 'route add fd02::/64 via fd01::1']);
    await b.ip(['route add 10.1.0.0/24 via 10.2.0.1', 'route add fd01::/64 via fd02::1']);
    const sides = { left: ['10.1.0.1/24', 'fd01::1/64'], right: ['10.2.0.1/24', 'fd02::1/64'] };
    const router = new Stack({
      forward: true,
      interfaces: [
        { name: 'left', addresses: sides.left },
        { name: 'right', addresses: sides.right, mtu: 1400 },
      ],
    });
    const net = new Network(liveRuntime()).app('router', router);
    for (const [side, end] of [
      ['left', left],
      ['right', right],
    ] as const) {
      net
        .app(`${side}-port`, packetSocket({ interface: end.name, netns: middle.path }))
        .app(`${side}-arp`, new Neighbours({ addresses: sides[side] }))
        .link(`${side}-port.out -> ${side}-arp.frames`)
        .link(`${side}-arp.frames -> ${side}-port.in`)
        .link(`${side}-arp.packets -> router.${side}`)
        .link(`router.${side} -> ${side}-arp.packets`);
    }
    await net.start();
    try {
      for (const to of ['10.2.0.2', 'fd02::2']) expect(await ping(a, to, 3), to).toBe(3);
      // Too long for the right link, and cut: by the router where it may be, by the sender once it is told.
      expect(await ping(a, '10.2.0.2', 3, '-s', '1400', '-M', 'dont')).toBe(3);
      expect(await ping(a, '10.2.0.2', 4, '-s', '1400', '-M', 'want')).toBeGreaterThanOrEqual(3);
      expect(await ping(a, 'fd02::2', 4, '-s', '1400')).toBeGreaterThanOrEqual(3);
      expect(await ping(a, '10.2.0.2', 2, '-s', '1400', '-M', 'do')).toBe(0);
      const server = b.spawn(['iperf3', '-s', '--forceflush']);
      await server.waitFor(/listening/);
      for (const [to, reverse] of [
        ['10.2.0.2', []],
        ['10.2.0.2', ['-R']],
        ['fd02::2', []],
      ] as const) {
        const argv = ['iperf3', '-c', to, '-t', '1', '-J', ...reverse];
        const { stdout } = await a.exec(argv, { timeout: 15_000 });
        const { end } = JSON.parse(stdout);
        expect(end.sum_received.bytes, `${to} ${reverse}`).toBeGreaterThan(10_000_000);
      }
      const ports = net.report().apps.filter(({ app }) => app.endsWith('-port'));
      for (const { report } of ports) expect(Number(report.rxSuperframes)).toBeGreaterThan(10);
      expect(Number(router.report().errorsSent)).toBeGreaterThan(1);
    } finally {
      await net.close();
    }
  });
});
