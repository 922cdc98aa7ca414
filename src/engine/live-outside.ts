/** Sockets of this machine for control planes. The data path has its own, batched, in the addon. */

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket as StreamSocket } from 'node:net';
import { TunconnectorError } from '../errors.ts';
import { formatIp, type IpAddress } from '../packet/address.ts';
import { parseEndpoint } from '../packet/prefix.ts';
import { LiveChannel } from './live-channel.ts';
import {
  type Channel,
  type ChannelHandlers,
  type ChannelLimits,
  type ConnectOptions,
  type DatagramHandlers,
  type DatagramOptions,
  type DatagramSocket,
  DEFAULT_CONNECT_TIMEOUT,
  DEFAULT_MAX_CHANNELS,
  DEFAULT_QUEUE_LIMIT,
  formatPlace,
  isPath,
  type Listener,
  type ListenHandlers,
  type ListenOptions,
  limitsOf,
  maxDatagram,
  type Place,
  parsePlace,
} from './outside.ts';

// ── Datagrams

export class LiveDatagrams implements DatagramSocket {
  readonly counters = { sent: 0, received: 0, dropped: 0, failed: 0 };
  readonly address: string;
  readonly #family: 4 | 6;
  readonly #socket: Socket;
  readonly #handlers: DatagramHandlers;
  readonly #queueLimit: number;
  #closed = false;

  constructor(bind: string, handlers: DatagramHandlers, options: DatagramOptions = {}) {
    const { address, port } = parseEndpoint(bind);
    this.#family = address.family;
    this.#handlers = handlers;
    this.#queueLimit = options.queueLimit ?? DEFAULT_QUEUE_LIMIT;
    const socket = createSocket({
      type: address.family === 4 ? 'udp4' : 'udp6',
      // All are addresses already. Answering at once makes bind and send happen within their calls.
      lookup: (host, _options, callback) => callback(null, host, address.family),
    });
    this.#socket = socket;
    let failure: NodeJS.ErrnoException | undefined;
    const onBindError = (error: NodeJS.ErrnoException) => {
      failure = error;
    };
    socket.on('error', onBindError);
    socket.bind({ address: hostOf(address), port, exclusive: true });
    if (failure) {
      socket.close();
      throw bindError(`the UDP address ${bind}`, failure);
    }
    socket.off('error', onBindError);
    socket.on('error', (error) => this.#fail(bind, error));
    socket.on('message', (bytes, from) => this.#receive(bytes, from));
    const bound = socket.address();
    this.address = endpointText(bound.address, bound.port);
  }

  send(to: string, bytes: Uint8Array): void {
    const { address, port } = parseEndpoint(to);
    if (this.#closed) return;
    const host = this.#hostFor(address);
    if (host === undefined || port === 0 || bytes.length > maxDatagram(address.family)) {
      const why =
        host === undefined
          ? 'the socket is one of IPv4'
          : port === 0
            ? 'it has no port'
            : `${bytes.length} bytes are too many`;
      const error = new TunconnectorError('ERR_SOCKET', `nothing can be sent to ${to}: ${why}`);
      this.counters.failed++;
      process.nextTick(() => this.#tell(error));
      return;
    }
    const socket = this.#socket;
    if (socket.getSendQueueSize() + bytes.length > this.#queueLimit) {
      this.counters.dropped++;
      return;
    }
    socket.send(bytes.slice(), port, host, (error) => {
      if (error) this.#fail(to, error);
      else this.counters.sent++;
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  /** Undefined when this socket cannot send there. */
  #hostFor(address: IpAddress): string | undefined {
    if (address.family === this.#family) return hostOf(address);
    return address.family === 4 ? `::ffff:${formatIp(address)}` : undefined;
  }

  #receive(bytes: Buffer, { address, port }: RemoteInfo): void {
    if (this.#closed) return;
    this.counters.received++;
    this.#handlers.onMessage(
      endpointText(address, port),
      new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length),
    );
  }

  #fail(to: string, cause: NodeJS.ErrnoException): void {
    this.counters.failed++;
    const { code: errno, syscall } = cause;
    this.#tell(
      new TunconnectorError('ERR_SOCKET', `nothing can be sent to ${to} (${errno}, ${syscall})`, {
        cause,
        errno,
        syscall,
        remedy: '"ip route get" shows the way that is taken',
      }),
    );
  }

  #tell(error: TunconnectorError): void {
    if (!this.#closed) this.#handlers.onError?.(error);
  }
}

// ── Channels

export function liveConnect(to: string, handlers: ChannelHandlers, options: ConnectOptions = {}): Channel {
  const place = parsePlace(to);
  const local = options.bind === undefined ? undefined : parseEndpoint(options.bind);
  const socket = isPath(place)
    ? createConnection({ path: place.path })
    : createConnection({
        host: hostOf(place.address),
        port: place.port,
        localAddress: local && hostOf(local.address),
        localPort: local?.port,
      });
  const channel = new LiveChannel(socket, formatPlace(place), limitsOf(options));
  channel.open(handlers, Math.ceil((options.timeout ?? DEFAULT_CONNECT_TIMEOUT) / 1e6));
  return channel;
}

export class LiveListener implements Listener {
  address = '';
  readonly #place: Place;
  readonly #handlers: ListenHandlers;
  readonly #limits: ChannelLimits;
  readonly #maxChannels: number;
  readonly #server: Server;
  #open = 0;
  #closed = false;
  #triedStale = false;

  constructor(bind: string, handlers: ListenHandlers, options: ListenOptions = {}) {
    this.#place = parsePlace(bind);
    this.#handlers = handlers;
    this.#limits = limitsOf(options);
    this.#maxChannels = options.maxChannels ?? DEFAULT_MAX_CHANNELS;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.on('listening', () => this.#onListening());
    this.#server.on('error', (error: NodeJS.ErrnoException) => this.#onError(error));
    this.#listen();
  }

  close(): void {
    this.#closed = true;
    this.#server.close();
  }

  #listen(): void {
    const place = this.#place;
    if (!isPath(place)) {
      this.#server.listen({ host: hostOf(place.address), port: place.port, exclusive: true });
      return;
    }
    this.#server.listen({ path: place.path, exclusive: true });
    // Bound within the call: nobody else gets in before it is ours alone.
    if (this.#server.listening) chmodSync(place.path, 0o600);
  }

  #onListening(): void {
    if (this.#closed) {
      // Closed before Node had come to listening, which it then does all the same.
      this.#server.close();
      return;
    }
    const bound = this.#server.address();
    this.address =
      bound !== null && typeof bound === 'object'
        ? endpointText(bound.address, bound.port)
        : formatPlace(this.#place);
    this.#handlers.onListening?.(this.address);
  }

  #onError(error: NodeJS.ErrnoException): void {
    if (this.#closed) return;
    if (error.code === 'EADDRINUSE' && isPath(this.#place) && !this.#triedStale) {
      this.#triedStale = true;
      this.#replaceStale(this.#place.path, error);
      return;
    }
    this.#fail(error);
  }

  /** A program that was killed leaves its socket behind, and nobody answers there. */
  #replaceStale(path: string, error: NodeJS.ErrnoException): void {
    const probe = createConnection({ path });
    probe.on('connect', () => {
      probe.destroy();
      this.#fail(error);
    });
    probe.on('error', (refusal: NodeJS.ErrnoException) => {
      if (this.#closed) return;
      try {
        if (refusal.code !== 'ECONNREFUSED' || !lstatSync(path).isSocket()) throw error;
        unlinkSync(path);
        this.#listen();
      } catch (failure) {
        this.#fail(failure as NodeJS.ErrnoException);
      }
    });
  }

  #fail(error: NodeJS.ErrnoException): void {
    if (this.#closed) return;
    this.#handlers.onError?.(bindError(`the address ${formatPlace(this.#place)}`, error));
  }

  #accept(socket: StreamSocket): void {
    if (this.#closed || this.#open >= this.#maxChannels) {
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    const { remoteAddress, remotePort } = socket;
    // Without an address it is gone already, or a Unix socket.
    const peer =
      remoteAddress === undefined ? formatPlace(this.#place) : endpointText(remoteAddress, remotePort ?? 0);
    this.#open++;
    const channel = new LiveChannel(socket, peer, this.#limits, () => this.#open--);
    const handlers = this.#handlers.onChannel(channel);
    if (handlers) channel.open(handlers);
    else channel.close();
  }
}

// ── Addresses and errors

const hostOf = (address: IpAddress): string => formatIp(address);

/** As text that others can send to: an IPv4 address that reached an IPv6 socket is one of IPv4. */
function endpointText(host: string, port: number): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(host);
  const plain = mapped ? mapped[1] : host;
  return plain.includes(':') ? `[${plain}]:${port}` : `${plain}:${port}`;
}

function bindError(subject: string, cause: NodeJS.ErrnoException): TunconnectorError {
  const { code: errno, syscall } = cause;
  const details = { cause, errno, syscall };
  const where = `(${errno}, ${syscall})`;
  if (errno === 'EADDRINUSE') {
    return new TunconnectorError('ERR_PORT_IN_USE', `${subject} is taken by another program ${where}`, {
      ...details,
      remedy: 'choose another, or end that program (ss -lnptux shows it)',
    });
  }
  if (errno === 'EACCES' || errno === 'EPERM') {
    return new TunconnectorError('ERR_PERMISSION', `${subject} may not be used ${where}`, {
      ...details,
      remedy: 'choose a port above 1023 or another folder, or run it with the right to',
    });
  }
  return new TunconnectorError('ERR_SOCKET', `${subject} cannot be used ${where}`, {
    ...details,
    remedy: errno === 'EADDRNOTAVAIL' ? '"ip address" lists the addresses of this machine' : undefined,
  });
}
