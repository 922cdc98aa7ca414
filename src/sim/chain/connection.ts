/** The way to Roulette over channels of a host's runtime: one for requests, one for each watch; several Roulettes in turn. */
import type { RegistryConnection, WatchHandlers } from '../../chain/roulette/remote/connection.ts';
import type { WatchRequest } from '../../chain/roulette/watch/messages.ts';
import type { Channel } from '../../engine/outside.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { MILLISECOND, SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { type Answer, decode, encode } from './messages.ts';

/** ns for a channel to open, and for an answer. */
const CONNECT = 300 * MILLISECOND;
const PATIENCE = SECOND;

type Done = (error: TunconnectorError | undefined, answer?: unknown) => void;

const unreachable = () => new TunconnectorError('ERR_UNREACHABLE', 'no Roulette answered');

export class RegistryChannels implements RegistryConnection {
  readonly #runtime: Pick<Runtime, 'now' | 'timer' | 'connect'>;
  readonly #tenant: number;
  readonly #to: readonly string[];
  #next = 0;
  #channel: Channel | undefined;
  #asked = 0;
  readonly #waiting = new Map<number, Done>();

  /** @param to where Roulettes listen: `10.0.0.1:7590` */
  constructor(runtime: Pick<Runtime, 'now' | 'timer' | 'connect'>, tenant: number, to: readonly string[]) {
    this.#runtime = runtime;
    this.#tenant = tenant;
    this.#to = to;
  }

  request(name: string, body: unknown, done: Done): void {
    const id = ++this.#asked;
    const cancel = this.#runtime.timer(this.#runtime.now() + PATIENCE, () =>
      this.#answered(id, unreachable()),
    );
    this.#waiting.set(id, (error, answer) => {
      cancel();
      done(error, answer);
    });
    this.#channel ??= this.#open();
    if (!this.#channel.send(encode({ id, tenant: this.#tenant, name, body }))) this.#channel.close();
  }

  watch(hello: WatchRequest, handlers: WatchHandlers): () => void {
    const channel = this.#runtime.connect(
      this.#another(),
      {
        onMessage: (bytes) => handlers.onMessage(decode(bytes)),
        onClose: (error) => handlers.onClose(error),
      },
      { timeout: CONNECT },
    );
    channel.send(encode({ ...hello, tenant: this.#tenant }));
    return () => channel.close();
  }

  #another(): string {
    return this.#to[this.#next++ % this.#to.length]!;
  }

  #open(): Channel {
    const channel = this.#runtime.connect(
      this.#another(),
      {
        onMessage: (bytes) => {
          const { id, error, answer } = decode(bytes) as Answer;
          this.#answered(id, error && new TunconnectorError(error.code, error.message), answer);
        },
        onClose: () => {
          if (channel === this.#channel) this.#channel = undefined;
          for (const id of [...this.#waiting.keys()]) this.#answered(id, unreachable());
        },
      },
      { timeout: CONNECT },
    );
    return channel;
  }

  #answered(id: number, error: TunconnectorError | undefined, answer?: unknown): void {
    const done = this.#waiting.get(id);
    this.#waiting.delete(id);
    done?.(error, answer);
  }
}
