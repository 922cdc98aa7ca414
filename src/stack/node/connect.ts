/** Ways for Node's clients to use a stack: `createConnection` for http.Agent, http.request and ws, `connect` for undici. */
import { TunconnectorError } from '../../errors.ts';
import type { Stack } from '../stack.ts';
import type { TcpOptions } from '../tcp/settings.ts';
import { type SocketError, socketError } from './error.ts';
import { type OnRead, StackSocket, type StackSocketOptions } from './socket.ts';

export interface ClientOptions extends StackSocketOptions {
  /** Of its TCP. */
  tcp?: TcpOptions;
  /** Makes addresses of names; without it only addresses are understood. */
  lookup?: (hostname: string) => Promise<string>;
}

/** What callers of net.connect say, as far as it has a meaning here. */
export interface Target {
  host?: string | null;
  hostname?: string | null;
  port?: number | string | null;
  localAddress?: string;
  localPort?: number;
  timeout?: number;
  noDelay?: boolean;
  keepAlive?: boolean;
  keepAliveInitialDelay?: number;
  onread?: OnRead;
}

/**
 * @example
 * http.get('http://10.0.0.2/', { createConnection: createConnection(stack) }, (response) => response.pipe(process.stdout));
 */
export function createConnection(
  stack: Stack,
  options: ClientOptions = {},
): (target: Target, onConnect?: (error: null, socket: StackSocket) => void) => StackSocket {
  return (target, onConnect) => {
    const { onread = options.onread } = target;
    const socket = new StackSocket(stack, { ...options, ...(onread && { onread }) });
    const host = (target.hostname ?? target.host ?? '').replace(/^\[(.*)\]$/, '$1');
    const port = Number(target.port ?? 80);
    if (onConnect) socket.once('connect', () => onConnect(null, socket));
    if (target.noDelay) socket.setNoDelay();
    if (target.keepAlive) socket.setKeepAlive(true, target.keepAliveInitialDelay);
    if (target.timeout) socket.setTimeout(target.timeout);
    const open = (address: string) => {
      if (socket.destroyed) return;
      const { localAddress, localPort } = target;
      try {
        const local = { ...(localAddress && { localAddress }), ...(localPort && { localPort }) };
        socket.attach(stack.connect({ ...options.tcp, ...local, address, port }, socket.handlers));
      } catch (error) {
        socket.destroy(asSocketError(error, address, port));
      }
    };
    // As with net, nothing has happened yet when the caller gets its socket.
    const named = options.lookup && !/^[\d.]+$|:/.test(host);
    void Promise.resolve(named ? options.lookup!(host) : host).then(open, (error) => socket.destroy(error));
    return socket;
  };
}

/** For undici: `new Agent({ connect: undiciConnect(stack) })`. Without TLS. */
export function undiciConnect(
  stack: Stack,
  options: ClientOptions = {},
): (target: Target, callback: (error: Error | null, socket: StackSocket | null) => void) => void {
  const connect = createConnection(stack, options);
  return (target, callback) => {
    const socket = connect({ ...target, port: target.port || 80 });
    const failed = (error: Error) => callback(error, null);
    socket.once('error', failed);
    socket.once('connect', () => {
      socket.removeListener('error', failed);
      callback(null, socket);
    });
  };
}

function asSocketError(error: unknown, address: string, port: number): Error {
  if (!(error instanceof TunconnectorError)) return error as Error;
  const codes: Record<string, SocketError['code']> = {
    ERR_UNREACHABLE: 'ENETUNREACH',
    ERR_PORT_IN_USE: 'EADDRINUSE',
    ERR_LIMIT: 'ENOBUFS',
  };
  const code = codes[error.code];
  return code === undefined ? error : socketError(code as 'ENETUNREACH', 'connect', address, port);
}
