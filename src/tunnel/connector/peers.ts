/** Who is at the other end of a tunnel's end, kept from what its tunnel app tells. */
import type { TunnelNotice } from '../control-link.ts';
import type { PeerReport, Side } from './report.ts';

/** A peer of this end came, went or changed; `waiting` is a client's: nobody answered its first hellos. */
export interface PeerChange {
  side: Side;
  /** Of this end. */
  interface: string;
  change: 'came' | 'gone' | 'moved' | 'silent' | 'back' | 'refused' | 'waiting';
  /** The peer's outer address. */
  outer: string;
  /** Inner addresses of the peer and networks behind it, as far as they are known. */
  addresses: string[];
  networks: string[];
  /** A word for programs, `goodbye` or `taken`; may be empty. */
  reason: string;
  /** A line for people; may be empty. */
  text: string;
}

/** A notice of any format: `raw` says no more than who speaks. */
export interface AnyNotice {
  type: TunnelNotice['type'] | 'peer';
  outer: string;
  session?: number;
  addresses?: string[];
  networks?: string[];
  reason?: string;
  text?: string;
  datagram?: number;
}

export class PeerBook {
  readonly #side: Side;
  readonly #peers = new Map<number, PeerReport>();
  #waiting = false;
  /** Whether a client's server answers; of no meaning on a server. */
  connected = false;
  /** Whether it ever did. */
  known = false;

  constructor(side: Side) {
    this.#side = side;
  }

  list(): PeerReport[] {
    return [...this.#peers.values()].map((peer) => ({ ...peer }));
  }

  /** Takes a notice in. Returns what it means to people, or undefined when it means nothing new. */
  note(notice: AnyNotice): PeerChange['change'] | undefined {
    const { type, outer, session = 0, addresses = [], networks = [] } = notice;
    const peer = this.#peers.get(session);
    switch (type) {
      case 'up':
      case 'peer': {
        this.#peers.set(session, { outer, addresses, networks, silent: false });
        const first = !this.known;
        this.connected = this.known = true;
        if (this.#side === 'client') return first ? undefined : 'back';
        return peer ? 'moved' : 'came';
      }
      case 'moved':
        if (peer) peer.outer = outer;
        return 'moved';
      case 'back':
        if (peer) Object.assign(peer, { outer, silent: false });
        this.connected = true;
        return 'back';
      case 'silent':
        if (peer) peer.silent = true;
        this.connected = false;
        return 'silent';
      case 'gone':
        this.#peers.delete(session);
        this.connected = false;
        return this.#side === 'client' ? 'silent' : 'gone';
      case 'refused':
        return 'refused';
      case 'resolve': {
        const say = !this.known && !this.#waiting;
        this.#waiting = true;
        return say ? 'waiting' : undefined;
      }
      default:
        return undefined;
    }
  }
}
