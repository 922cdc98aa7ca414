/** A listening socket of the stack as what Node code expects: the methods and events of net.Server. */
import { EventEmitter } from 'node:events';
import { TunconnectorError } from '../../errors.ts';
import type { Stack } from '../stack.ts';
import type { TcpListener } from '../tcp/listener.ts';
import type { TcpOptions } from '../tcp/settings.ts';
import { socketError } from './error.ts';
import { StackSocket, type StackSocketOptions } from './socket.ts';

export interface StackServerOptions extends Omit<StackSocketOptions, 'onread'> {
  /** Of its TCP. */
  tcp?: TcpOptions;
}

/**
 * Events: `listening`, `connection`, `close`, `error`.
 *
 * @example
 * const web = http.createServer((request, response) => response.end('hello'));
 * new StackServer(stack, (socket) => web.emit('connection', socket)).listen(80);
 */
export class StackServer extends EventEmitter {
  /** More are reset at once. */
  maxConnections = Number.POSITIVE_INFINITY;
  readonly #stack: Stack;
  readonly #options: StackServerOptions;
  readonly #sockets = new Set<StackSocket>();
  #listener: TcpListener | undefined;

  constructor(stack: Stack, onConnection?: (socket: StackSocket) => void, options: StackServerOptions = {}) {
    super();
    this.#stack = stack;
    this.#options = options;
    if (onConnection) this.on('connection', onConnection);
  }

  get listening(): boolean {
    return this.#listener !== undefined;
  }

  /** @param port 0: one that is free */
  listen(port = 0, host?: string, callback?: () => void): this {
    if (callback) this.once('listening', callback);
    let event: () => void = () => this.emit('listening');
    try {
      const address = host === undefined ? {} : { address: host };
      this.#listener = this.#stack.listen({ ...this.#options.tcp, ...address, port }, (connection) => {
        if (this.#sockets.size >= this.maxConnections) {
          connection.reset();
          return undefined;
        }
        const socket = new StackSocket(this.#stack, this.#options).attach(connection);
        socket.connecting = false;
        this.#sockets.add(socket);
        socket.once('close', () => {
          this.#sockets.delete(socket);
          this.#closed();
        });
        this.emit('connection', socket);
        return { ...socket.handlers, onConnected: undefined };
      });
    } catch (error) {
      const taken = error instanceof TunconnectorError && error.code === 'ERR_PORT_IN_USE';
      const told = taken ? socketError('EADDRINUSE', 'listen', host ?? '::', port) : error;
      event = () => this.emit('error', told);
    }
    void Promise.resolve().then(event);
    return this;
  }

  address(): { address: string; port: number; family: string } | null {
    if (!this.#listener) return null;
    const { address = '::', port } = this.#listener;
    return { address, port, family: address.includes(':') ? 'IPv6' : 'IPv4' };
  }

  /** Takes no more; `close` comes when the last connection has ended. */
  close(callback?: () => void): this {
    if (callback) this.once('close', callback);
    this.#listener?.close();
    this.#listener = undefined;
    this.#closing = true;
    void Promise.resolve().then(() => this.#closed());
    return this;
  }

  #closing = false;
  #closed(): void {
    if (!this.#closing || this.#sockets.size > 0) return;
    this.#closing = false;
    this.emit('close');
  }

  getConnections(callback: (error: Error | null, count: number) => void): void {
    callback(null, this.#sockets.size);
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}
