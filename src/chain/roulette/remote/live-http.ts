/** HTTP as a control plane needs it: one server, few connections that stay open, bounded answers, and a time for each. */
import { Agent as HttpAgent, type IncomingMessage, request as plainRequest } from 'node:http';
import { Agent as HttpsAgent, request as secureRequest } from 'node:https';
import { MILLISECOND } from '../../../engine/units.ts';

export interface TlsFiles {
  /** PEM of authorities to trust in place of the system's. */
  ca?: string;
  /** PEM to show who asks. */
  cert?: string;
  key?: string;
}

export interface HttpOptions extends TlsFiles {
  headers?: Record<string, string>;
  /** Connections at a time; what is asked beyond them waits. Default 8. */
  connections?: number;
  /** Bytes of an answer. Default 16 MiB. */
  most?: number;
}

export interface HttpAnswer {
  status: number;
  text: string;
}

export interface Ask {
  method: string;
  path: string;
  /** Beside those of all. */
  headers?: Record<string, string>;
  body?: string;
  /** ns for all of it; for a stream, until it begins. */
  timeout: number;
}

export type HttpDone = (error: Error | undefined, answer?: HttpAnswer) => void;

export interface StreamHandlers {
  /** It has begun, with status 200. */
  onOpen(): void;
  onText(text: string): void;
  /** Once, as the last call; `status` when it was another than 200, with what was said. */
  onEnd(error: Error | undefined, refused?: HttpAnswer): void;
}

const timedOut = () => Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' });
const tooMuch = (most: number) => new Error(`more than ${most} bytes`);

export class LiveHttp {
  readonly url: URL;
  readonly #options: HttpOptions;
  readonly #agent: HttpAgent;
  readonly #secure: boolean;

  /** @param url `http://` or `https://`, what is behind the port is ignored */
  constructor(url: string, options: HttpOptions = {}) {
    this.url = new URL(url);
    this.#options = options;
    this.#secure = this.url.protocol === 'https:';
    const agentOptions = { keepAlive: true, maxSockets: options.connections ?? 8, keepAliveMsecs: 1000 };
    const { ca, cert, key } = options;
    this.#agent = this.#secure
      ? new HttpsAgent({ ...agentOptions, ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) })
      : new HttpAgent(agentOptions);
  }

  /** The answer of any status, or why there is none. Once, and not from within. Returns how to give up. */
  ask(ask: Ask, done: HttpDone): () => void {
    let over = false;
    const finish = (error: Error | undefined, answer?: HttpAnswer) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      if (error) request.destroy();
      done(error, answer);
    };
    const request = this.#request(ask, this.#agent);
    const timer = setTimeout(() => finish(timedOut()), ask.timeout / MILLISECOND);
    request.on('error', finish);
    request.on('response', (response) => this.#collect(response, finish));
    request.end(ask.body);
    return () => {
      over = true;
      clearTimeout(timer);
      request.destroy();
    };
  }

  /** An answer that goes on. It has a connection of its own. Returns how to end it. */
  stream(ask: Ask, handlers: StreamHandlers): () => void {
    let over = false;
    const finish = (error: Error | undefined, refused?: HttpAnswer) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      request.destroy();
      handlers.onEnd(error, refused);
    };
    const { ca, cert, key } = this.#options;
    const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
    const request = this.#request(ask, false, tls);
    const timer = setTimeout(() => finish(timedOut()), ask.timeout / MILLISECOND);
    request.on('error', finish);
    request.on('response', (response) => {
      clearTimeout(timer);
      if (response.statusCode !== 200) {
        this.#collect(response, finish);
        return;
      }
      handlers.onOpen();
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        if (!over) handlers.onText(text);
      });
      response.on('error', finish);
      response.on('close', () => finish(undefined));
    });
    request.end(ask.body);
    return () => {
      over = true;
      clearTimeout(timer);
      request.destroy();
    };
  }

  close(): void {
    this.#agent.destroy();
  }

  #request({ method, path, headers: own, body }: Ask, agent: HttpAgent | false, tls: TlsFiles = {}) {
    const send = this.#secure ? secureRequest : plainRequest;
    const headers = {
      ...this.#options.headers,
      ...own,
      ...(body !== undefined && {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      }),
    };
    const { hostname, port, protocol } = this.url;
    const host = hostname.replace(/^\[(.*)\]$/, '$1');
    const request = send({ protocol, host, port, method, path, headers, agent, ...tls });
    request.setNoDelay(true);
    return request;
  }

  #collect(response: IncomingMessage, finish: HttpDone): void {
    const most = this.#options.most ?? 16 << 20;
    const chunks: Buffer[] = [];
    let length = 0;
    response.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length > most) finish(tooMuch(most));
      else chunks.push(chunk);
    });
    response.on('error', finish);
    response.on('end', () =>
      finish(undefined, { status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
    );
    response.on('close', () => finish(Object.assign(new Error('cut off'), { code: 'ECONNRESET' })));
  }
}
