/**
 * A stack at the far end of a TUN that is made in this process's namespace, and one TCP connection through it:
 *
 *     stack-host.js MTU whole|cut calls|socket sink
 *     stack-host.js MTU whole|cut calls|socket source ADDRESS PORT [CONNECTIONS TUN OWN]
 *
 * `whole` has superframes, `cut` has not. `calls` uses the callbacks of the stack, `socket` a StackSocket as programs for Node do. It
 * says `{"ready":true}` when the TUN stands, a source begins when it is told something, and at SIGTERM it says what was carried from a
 * second after the first byte on. OWN is its address (10.9.0.2), TUN the name of the device (tun0), which leads everywhere.
 */
import { once } from 'node:events';
import { liveRuntime, Network, tun } from 'tunconnector';
import { type Connection, createConnection, Stack, StackServer, type StackSocket } from 'tunconnector/stack';

const PORT = 5001;
const WARM_UP = 1e9;
const words = process.argv.slice(2);
const [mtuText, superframes, api, job, address, port, connections = '1'] = words;
const [device = 'tun0', own = '10.9.0.2'] = words.slice(7);
const mtu = Number(mtuText);
if (
  !(mtu >= 576) ||
  !(superframes === 'whole' || superframes === 'cut') ||
  !(api === 'calls' || api === 'socket')
) {
  process.stderr.write(
    'usage: stack-host.js MTU whole|cut calls|socket sink|source [ADDRESS PORT [CONNECTIONS TUN OWN]]\n',
  );
  process.exit(2);
}

const runtime = liveRuntime();
const host = new Stack({
  interfaces: [{ name: 'eth0', addresses: [`${own}/24`], mtu }],
  routes: [{ to: '0.0.0.0/0', interface: 'eth0' }],
});
const net = new Network(runtime)
  .app('tun0', tun({ name: device, offload: superframes === 'whole' }))
  .app('host', host)
  .link('tun0.out -> host.eth0')
  .link('host.eth0 -> tun0.in');
await net.start();

let carried = 0;
let first = 0;
let warm = 0;
let last = 0;
let cpuWarm = process.cpuUsage();
function count(bytes: number): void {
  last = runtime.now();
  if (first === 0) first = last;
  if (last - first < WARM_UP) return;
  if (warm === 0) {
    warm = last;
    cpuWarm = process.cpuUsage();
    return;
  }
  carried += bytes;
}

const into = new Uint8Array(65_536);
function sinkOf(connection: Connection) {
  return {
    onReadable: () => {
      for (let n = connection.read(into); n > 0; n = connection.read(into)) count(n);
    },
    onEnd: () => connection.end(),
  };
}

function fill(connection: Connection): void {
  for (;;) {
    const n = connection.write(into);
    count(n);
    if (n < into.length) return;
  }
}

function pour(socket: StackSocket): void {
  let more = true;
  while (more) {
    more = socket.write(into);
    count(into.length);
  }
}

if (job === 'sink' && api === 'calls') host.listen({ port: PORT }, sinkOf);
else if (job === 'sink') {
  new StackServer(host, (socket) => {
    socket.on('data', (bytes: Uint8Array) => count(bytes.length)).on('error', () => {});
  }).listen(PORT);
}
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ ready: true, program: 'stack-host' });
if (job === 'source') {
  // The interface gets its address from outside.
  await new Promise<void>((resolve) => process.stdin.once('data', () => resolve()));
  for (let n = Number(connections); n > 0; n--) start();
}

function start(): void {
  if (api === 'calls') {
    const connection: Connection = host.connect(
      { address: address!, port: Number(port) },
      { onConnected: () => fill(connection), onWritable: () => fill(connection) },
    );
    return;
  }
  const socket = createConnection(host)({ host: address!, port: Number(port) });
  socket
    .on('connect', () => pour(socket))
    .on('drain', () => pour(socket))
    .on('error', () => {});
}
await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
const { user, system } = process.cpuUsage(cpuWarm);
const seconds = (last - warm) / 1e9;
say({
  bytes: carried,
  seconds,
  bits_per_second: warm > 0 ? (carried * 8) / seconds : 0,
  stack_cpu_s: (user + system) / 1e6,
});
await net.close();
process.exit(0);
