// A router between two Ethernet interfaces, in userspace: sudo node router.mjs eth1 10.1.0.1/24 eth2 10.2.0.1/24
// Hosts on either side need a route through it. The kernel must not have its addresses.
import { liveRuntime, Network, packetSocket } from 'tunconnector';
import { Neighbours, Stack } from 'tunconnector/stack';

const [left, leftAddress, right, rightAddress] = process.argv.slice(2);
if (!rightAddress) throw new Error('usage: router.mjs INTERFACE PREFIX INTERFACE PREFIX');
const router = new Stack({
  forward: true,
  interfaces: [
    { name: 'left', addresses: [leftAddress] },
    { name: 'right', addresses: [rightAddress] },
  ],
});
const net = new Network(liveRuntime()).app('router', router);
for (const [side, name, address] of [
  ['left', left, leftAddress],
  ['right', right, rightAddress],
]) {
  net
    .app(`${side}-port`, packetSocket({ interface: name }))
    .app(`${side}-arp`, new Neighbours({ addresses: [address] }))
    .link(`${side}-port.out -> ${side}-arp.frames`)
    .link(`${side}-arp.frames -> ${side}-port.in`)
    .link(`${side}-arp.packets -> router.${side}`)
    .link(`router.${side} -> ${side}-arp.packets`);
}
await net.start();
console.log(`${left} and ${right} are joined by a router`);
process.once('SIGINT', async () => {
  console.log(`${router.report().forwarded} packets forwarded`);
  await net.close();
});
