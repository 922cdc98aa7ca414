/**
 * Watches of the registry over WebSockets. A watcher that does not keep up has its place in Roulette's history and nothing kept
 * for it here but what is on its way; one that takes nothing for long, or does not answer a ping, is disconnected.
 */
import type { WebSocket } from 'ws';
import type { TenantId } from '../../chain/roulette/model/model.ts';
import type { Roulette } from '../../chain/roulette/roulette.ts';
import type { Stream } from '../../chain/roulette/watch/feed.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';

export interface WatcherLimits {
  /** Bytes on their way to one watcher, beyond which nothing is taken for it. Default 1 MiB. */
  bound: number;
  /** Watchers at a time. Default 8192. */
  watchers: number;
}

/** ns: until the first message, without progress, without an answer to a ping; from ping to ping. */
const HELLO = 5 * SECOND;
const PATIENCE = 10 * SECOND;
const PING = 15 * SECOND;
const LOOK = SECOND;
/** What a WebSocket's close can say. */
const REASON = 120;

interface Watcher {
  socket: WebSocket;
  stream: Stream | undefined;
  since: number;
  /** Since when there is no room, and since when a pong is owed: ns, or 0. */
  full: number;
  owes: number;
  pinged: number;
}

export class Watchers {
  /** Of all that there were: disconnected because they were too slow. */
  late = 0;
  readonly #roulette: Roulette;
  readonly #runtime: Pick<Runtime, 'now' | 'timer'>;
  readonly #limits: WatcherLimits;
  readonly #watchers = new Set<Watcher>();
  #cancel = () => {};

  constructor(
    roulette: Roulette,
    runtime: Pick<Runtime, 'now' | 'timer'>,
    limits: Partial<WatcherLimits> = {},
  ) {
    this.#roulette = roulette;
    this.#runtime = runtime;
    this.#limits = { bound: 1 << 20, watchers: 8192, ...limits };
    this.#lookLater();
  }

  get size(): number {
    return this.#watchers.size;
  }

  /** @throws ERR_BUSY */
  admit(): void {
    const { watchers } = this.#limits;
    if (!this.#roulette.isReady)
      throw new TunconnectorError('ERR_BUSY', 'the store has not been read yet', { remedy: 'come again' });
    if (this.size >= watchers)
      throw new TunconnectorError('ERR_BUSY', `there are ${watchers} watchers already`, {
        remedy: 'come again',
      });
  }

  add(socket: WebSocket, tenant: TenantId): void {
    const now = this.#runtime.now();
    const watcher: Watcher = { socket, stream: undefined, since: now, full: 0, owes: 0, pinged: now };
    this.#watchers.add(watcher);
    socket.on('pong', () => {
      watcher.owes = 0;
    });
    socket.once('message', (data) => {
      this.#begin(watcher, tenant, String(data));
      socket.on('message', () => socket.close(1008, 'one message is enough'));
    });
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#watchers.delete(watcher);
      if (watcher.stream) this.#roulette.endWatch(watcher.stream);
    });
  }

  close(): void {
    this.#cancel();
    for (const { socket } of this.#watchers) socket.close(1001, 'this Roulette ends');
  }

  #begin(watcher: Watcher, tenant: TenantId, text: string): void {
    const { socket } = watcher;
    const { bound } = this.#limits;
    const sent = () => {
      if (socket.bufferedAmount <= bound / 2) watcher.stream?.resume();
    };
    try {
      watcher.stream = this.#roulette.watch(tenant, parse(text), {
        send: (message) => {
          if (socket.readyState !== socket.OPEN || socket.bufferedAmount > bound) return false;
          socket.send(JSON.stringify(message), sent);
          return true;
        },
        onEnd: (reason) => {
          if (reason === 'slow') this.late++;
          socket.close(
            1013,
            reason === 'slow' ? 'too slow; come again' : 'the store was read anew; come again',
          );
        },
      });
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      socket.close(error.code === 'ERR_BUSY' ? 1013 : 1008, error.message.slice(0, REASON));
    }
  }

  #lookLater(): void {
    this.#cancel = this.#runtime.timer(this.#runtime.now() + LOOK, () => {
      const now = this.#runtime.now();
      for (const watcher of this.#watchers) this.#look(watcher, now);
      this.#lookLater();
    });
  }

  #look(watcher: Watcher, now: number): void {
    const { socket, stream, since } = watcher;
    if (socket.readyState !== socket.OPEN) {
      // It was told to go, and does not.
      if (now - since > PATIENCE && socket.readyState === socket.CLOSING) socket.terminate();
      return;
    }
    watcher.since = stream ? now : since;
    if (socket.bufferedAmount <= this.#limits.bound) watcher.full = 0;
    else if (watcher.full === 0) watcher.full = now;
    const late = (from: number) => from !== 0 && now - from > PATIENCE;
    if (late(watcher.full) || late(watcher.owes) || (!stream && now - since > HELLO)) {
      this.late++;
      socket.terminate();
      return;
    }
    if (now - watcher.pinged < PING) return;
    watcher.pinged = now;
    if (watcher.owes === 0) watcher.owes = now;
    socket.ping();
  }
}

/** @throws ERR_CONFIG */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new TunconnectorError('ERR_CONFIG', 'the first message is no JSON');
  }
}
