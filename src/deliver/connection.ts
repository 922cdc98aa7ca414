/**
 * One TCP connection of a client, joined to one of this machine. The way out is opened first, and the client's SYN answered
 * as it goes. Ends and resets pass both ways; who is slow holds up who sends, with bounded buffers between.
 */
import type { Connection } from '../stack/tcp/connection.ts';
import type { Offer } from '../stack/tcp/offer.ts';
import { refusalOf } from './errors.ts';
import type { OutwardConnection, OutwardHandlers } from './outward.ts';

/** Bytes that are handed on at once. */
const AT_ONCE = 65_536;
const NOTHING = new Uint8Array(0);

/** How it went: it could not be opened, one side broke it off, or both directions had ended. */
export type Ending = 'failed' | 'broken' | 'ended';

export class Joined {
  readonly #offer: Offer;
  readonly #ended: (ending: Ending) => void;
  readonly #outward: OutwardConnection;
  #client: Connection | undefined;
  /** What the client's side had no room for. */
  #waiting: Uint8Array = NOTHING;
  /** The outward side has more than it can send. */
  #full = false;
  /** Ends that came, and those that were passed on. */
  #outwardEnd = false;
  #clientEnd = false;
  #endPassed = false;
  #outwardGone = false;
  #clientGone = false;
  #told = false;
  /** Bytes from the client, and to it. */
  up = 0;
  down = 0;

  /** @param open how the way out is opened @param ended is told once, when nothing is left of it */
  constructor(
    offer: Offer,
    open: (handlers: OutwardHandlers) => OutwardConnection,
    ended: (ending: Ending) => void,
  ) {
    this.#offer = offer;
    this.#ended = ended;
    offer.onWithdrawn = () => this.#breakOff();
    this.#outward = open({
      onConnected: () => this.#opened(),
      onData: (bytes) => this.#toClient(bytes),
      onEnd: () => this.#outwardEnded(),
      onDrain: () => {
        this.#full = false;
        this.#fromClient();
      },
      onClosed: (error) => this.#outwardClosed(error),
    });
  }

  /** Ends both sides at once. */
  destroy(): void {
    this.#offer.decline('silence');
    this.#client?.reset();
    this.#clientGone = true;
    this.#breakOff();
  }

  // ── The outward side

  #opened(): void {
    this.#client = this.#offer.accept({
      onReadable: () => this.#fromClient(),
      onWritable: () => this.#room(),
      onEnd: () => {
        this.#clientEnd = true;
        this.#passEnd();
      },
      onClosed: (error) => this.#clientClosed(error),
    });
    if (!this.#client) this.#breakOff();
  }

  #toClient(bytes: Uint8Array): boolean {
    if (this.#clientGone) return false;
    const taken = this.#client!.write(bytes);
    this.down += taken;
    if (taken === bytes.length) return true;
    this.#waiting = bytes.slice(taken);
    return false;
  }

  #outwardEnded(): void {
    this.#outwardEnd = true;
    if (this.#waiting.length === 0) this.#client?.end();
  }

  #outwardClosed(error: string | undefined): void {
    this.#outwardGone = true;
    if (!this.#client) {
      this.#answer(error ?? 'ECONNABORTED');
      this.#tell('failed');
    } else if (error !== undefined) {
      if (!this.#clientGone) this.#client.reset();
      this.#clientGone = true;
      this.#tell('broken');
    } else if (this.#clientGone) {
      this.#tell('ended');
    }
  }

  /** What the client hears when there is no way out. */
  #answer(error: string): void {
    const refused = error === 'ECONNREFUSED' || error === 'ECONNRESET';
    this.#offer.decline(refused ? 'reset' : (refusalOf(error) ?? 'silence'));
  }

  // ── The client's side

  #fromClient(): void {
    const client = this.#client!;
    while (!this.#full && !this.#outwardGone && client.readable > 0) {
      const bytes = new Uint8Array(Math.min(client.readable, AT_ONCE));
      this.up += client.read(bytes);
      this.#full = !this.#outward.write(bytes);
    }
    this.#passEnd();
  }

  #passEnd(): void {
    if (!this.#clientEnd || this.#endPassed || this.#outwardGone || this.#client!.readable > 0) return;
    this.#endPassed = true;
    this.#outward.end();
  }

  #room(): void {
    if (this.#waiting.length > 0) {
      const taken = this.#client!.write(this.#waiting);
      this.down += taken;
      this.#waiting = taken === this.#waiting.length ? NOTHING : this.#waiting.subarray(taken);
      if (this.#waiting.length > 0) return;
    }
    if (this.#outwardEnd) this.#client!.end();
    else if (!this.#outwardGone) this.#outward.resume();
  }

  #clientClosed(error: string | undefined): void {
    this.#clientGone = true;
    if (error !== undefined) this.#breakOff();
    else if (this.#outwardGone) this.#tell('ended');
  }

  /** The client does not wait any more. */
  #breakOff(): void {
    if (!this.#outwardGone) {
      this.#outwardGone = true;
      this.#outward.reset();
    }
    this.#tell('broken');
  }

  #tell(ending: Ending): void {
    if (this.#told) return;
    this.#told = true;
    this.#waiting = NOTHING;
    this.#ended(ending);
  }
}
