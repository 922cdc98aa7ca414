/**
 * A SYN to a host that this stack only stands for. Nothing is answered until somebody has found out what that host says;
 * whoever asks asks again, and is none the wiser.
 */
import * as tcp from '../../packet/tcp.ts';
import { put32 } from '../../packet/word.ts';
import type { Refusal } from './below.ts';
import type { Connection, TcpHandlers } from './connection.ts';
import { CapturedRow } from './row.ts';
import type { Segment } from './segment.ts';

const { Flag } = tcp;

export interface OfferOwner {
  accept(offer: Offer, handlers: TcpHandlers): Connection | undefined;
  decline(offer: Offer, why: 'reset' | 'silence' | Refusal): void;
}

export class Offer extends CapturedRow {
  readonly timeWait = false;
  override readonly offered = true;
  /** It was not answered, and is not withdrawn. */
  open = true;
  /** ns: when it ends by itself. */
  readonly until: number;
  readonly seq: number;
  readonly askedEcn: boolean;
  readonly #flags: number;
  readonly #window: number;
  readonly #mss: number;
  readonly #scale: number;
  readonly #sackPermitted: boolean;
  readonly #timestamps: boolean;
  readonly #tsval: number;
  readonly #owner: OfferOwner;
  /** Whoever has asked does not wait any more, or has waited too long. */
  onWithdrawn: (() => void) | undefined;

  /** Made by `Tcp`. */
  constructor(owner: OfferOwner, key: Int32Array, s: Segment, until: number) {
    super();
    this.key.set(key);
    this.until = until;
    this.seq = s.seq;
    this.askedEcn = (s.flags & (Flag.Ece | Flag.Cwr)) === (Flag.Ece | Flag.Cwr);
    this.#owner = owner;
    this.#flags = s.flags;
    this.#window = s.window;
    this.#mss = s.mss;
    this.#scale = s.scale;
    this.#sackPermitted = s.sackPermitted;
    this.#timestamps = s.timestamps;
    this.#tsval = s.tsval;
  }

  /** Answers with a SYN. Undefined: it is withdrawn, or no route leads back. */
  accept(handlers: TcpHandlers): Connection | undefined {
    return this.open ? this.#owner.accept(this, handlers) : undefined;
  }

  /** Says no: with a RST, with an ICMP error, or not at all. */
  decline(why: 'reset' | 'silence' | Refusal): void {
    if (this.open) this.#owner.decline(this, why);
  }

  /** Fills in what was read of the SYN. */
  into(s: Segment): void {
    s.seq = this.seq;
    s.flags = this.#flags;
    s.window = this.#window;
    s.mss = this.#mss;
    s.scale = this.#scale;
    s.sackPermitted = this.#sackPermitted;
    s.timestamps = this.#timestamps;
    s.tsval = this.#tsval;
    s.length = 0;
  }

  /** The TCP header that came, as far as somebody who is told of it needs it. */
  header(): Uint8Array {
    const bytes = new Uint8Array(tcp.HEADER);
    const ports = this.key[8];
    put32(bytes, 0, (ports << 16) | (ports >>> 16));
    put32(bytes, tcp.SEQUENCE, this.seq);
    bytes[tcp.DATA_OFFSET] = (tcp.HEADER >> 2) << 4;
    bytes[tcp.FLAGS] = Flag.Syn;
    return bytes;
  }
}
