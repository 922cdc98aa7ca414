/** What every client of a server here does: requests with a token, and messages over a WebSocket that is opened anew when it is lost. */
import { ControlError } from './error.ts';
import { messagesOf, pause, type SocketClass, socketClass } from './live-socket.ts';
import { PROTOCOL, TOKEN_PROTOCOL } from './paths.ts';

export interface ServerOptions {
  /** A page's own origin, and the default port of loopback elsewhere, when left out. */
  url?: string | URL;
  token?: string;
  /** In place of those of this environment. */
  fetch?: typeof fetch;
  WebSocket?: SocketClass;
}

export interface ReadOptions {
  /** Ends it. */
  signal?: AbortSignal;
  /** Connects again when the connection is lost. Default true. */
  reconnect?: boolean;
  /** Hears when the connection is there, and when it is lost. */
  onConnection?: (connected: boolean) => void;
}

/** How messages are read that are not just one after the other. */
export interface Conversation<Message> {
  /** What is said first on each connection. */
  hello?(): unknown;
  /** Whether this message is the next one. If not, the connection is given up for another. */
  follows?(message: Message): boolean;
  /** Messages that may wait for who iterates; of more, the oldest are missed. */
  most?: number;
}

/** From one attempt to connect to the next, ms: at first, and at most. */
const WAIT = 250;
const LONGEST_WAIT = 5000;

export class Server {
  readonly #url: string;
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch;
  readonly #socketClass: SocketClass | undefined;

  constructor(options: ServerOptions, port: number) {
    const { location } = globalThis as { location?: { origin: string } };
    const url = String(options.url ?? location?.origin ?? `http://127.0.0.1:${port}`);
    this.#url = url.replace(/\/+$/, '');
    this.#token = options.token;
    this.#fetch = options.fetch ?? ((...request) => fetch(...request));
    this.#socketClass = options.WebSocket;
  }

  /** @throws ControlError for an answer that is not 2xx */
  async request(
    method: string,
    path: string,
    { body, headers = {} }: { body?: string; headers?: Record<string, string> } = {},
  ): Promise<Response> {
    const response = await this.#fetch(this.#url + path, {
      method,
      headers: { ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }), ...headers },
      ...(body !== undefined && { body }),
    });
    if (response.ok) return response;
    const answer = (await response.json().catch(() => undefined)) as
      | { error?: ConstructorParameters<typeof ControlError>[1] }
      | undefined;
    const unknown = { code: 'ERR_INTERNAL', message: `${method} ${path}: ${response.status}` };
    throw new ControlError(response.status, answer?.error ?? unknown);
  }

  /**
   * Messages as they come, until it is left (`break`), aborted, or refused.
   * @throws ControlError when the server refuses; without `reconnect`, an error when it cannot be reached
   */
  async *read<Message>(
    path: string,
    { signal, reconnect = true, onConnection }: ReadOptions,
    { hello, follows, most }: Conversation<Message> = {},
  ): AsyncGenerator<Message> {
    const Socket = this.#socketClass ?? (await socketClass());
    const protocols = [PROTOCOL, ...(this.#token === undefined ? [] : [TOKEN_PROTOCOL + this.#token])];
    let wait = WAIT;
    while (!signal?.aborted) {
      let connected = false;
      const socket = new Socket(this.#url.replace(/^http/, 'ws') + path, protocols);
      const opened = () => {
        connected = true;
        onConnection?.(true);
        if (hello) socket.send(JSON.stringify(hello()));
      };
      for await (const text of messagesOf(socket, opened, signal, most)) {
        const message = JSON.parse(text) as Message;
        if (follows && !follows(message)) break;
        wait = WAIT;
        yield message;
      }
      if (signal?.aborted) return;
      if (connected) onConnection?.(false);
      // A WebSocket does not tell why it was refused.
      else await this.#whyNot(path, reconnect);
      if (!reconnect) return;
      await pause(wait, signal);
      wait = Math.min(2 * wait, LONGEST_WAIT);
    }
  }

  /** Throws what the server has against it. That there is no server, or too many read already, may pass. */
  async #whyNot(path: string, mayPass: boolean): Promise<void> {
    try {
      await this.request('GET', path);
    } catch (error) {
      const passes = !(error instanceof ControlError) || error.status === 503;
      // Asked by plain HTTP, it says that it would have liked a WebSocket.
      if (error instanceof ControlError && error.status === 426) return;
      if (!mayPass || !passes) throw error;
    }
  }
}
