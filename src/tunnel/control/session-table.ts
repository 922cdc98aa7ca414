/** The sessions of a server: rows of a fixed-size table, found by index, token, outer address and inner prefix. */
import { addressBits, type IpPrefix } from '../../packet/prefix.ts';
import type { ProvenHello } from './claims.ts';
import { InnerOwners, type PrefixTable } from './owners.ts';
import { PathMtu } from './pmtu.ts';
import { clampKeepalive, type Peers, type RandomStream } from './session.ts';

/** A session, apart from what the data path reads. */
export interface Session extends ProvenHello {
  readonly index: number;
  readonly tokenHigh: number;
  readonly tokenLow: number;
  readonly path: PathMtu;
  /** Smoothed, ns; 0 when unknown. */
  rtt: number;
  /** Of the last KEEPALIVE sent, and when that was. */
  keepaliveSequence: number;
  keepaliveSent: number;
}

/** All prefixes that a session with these claims owns. */
export function ownedPrefixes({ addresses, networks }: ProvenHello): IpPrefix[] {
  const hosts = addresses.map(({ address }) => ({ address, length: addressBits(address.family) }));
  return [...hosts, ...networks];
}

export class SessionTable {
  /** Columns by session index. */
  readonly mtu: Int32Array;
  readonly peerOf: Int32Array;
  readonly large: Uint8Array;
  readonly heard: Float64Array;
  readonly silent: Uint8Array;
  /** Session index by pinned row, or -1. */
  readonly byPeer: Int32Array;
  readonly owners: InnerOwners;
  count = 0;

  readonly #rows: (Session | undefined)[];
  readonly #byToken = new Map<number, Session>(); // by the lower half, which is unique
  readonly #peers: Peers;
  readonly #random: RandomStream;

  constructor(
    clients: number,
    peerRows: number,
    prefixTable: (family: 4 | 6) => PrefixTable,
    peers: Peers,
    random: RandomStream,
  ) {
    this.#rows = new Array<Session | undefined>(clients).fill(undefined);
    this.mtu = new Int32Array(clients);
    this.peerOf = new Int32Array(clients).fill(-1);
    this.large = new Uint8Array(clients);
    this.heard = new Float64Array(clients);
    this.silent = new Uint8Array(clients);
    this.byPeer = new Int32Array(peerRows).fill(-1);
    this.owners = new InnerOwners(prefixTable(4), prefixTable(6));
    this.#peers = peers;
    this.#random = random;
  }

  get limit(): number {
    return this.#rows.length;
  }

  get(index: number): Session | undefined {
    return this.#rows[index];
  }

  /** A copy, so that sessions may end while it is walked. */
  all(): Session[] {
    return this.#rows.filter((session) => session !== undefined);
  }

  withToken(high: number, low: number): Session | undefined {
    const session = this.#byToken.get(low);
    return session?.tokenHigh === high ? session : undefined;
  }

  indexAt(peer: number): number {
    return peer >= 0 && peer < this.byPeer.length ? this.byPeer[peer] : -1;
  }

  at(peer: number): Session | undefined {
    return this.#rows[this.indexAt(peer)];
  }

  /** Sessions that hold something of what is claimed. */
  holders(hello: ProvenHello): Session[] {
    const holders = new Set<Session>();
    for (const prefix of ownedPrefixes(hello)) {
      const holder = this.#rows[this.owners.holder(prefix)];
      if (holder) holders.add(holder);
    }
    return [...holders];
  }

  /** A new session with a fresh token, or undefined when the table is full. Holds the peer, which is held already. */
  add(now: number, hello: ProvenHello): Session | undefined {
    const index = this.#rows.indexOf(undefined);
    if (index < 0) return undefined;
    let tokenLow = 0;
    while (tokenLow === 0 || this.#byToken.has(tokenLow)) tokenLow = this.#random.u32();
    const session: Session = {
      ...hello,
      peer: this.#peers.hold(hello.peer),
      keepalive: clampKeepalive(hello.keepalive),
      index,
      tokenHigh: this.#random.u32(),
      tokenLow,
      path: new PathMtu(),
      rtt: 0,
      keepaliveSequence: 0,
      keepaliveSent: 0,
    };
    this.#rows[index] = session;
    this.#byToken.set(tokenLow, session);
    this.heard[index] = now;
    this.silent[index] = this.large[index] = 0;
    this.peerOf[index] = session.peer;
    this.byPeer[session.peer] = index;
    for (const prefix of ownedPrefixes(hello)) this.owners.add(prefix, index);
    this.count++;
    return session;
  }

  /** @param row of the new address; its hold passes to the session */
  move(session: Session, row: number): void {
    this.byPeer[session.peer] = -1;
    this.#peers.release(session.peer);
    session.peer = row;
    this.peerOf[session.index] = row;
    this.byPeer[row] = session.index;
  }

  remove(session: Session): void {
    const { index, peer } = session;
    for (const prefix of ownedPrefixes(session)) this.owners.remove(prefix);
    this.#rows[index] = undefined;
    this.#byToken.delete(session.tokenLow);
    this.mtu[index] = this.silent[index] = 0;
    this.peerOf[index] = this.byPeer[peer] = -1;
    this.#peers.release(peer);
    this.count--;
  }
}
