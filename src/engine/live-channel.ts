/** A channel over a stream socket: TCP or Unix, four bytes of length in front of each message. */
import type { Socket } from 'node:net';
import { TunconnectorError } from '../errors.ts';
import { resetSocket } from './live-reset.ts';
import { HEADER_LENGTH, MessageReader } from './message-reader.ts';
import {
  type Channel,
  type ChannelHandlers,
  type ChannelLimits,
  checkMessageLength,
  tooLong,
} from './outside.ts';

/** How long what was sent before `close` may take to leave, ms. */
const LINGER = 5000;
/** A silent peer is asked after so many ms whether it is there; ten times a second apart, then it is gone (libuv). */
const KEEPALIVE = 10_000;

export class LiveChannel implements Channel {
  readonly peer: string;
  readonly #socket: Socket;
  readonly #limits: ChannelLimits;
  readonly #reader: MessageReader;
  #handlers: ChannelHandlers | undefined;
  readonly #onEnd: () => void;
  #ended = false;
  /** `send` has refused since the last `onDrain`. */
  #refused = false;
  #corked = false;
  #paused = false;
  /** Came in while paused, in order. */
  #held: Uint8Array[] = [];
  /** The other end closed while messages were held: told after them. */
  #closesAfterHeld = false;
  #resuming = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(socket: Socket, peer: string, limits: ChannelLimits, onEnd: () => void = () => {}) {
    this.peer = peer;
    this.#socket = socket;
    this.#limits = limits;
    this.#onEnd = onEnd;
    this.#reader = new MessageReader(limits.maxMessage);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE);
    // After the end an error is nobody's business, and must not be an uncaught one.
    socket.on('error', (error) => this.#finish(streamError(this.peer, error)));
    socket.on('end', () => this.#onPeerEnd());
    socket.on('close', () => this.#onPeerEnd());
  }

  /** Starts to listen to the socket. `timeout` in ms is for one that is not connected yet. */
  open(handlers: ChannelHandlers, timeout = 0): void {
    if (this.#ended) return;
    this.#handlers = handlers;
    const socket = this.#socket;
    socket.on('data', (chunk) => this.#receive(chunk));
    if (!socket.connecting) return;
    this.#timer = setTimeout(() => {
      this.#finish(
        new TunconnectorError('ERR_SOCKET', `${this.peer} did not answer within ${timeout} ms`, {
          errno: 'ETIMEDOUT',
          syscall: 'connect',
          remedy: 'check the address and the way there',
        }),
      );
    }, timeout);
    socket.once('connect', () => {
      clearTimeout(this.#timer);
      this.#handlers?.onOpen?.();
    });
  }

  get buffered(): number {
    return this.#ended ? 0 : this.#socket.writableLength;
  }

  send(bytes: Uint8Array): boolean {
    checkMessageLength(bytes.length, this.#limits.maxMessage);
    if (this.#ended) return false;
    const socket = this.#socket;
    const length = HEADER_LENGTH + bytes.length;
    if (socket.writableLength > 0 && socket.writableLength + length > this.#limits.bufferLimit) {
      this.#refused = true;
      return false;
    }
    // All that is sent in one turn leaves in one write.
    if (!this.#corked) {
      this.#corked = true;
      socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        socket.uncork();
      });
    }
    const frame = Buffer.allocUnsafe(length);
    frame.writeUInt32BE(bytes.length, 0);
    frame.set(bytes, HEADER_LENGTH);
    socket.write(frame, () => this.#onWritten());
    return true;
  }

  pause(): void {
    if (this.#ended) return;
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#resuming) return;
    this.#resuming = true;
    // Not now: no handler is called from within a call.
    process.nextTick(() => {
      this.#resuming = false;
      this.#deliverHeld();
    });
  }

  close(): void {
    if (this.#ended) return;
    this.#end();
    const socket = this.#socket;
    // Read on: unread bytes would make the kernel answer with a reset, which takes what is on its way with it.
    socket.removeAllListeners('data');
    socket.resume();
    socket.end();
    const linger = setTimeout(() => socket.destroy(), LINGER);
    socket.once('close', () => clearTimeout(linger));
  }

  #receive(chunk: Uint8Array): void {
    if (this.#ended) return;
    if (this.#paused || this.#held.length > 0) {
      this.#held.push(chunk);
      return;
    }
    const rest = this.#deliver(chunk);
    if (rest < chunk.length && !this.#ended) this.#held.push(chunk.subarray(rest));
  }

  /** @returns how far it came; less than all when a handler pauses or the channel ends */
  #deliver(chunk: Uint8Array): number {
    const reader = this.#reader;
    let at = 0;
    while (at < chunk.length && !this.#ended && !this.#paused) {
      at = reader.read(chunk, at);
      if (reader.tooLong > 0) {
        this.#finish(tooLong(this.peer, reader.tooLong, this.#limits.maxMessage));
        return at;
      }
      const message = reader.take();
      if (message) this.#handlers?.onMessage(message);
    }
    return at;
  }

  #deliverHeld(): void {
    while (this.#held.length > 0 && !this.#paused && !this.#ended) {
      const chunk = this.#held[0];
      const rest = this.#deliver(chunk);
      if (rest < chunk.length) this.#held[0] = chunk.subarray(rest);
      else this.#held.shift();
    }
    if (this.#paused || this.#ended) return;
    if (this.#closesAfterHeld) this.#onPeerEnd();
    else this.#socket.resume();
  }

  #onWritten(): void {
    if (!this.#refused || this.#ended || this.#socket.writableLength > this.#limits.bufferLimit / 2) return;
    this.#refused = false;
    this.#handlers?.onDrain?.();
  }

  #onPeerEnd(): void {
    if (this.#ended) return;
    if (this.#held.length > 0) {
      this.#closesAfterHeld = true;
      return;
    }
    const error = this.#reader.insideMessage
      ? new TunconnectorError('ERR_SOCKET', `${this.peer} ended the channel within a message`)
      : undefined;
    this.#finish(error);
  }

  /** The channel is over, and not by `close`. */
  #finish(error: TunconnectorError | undefined): void {
    if (this.#ended) return;
    const handlers = this.#handlers;
    this.#end();
    const socket = this.#socket;
    // A reset tells the other end that this was no orderly end. Unix sockets have none.
    if (error && socket.remoteAddress) resetSocket(socket);
    else socket.destroy();
    handlers?.onClose(error);
  }

  #end(): void {
    this.#ended = true;
    this.#handlers = undefined;
    this.#held = [];
    clearTimeout(this.#timer);
    this.#onEnd();
  }
}

const WHY: Record<string, [what: string, remedy?: string]> = {
  ECONNREFUSED: ['refused the connection', 'check that a program listens there'],
  ENOENT: ['is not there', 'check the path, and that a program listens there'],
  ECONNRESET: ['broke the channel'],
  EPIPE: ['broke the channel'],
  ETIMEDOUT: ['does not answer any more', 'check the way there'],
  ENETUNREACH: ['cannot be reached: there is no route', '"ip route get" shows the way that is taken'],
  EHOSTUNREACH: ['cannot be reached', 'check the address and the way there'],
  EADDRINUSE: ['cannot be connected to from this port, which is taken', 'leave the local port to the system'],
  EADDRNOTAVAIL: [
    'cannot be connected to from an address that is not of this machine',
    '"ip address" lists them',
  ],
};

/** ERR_SOCKET or ERR_PERMISSION for what the system said about a channel. */
function streamError(peer: string, cause: NodeJS.ErrnoException): TunconnectorError {
  const { code: errno = cause.message, syscall } = cause;
  const [what, remedy] = WHY[errno] ?? ['failed'];
  const permission = errno === 'EACCES' || errno === 'EPERM';
  return new TunconnectorError(
    permission ? 'ERR_PERMISSION' : 'ERR_SOCKET',
    `${peer} ${permission ? 'may not be connected to' : what} (${errno}, ${syscall ?? 'socket'})`,
    { cause, errno, syscall, remedy: permission ? 'give this user the right to write to it' : remedy },
  );
}
