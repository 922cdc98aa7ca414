/**
 * What code written for `node:dgram` expects of a UDP socket, on a socket of the stack. Events come in turns of their own, as
 * there; multicast groups, TTLs and buffer sizes are not offered.
 */
import { EventEmitter } from 'node:events';
import { TunconnectorError } from '../../errors.ts';
import { isIp } from '../../packet/address.ts';
import type { Stack } from '../stack.ts';
import type { UdpPeer } from './peer.ts';
import type { UdpSocket } from './socket.ts';

export interface DgramAddress {
  address: string;
  family: 'IPv4' | 'IPv6';
  port: number;
}

/** Of a received datagram. */
export interface DgramInfo extends DgramAddress {
  /** Bytes. */
  size: number;
}

interface DgramEvents {
  message: [bytes: Buffer, info: DgramInfo];
  listening: [];
  connect: [];
  close: [];
  error: [error: Error];
}

type Message = string | Uint8Array | readonly Uint8Array[];
type SendDone = (error: Error | null, bytes?: number) => void;

/**
 * A socket as `dgram.createSocket(type)` makes it.
 *
 * @param type `udp4` or `udp6`
 */
export class DgramSocket extends EventEmitter<DgramEvents> {
  readonly #stack: Stack;
  readonly #type: 'udp4' | 'udp6';
  #socket: UdpSocket | undefined;
  #broadcast = false;
  #closed = false;
  /** Names are resolved while others wait: datagrams keep their order. */
  #queue: Promise<void> = Promise.resolve();
  #queued = 0;

  constructor(stack: Stack, type: 'udp4' | 'udp6' = 'udp4') {
    super();
    this.#stack = stack;
    this.#type = type;
  }

  /** Without arguments: a port that nobody can guess, at any address of the stack. */
  bind(
    options?: number | { port?: number; address?: string } | (() => void),
    address?: string | (() => void),
    done?: () => void,
  ): this {
    const port =
      typeof options === 'object' ? options.port : typeof options === 'number' ? options : undefined;
    const host =
      typeof options === 'object' ? options.address : typeof address === 'string' ? address : undefined;
    const callback = [options, address, done].find((each) => typeof each === 'function');
    if (callback) this.once('listening', callback as () => void);
    this.#later(() => {
      this.#open(port, host);
      this.emit('listening');
    });
    return this;
  }

  connect(port: number, address?: string | (() => void), done?: () => void): void {
    const callback = typeof address === 'function' ? address : done;
    const host = typeof address === 'string' ? address : this.#type === 'udp4' ? '127.0.0.1' : '::1';
    if (callback) this.once('connect', callback);
    this.#later(async () => {
      const remote = { address: await this.#lookUp(host), port };
      const before = this.#socket;
      before?.close();
      this.#open(before?.port, undefined, remote);
      this.emit('connect');
    });
  }

  send(message: Message, done?: SendDone): void;
  send(message: Message, port: number, done?: SendDone): void;
  send(message: Message, port: number, address: string, done?: SendDone): void;
  send(message: Message, offset: number, length: number, done?: SendDone): void;
  send(message: Message, offset: number, length: number, port: number, done?: SendDone): void;
  send(
    message: Message,
    offset: number,
    length: number,
    port: number,
    address: string,
    done?: SendDone,
  ): void;
  send(message: Message, ...rest: unknown[]): void {
    const done = rest.findLast((each) => typeof each === 'function') as SendDone | undefined;
    const words = rest.filter((each) => typeof each !== 'function' && each !== undefined);
    const numbers = words.filter((each) => typeof each === 'number');
    const host = words.find((each) => typeof each === 'string');
    let bytes = toBytes(message);
    if (numbers.length >= 2) {
      const [offset, length] = numbers.splice(0, 2);
      bytes = bytes.subarray(offset, offset + length);
    }
    const port = numbers[0];
    // The caller may use its buffer again.
    const copy = new Uint8Array(bytes);
    if (this.#queued >= MOST_QUEUED) {
      this.#report(
        new TunconnectorError('ERR_LIMIT', 'too many datagrams wait for names', { errno: 'ENOBUFS' }),
        done,
      );
      return;
    }
    this.#queued++;
    this.#later(async () => {
      this.#queued--;
      try {
        await this.#send(copy, port, host ?? (this.#type === 'udp4' ? '127.0.0.1' : '::1'));
        done?.(null, copy.length);
      } catch (error) {
        this.#report(error as Error, done);
      }
    });
  }

  async #send(bytes: Uint8Array, port: number | undefined, host: string): Promise<void> {
    if (!this.#socket) {
      this.#open(undefined, undefined);
      this.emit('listening');
    }
    const socket = this.#socket!;
    if (port === undefined && !socket.remote)
      throw new TunconnectorError('ERR_CONFIG', 'the datagram has no port', { errno: 'EDESTADDRREQ' });
    const to = port === undefined ? socket.remote : { address: await this.#lookUp(host), port };
    if (socket.closed) throw new TunconnectorError('ERR_CLOSED', 'the socket is closed');
    if (!socket.send(bytes, to))
      throw new TunconnectorError('ERR_UNREACHABLE', `no way to ${host}, or no room`, {
        errno: 'ENETUNREACH',
      });
  }

  address(): DgramAddress {
    if (!this.#socket)
      throw new TunconnectorError('ERR_CLOSED', 'the socket is not bound', { errno: 'EBADF' });
    const any = this.#type === 'udp4' ? '0.0.0.0' : '::';
    return { address: this.#bound ?? any, family: this.#family, port: this.#socket.port };
  }
  #bound: string | undefined;

  remoteAddress(): DgramAddress {
    const remote = this.#socket?.remote;
    if (!remote)
      throw new TunconnectorError('ERR_CLOSED', 'the socket is not connected', { errno: 'ENOTCONN' });
    return { address: remote.address, family: this.#family, port: remote.port };
  }

  setBroadcast(on: boolean): void {
    this.#broadcast = on;
    const before = this.#socket;
    if (!before) return;
    before.close();
    this.#open(before.port, this.#bound, before.remote);
  }

  close(done?: () => void): this {
    if (this.#closed) throw new TunconnectorError('ERR_CLOSED', 'the socket is closed');
    if (done) this.once('close', done);
    this.#closed = true;
    this.#queue = this.#queue.then(() => {
      this.#socket?.close();
      this.emit('close');
    });
    return this;
  }

  /** The process lives as long as its network does: nothing to be done. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  get #family(): 'IPv4' | 'IPv6' {
    return this.#type === 'udp4' ? 'IPv4' : 'IPv6';
  }

  #open(
    port: number | undefined,
    address: string | undefined,
    remote?: UdpPeer | { address: string; port: number },
  ): void {
    const any = address === undefined || address === '0.0.0.0' || address === '::';
    this.#bound = any ? undefined : address;
    this.#socket = this.#stack.udp({
      ...(port ? { port } : {}),
      ...(any ? {} : { address }),
      ...(remote ? { remote } : {}),
      broadcast: this.#broadcast,
      onMessage: (bytes, from) => {
        if (from.family !== (this.#type === 'udp4' ? 4 : 6)) return;
        const info = { address: from.address, family: this.#family, port: from.port, size: bytes.length };
        this.#later(() => {
          this.emit('message', Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), info);
        });
      },
      // As the kernel's, only a connected socket is told.
      onError: (error) => {
        if (this.#socket?.remote) this.#later(() => this.#report(error, undefined));
      },
    });
  }

  async #lookUp(host: string): Promise<string> {
    if (isIp(host)) return host;
    const [found] = await this.#stack.resolve(host, { family: this.#type === 'udp4' ? 4 : 6 });
    return found;
  }

  #report(error: Error, done: SendDone | undefined): void {
    if (done) done(error);
    else this.emit('error', error);
  }

  /** In a turn of its own, after what came before. */
  #later(action: () => void | Promise<void>): void {
    this.#queue = this.#queue.then(async () => {
      if (this.#closed) return;
      try {
        await action();
      } catch (error) {
        this.emit('error', error as Error);
      }
    });
  }
}

/** Datagrams that may wait for names to be resolved. */
const MOST_QUEUED = 1024;

function toBytes(message: Message): Uint8Array {
  if (typeof message === 'string') return new TextEncoder().encode(message);
  return message instanceof Uint8Array ? message : Buffer.concat(message);
}
