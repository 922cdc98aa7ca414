/** Both ends of a channel in virtual time. Messages wait with their sender until the other end takes them. */
import { TunconnectorError } from '../errors.ts';
import { HEADER_LENGTH } from './message-reader.ts';
import {
  type Channel,
  type ChannelHandlers,
  type ChannelLimits,
  checkMessageLength,
  limitsOf,
  tooLong,
} from './outside.ts';
import { SECOND } from './units.ts';

/** How long what was sent before `close` may take to arrive, as on the machine. */
const LINGER = 5 * SECOND;

/** What a channel needs of the world around it. */
export interface Medium {
  now(): number;
  /** Calls back once after `wait` ns, never at once. Returns a function that cancels. */
  after(wait: number, callback: () => void): () => void;
  /** Drawn for one message, ns. */
  delay(): number;
  /** A host is undefined for Unix sockets, which no cut concerns. */
  isCut(from: string | undefined, to: string | undefined): boolean;
  /** How long a channel stands a cut, ns. */
  readonly patience: number;
}

export interface EndOptions {
  host: string | undefined;
  /** The other end's address. */
  peer: string;
}

export class VirtualPair {
  readonly client: VirtualEnd;
  readonly server: VirtualEnd;
  readonly #medium: Medium;
  readonly #onGone: () => void;
  #cancelPatience: (() => void) | undefined;

  constructor(medium: Medium, client: EndOptions, server: EndOptions, onGone: () => void) {
    this.#medium = medium;
    this.#onGone = onGone;
    this.client = new VirtualEnd(medium, this, client);
    this.server = new VirtualEnd(medium, this, server);
    this.client.other = this.server;
    this.server.other = this.client;
  }

  /** Something was cut or healed. */
  review(): void {
    const { client, server } = this;
    const isCut =
      this.#medium.isCut(client.host, server.host) || this.#medium.isCut(server.host, client.host);
    if (isCut && server.state !== 'opening') {
      this.#cancelPatience ??= this.#medium.after(this.#medium.patience, () => this.break('ETIMEDOUT'));
    } else if (!isCut) {
      this.#cancelPatience?.();
      this.#cancelPatience = undefined;
    }
    client.flush();
    server.flush();
  }

  /** Ends it for both ends, with what was on its way. */
  break(errno: string): void {
    this.client.clear();
    this.server.clear();
    this.client.finish(channelError(this.client.peer, errno));
    this.server.finish(channelError(this.server.peer, errno));
    this.checkGone();
  }

  checkGone(): void {
    if (!this.client.isGone || !this.server.isGone) return;
    this.#cancelPatience?.();
    this.#onGone();
  }
}

interface Sent {
  /** Undefined is the end. */
  bytes: Uint8Array | undefined;
  at: number;
}

export class VirtualEnd implements Channel {
  readonly peer: string;
  readonly host: string | undefined;
  other!: VirtualEnd;
  state: 'opening' | 'open' | 'ended' = 'opening';
  handlers: ChannelHandlers | undefined;
  limits: ChannelLimits = limitsOf({});
  /** Called once when it ends, however it ends. */
  onEnded: () => void = () => {};
  readonly #medium: Medium;
  readonly #pair: VirtualPair;
  /** What was sent and has not been taken, in order. */
  #sent: Sent[] = [];
  #buffered = 0;
  #refused = false;
  #paused = false;
  /** This end knows that the way is there. */
  #connected = false;
  #lastAt = 0;
  #cancelFlush: (() => void) | undefined;
  #cancelLinger: (() => void) | undefined;

  constructor(medium: Medium, pair: VirtualPair, options: EndOptions) {
    this.#medium = medium;
    this.#pair = pair;
    this.peer = options.peer;
    this.host = options.host;
  }

  get buffered(): number {
    return this.state === 'ended' ? 0 : this.#buffered;
  }

  /** Ended, and nothing more to bring over. */
  get isGone(): boolean {
    return this.state === 'ended' && this.#sent.length === 0;
  }

  send(bytes: Uint8Array): boolean {
    checkMessageLength(bytes.length, this.limits.maxMessage);
    if (this.state === 'ended') return false;
    const length = HEADER_LENGTH + bytes.length;
    if (this.#buffered > 0 && this.#buffered + length > this.limits.bufferLimit) {
      this.#refused = true;
      return false;
    }
    this.#buffered += length;
    this.#put(bytes.slice());
    return true;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.other.flush();
  }

  close(): void {
    if (this.state === 'ended') return;
    this.#end();
    this.#put(undefined);
    this.#cancelLinger = this.#medium.after(LINGER, () => this.#pair.break('ECONNRESET'));
  }

  /** The way is there. What was sent before leaves now. */
  open(): void {
    if (this.state === 'opening') this.state = 'open';
    this.#connected = true;
    for (const each of this.#sent) each.at = this.#schedule();
    this.flush();
    this.other.flush();
  }

  /** Looks soon whether something can be brought over. */
  flush(): void {
    const first = this.#sent[0];
    if (!first) return;
    this.#cancelFlush?.();
    this.#cancelFlush = this.#medium.after(Math.max(0, first.at - this.#medium.now()), () =>
      this.#bringOver(),
    );
  }

  /** The channel is over, and not by `close`. */
  finish(error: TunconnectorError | undefined): void {
    if (this.state === 'ended') return;
    const { handlers } = this;
    this.#end();
    this.clear();
    handlers?.onClose(error);
  }

  clear(): void {
    this.#cancelFlush?.();
    this.#cancelLinger?.();
    this.#sent = [];
  }

  #end(): void {
    this.state = 'ended';
    this.handlers = undefined;
    this.onEnded();
  }

  #put(bytes: Uint8Array | undefined): void {
    this.#sent.push({ bytes, at: this.#schedule() });
    if (this.#sent.length === 1) this.flush();
  }

  /** In order: nothing overtakes within a channel. */
  #schedule(): number {
    this.#lastAt = Math.max(this.#lastAt, this.#medium.now() + this.#medium.delay());
    return this.#lastAt;
  }

  #bringOver(): void {
    const { other } = this;
    while (this.#sent.length > 0 && this.#sent[0].at <= this.#medium.now()) {
      // Whatever holds it up calls `flush` when it is over.
      if (!this.#connected || other.state === 'opening' || other.#paused) return;
      if (this.#medium.isCut(this.host, other.host)) return;
      const { bytes } = this.#sent.shift()!;
      if (bytes === undefined) {
        this.clear();
        other.finish(undefined);
        break;
      }
      this.#buffered -= HEADER_LENGTH + bytes.length;
      other.#receive(bytes);
      this.#drain();
    }
    if (this.#sent.length > 0) this.flush();
    this.#pair.checkGone();
  }

  #receive(bytes: Uint8Array): void {
    // Closed by its program while this was on its way.
    if (this.state === 'ended') return;
    if (bytes.length <= this.limits.maxMessage) {
      this.handlers?.onMessage(bytes);
      return;
    }
    this.finish(tooLong(this.peer, bytes.length, this.limits.maxMessage));
    this.#pair.break('ECONNRESET');
  }

  #drain(): void {
    if (!this.#refused || this.state !== 'open' || this.#buffered > this.limits.bufferLimit / 2) return;
    this.#refused = false;
    this.handlers?.onDrain?.();
  }
}

const WHY: Record<string, string> = {
  ECONNREFUSED: 'refused the connection',
  ECONNRESET: 'broke the channel',
  ETIMEDOUT: 'does not answer',
};

export function channelError(peer: string, errno: string): TunconnectorError {
  return new TunconnectorError('ERR_SOCKET', `${peer} ${WHY[errno]} (${errno})`, { errno });
}
