/** Keeps a mirror of the tenant up to date: opens the watch, and opens it anew when it breaks, is silent or has lost something. */
import type { Runtime } from '../../engine/runtime.ts';
import { SECOND } from '../../engine/units.ts';
import type { TunconnectorError } from '../../errors.ts';
import type { RegistryConnection } from '../roulette/remote/connection.ts';
import { Mirror, type MirrorOptions } from '../roulette/watch/mirror.ts';
import { Backoff } from './backoff.ts';

/** ns between looks whether something still comes. */
const LOOK = SECOND / 4;

export interface WatchEvents {
  /** The first message on a connection has come. */
  onConnected(): void;
  /** What is known stays as it is. Once until `onConnected`. */
  onLost(reason: string, error?: TunconnectorError): void;
}

export class Watching {
  readonly mirror: Mirror;
  readonly #runtime: Pick<Runtime, 'now' | 'timer'>;
  readonly #connection: RegistryConnection;
  readonly #events: WatchEvents;
  readonly #backoff: Backoff;
  #end: (() => void) | undefined;
  #connected = false;
  #told: 'connected' | 'lost' | undefined;
  #cancelRetry: (() => void) | undefined;
  #cancelLook = () => {};
  /** Connections that were opened after the first. */
  reconnects = -1;

  constructor(
    runtime: Pick<Runtime, 'now' | 'timer' | 'random'>,
    connection: RegistryConnection,
    tenant: number,
    options: MirrorOptions,
    events: WatchEvents,
  ) {
    this.#runtime = runtime;
    this.#connection = connection;
    this.#events = events;
    this.#backoff = new Backoff(runtime.random('member/watch'));
    this.mirror = new Mirror(tenant, runtime.now(), options);
  }

  get connected(): boolean {
    return this.#connected;
  }

  start(): void {
    this.#connect();
    this.#look();
  }

  close(): void {
    this.#cancelLook();
    this.#cancelRetry?.();
    this.#end?.();
    this.#end = undefined;
    this.#connected = false;
  }

  #connect(): void {
    this.reconnects++;
    this.#cancelRetry = undefined;
    this.#connected = false;
    const hello = this.mirror.hello(this.#runtime.now());
    const end = this.#connection.watch(hello, {
      onMessage: (message) => this.#end === end && this.#take(message),
      onClose: (error) => this.#end === end && this.#lost(closed(error), undefined, error),
    });
    this.#end = end;
  }

  #take(message: unknown): void {
    if (this.mirror.receive(message, this.#runtime.now()) === 'renew') {
      this.#lost('something is missing in the watch');
      return;
    }
    if (this.#connected) return;
    this.#connected = true;
    this.#backoff.reset();
    if (this.#told === 'connected') return;
    this.#told = 'connected';
    this.#events.onConnected();
  }

  #lost(reason: string, after = this.#backoff.next(), error?: TunconnectorError): void {
    this.#end?.();
    this.#end = undefined;
    this.#connected = false;
    this.#cancelRetry ??= this.#runtime.timer(this.#runtime.now() + after, () => this.#connect());
    if (this.#told === 'lost') return;
    this.#told = 'lost';
    this.#events.onLost(reason, error);
  }

  #look(): void {
    this.#cancelLook = this.#runtime.timer(this.#runtime.now() + LOOK, () => {
      // It has waited long enough already.
      if (this.#end && this.mirror.isSilent(this.#runtime.now())) this.#lost('Roulette is silent', 0);
      this.#look();
    });
  }
}

const closed = (error: TunconnectorError | undefined): string =>
  error ? error.message : 'Roulette has ended the watch';
