/** One WebSocket of a watch, from its opening to its end. */
import { WebSocket } from 'ws';
import { MILLISECOND, SECOND } from '../../../engine/units.ts';
import { TunconnectorError } from '../../../errors.ts';
import type { WatchRequest } from '../watch/messages.ts';
import { PROTOCOL, tenantPath, WATCH } from './api.ts';
import { errorOfAnswer, jsonOf, whyNot } from './errors.ts';

/** Bytes of a message: a part of a snapshot with a classifier in it is far below. */
const MOST = 16 << 20;
/** Of what is said with a refusal. */
const REFUSAL = 64 << 10;
const CONNECT = 3 * SECOND;

export interface WatchEnd {
  /** What the server has against it: to come again does not help. */
  error: TunconnectorError | undefined;
  /** In words. */
  why: string;
  /** It was open before. */
  opened: boolean;
}

export interface LiveWatchHandlers {
  onMessage(message: unknown): void;
  onEnd(end: WatchEnd): void;
}

export class LiveWatch {
  readonly #socket: WebSocket;
  readonly #handlers: LiveWatchHandlers;
  readonly #origin: string;
  #opened = false;
  #over = false;

  constructor(
    url: URL,
    tenant: number,
    { token, ca }: { token?: string; ca?: string },
    hello: WatchRequest,
    handlers: LiveWatchHandlers,
  ) {
    this.#handlers = handlers;
    this.#origin = url.origin;
    const to = url.origin.replace(/^http/, 'ws') + tenantPath(tenant) + WATCH;
    const socket = new WebSocket(to, PROTOCOL, {
      ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
      ...(ca && { ca }),
      handshakeTimeout: CONNECT / MILLISECOND,
      maxPayload: MOST,
      perMessageDeflate: false,
    });
    this.#socket = socket;
    socket.on('open', () => {
      this.#opened = true;
      socket.send(JSON.stringify(hello));
    });
    socket.on('message', (data) => this.#message(String(data)));
    socket.on('error', (error) => this.#finish(undefined, whyNot(error)));
    socket.on('close', (code, reason) => this.#closed(code, String(reason)));
    socket.on('unexpected-response', (request, response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        if (text.length < REFUSAL) text += part;
      });
      response.on('close', () => {
        request.destroy();
        this.#refused(response.statusCode ?? 0, text);
      });
    });
  }

  /** Nothing is called back any more. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.terminate();
  }

  #message(text: string): void {
    if (this.#over) return;
    this.#handlers.onMessage(jsonOf(text));
  }

  #refused(status: number, text: string): void {
    const error = errorOfAnswer(status, text, this.#origin);
    const passes = status >= 500 || error.code === 'ERR_UNREACHABLE';
    this.#finish(passes ? undefined : error, error.message);
  }

  #closed(code: number, reason: string): void {
    // Policy: the hello was refused.
    const error =
      code === 1008 ? new TunconnectorError('ERR_REFUSED', `${this.#origin}: ${reason}`) : undefined;
    this.#finish(error, reason || 'it broke the connection');
  }

  #finish(error: TunconnectorError | undefined, why: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.terminate();
    this.#handlers.onEnd({ error, why, opened: this.#opened });
  }
}
