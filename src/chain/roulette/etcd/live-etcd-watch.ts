/**
 * One watch of etcd. It goes on at another member when its own is gone: etcd keeps what happened, and the watch knows how far
 * it is. A revision that somebody else wrote is not told to us, so who has seen it in an answer cannot tell whether the watch has
 * come so far; then a mark is written, which is told. When that does not come, the watch is dead.
 */
import type { Runtime } from '../../../engine/runtime.ts';
import { MILLISECOND, SECOND } from '../../../engine/units.ts';
import { TunconnectorError } from '../../../errors.ts';
import type { StoreWatch, StoreWatchHandlers } from '../store.ts';
import type { EtcdGateway } from './live-gateway.ts';
import { changesOf, encode, endOf } from './messages.ts';

/** ns that a watch may be behind before a mark is written, and before it is taken for dead. */
const GRACE = 150 * MILLISECOND;
const DEAD = 3 * SECOND;
/** Between attempts to open it again, and until the store is taken to be out of reach. */
const PAUSE = 200 * MILLISECOND;
const PATIENCE = 10 * SECOND;

export interface EtcdWatchOptions {
  from: number;
  /** Of all that is watched, and of what is told. */
  prefix: string;
  keys: string;
  handlers: StoreWatchHandlers;
  /** The highest revision that is known to be there. */
  known: () => number;
  mark: () => void;
  onReopen: () => void;
  onEnd: () => void;
}

export class EtcdWatch implements StoreWatch {
  readonly #clock: Pick<Runtime, 'now' | 'timer'>;
  readonly #gateway: EtcdGateway;
  readonly #options: EtcdWatchOptions;
  /** Everything until here was told. */
  #reached: number;
  #end = () => {};
  #cancel = () => {};
  #cancelCheck: (() => void) | undefined;
  #closed = false;
  /** Since when it cannot be opened, and since when it is behind; 0: it is not. */
  #lost = 0;
  #behind = 0;

  constructor(clock: Pick<Runtime, 'now' | 'timer'>, gateway: EtcdGateway, options: EtcdWatchOptions) {
    this.#clock = clock;
    this.#gateway = gateway;
    this.#options = options;
    this.#reached = options.from - 1;
    this.#open();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#end();
    this.#cancel();
    this.#cancelCheck?.();
    this.#options.onEnd();
  }

  /** To be called when more may be known. */
  check(): void {
    if (this.#closed || this.#cancelCheck || this.#options.known() <= this.#reached) return;
    const wanted = this.#options.known();
    if (this.#behind === 0) this.#behind = this.#clock.now();
    this.#cancelCheck = this.#clock.timer(this.#clock.now() + GRACE, () => {
      this.#cancelCheck = undefined;
      if (this.#reached >= wanted) {
        this.#behind = 0;
        this.check();
      } else if (this.#clock.now() - this.#behind > DEAD) {
        this.#behind = 0;
        this.#gateway.leave();
        this.#again();
      } else {
        this.#options.mark();
        this.check();
      }
    });
  }

  #open(): void {
    const { prefix } = this.#options;
    const create_request = {
      key: encode(prefix),
      range_end: encode(endOf(prefix)),
      start_revision: String(this.#reached + 1),
    };
    this.#end = this.#gateway.stream(
      '/watch',
      { create_request },
      {
        onMessage: (message) => this.#message(message),
        onEnd: (why) => {
          this.#end = () => {};
          this.#retry(why);
        },
      },
    );
  }

  #again(): void {
    this.#end();
    this.#options.onReopen();
    this.#open();
  }

  #retry(why: string): void {
    if (this.#closed) return;
    const now = this.#clock.now();
    if (this.#lost === 0) this.#lost = now;
    if (now - this.#lost > PATIENCE) {
      const error = new TunconnectorError('ERR_STORAGE', `the watch of etcd cannot be opened: ${why}`);
      this.#tellLost(error);
    } else this.#cancel = this.#clock.timer(now + PAUSE, () => this.#again());
  }

  #message(message: Record<string, unknown>): void {
    if (this.#closed) return;
    const result = (message.result ?? {}) as Record<string, unknown>;
    if (result.canceled === true && result.compact_revision !== undefined) {
      this.#tellLost(undefined);
      return;
    }
    if (message.error !== undefined || result.canceled === true) {
      this.#end();
      this.#gateway.leave();
      this.#retry(JSON.stringify(message.error ?? result.cancel_reason ?? 'cancelled'));
      return;
    }
    this.#lost = 0;
    for (const change of changesOf(message, this.#options.keys)) {
      if (change.rev <= this.#reached) continue;
      this.#reached = change.rev;
      this.#options.handlers.onChange(change);
      if (this.#closed) return;
    }
  }

  #tellLost(error: TunconnectorError | undefined): void {
    this.close();
    this.#options.handlers.onLost(error);
  }
}
