// Pings the kernel of this machine from an IP stack of its own, over a TUN, and answers the kernel's pings. Run it as root.

import { liveRuntime, Network } from 'tunconnector';
import { Stack } from 'tunconnector/stack';
import { configureInterface, tun } from 'tunconnector/tun';

const host = new Stack({ interfaces: [{ name: 'eth0', addresses: ['10.9.0.2/24', 'fd00:9::2/64'] }] });
const net = new Network(liveRuntime())
  .app('tun', tun({ name: 'st0' }))
  .app('host', host)
  .link('tun.out -> host.eth0')
  .link('host.eth0 -> tun.in');
await net.start();
await configureInterface({ name: 'st0', addresses: ['10.9.0.1/24', 'fd00:9::1/64'], up: true });

for (const address of ['10.9.0.1', 'fd00:9::1', '10.9.0.1', 'fd00:9::1', '10.9.0.9']) {
  const { result, time, ttl } = await host.ping(address);
  console.log(`${address}: ${result === 'reply' ? `${(time / 1e6).toFixed(2)} ms, ttl ${ttl}` : result}`);
}
console.log('ping 10.9.0.2 or fd00:9::2; Ctrl-C ends it');
process.once('SIGINT', () => void net.close());
