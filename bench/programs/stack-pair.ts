/**
 * Two stacks in one process, joined by links, and one TCP connection between them: `stack-pair.js MEGABYTES whole|cut`. It says how
 * long the bytes took after a tenth as many to warm up, and how many wire packets passed, ACKs among them.
 */
import { liveRuntime, Network } from 'tunconnector';
import { type Connection, Stack } from 'tunconnector/stack';

const [megabytes, form] = process.argv.slice(2);
const total = Number(megabytes) * 1e6;
if (!(total > 0) || (form !== 'whole' && form !== 'cut')) {
  process.stderr.write('usage: stack-pair.js MEGABYTES whole|cut\n');
  process.exit(2);
}
const host = (address: string) =>
  new Stack({ interfaces: [{ name: 'eth0', addresses: [address], superframes: form === 'whole' }] });
const left = host('10.0.0.1/24');
const right = host('10.0.0.2/24');
const net = new Network(liveRuntime()).app('left', left).app('right', right);
await net.link('left.eth0 -> right.eth0').link('right.eth0 -> left.eth0').start();

let received = 0;
let awaited = Number.POSITIVE_INFINITY;
let arrived = () => {};
const until = (bytes: number) =>
  new Promise<void>((resolve) => {
    awaited = bytes;
    arrived = resolve;
  });
const into = new Uint8Array(65_536);
right.listen({ port: 9 }, (connection) => ({
  onReadable: () => {
    for (let n = connection.read(into); n > 0; n = connection.read(into)) received += n;
    if (received >= awaited) arrived();
  },
}));
const fill = () => {
  while (sender.write(into) === into.length);
};
const sender: Connection = left.connect(
  { address: '10.0.0.2', port: 9 },
  { onConnected: fill, onWritable: fill },
);
function passed(): number {
  return net.report().links.reduce((sum, { packets }) => sum + packets, 0);
}
await until(total / 10);
const before = { received, packets: passed(), time: performance.now() };
await until(before.received + total);
const seconds = (performance.now() - before.time) / 1000;
const bytes = received - before.received;
process.stdout.write(
  `${JSON.stringify({ bytesPerSecond: bytes / seconds, packetsPerSecond: (passed() - before.packets) / seconds })}\n`,
);
await net.close();
