// A web server and a client on an IP stack of its own, with node:http as it is, over a TUN. Run it as root, and ask it from this machine: curl http://10.9.0.2

import { once } from 'node:events';
import http from 'node:http';
import { liveRuntime, Network } from 'tunconnector';
import { createConnection, Stack, StackServer } from 'tunconnector/stack';
import { configureInterface, tun } from 'tunconnector/tun';

const host = new Stack({ interfaces: [{ name: 'eth0', addresses: ['10.9.0.2/24', 'fd00:9::2/64'] }] });
const net = new Network(liveRuntime())
  .app('tun', tun({ name: 'st0' }))
  .app('host', host)
  .link('tun.out -> host.eth0')
  .link('host.eth0 -> tun.in');
await net.start();
await configureInterface({ name: 'st0', addresses: ['10.9.0.1/24', 'fd00:9::1/64'], up: true });

const web = http.createServer((request, response) => {
  console.log(`${request.socket.remoteAddress} asks for ${request.url}`);
  response.end(`hello ${request.socket.remoteAddress}, this is a stack of its own\n`);
});
new StackServer(host, (socket) => web.emit('connection', socket)).listen(80);

// The kernel serves, and the stack asks.
const kernel = http.createServer((request, response) =>
  response.end(`hello ${request.socket.remoteAddress}`),
);
await once(kernel.listen(8080, '10.9.0.1'), 'listening');
http.get({ host: '10.9.0.1', port: 8080, createConnection: createConnection(host) }, async (response) => {
  const text = (await response.toArray()).join('');
  console.log(`the kernel says "${text}"`);
  console.log('curl http://10.9.0.2; Ctrl-C ends it');
});

process.once('SIGINT', () => {
  kernel.close();
  web.close();
  void net.close();
});
