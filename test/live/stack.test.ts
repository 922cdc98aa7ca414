import { describe, expect, it } from 'vitest';
import { liveRuntime, Network } from '../../src/engine/index.ts';
import {
  type DhcpLease,
  dhcp,
  Neighbours,
  type NeighboursOptions,
  Stack,
  type UdpSocket,
} from '../../src/stack/index.ts';
import { createWorld, type Host } from '../../src/testing/namespaces.ts';
import { tun } from '../../src/tun/tun.ts';
import { needs } from '../needs.ts';
import { ping } from './tunnel-end.ts';

const KERNEL = ['10.9.0.1/24', 'fd00:9::1/64'];
const OURS = ['10.9.0.2/24', 'fd00:9::2/64'];

/** A namespace of the kernel, and a stack at the other end of a TUN or TAP. */
async function facing(mode: 'tun' | 'tap', { mtu = 1500, offload = true } = {}) {
  const world = await createWorld();
  const kernel = await world.host('kernel');
  const net = new Network(liveRuntime());
  const port = tun({ name: 'st0', mode, offload, netns: kernel.path });
  const host = new Stack({ interfaces: [{ name: 'eth0', addresses: OURS, mtu }] });
  net.app('port', port).app('host', host);
  if (mode === 'tun') net.link('port.out -> host.eth0').link('host.eth0 -> port.in');
  else
    net
      .app('arp', new Neighbours({ addresses: OURS }))
      .link('port.out -> arp.frames')
      .link('arp.frames -> port.in')
      .link('arp.packets -> host.eth0')
      .link('host.eth0 -> arp.packets');
  await net.start();
  await kernel.ip([
    `link set st0 mtu ${mtu} up`,
    `addr add ${KERNEL[0]} dev st0`,
    `addr add ${KERNEL[1]} dev st0 nodad`,
  ]);
  return {
    kernel,
    net,
    host,
    drops: () => net.report().apps.find(({ app }) => app === 'host')!.drops,
    async [Symbol.asyncDispose]() {
      await net.close();
      await world.close();
    },
  };
}

/** What a socat on `host` hears back from UDP port 7. */
async function echoed(host: Host, target: string, text: string): Promise<string> {
  const argv = ['socat', '-b', '65536', '-T', '2', '-', target];
  return (await host.exec(argv, { input: text, timeout: 10_000 })).stdout;
}

describe.skipIf(needs('root', 'tun', 'ping', 'socat'))('a stack against the kernel', () => {
  it.each<['tun' | 'tap', number, boolean]>([
    ['tun', 1500, true],
    ['tap', 1500, true],
    ['tun', 9000, false],
    ['tap', 65_520, true],
  ])('over a %s of %i bytes (offload %s)', { timeout: 60_000 }, async (mode, mtu, offload) => {
    await using at = await facing(mode, { mtu, offload });
    const { kernel, host } = at;
    for (const address of ['10.9.0.2', 'fd00:9::2']) {
      expect(await ping(kernel, address, 3), address).toBe(3);
      // In 41 fragments each way, at 1500 bytes; apart, for ping's own buffer keeps no two of them.
      expect(await ping(kernel, address, 3, '-s', '60000', '-i', '0.3'), address).toBe(3);
    }
    for (const address of ['10.9.0.1', 'fd00:9::1']) {
      const small = await host.ping(address);
      expect([small.result, small.ttl], address).toEqual(['reply', 64]);
      expect((await host.ping(address, { size: 60_000 })).result, address).toBe('reply');
    }
    const heard: string[] = [];
    const socket: UdpSocket = host.udp({
      port: 7,
      onMessage(bytes, from) {
        heard.push(from.address);
        socket.send(bytes, from);
      },
    });
    const long = 'long '.repeat(4000);
    for (const target of ['UDP4:10.9.0.2:7', 'UDP6:[fd00:9::2]:7']) {
      expect(await echoed(kernel, target, 'hello'), target).toBe('hello');
      expect(await echoed(kernel, target, long), target).toBe(long);
    }
    expect(heard).toEqual(['10.9.0.1', '10.9.0.1', 'fd00:9::1', 'fd00:9::1']);
    // Nobody listens: said by the kernel, and to the kernel.
    const refused = new Promise<string>((resolve) => {
      const asks = host.udp({ onError: (error, to) => resolve(`${error.errno} ${to}`) });
      asks.send(new Uint8Array(3), '10.9.0.1:9');
    });
    expect(await refused).toBe('ECONNREFUSED 10.9.0.1:9');
    const { stderr } = await kernel.exec(['socat', '-T', '2', '-', 'UDP4:10.9.0.2:9'], { input: 'x' });
    expect(stderr).toContain('Connection refused');
    const { 'ip-checksum': header, 'udp-malformed': udp, 'icmp-malformed': icmp, ...rest } = at.drops();
    expect({ header, udp, icmp }, JSON.stringify(rest)).toEqual({});
  });
});

/** In the words of dnsmasq; addresses and names besides. */
const DNSMASQ = [
  ...['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--log-dhcp'],
  ...['--log-facility=-', '--pid-file=', '--leasefile-ro', '--user=root', '--bind-interfaces'],
  '--dhcp-authoritative',
];

/** A stack without an address behind a TAP `st0`. */
async function onTap(netns: string, options: NeighboursOptions = {}) {
  const net = new Network(liveRuntime());
  const host = new Stack({ interfaces: [{ name: 'eth0' }] });
  const arp = new Neighbours(options);
  await net
    .app('port', tun({ name: 'st0', mode: 'tap', netns }))
    .app('host', host)
    .app('arp', arp)
    .link('port.out -> arp.frames')
    .link('arp.frames -> port.in')
    .link('arp.packets -> host.eth0')
    .link('host.eth0 -> arp.packets')
    .start();
  return { net, host, arp };
}

describe.skipIf(needs('root', 'tun', 'dnsmasq'))('a stack that is told nothing', () => {
  it('leases an address of dnsmasq, and resolves names with it', { timeout: 60_000 }, async () => {
    await using world = await createWorld();
    const kernel = await world.host('kernel');
    const { net, host, arp } = await onTap(kernel.path);
    try {
      await kernel.ip(['link set lo up', 'link set st0 up', `addr add ${KERNEL[0]} dev st0`]);
      const server = kernel.spawn([
        ...DNSMASQ,
        ...['--interface=st0', '--dhcp-range=10.9.0.50,10.9.0.60,255.255.255.0,120'],
        ...['--host-record=host.test,10.9.0.77,fd00:9::77', '--local=/test/', '--cname=www.test,host.test'],
      ]);
      await server.waitFor(/DHCP, IP range/);
      let leased: DhcpLease | undefined;
      const { client, stop } = dhcp(host, arp, {
        hostName: 'stack',
        onLease: (lease) => {
          leased = lease;
        },
      });
      const end = performance.now() + 15_000;
      while (!leased && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
      expect(leased).toMatchObject({ routers: ['10.9.0.1'], nameservers: ['10.9.0.1'], server: '10.9.0.1' });
      expect(leased!.address).toMatch(/^10\.9\.0\.5\d\/24$|^10\.9\.0\.60\/24$/);
      expect(client.state).toBe('bound');
      expect((await host.ping('10.9.0.1')).result).toBe('reply');
      expect(await ping(kernel, leased!.address.replace('/24', ''), 2)).toBe(2);
      expect((await host.resolve('host.test')).sort()).toEqual(['10.9.0.77', 'fd00:9::77']);
      expect(await host.resolve('www.test', { family: 4 })).toEqual(['10.9.0.77']);
      await expect(host.resolve('nobody.test')).rejects.toMatchObject({ errno: 'ENOTFOUND' });
      stop();
      await server.waitFor(/DHCPRELEASE/);
    } finally {
      await net.close();
    }
  });

  it('declines an address that another host of the segment has, and takes another', {
    timeout: 90_000,
  }, async () => {
    await using world = await createWorld();
    const [kernel, other] = [await world.host('kernel'), await world.host('other')];
    const segment = await world.bridge([
      { host: kernel, name: 'lan0', addresses: [KERNEL[0]!] },
      { host: other, name: 'lan0' },
    ]);
    const { net, host, arp } = await onTap(segment.path, { mac: '02:00:00:00:09:02' });
    try {
      await segment.ip(['link set st0 master br0 up']);
      const server = kernel.spawn([
        ...DNSMASQ,
        // It would ping an address before it offers it.
        ...['--interface=lan0', '--no-ping', '--port=0'],
        '--dhcp-range=10.9.0.50,10.9.0.60,255.255.255.0,120',
      ]);
      await server.waitFor(/DHCP, IP range/);
      const lease = async (seconds: number) => {
        const declined: string[] = [];
        let leased: DhcpLease | undefined;
        const { stop } = dhcp(host, arp, {
          onLease: (found) => {
            leased = found;
          },
          onDecline: (address) => declined.push(address),
        });
        const end = performance.now() + seconds * 1000;
        while (!leased && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
        return { address: leased?.address.replace('/24', ''), declined, stop };
      };
      const before = await lease(15);
      expect(before.declined).toEqual([]);
      before.stop();
      await server.waitFor(/DHCPRELEASE/);
      // The server would give it the same again, but meanwhile somebody took it by hand.
      await other.ip([`addr add ${before.address}/24 dev lan0`]);
      const { address, declined, stop } = await lease(45);
      expect(declined).toEqual([before.address]);
      await server.waitFor(new RegExp(`DHCPDECLINE\\(lan0\\) ${before.address} `));
      expect(address).toMatch(/^10\.9\.0\.(5\d|60)$/);
      expect(address).not.toBe(before.address);
      expect((await host.ping(before.address!)).result).toBe('reply');
      expect(await ping(other, address!, 2)).toBe(2);
      stop();
    } finally {
      await net.close();
    }
  });
});
