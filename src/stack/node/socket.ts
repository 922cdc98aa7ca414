/** A connection of the stack as what Node code expects: a Duplex with the methods, events and errors of net.Socket. */
import { Duplex } from 'node:stream';
import type { Stack } from '../stack.ts';
import type { Connection, TcpHandlers } from '../tcp/connection.ts';
import type { TcpErrorCode } from '../tcp/state.ts';
import { socketError } from './error.ts';
import { keepFreedMemory } from './memory.ts';

const CHUNK = 65_536;
const MS = 1e6;

export interface StackSocketOptions {
  /** Whether this side stays open when the peer has ended its own (default false, as in Node). */
  allowHalfOpen?: boolean;
  /** What arrives goes into memory of the caller's, and is no `data`. */
  onread?: OnRead;
}

/** `onread` of net.Socket. */
export interface OnRead {
  /** One that is used again and again, or what gives one for each time. Not empty. */
  buffer: Uint8Array | (() => Uint8Array);
  /** So many bytes are at the front of it. False: no more until `resume()`. */
  callback(bytes: number, buffer: Uint8Array): boolean;
}

/** Events: `connect`, `ready`, `timeout`, and those of every Duplex. */
export class StackSocket extends Duplex {
  connecting = true;
  bytesRead = 0;
  bytesWritten = 0;
  localAddress: string | undefined;
  localPort: number | undefined;
  remoteAddress: string | undefined;
  remotePort: number | undefined;
  remoteFamily: string | undefined;
  /** ms of silence after which there is a `timeout`; 0: never. */
  timeout = 0;
  readonly #stack: Stack;
  #connection: Connection | undefined;
  #closed = false;
  #reading = false;
  readonly #onread: OnRead | undefined;
  #rest: Uint8Array | undefined;
  #onTaken: ((error?: Error | null) => void) | undefined;
  #ended = false;
  #cancel: (() => void) | undefined;
  #noDelay: boolean | undefined;
  #keepAlive: number | undefined;

  constructor(stack: Stack, options: StackSocketOptions = {}) {
    super({ allowHalfOpen: options.allowHalfOpen ?? false });
    keepFreedMemory();
    this.#stack = stack;
    this.#onread = options.onread;
    // It reads from the beginning, as somebody has said what with.
    this.#reading = this.#onread !== undefined;
  }

  /** What the connection's handlers are: given to `connect` or returned to `listen`. */
  readonly handlers: TcpHandlers = {
    onConnected: () => this.#connected(),
    onReadable: () => this.#pull(),
    onEnd: () => this.#pull(),
    onWritable: () => this.#flush(),
    onClosed: (error) => this.#over(error),
  };

  /** Takes a connection over. */
  attach(connection: Connection): this {
    this.#connection = connection;
    this.localAddress = connection.localAddress;
    this.localPort = connection.localPort;
    this.remoteAddress = connection.remoteAddress;
    this.remotePort = connection.remotePort;
    this.remoteFamily = `IPv${connection.family}`;
    if (this.#noDelay !== undefined) connection.setNoDelay(this.#noDelay);
    if (this.#keepAlive !== undefined) connection.setKeepAlive(this.#keepAlive);
    if (this.#rest) this.#flush();
    if (this.#ended) connection.end();
    return this;
  }

  get pending(): boolean {
    return this.connecting;
  }

  get readyState(): string {
    if (this.connecting) return 'opening';
    const read = this.readable && !this.readableEnded;
    const write = this.writable && !this.writableEnded;
    return read && write ? 'open' : read ? 'readOnly' : write ? 'writeOnly' : 'closed';
  }

  address(): { address?: string; port?: number; family?: string } {
    return { address: this.localAddress, port: this.localPort, family: this.remoteFamily };
  }

  setNoDelay(noDelay = true): this {
    this.#noDelay = noDelay;
    this.#connection?.setNoDelay(noDelay);
    return this;
  }

  /** @param delay ms; 0: as before, or two hours */
  setKeepAlive(enable = false, delay = 0): this {
    this.#keepAlive = enable ? (delay || 7_200_000) * MS : 0;
    this.#connection?.setKeepAlive(this.#keepAlive);
    return this;
  }

  setTimeout(timeout: number, callback?: () => void): this {
    this.timeout = timeout;
    if (callback) {
      if (timeout === 0) this.removeListener('timeout', callback);
      else this.once('timeout', callback);
    }
    this.#alive();
    return this;
  }

  /** There is nothing that would keep a process alive. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  /** Ends with a RST. */
  resetAndDestroy(): this {
    this.#connection?.reset();
    return this.destroy();
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  override _read(): void {
    this.#reading = true;
    this.#pull();
  }

  override pause(): this {
    if (this.#onread) this.#reading = false;
    return super.pause();
  }

  override resume(): this {
    super.resume();
    if (this.#onread) this._read();
    return this;
  }

  override _write(chunk: Uint8Array, _encoding: string, callback: (error?: Error | null) => void): void {
    this.#rest = chunk;
    this.#onTaken = callback;
    this.#flush();
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#ended = true;
    this.#connection?.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const connection = this.#connection;
    if (connection && !this.#closed) {
      this.#closed = true;
      connection.handlers = {};
      // What was not read must not seem to have been (RFC 2525, 2.17).
      if (error || connection.readable > 0 || this.connecting) connection.reset();
      else connection.close();
    }
    this.connecting = false;
    callback(error);
  }

  #connected(): void {
    this.connecting = false;
    this.#alive();
    this.emit('connect');
    this.emit('ready');
  }

  #pull(): void {
    const connection = this.#connection;
    if (!connection) return;
    while (this.#reading && connection.readable > 0) {
      if (this.#onread) {
        this.#hand(connection, this.#onread);
        continue;
      }
      const chunk = Buffer.allocUnsafe(Math.min(connection.readable, CHUNK));
      this.bytesRead += connection.read(chunk);
      this.#alive();
      this.#reading = this.push(chunk);
    }
    if (connection.atEnd && !this.readableEnded && !this.destroyed) {
      this.push(null);
      // Nobody reads what is not there, and without that there is no `end`.
      if (this.#onread) this.read(0);
    }
  }

  #hand(connection: Connection, { buffer: place, callback }: OnRead): void {
    const buffer = typeof place === 'function' ? place() : place;
    const n = connection.read(buffer);
    this.bytesRead += n;
    this.#alive();
    // What has no room is not asked for for ever.
    const goesOn = callback(n, buffer) !== false && n > 0;
    this.#reading &&= goesOn && !this.destroyed;
  }

  #flush(): void {
    const connection = this.#connection;
    if (!connection || !this.#rest) return;
    const n = connection.write(this.#rest);
    this.bytesWritten += n;
    if (n > 0) this.#alive();
    if (n < this.#rest.length) {
      if (connection.closed && !this.#closed) this.#broken();
      else this.#rest = this.#rest.subarray(n);
      return;
    }
    const taken = this.#onTaken!;
    this.#rest = undefined;
    this.#onTaken = undefined;
    taken();
  }

  #broken(): void {
    const error = new Error('write EPIPE') as Error & { code: string; syscall: string };
    error.code = 'EPIPE';
    error.syscall = 'write';
    this.#rest = undefined;
    this.#onTaken?.(error);
    this.#onTaken = undefined;
  }

  #over(code: TcpErrorCode | undefined): void {
    this.#closed = true;
    // The stack itself has ended, as somebody wanted it to.
    if (code === 'ECONNABORTED') this.destroy();
    else if (code !== undefined) {
      const opening = this.connecting;
      this.destroy(
        opening
          ? socketError(code, 'connect', this.remoteAddress, this.remotePort)
          : socketError(code, 'read'),
      );
    } else if (!this.readableEnded) this.#pull();
  }

  /** The timeout counts anew. One timer that looks when it is due, not one for each packet. */
  #alive(): void {
    if (this.timeout === 0) {
      this.#cancel?.();
      this.#cancel = undefined;
      return;
    }
    const { runtime } = this.#stack;
    this.#heard = runtime.now();
    if (this.#cancel && this.#for === this.timeout) return;
    this.#cancel?.();
    this.#for = this.timeout;
    const look = () => {
      this.#cancel = undefined;
      const due = this.#heard + this.timeout * MS;
      if (due > runtime.now()) this.#cancel = runtime.timer(due, look);
      else if (!this.destroyed) this.emit('timeout');
    };
    this.#cancel = runtime.timer(this.#heard + this.timeout * MS, look);
  }
  #heard = 0;
  #for = 0;
}
