// Two tunnels in one process: IP packets on port 55601, Ethernet frames on port 55602. As root on two machines:
//   node examples/two-tunnels.mjs server
//   node examples/two-tunnels.mjs client 192.168.6.9        then: ping 10.1.0.1, ping 10.2.0.1
// Neither is encrypted nor authenticated: use it on networks you trust.
import { once } from 'node:events';
import { TunConnector } from 'tunconnector';

const [role, remote] = process.argv.slice(2);
if (role !== 'server' && (role !== 'client' || !remote)) {
  console.error('usage: node examples/two-tunnels.mjs server | client HOST');
  process.exit(2);
}

/** @type {import('tunconnector').TunnelOptions[]} */
const options =
  role === 'server'
    ? [
        { server: { interface: 'ip0', addresses: ['10.1.0.1/24'], port: 55601 } },
        { server: { interface: 'frames0', addresses: ['10.2.0.1/24'], port: 55602 }, layer: 'L2' },
      ]
    : [
        { client: { interface: 'ip0', addresses: ['10.1.0.2/24'], remote, port: 55601 } },
        { client: { interface: 'frames0', addresses: ['10.2.0.2/24'], remote, port: 55602 }, layer: 'L2' },
      ];

const tunnels = options.map((each) => new TunConnector(each));
for (const tunnel of tunnels) {
  tunnel.on('up', ({ interface: name, addresses, mtu }) =>
    console.log(`${name} is up: ${addresses}, MTU ${mtu}`),
  );
  tunnel.on('peer', ({ interface: name, change, outer }) => console.log(`${name}: ${outer} ${change}`));
  tunnel.on('error', (error) => console.error(String(error)));
}
await Promise.all(tunnels.map((tunnel) => tunnel.start()));

await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
await Promise.all(tunnels.map((tunnel) => tunnel.close()));
