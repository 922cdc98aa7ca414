/** The way to Roulette over a runtime's channels: one for requests, one for each watch; several Roulettes in turn. */
import type { RegistryConnection } from '../../../src/chain/roulette/remote/connection.ts';
import type { Channel } from '../../../src/engine/outside.ts';
import type { Runtime } from '../../../src/engine/runtime.ts';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { type ErrorCode, TunconnectorError } from '../../../src/errors.ts';

const encode = (message: object) => new TextEncoder().encode(JSON.stringify(message));
const decode = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes));
const unreachable = () => new TunconnectorError('ERR_UNREACHABLE', 'no Roulette answered');

type Done = (error: TunconnectorError | undefined, answer?: unknown) => void;

export class ChannelConnection implements RegistryConnection {
  readonly #runtime: Runtime;
  readonly #bind: string;
  readonly #to: readonly string[];
  #next = 0;
  #channel: Channel | undefined;
  #asked = 0;
  readonly #waiting = new Map<number, Done>();
  /** Every request, in order. */
  readonly sent: { name: string; body: unknown }[] = [];
  /** Answers that are thrown away: of requests of this name, until it is taken back. */
  deaf: string | undefined;

  constructor(runtime: Runtime, bind: string, to: readonly string[]) {
    this.#runtime = runtime;
    this.#bind = bind;
    this.#to = to;
  }

  request(name: string, body: unknown, done: Done): void {
    this.sent.push({ name, body: structuredClone(body) });
    const id = ++this.#asked;
    const cancel = this.#runtime.timer(this.#runtime.now() + SECOND, () => this.#answer(id, unreachable()));
    this.#waiting.set(id, (error, answer) => {
      cancel();
      if (this.deaf === name && !error) done(unreachable());
      else done(error, answer);
    });
    const channel = (this.#channel ??= this.#open());
    if (!channel.send(encode({ id, name, body }))) channel.close();
  }

  watch(
    hello: object,
    handlers: { onMessage(message: unknown): void; onClose(error?: TunconnectorError): void },
  ): () => void {
    const channel = this.#runtime.connect(
      this.#another(),
      {
        onMessage: (bytes) => handlers.onMessage(decode(bytes)),
        onClose: (error) => handlers.onClose(error),
      },
      { bind: this.#bind, timeout: 300 * MILLISECOND },
    );
    channel.send(encode(hello));
    return () => channel.close();
  }

  #another(): string {
    return this.#to[this.#next++ % this.#to.length]!;
  }

  #open(): Channel {
    const channel: Channel = this.#runtime.connect(
      this.#another(),
      {
        onMessage: (bytes) => {
          const { id, error, answer } = decode(bytes);
          const failed = error && new TunconnectorError(error as ErrorCode, `Roulette says ${error}`);
          this.#answer(id, failed, answer);
        },
        onClose: () => {
          if (channel === this.#channel) this.#channel = undefined;
          for (const id of [...this.#waiting.keys()]) this.#answer(id, unreachable());
        },
      },
      { bind: this.#bind, timeout: 300 * MILLISECOND },
    );
    return channel;
  }

  #answer(id: number, error: TunconnectorError | undefined, answer?: unknown): void {
    const done = this.#waiting.get(id);
    this.#waiting.delete(id);
    done?.(error, answer);
  }
}
