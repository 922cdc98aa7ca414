/**
 * A bridge of two interfaces by packet sockets, in a worker thread: `bridge.js INTERFACE INTERFACE`. It says
 * `{"ready":true}` when frames pass, and what passed when it is asked to end.
 */
import { once } from 'node:events';
import { packetSocket, runInWorker } from 'tunconnector';

const [left, right] = process.argv.slice(2);
if (!left || !right) {
  process.stderr.write('usage: bridge.js INTERFACE INTERFACE\n');
  process.exit(2);
}

const network = await runInWorker({
  apps: { left: packetSocket({ interface: left }), right: packetSocket({ interface: right }) },
  links: ['left.out -> right.in', 'right.out -> left.in'],
});
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ ready: true, program: 'bridge', interfaces: [left, right] });
await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
const { links } = await network.report();
await network.close();
say(Object.fromEntries(links.map(({ link, packets }) => [link, packets])));
