/**
 * Who reads a stream, over a WebSocket. Messages that a slow reader has no room for are skipped, never kept; one that makes no
 * room for long, or does not answer a ping, is disconnected.
 */
import type { WebSocket } from 'ws';
import { SECOND } from '../../engine/units.ts';

/** Bytes on their way to a reader, beyond which messages are skipped. */
const BOUND = 1 << 20;
/** How long a reader may stay beyond it, and how long it may owe an answer to a ping: ns. */
const PATIENCE = 10 * SECOND;
/** From ping to ping: ns. */
const PING = 15 * SECOND;

export class Reader {
  /** Messages that were skipped so far. */
  skipped = 0;
  readonly #socket: WebSocket;
  readonly #onLate: () => void;
  /** Since when there is no room, and since when an answer is owed: ns, or 0. */
  #full = 0;
  #owes = 0;
  #pinged: number;

  /** @param onLate it was disconnected because it was too slow */
  constructor(socket: WebSocket, now: number, onLate: () => void) {
    this.#socket = socket;
    this.#onLate = onLate;
    this.#pinged = now;
    socket.on('pong', () => {
      this.#owes = 0;
    });
    // It has nothing to say.
    socket.on('message', () => socket.close(1008, 'this stream takes no messages'));
  }

  /** To be asked before each message, and before it is made: without room it is skipped, and counted. */
  hasRoom(): boolean {
    if (this.#socket.bufferedAmount <= BOUND) return true;
    this.skipped++;
    return false;
  }

  send(text: string): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(text);
  }

  /** To be called now and then: pings, and ends a reader whose time is over. */
  look(now: number): void {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    if (socket.bufferedAmount <= BOUND) this.#full = 0;
    else if (this.#full === 0) this.#full = now;
    const late = (since: number) => since !== 0 && now - since > PATIENCE;
    if (late(this.#full) || late(this.#owes)) {
      this.#onLate();
      socket.terminate();
      return;
    }
    if (now - this.#pinged < PING) return;
    this.#pinged = now;
    if (this.#owes === 0) this.#owes = now;
    socket.ping();
  }

  close(): void {
    this.#socket.close(1001, 'the link has ended');
  }
}
