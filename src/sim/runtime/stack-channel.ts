/** A channel of messages over a TCP connection of a stack: four bytes of length in front of each, as between real hosts. */
import { HEADER_LENGTH, MessageReader } from '../../engine/message-reader.ts';
import {
  type Channel,
  type ChannelHandlers,
  type ChannelLimits,
  checkMessageLength,
  tooLong,
} from '../../engine/outside.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import type { Connection, TcpHandlers } from '../../stack/tcp/connection.ts';

/** How long what was sent before `close` may take to leave, ns. */
const LINGER = 5 * SECOND;
const CHUNK = 64 << 10;

export class StackChannel implements Channel {
  readonly peer: string;
  readonly #runtime: Pick<Runtime, 'now' | 'timer'>;
  readonly #limits: ChannelLimits;
  readonly #reader: MessageReader;
  readonly #onGone: () => void;
  #handlers: ChannelHandlers | undefined;
  #connection: Connection | undefined;
  /** What the connection has not taken yet, in order; of the first, from `#taken` on. */
  #waiting: Uint8Array[] = [];
  #taken = 0;
  #buffered = 0;
  /** `send` has refused since the last `onDrain`. */
  #refused = false;
  #paused = false;
  /** No handler is called any more. */
  #ended = false;
  #cancel = () => {};
  /** Bytes that were read, and how far messages were made of them. */
  #chunk = new Uint8Array(0);
  #at = 0;
  #length = 0;

  /** @param onGone its connection is no more */
  constructor(
    runtime: Pick<Runtime, 'now' | 'timer'>,
    peer: string,
    limits: ChannelLimits,
    onGone: () => void = () => {},
  ) {
    this.#runtime = runtime;
    this.peer = peer;
    this.#limits = limits;
    this.#reader = new MessageReader(limits.maxMessage);
    this.#onGone = onGone;
  }

  /** For the connection that it is over. */
  readonly tcp: TcpHandlers = {
    onConnected: () => {
      this.#cancel();
      if (!this.#ended) this.#handlers?.onOpen?.();
      this.#flush();
    },
    onReadable: () => this.#read(),
    onWritable: () => this.#flush(),
    onEnd: () => {
      if (this.#reader.insideMessage) this.#fail('ECONNRESET');
      else this.#finish();
    },
    onClosed: (code) => {
      if (code === undefined) this.#finish();
      else this.#fail(code);
      this.#cancel();
      this.#onGone();
    },
  };

  open(connection: Connection, handlers: ChannelHandlers): void {
    this.#connection = connection;
    this.#handlers = handlers;
    connection.setNoDelay(true);
  }

  /** There will be no connection: it is told, and not from within the call. */
  refuse(handlers: ChannelHandlers, error: TunconnectorError): void {
    this.#handlers = handlers;
    this.#runtime.timer(this.#runtime.now(), () => this.#end(error));
  }

  /** For one that connects: the other end has until then. @param timeout ns */
  patience(timeout: number): void {
    this.#cancel = this.#runtime.timer(this.#runtime.now() + timeout, () => {
      this.#connection?.reset();
      this.#fail('ETIMEDOUT');
      this.#onGone();
    });
  }

  get buffered(): number {
    return this.#ended ? 0 : this.#buffered;
  }

  send(bytes: Uint8Array): boolean {
    checkMessageLength(bytes.length, this.#limits.maxMessage);
    if (this.#ended) return false;
    const length = HEADER_LENGTH + bytes.length;
    if (this.#buffered > 0 && this.#buffered + length > this.#limits.bufferLimit) {
      this.#refused = true;
      return false;
    }
    const frame = new Uint8Array(length);
    new DataView(frame.buffer).setUint32(0, bytes.length);
    frame.set(bytes, HEADER_LENGTH);
    this.#waiting.push(frame);
    this.#buffered += length;
    this.#flush();
    return true;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    // Not now: no handler is called from within a call.
    this.#runtime.timer(this.#runtime.now(), () => this.#read());
  }

  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#waiting.length === 0) this.#connection?.end();
    const connection = this.#connection;
    // The other end may never take what is left.
    this.#cancel();
    this.#cancel = this.#runtime.timer(this.#runtime.now() + LINGER, () => {
      if (this.#waiting.length > 0) connection?.reset();
      connection?.close();
    });
  }

  #flush(): void {
    const connection = this.#connection;
    if (!connection || connection.closed) return;
    while (this.#waiting.length > 0) {
      const frame = this.#waiting[0]!;
      const took = connection.write(this.#taken === 0 ? frame : frame.subarray(this.#taken));
      this.#taken += took;
      this.#buffered -= took;
      if (this.#taken < frame.length) break;
      this.#waiting.shift();
      this.#taken = 0;
    }
    if (this.#ended && this.#waiting.length === 0) connection.end();
    if (!this.#refused || this.#buffered > this.#limits.bufferLimit / 2 || this.#ended) return;
    this.#refused = false;
    this.#runtime.timer(this.#runtime.now(), () => {
      if (!this.#ended) this.#handlers?.onDrain?.();
    });
  }

  #read(): void {
    const connection = this.#connection;
    if (!connection) return;
    // What is not read is the other end's back-pressure.
    while (!this.#paused && this.#more(connection)) {
      if (this.#ended) {
        this.#at = this.#length;
        continue;
      }
      this.#at = this.#reader.read(this.#chunk.subarray(0, this.#length), this.#at);
      if (this.#reader.tooLong > 0) {
        connection.reset();
        this.#end(tooLong(this.peer, this.#reader.tooLong, this.#limits.maxMessage));
        this.#onGone();
        return;
      }
      const message = this.#reader.take();
      if (message) this.#handlers?.onMessage(message);
    }
  }

  /** Whether there are bytes in the chunk, of which more are fetched when it is at its end. */
  #more(connection: Connection): boolean {
    if (this.#at < this.#length) return true;
    if (connection.readable === 0) return false;
    if (this.#chunk.length === 0) this.#chunk = new Uint8Array(CHUNK);
    this.#at = 0;
    this.#length = connection.read(this.#chunk);
    return this.#length > 0;
  }

  /** The other end has closed it. */
  #finish(): void {
    if (!this.#ended) this.#connection?.end();
    this.#end(undefined);
  }

  #fail(errno: string): void {
    const text = `the channel with ${this.peer} broke: ${errno}`;
    this.#end(new TunconnectorError('ERR_SOCKET', text, { errno, remedy: 'connect again' }));
  }

  #end(error: TunconnectorError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancel();
    this.#handlers?.onClose(error);
  }
}
