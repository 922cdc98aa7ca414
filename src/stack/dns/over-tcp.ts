/** One DNS question over TCP: two bytes of length in front of each message (RFC 1035, 4.2.2; RFC 7766). */
import { get16, put16 } from '../../packet/word.ts';
import type { Connection, TcpHandlers } from '../tcp/connection.ts';
import type { ConnectOptions } from '../tcp/tcp.ts';

const PREFIX = 2;

export interface TcpQuestionHandlers {
  /** The whole answer; the bytes are the receiver's. */
  onAnswer(bytes: Uint8Array): void;
  /** There will be none. */
  onFailed(why: string): void;
}

export class TcpQuestion {
  readonly #connection: Connection;
  readonly #handlers: TcpQuestionHandlers;
  #answer = new Uint8Array(PREFIX);
  #filled = 0;
  #over = false;

  /** @throws what `connect` throws */
  constructor(
    connect: (options: ConnectOptions, handlers: TcpHandlers) => Connection,
    to: ConnectOptions,
    query: Uint8Array,
    handlers: TcpQuestionHandlers,
  ) {
    this.#handlers = handlers;
    const message = new Uint8Array(PREFIX + query.length);
    put16(message, 0, query.length);
    message.set(query, PREFIX);
    this.#connection = connect(to, {
      // A query fits into any send buffer.
      onConnected: () => void this.#connection.write(message),
      onReadable: () => this.#read(),
      onEnd: () => this.#fail('the server has ended the connection'),
      onClosed: (error) => this.#fail(error ?? 'the server has ended the connection'),
    });
  }

  #read(): void {
    while (!this.#over && this.#connection.readable > 0) {
      this.#filled += this.#connection.read(this.#answer.subarray(this.#filled));
      if (this.#filled < this.#answer.length) continue;
      if (this.#answer.length > PREFIX) {
        this.#over = true;
        this.#connection.end();
        this.#handlers.onAnswer(this.#answer.slice(PREFIX));
        return;
      }
      const length = get16(this.#answer, 0);
      if (length === 0) {
        this.#connection.reset();
        this.#fail('the answer is empty');
        return;
      }
      const whole = new Uint8Array(PREFIX + length);
      whole.set(this.#answer);
      this.#answer = whole;
    }
  }

  #fail(why: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#handlers.onFailed(why);
  }

  /** Nobody waits for the answer any more. */
  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#connection.reset();
  }
}
