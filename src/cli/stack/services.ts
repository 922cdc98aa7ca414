/** What `stack up --serve` answers. */
import { createServer, type Server } from 'node:http';
import { type Stack, StackServer, type UdpSocket } from '../../stack/index.ts';

/** What `--serve` takes. */
export const SERVICES = ['ping', 'echo', 'http'] as const;
export type Service = (typeof SERVICES)[number];

/** RFC 862, for UDP and TCP. */
const ECHO_PORT = 7;
const HTTP_PORT = 80;
/** Below are services that answer whatever they get, as this one does: two of them would never end. */
const FIRST_USER_PORT = 1024;
/** Connections of one service at a time; more are reset. */
const MOST_CONNECTIONS = 256;

/** Starts what is more than answering pings, which the stack does itself. Returns what ends it. */
export function startServices(stack: Stack, services: ReadonlySet<Service>): () => void {
  const ends: (() => void)[] = [];
  if (services.has('echo')) ends.push(echoDatagrams(stack), echoStreams(stack));
  if (services.has('http')) ends.push(serveHttp(stack));
  return () => {
    for (const end of ends) end();
  };
}

/** Sends every datagram back to where it came from. */
function echoDatagrams(stack: Stack): () => void {
  const socket: UdpSocket = stack.udp({
    port: ECHO_PORT,
    onMessage(bytes, from) {
      if (from.port >= FIRST_USER_PORT) socket.send(bytes, from);
    },
  });
  return () => socket.close();
}

function echoStreams(stack: Stack): () => void {
  const server = new StackServer(stack, (socket) => {
    // Who resets a connection has ended it, and nothing more.
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  server.maxConnections = MOST_CONNECTIONS;
  server.listen(ECHO_PORT);
  return () => void server.close();
}

/** Says, as JSON, who asked and what the stack did so far. */
function serveHttp(stack: Stack): () => void {
  const web: Server = createServer((request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
      return;
    }
    const body = { you: request.socket.remoteAddress, stack: stack.report() };
    response.setHeader('content-type', 'application/json');
    response.end(`${JSON.stringify(body, null, 2)}\n`);
  });
  const server = new StackServer(stack, (socket) => void web.emit('connection', socket));
  server.maxConnections = MOST_CONNECTIONS;
  server.listen(HTTP_PORT);
  return () => {
    server.close();
    web.closeAllConnections();
  };
}
