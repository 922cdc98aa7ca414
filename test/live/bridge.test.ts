import { describe, expect, it } from 'vitest';
import { type App, liveRuntime, Network, type Ports, reason } from '../../src/engine/index.ts';
import { createWorld } from '../../src/testing/namespaces.ts';
import { packetSocket } from '../../src/tun/packet-socket.ts';
import { needs } from '../needs.ts';
import { ping } from './tunnel-end.ts';

const OddLength = reason('odd-length');

class DropOdd implements App {
  push({ pool, input, output }: Ports) {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      if (pool.length[packet] & 1) pool.drop(packet, OddLength);
      else output.out.put(packet);
    }
  }
}

describe.skipIf(needs('root', 'ping', 'iperf3'))(
  'a bridge of two interfaces with an app of one’s own',
  () => {
    it('passes packets of even length, drops odd ones, and carries TCP', { timeout: 40_000 }, async () => {
      await using world = await createWorld();
      const left = await world.host('left');
      const middle = await world.host('middle');
      const right = await world.host('right');
      const { b: l } = await world.wire(left, middle, { a: '10.9.0.1/24' });
      const { b: r } = await world.wire(right, middle, { a: '10.9.0.2/24' });
      const netns = middle.path;
      const net = new Network(liveRuntime(), { memory: 48 << 20 });
      await net
        .app('left', packetSocket({ interface: l.name, netns }))
        .app('right', packetSocket({ interface: r.name, netns }))
        .app('odd', new DropOdd())
        .link('left.out -> odd.in')
        .link('odd.out -> right.in')
        .link('right.out -> left.in')
        .start();
      try {
        // 14 of Ethernet, 20 of IPv4, 8 of ICMP: the payload decides whether the length is odd.
        expect(await ping(left, '10.9.0.2', 3, '-s', '56')).toBe(3);
        expect(await ping(left, '10.9.0.2', 3, '-s', '57')).toBe(0);
        expect(net.report().apps.find((a) => a.app === 'odd')?.drops['odd-length']).toBeGreaterThanOrEqual(3);
        await net.remove('odd').link('left.out -> right.in').commit();
        expect(await ping(left, '10.9.0.2', 3, '-s', '57')).toBe(3);
        const server = right.spawn(['iperf3', '-s', '-1', '--forceflush']);
        await server.waitFor(/listening/);
        const { stdout } = await left.exec(['iperf3', '-c', '10.9.0.2', '-t', '1', '-J'], {
          timeout: 15_000,
        });
        const { end } = JSON.parse(stdout);
        expect(end.sum_received.bytes).toBeGreaterThan(10_000_000);
        expect(net.report().apps.find((a) => a.app === 'left')?.report.rxSuperframes).toBeGreaterThan(10);
      } finally {
        await net.close();
      }
    });
  },
);
