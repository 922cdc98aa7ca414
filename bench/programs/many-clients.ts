/**
 * Many clients of one server in one process: `many-clients.js SERVER:PORT COUNT FIRST MTU`. Client i has the interface `c<i>`
 * and the inner address FIRST + i. It says `{"ready":true}` when the server has welcomed all.
 */
import { once } from 'node:events';
import { tun, tunnelClient, udp, WorkerNetwork } from 'tunconnector';

const [server, count, first, mtu] = process.argv.slice(2);
if (!server || !Number(count) || !first || !Number(mtu)) {
  process.stderr.write('usage: many-clients.js SERVER:PORT COUNT FIRST-ADDRESS MTU\n');
  process.exit(2);
}
const clients = Number(count);
/** Clients in one network, and so in one thread: each has two sources of packets, and a network has 255 at most. */
const TOGETHER = 64;
const MEMORY = 1 << 30;

const networks: WorkerNetwork[] = [];
const welcomed: Promise<void>[] = [];
for (let from = 0; from < clients; from += TOGETHER) {
  const numbers = Array.from({ length: Math.min(TOGETHER, clients - from) }, (_, i) => from + i);
  const network = new WorkerNetwork({ memory: MEMORY });
  networks.push(network);
  welcomed.push(allWelcomed(network, numbers.length));
  await network.reconfigure({
    apps: Object.fromEntries(
      numbers.flatMap((i) => [
        [`tun${i}`, tun({ name: `c${i}` })],
        [
          `tunnel${i}`,
          tunnelClient({ server, addresses: [`${addressPlus(first, i)}/16`], mtu: Number(mtu) }),
        ],
        [`udp${i}`, udp({ bind: '0.0.0.0:0', coalesce: 'ip' })],
      ]),
    ),
    links: numbers.flatMap((i) => [
      `tun${i}.out -> tunnel${i}.inside`,
      `tunnel${i}.inside -> tun${i}.in`,
      `udp${i}.out -> tunnel${i}.outside`,
      `tunnel${i}.outside -> udp${i}.in`,
    ]),
  });
}
await Promise.all(welcomed);
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ ready: true, program: 'many-clients', clients });
await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
await Promise.all(networks.map((network) => network.close()));
say({ clients });

function allWelcomed(network: WorkerNetwork, expected: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = expected;
    network.on('error', reject);
    network.on('event', (app, event) => {
      if (event.type === 'up' && --left === 0) resolve();
      if (event.type === 'refused') reject(new Error(`${app}: the server refused (${event.reason})`));
    });
  });
}

function addressPlus(text: string, n: number): string {
  const value = text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0) + n;
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}
