/** etcd's JSON gateway: calls and streams at the first of several endpoints that answers. */
import type { Runtime } from '../../../engine/runtime.ts';
import { MILLISECOND, SECOND } from '../../../engine/units.ts';
import { TunconnectorError } from '../../../errors.ts';
import { whyNot } from '../remote/errors.ts';
import { LiveHttp, type TlsFiles } from '../remote/live-http.ts';
import { etcdError, isHarmless, parseAnswer } from './messages.ts';

export interface EtcdOptions extends TlsFiles {
  /** `HOST:PORT`, one or more. */
  endpoints: readonly string[];
  /** Speaks TLS: when a certificate or an authority is given, too. */
  secure?: boolean;
}

/** ns for an answer of one endpoint, and for all attempts. */
const ATTEMPT = 3 * SECOND;
const PATIENCE = 6 * SECOND;
/** Between rounds. */
const PAUSE = 100 * MILLISECOND;
const CONNECTIONS = 16;
/** What has not reached anybody may be sent again, whatever it is. */
const NEVER_SENT = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH'];

export type GatewayDone = (error: TunconnectorError | undefined, answer?: Record<string, unknown>) => void;

export interface GatewayStream {
  onMessage(message: Record<string, unknown>): void;
  /** Once, as the last call. */
  onEnd(why: string): void;
}

export class EtcdGateway {
  readonly #clock: Pick<Runtime, 'now' | 'timer'>;
  readonly #servers: LiveHttp[];
  #current = 0;
  #closed = false;
  readonly #pending = new Set<() => void>();

  constructor(clock: Pick<Runtime, 'now' | 'timer'>, options: EtcdOptions) {
    this.#clock = clock;
    const { ca, cert, key } = options;
    const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
    const protocol = options.secure || Object.keys(tls).length > 0 ? 'https' : 'http';
    this.#servers = options.endpoints.map(
      (endpoint) =>
        new LiveHttp(`${protocol}://${endpoint}`, { ...tls, connections: CONNECTIONS, most: 64 << 20 }),
    );
  }

  /**
   * One call, answered once and not from within.
   * @param repeatable it may be sent again though it may have been done
   */
  call(path: string, body: object, repeatable: boolean, done: GatewayDone): void {
    const deadline = this.#clock.now() + PATIENCE;
    const tried = new Map<string, string>();
    let attempts = 0;
    let giveUp = () => {};
    const finish: GatewayDone = (error, answer) => {
      this.#pending.delete(end);
      done(error, answer);
    };
    const end = () => {
      giveUp();
      this.#pending.delete(end);
    };
    const again = (server: LiveHttp, why: string) => {
      tried.set(server.url.host, why);
      this.#next(server);
      const wait = attempts % this.#servers.length === 0 ? PAUSE : 0;
      if (this.#clock.now() + wait >= deadline) finish(outOfReach(tried));
      else giveUp = this.#clock.timer(this.#clock.now() + wait, attempt);
    };
    const attempt = () => {
      const server = this.#servers[this.#current];
      attempts++;
      const ask = { method: 'POST', path: `/v3${path}`, body: JSON.stringify(body), timeout: ATTEMPT };
      giveUp = server.ask(ask, (error, answer) => {
        if (error) {
          const code = String((error as NodeJS.ErrnoException).code);
          if (repeatable || NEVER_SENT.includes(code)) return again(server, whyNot(error));
          this.#next(server);
          tried.set(server.url.host, whyNot(error));
          return finish(outOfReach(tried));
        }
        const { status, text } = answer!;
        const parsed = parseAnswer(text);
        if (status === 200 && parsed) return finish(undefined, parsed);
        const refusal = etcdError(status, parsed, server.url.host);
        if (refusal.passes && (repeatable || isHarmless(parsed))) again(server, refusal.error.message);
        else finish(refusal.error);
      });
    };
    this.#pending.add(end);
    if (this.#closed) giveUp = this.#clock.timer(this.#clock.now(), () => finish(closed()));
    else attempt();
  }

  /** An answer that goes on, message by message. Returns how to end it. */
  stream(path: string, body: object, handlers: GatewayStream): () => void {
    const server = this.#servers[this.#current];
    let rest = '';
    const ask = { method: 'POST', path: `/v3${path}`, body: JSON.stringify(body), timeout: ATTEMPT };
    const end = server.stream(ask, {
      onOpen: () => {},
      onText: (text) => {
        rest += text;
        const lines = rest.split('\n');
        rest = lines.pop()!;
        for (const line of lines) if (line !== '') handlers.onMessage(parseAnswer(line) ?? {});
      },
      onEnd: (error, refused) => {
        this.#pending.delete(end);
        this.#next(server);
        handlers.onEnd(error ? whyNot(error) : (refused?.text.trim() ?? 'it ended the watch'));
      },
    });
    this.#pending.add(end);
    return () => {
      this.#pending.delete(end);
      end();
    };
  }

  /** The endpoint in use does not do what it should. */
  leave(): void {
    this.#next(this.#servers[this.#current]);
  }

  close(): void {
    this.#closed = true;
    for (const end of [...this.#pending]) end();
    for (const server of this.#servers) server.close();
  }

  #next(from: LiveHttp): void {
    if (this.#servers[this.#current] === from) this.#current = (this.#current + 1) % this.#servers.length;
  }
}

function outOfReach(tried: ReadonlyMap<string, string>): TunconnectorError {
  const list = [...tried].map(([address, why]) => `${address} (${why})`).join(', ');
  return new TunconnectorError('ERR_STORAGE', `etcd does not answer at ${list}`, {
    remedy: 'check the addresses, and that most of its members run',
  });
}

const closed = () => new TunconnectorError('ERR_CLOSED', 'the store is closed');
