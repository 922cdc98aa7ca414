/**
 * The server's end of the control protocol, without a clock, a timer or a socket.
 *
 *  1. A HELLO without a valid cookie is answered with a COOKIE and forgotten.
 *  2. With one, its address is proven: it resumes a session (same nonce, and same token, address or claim), moves
 *     it if the address changed, or is a newcomer whose claims are checked (claims.ts).
 *  3. A newcomer who claims what another session holds waits while the holder is asked.
 *  4. Welcomed, it has a session: a row in the arrays that the data path reads (session-table.ts).
 *  5. A session that says nothing turns silent and is forgotten later, or ends with GOODBYE.
 */
import { ipAt } from '../../packet/address.ts';
import { contains, formatPrefix, type IpPrefix } from '../../packet/prefix.ts';
import { type Objection, objection, type PendingClaim, PendingClaims, type ProvenHello } from './claims.ts';
import { CookieJar } from './cookie.ts';
import {
  writeAlive,
  writeCookie,
  writeGoodbye,
  writeKeepalive,
  writeProbe,
  writeProbed,
  writeRefused,
  writeWelcome,
  writeWho,
} from './messages.ts';
import type { PrefixTable } from './owners.ts';
import {
  before,
  ControlDrop,
  type ControlOut,
  checkEnd,
  MS,
  Peers,
  type RandomStream,
  RateLimit,
  SECOND,
  smoothRtt,
  type TunnelEventType,
} from './session.ts';
import { ownedPrefixes, type Session, SessionTable } from './session-table.ts';
import {
  Capability,
  CONTROL_HEADER,
  CONTROL_VERSION,
  COOKIE_SIZE,
  ControlType,
  ControlWriter,
  controlMessage,
  HELLO_SIZE,
  ParseResult,
  parseControl,
} from './wire.ts';

export interface ServerConfig {
  layer: 2 | 3;
  /** The server's own inner addresses with their on-link prefixes: clients may claim addresses inside. At most 8. */
  addresses: readonly IpPrefix[];
  /** Further prefixes inside which clients may claim addresses and announce networks. */
  routes: readonly IpPrefix[];
  /** Outer prefixes that clients may come from; empty: from anywhere. */
  allow: readonly IpPrefix[];
  /** Largest datagram (UDP payload, bytes) this end sends and accepts, 512 to 65507. */
  mtu: number;
  /** Sessions at once; default 256. */
  maxClients?: number;
  /** Claims on held addresses that are looked into at once; default 64. */
  maxPending?: number;
  /** Answers to unproven addresses per second (default 1000), of which as many may come at once. */
  unprovenRate?: number;
  /** How many pinned rows the address table has; default maxClients + maxPending + 1, which always suffices. */
  peerRows?: number;
  prefixTable: (family: 4 | 6) => PrefixTable;
}

type End = 'goodbye' | 'forgotten' | 'replaced' | 'restarted';

const SILENT_INTERVALS = 3.5;
const FORGET_AFTER = 120 * SECOND;
const GRAIN = 10 * MS;
/** Share of the rate limit that "say hello" leaves to COOKIE and REFUSED: without those nobody gets in. */
const WHO_RESERVE = 0.5;

export class ServerControl {
  /** By session: largest datagram (UDP payload, bytes) that may be sent. */
  readonly mtu: Int32Array;
  /** By session: pinned row of the client's outer address; -1 without a session. */
  readonly peerOf: Int32Array;
  /** By session: the data path sets 1 when it sends a datagram above 1200 bytes. */
  readonly large: Uint8Array;
  /**
   * By session: when its client was last heard, ns. The data path writes it for what it receives, for a double that is
   * passed becomes an object; while `silent` is 1 it calls `heard`.
   */
  readonly heardAt: Float64Array;
  /** By session: 1 when nothing was heard for some keepalive intervals. */
  readonly silent: Uint8Array;
  /** By pinned row: session index or -1. `sessionOfPeer` also takes passing rows. */
  readonly sessionByPeer: Int32Array;

  readonly #config: ServerConfig;
  readonly #out: ControlOut;
  readonly #cookies: CookieJar;
  readonly #peers: Peers;
  readonly #sessions: SessionTable;
  readonly #pending: PendingClaims;
  readonly #unproven: RateLimit;
  readonly #refusals = new RateLimit(0.2, 5);
  readonly #in = controlMessage();
  readonly #writer = new ControlWriter();
  /** One cell: when to call `tick`. */
  readonly deadline = new Float64Array(1).fill(Infinity);
  #closed = false;

  /**
   * @param secret at least 16 bytes for the cookies, fresh in every run
   * @throws ERR_CONFIG when the configuration cannot be said in one message
   */
  constructor(config: ServerConfig, out: ControlOut, random: RandomStream, secret: Uint8Array) {
    checkEnd(config.mtu, config.addresses, []);
    const { maxClients = 256, maxPending = 64, unprovenRate = 1000 } = config;
    const rows = config.peerRows ?? maxClients + maxPending + 1;
    this.#config = config;
    this.#out = out;
    this.#cookies = new CookieJar(secret);
    this.#peers = new Peers(out, rows);
    this.#sessions = new SessionTable(maxClients, rows, config.prefixTable, this.#peers, random);
    this.#pending = new PendingClaims(maxPending);
    this.#unproven = new RateLimit(unprovenRate, unprovenRate);
    ({ mtu: this.mtu, peerOf: this.peerOf, large: this.large, byPeer: this.sessionByPeer } = this.#sessions);
    ({ heard: this.heardAt, silent: this.silent } = this.#sessions);
  }

  /** Sessions now. */
  get count(): number {
    return this.#sessions.count;
  }

  /** Claims that wait for a holder's answer. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Session of a peer, or -1. */
  sessionOfPeer(peer: number): number {
    return this.#sessions.indexAt(peer);
  }

  /** Session that owns the IPv4 address at `bytes[offset..offset+4)`, or -1. */
  owner4(bytes: Uint8Array, offset: number): number {
    return this.#sessions.owners.v4.lookup(bytes, offset);
  }

  /** Session that owns the IPv6 address at `bytes[offset..offset+16)`, or -1. */
  owner6(bytes: Uint8Array, offset: number): number {
    return this.#sessions.owners.v6.lookup(bytes, offset);
  }

  /** A datagram that starts with 0. Returns 0, or why it was dropped (perhaps after an answer). */
  receive(now: number, peer: number, bytes: Uint8Array, offset: number, length: number): number {
    if (this.#closed) return ControlDrop.Closed;
    const m = this.#in;
    const parsed = parseControl(bytes, offset, length, m);
    if (parsed === ParseResult.Malformed) return ControlDrop.Malformed;
    if (m.type === ControlType.Hello) {
      if (length < HELLO_SIZE) return ControlDrop.Unpadded;
      const speaksOurs = m.versionMin <= CONTROL_VERSION && m.versionMax >= CONTROL_VERSION;
      if (parsed === ParseResult.OtherVersion || !speaksOurs) return this.#refuseVersion(now, peer);
      return this.#hello(now, peer, length);
    }
    if (parsed === ParseResult.OtherVersion) return ControlDrop.Version;
    const asks = m.type === ControlType.Keepalive || m.type === ControlType.Probe;
    const answers = m.type === ControlType.Alive || m.type === ControlType.Probed;
    if (!asks && !answers && m.type !== ControlType.Goodbye) return ControlDrop.Unexpected;

    const session = this.#sessions.withToken(m.tokenHigh, m.tokenLow);
    if (!session) {
      if (asks) this.unknownSender(now, peer, length);
      return ControlDrop.UnknownToken;
    }
    if (this.#peers.find(peer) !== session.peer) {
      // Never moved by this alone: the token may be stolen, the address forged. HELLO with this cookie moves.
      if (asks && (m.nonceHigh | m.nonceLow) !== 0) this.#sendCookie(now, peer, length);
      return ControlDrop.WrongAddress;
    }
    this.#inSession(now, session);
    return 0;
  }

  /** Data came from an address without a session: asks it to say hello. `length` is the datagram's. */
  unknownSender(now: number, peer: number, length: number): void {
    if (this.#closed || length < CONTROL_HEADER || !this.#unproven.take(now, WHO_RESERVE)) return;
    // Datagrams read together with the HELLO still carry the passing row of an address that is known by now.
    const row = this.#peers.find(peer);
    if (row !== peer && this.sessionOfPeer(row) >= 0) return;
    this.#send(peer, writeWho(this.#writer));
  }

  /** Data came from a session's client. */
  heard(now: number, session: number): void {
    this.#sessions.heard[session] = now;
    if (this.#sessions.silent[session] === 1) this.#back(now, session);
  }

  /** The system refused a datagram of `size` bytes to a session's client as too long. */
  tooLong(now: number, session: number, size: number): void {
    const s = this.#sessions.get(session);
    if (!s) return;
    s.path.tooLong(now, size);
    this.#reportMtu(now, s);
    this.#due(s.path.deadline);
  }

  /** When `tick` has something to do, or sooner; at most 10 ms late. */
  nextDeadline(): number {
    return this.deadline[0];
  }

  tick(now: number): void {
    if (this.#closed || now < this.deadline[0]) return;
    this.deadline[0] = Infinity;
    this.#settleClaims(now);
    for (let index = 0; index < this.#sessions.limit; index++) {
      const session = this.#sessions.get(index);
      if (session) this.#tickSession(now, session);
    }
  }

  /** Says goodbye to every client and forgets them. */
  close(_now: number): void {
    if (this.#closed) return;
    for (const session of this.#sessions.all()) {
      this.#send(session.peer, writeGoodbye(this.#writer, session));
      this.#sessions.remove(session);
    }
    for (const claim of this.#pending.all()) this.#forgetClaim(claim);
    this.#closed = true;
    this.deadline[0] = Infinity;
  }

  // ── HELLO

  #hello(now: number, peer: number, length: number): number {
    const m = this.#in;
    const outer = this.#out.address(peer);
    if (!this.#cookies.accepts(now, m.cookie, m.cookieLength, outer, m.nonceHigh, m.nonceLow)) {
      return this.#sendCookie(now, peer, length) ? 0 : ControlDrop.RateLimited;
    }
    const hello = this.#proven(peer);
    if (!this.#allowed(outer)) {
      const text = 'this server does not serve the network you come from';
      return this.#refuse(now, hello, { code: 'not-allowed', text });
    }
    const session = this.#sessionOf(hello);
    if (session) return this.#resume(now, hello, session);
    const problem = objection(this.#config, hello);
    if (problem) return this.#refuse(now, hello, problem);
    // Held while it is decided, for the end of another session at this address must not free the row.
    const row = this.#peers.hold(peer);
    if (row < 0) return ControlDrop.Busy;
    const result = this.#newcomer(now, { ...hello, peer: row });
    this.#peers.release(row);
    return result;
  }

  /** The HELLO just parsed, as a value that may be kept. */
  #proven(peer: number): ProvenHello {
    const { nonceHigh, nonceLow, sequence, layer, mtu, keepalive, capabilities, addresses, networks } =
      this.#in;
    return { peer, nonceHigh, nonceLow, sequence, layer, mtu, keepalive, capabilities, addresses, networks };
  }

  #allowed(outer: Uint8Array): boolean {
    const { allow } = this.#config;
    if (allow.length === 0) return true;
    const address = ipAt(outer, 4, outer[0] === 4 ? 4 : 6);
    return allow.some((prefix) => contains(prefix, address));
  }

  /** The session this HELLO is of: the same nonce, and the same token, outer address or claim. */
  #sessionOf(hello: ProvenHello): Session | undefined {
    const { tokenHigh, tokenLow } = this.#in;
    const candidates = [
      this.#sessions.withToken(tokenHigh, tokenLow),
      this.#sessions.at(this.#peers.find(hello.peer)),
      ...this.#sessions.holders(hello),
    ];
    return candidates.find((s) => s?.nonceHigh === hello.nonceHigh && s.nonceLow === hello.nonceLow);
  }

  #resume(now: number, hello: ProvenHello, session: Session): number {
    const moves = this.#peers.find(hello.peer) !== session.peer;
    const late = before(hello.sequence, session.sequence);
    // A HELLO that the network held back must not move the session to where the client was before. Where the client is still, and is not
    // heard any more, the sequence may be what a damaged HELLO said: without this it would be deaf to the client until it is forgotten.
    const old = moves
      ? late || hello.sequence === session.sequence
      : late && this.silent[session.index] === 0;
    if (old) return ControlDrop.Stale;
    if (moves) {
      const row = this.#peers.hold(hello.peer);
      if (row < 0) return ControlDrop.Busy;
      this.#move(now, session, row);
    }
    session.sequence = hello.sequence;
    this.heard(now, session.index);
    this.#send(session.peer, writeWelcome(this.#writer, session, this.#config));
    return 0;
  }

  #move(now: number, session: Session, row: number): void {
    const other = this.#sessions.at(row);
    if (other) this.#end(now, other, 'replaced');
    const waiting = this.#pending.find(row);
    if (waiting) this.#forgetClaim(waiting);
    this.#sessions.move(session, row);
    this.#startPath(now, session);
    this.#event(now, 'moved', session);
  }

  #newcomer(now: number, hello: ProvenHello): number {
    const waiting = this.#pending.find(hello.peer);
    if (waiting) {
      if (waiting.nonceHigh === hello.nonceHigh && waiting.nonceLow === hello.nonceLow) {
        if (before(waiting.sequence, hello.sequence)) waiting.sequence = hello.sequence;
        return 0;
      }
      this.#forgetClaim(waiting);
    }
    // One session per outer address: the client was restarted and has another nonce.
    const former = this.#sessions.at(hello.peer);
    if (former) this.#end(now, former, 'restarted');

    const holders = this.#sessions.holders(hello);
    if (holders.length === 0) return this.#accept(now, hello);
    if (this.#pending.full) return ControlDrop.Busy;
    this.#peers.hold(hello.peer);
    const tokens = holders.map((holder) => holder.tokenLow);
    this.#pending.add(now, hello, tokens);
    this.#settleClaims(now);
    return 0;
  }

  #accept(now: number, hello: ProvenHello): number {
    const session = this.#sessions.add(now, hello);
    if (!session) {
      const text = `all ${this.#sessions.limit} places are taken`;
      return this.#refuse(now, hello, { code: 'full', text });
    }
    this.#startPath(now, session);
    this.#due(this.#silentAt(session));
    this.#send(session.peer, writeWelcome(this.#writer, session, this.#config));
    this.#event(now, 'up', session);
    return 0;
  }

  // ── claims on what another session holds

  #settleClaims(now: number): void {
    for (const claim of this.#pending.all()) {
      const holders = this.#sessions.holders(claim);
      // Who took it since this claim came has just proven to be alive.
      const heard = (s: Session): boolean =>
        this.#sessions.heard[s.index] > claim.since || !claim.holders.includes(s.tokenLow);
      const alive = holders.find(heard);
      if (alive) {
        this.#refuse(now, claim, { code: 'taken', text: takenText(claim, alive) });
        this.#forgetClaim(claim);
      } else if (holders.length === 0 || this.#pending.exhausted(now, claim)) {
        for (const holder of holders) this.#end(now, holder, 'replaced');
        this.#accept(now, claim);
        this.#forgetClaim(claim);
      } else if (this.#pending.mayAsk(now, claim)) {
        for (const holder of holders) this.#sendKeepalive(now, holder);
      }
    }
    this.#due(this.#pending.deadline());
  }

  #forgetClaim(claim: PendingClaim): void {
    this.#pending.remove(claim);
    this.#peers.release(claim.peer);
  }

  // ── a session's life

  #inSession(now: number, session: Session): void {
    const m = this.#in;
    switch (m.type) {
      case ControlType.Goodbye:
        this.#end(now, session, 'goodbye');
        if (this.#pending.size > 0) this.#settleClaims(now);
        return;
      case ControlType.Keepalive:
        this.#send(session.peer, writeAlive(this.#writer, session, m.sequence));
        break;
      case ControlType.Probe:
        this.#send(session.peer, writeProbed(this.#writer, session, m.sequence, m.size));
        break;
      case ControlType.Alive:
        if (m.sequence === session.keepaliveSequence) {
          session.rtt = smoothRtt(session.rtt, now - session.keepaliveSent);
        }
        break;
      default:
        session.path.answered(now, m.sequence, m.size);
        this.#reportMtu(now, session);
        this.#due(session.path.deadline);
    }
    this.heard(now, session.index);
    if (this.#pending.size > 0) this.#settleClaims(now);
  }

  #tickSession(now: number, session: Session): void {
    const { index, path } = session;
    const { silent, heard } = this.#sessions;
    if (silent[index] === 0 && now >= this.#silentAt(session)) {
      silent[index] = 1;
      this.#event(now, 'silent', session);
    }
    if (silent[index] === 1) {
      const forget = heard[index] + FORGET_AFTER;
      if (now >= forget) this.#end(now, session, 'forgotten');
      else this.#due(forget);
      return;
    }
    if (now >= path.deadline) this.#probe(now, session);
    this.#due(path.deadline);
    this.#due(this.#silentAt(session));
  }

  #silentAt(session: Session): number {
    return this.#sessions.heard[session.index] + SILENT_INTERVALS * session.keepalive * MS;
  }

  #back(now: number, index: number): void {
    this.#sessions.silent[index] = 0;
    const session = this.#sessions.get(index);
    if (!session) return;
    session.path.recheck(now);
    this.#due(session.path.deadline);
    this.#due(this.#silentAt(session));
    this.#event(now, 'back', session);
  }

  #end(now: number, session: Session, reason: End): void {
    this.#event(now, 'gone', session, reason);
    this.#sessions.remove(session);
  }

  #startPath(now: number, session: Session): void {
    const maximum = Math.min(session.mtu, this.#config.mtu);
    session.rtt = 0;
    if (session.capabilities & Capability.probe) session.path.start(now, maximum);
    else session.path.fix(maximum);
    this.mtu[session.index] = session.path.current;
    this.#due(session.path.deadline);
  }

  #probe(now: number, session: Session): void {
    const { index, path } = session;
    const size = path.poll(now, session.rtt, this.#sessions.heard[index], this.large[index] !== 0);
    this.#reportMtu(now, session);
    if (size === 0) return;
    this.large[index] = 0;
    const w = writeProbe(this.#writer, session, path.sequence, size, null);
    path.sequence = (path.sequence + 1) >>> 0;
    this.#out.send(session.peer, w.bytes, w.length, false);
    this.#sendKeepalive(now, session);
  }

  #reportMtu(now: number, session: Session): void {
    this.mtu[session.index] = session.path.current;
    if (session.path.news()) this.#event(now, 'pmtu', session);
  }

  /** Wakes on a grid, so that thousands of sessions are looked at a hundred times a second at most. */
  #due(time: number): void {
    const wake = Math.ceil(time / GRAIN) * GRAIN;
    if (wake < this.deadline[0]) this.deadline[0] = wake;
  }

  #event(now: number, type: TunnelEventType, session: Session, reason = ''): void {
    this.#tell(now, type, session, session.index, reason, '');
  }

  #tell(
    now: number,
    type: TunnelEventType,
    of: ProvenHello,
    session: number,
    reason: string,
    text: string,
  ): void {
    this.#out.event({
      type,
      time: now,
      session,
      peer: of.peer,
      outer: this.#out.address(of.peer).slice(),
      addresses: of.addresses,
      networks: of.networks,
      reason,
      text,
      mtu: session < 0 ? 0 : this.mtu[session],
    });
  }

  // ── sending

  /** To an address that has not proven itself: never more than came, never too often. */
  #sendCookie(now: number, peer: number, length: number): boolean {
    if (length < COOKIE_SIZE || !this.#unproven.take(now, 0)) return false;
    const { nonceHigh, nonceLow } = this.#in;
    const cookie = this.#cookies.make(now, this.#out.address(peer), nonceHigh, nonceLow);
    this.#send(peer, writeCookie(this.#writer, this.#in, cookie));
    return true;
  }

  /** The same, after a HELLO of full size. */
  #refuseVersion(now: number, peer: number): number {
    if (!this.#unproven.take(now, 0)) return ControlDrop.RateLimited;
    this.#send(peer, writeRefused(this.#writer, this.#in, 'version', ''));
    return ControlDrop.Version;
  }

  #refuse(now: number, hello: ProvenHello, { code, text }: Objection): number {
    this.#send(hello.peer, writeRefused(this.#writer, hello, code, text));
    // A client repeats itself every second for as long as it is refused; a person needs to read it now and then.
    if (this.#refusals.take(now, 0)) this.#tell(now, 'refused', hello, -1, code, text);
    return ControlDrop.Refused;
  }

  #sendKeepalive(now: number, session: Session): void {
    session.keepaliveSent = now;
    session.keepaliveSequence = (session.keepaliveSequence + 1) >>> 0;
    this.#send(session.peer, writeKeepalive(this.#writer, session, session.keepaliveSequence, null));
  }

  #send(peer: number, message: ControlWriter): void {
    this.#out.send(peer, message.bytes, message.length, true);
  }
}

function takenText(claim: ProvenHello, holder: ProvenHello): string {
  const held = ownedPrefixes(holder).map(formatPrefix);
  const first = ownedPrefixes(claim)
    .map(formatPrefix)
    .find((prefix) => held.includes(prefix));
  return `${first} is held by another client, which answers`;
}
