/**
 * Many clients of one server in one process: `many-clients.js SERVER:PORT COUNT FIRST MTU`. Client i has the interface `c<i>`
 * and the inner address FIRST + i. It says `{"ready":true}` when the server has welcomed all.
 */
import { once } from 'node:events';
import { liveRuntime, Network, tun, tunnelClient, udp } from 'tunconnector';

const [server, count, first, mtu] = process.argv.slice(2);
if (!server || !Number(count) || !first || !Number(mtu)) {
  process.stderr.write('usage: many-clients.js SERVER:PORT COUNT FIRST-ADDRESS MTU\n');
  process.exit(2);
}
/** Enough for what one client has under way; the default, times a hundred, is more than machines have. */
const MEMORY = 32 << 20;

const runtime = liveRuntime();
const networks: Network[] = [];
const welcomed: Promise<void>[] = [];
for (let i = 0; i < Number(count); i++) {
  const network = new Network(runtime, { memory: MEMORY })
    .app('tun', tun({ name: `c${i}` }))
    .app('tunnel', tunnelClient({ server, addresses: [`${addressPlus(first, i)}/16`], mtu: Number(mtu) }))
    .app('udp', udp({ bind: '0.0.0.0:0' }))
    .link('tun.out -> tunnel.inside')
    .link('tunnel.inside -> tun.in')
    .link('udp.out -> tunnel.outside')
    .link('tunnel.outside -> udp.in');
  welcomed.push(
    new Promise((resolve, reject) => {
      network.on('event', (_app, event) => {
        if (event.type === 'up') resolve();
        if (event.type === 'refused') reject(new Error(`client ${i}: the server refused (${event.reason})`));
      });
    }),
  );
  networks.push(network);
}
await Promise.all(networks.map((network) => network.start()));
await Promise.all(welcomed);
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ ready: true, program: 'many-clients', clients: networks.length });
await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
await Promise.all(networks.map((network) => network.close()));
say({ clients: networks.length });

function addressPlus(text: string, n: number): string {
  const value = text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0) + n;
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}
