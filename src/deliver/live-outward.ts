/** Sockets of this machine for what is delivered. */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { connect, isIPv6, type NetConnectOpts, type Socket, type SocketConstructorOpts } from 'node:net';
import { networkInterfaces } from 'node:os';
import { resetSocket } from '../engine/live-reset.ts';
import { livePing } from './live-pings.ts';
import type {
  Outward,
  OutwardConnection,
  OutwardDatagramHandlers,
  OutwardDatagrams,
  OutwardHandlers,
} from './outward.ts';

/** Bytes that are read at once. One buffer for all: what it holds is handed on before the next read. */
const READ = new Uint8Array(256 << 10);
/** Bytes of writes under way in one connection, from which on it is full. */
const FULL = 1 << 20;
/** Datagrams that wait until their socket is connected, which takes one turn. */
const MOST_WAITING = 64;
/** Bytes of datagrams under way in one socket. */
const MOST_QUEUED = 1 << 20;
/** ms. */
const KEEP_ALIVE = 300_000;

export const liveOutward: Outward = {
  connect: (address, port, handlers) => new LiveConnection(address, port, handlers),
  datagrams: (address, port, handlers) => new LiveDatagrams(address, port, handlers),
  echoes: livePing,
  ownAddresses: () =>
    Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => bare(address))),
};

/** Without the zone of a link-local address. */
const bare = (address: string): string => address.split('%')[0]!;

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'EIO';

class LiveConnection implements OutwardConnection {
  readonly #socket: Socket;
  #error: string | undefined;
  #silent = false;

  constructor(address: string, port: number, handlers: OutwardHandlers) {
    const told = (action: () => void) => () => {
      if (!this.#silent) action();
    };
    const options: NetConnectOpts & SocketConstructorOpts & { writableHighWaterMark: number } = {
      host: address,
      port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE,
      writableHighWaterMark: FULL,
      onread: {
        buffer: READ,
        callback: (length: number) => !this.#silent && handlers.onData(READ.subarray(0, length)),
      },
    };
    const socket = connect(options);
    this.#socket = socket;
    socket.on('connect', told(handlers.onConnected));
    socket.on('end', told(handlers.onEnd));
    socket.on('drain', told(handlers.onDrain));
    socket.on('error', (error) => {
      this.#error = codeOf(error);
    });
    socket.on(
      'close',
      told(() => handlers.onClosed(this.#error)),
    );
  }

  write(bytes: Uint8Array): boolean {
    return this.#socket.write(bytes);
  }

  end(): void {
    this.#socket.end();
  }

  reset(): void {
    this.#silent = true;
    resetSocket(this.#socket);
  }

  resume(): void {
    this.#socket.resume();
  }
}

class LiveDatagrams implements OutwardDatagrams {
  readonly #socket: DatagramSocket;
  readonly #handlers: OutwardDatagramHandlers;
  /** Undefined when it is connected. */
  #waiting: Uint8Array[] | undefined = [];
  #closed = false;

  constructor(address: string, port: number, handlers: OutwardDatagramHandlers) {
    const family = isIPv6(address) ? 6 : 4;
    this.#handlers = handlers;
    const socket = createSocket({
      type: family === 6 ? 'udp6' : 'udp4',
      // All are addresses already.
      lookup: (host, _options, callback) => callback(null, host, family),
    });
    this.#socket = socket;
    socket.on('message', (bytes) => {
      if (!this.#closed) handlers.onMessage(bytes);
    });
    socket.on('error', (error) => this.#failed(error));
    socket.on('connect', () => {
      const waiting = this.#waiting ?? [];
      this.#waiting = undefined;
      for (const bytes of waiting) this.#send(bytes);
    });
    socket.connect(port, address);
  }

  send(bytes: Uint8Array): boolean {
    if (this.#closed) return false;
    if (this.#waiting) {
      if (this.#waiting.length >= MOST_WAITING) return false;
      this.#waiting.push(bytes);
      return true;
    }
    if (this.#socket.getSendQueueSize() > MOST_QUEUED) return false;
    this.#send(bytes);
    return true;
  }

  #send(bytes: Uint8Array): void {
    if (this.#closed) return;
    this.#socket.send(bytes, (error) => error && this.#failed(error));
  }

  #failed(error: Error): void {
    if (!this.#closed) this.#handlers.onError(codeOf(error));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiting = undefined;
    this.#socket.close();
  }
}
