/**
 * The server's end of the control protocol, without a clock, a timer or a socket.
 *
 *  1. A HELLO without a valid cookie is answered with a COOKIE and forgotten.
 *  2. With one, its address is proven: it resumes a session (by token or nonce), moves it if the address changed,
 *     or is a newcomer whose claims are checked.
 *  3. A newcomer who claims what another session holds waits while the holder is asked (claims.ts).
 *  4. Welcomed, it has a session: a row in the arrays that the data path reads.
 *  5. A session that says nothing turns silent, is forgotten later, or ends with GOODBYE.
 */
import { ipAt } from '../../packet/address.ts';
import { addressBits, contains, formatPrefix, type IpPrefix } from '../../packet/prefix.ts';
import { type Objection, objection, type PendingClaim, PendingClaims, type ProvenHello } from './claims.ts';
import { CookieJar } from './cookie.ts';
import { InnerOwners, type PrefixTable } from './owners.ts';
import { PathMtu } from './pmtu.ts';
import {
  before,
  ControlDrop,
  type ControlOut,
  checkEnd,
  clampKeepalive,
  MS,
  Peers,
  type RandomStream,
  RateLimit,
  SECOND,
  smoothRtt,
  type TunnelEventType,
} from './session.ts';
import {
  Capability,
  CONTROL_HEADER,
  CONTROL_VERSION,
  COOKIE_SIZE,
  ControlField,
  ControlType,
  ControlWriter,
  controlMessage,
  HELLO_SIZE,
  ParseResult,
  parseControl,
  RefusalCode,
} from './wire.ts';

export interface ServerConfig {
  layer: 2 | 3;
  /** The server's own inner addresses with their on-link prefixes: clients may claim addresses inside. At most 8. */
  addresses: readonly IpPrefix[];
  /** Further prefixes inside which clients may claim addresses and announce networks. */
  routes: readonly IpPrefix[];
  /** Outer prefixes that clients may come from; empty: from anywhere. */
  allow: readonly IpPrefix[];
  /** Largest datagram (UDP payload, bytes) this end sends and accepts. */
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

/** A session, apart from what the data path reads. */
interface Session extends ProvenHello {
  index: number;
  tokenHigh: number;
  tokenLow: number;
  path: PathMtu;
  rtt: number;
  keepaliveSequence: number;
  keepaliveSent: number;
}

type End = 'goodbye' | 'forgotten' | 'replaced' | 'restarted';

const SILENT_INTERVALS = 3.5;
const FORGET_AFTER = 120 * SECOND;
/** Share of the rate limit that "say hello" leaves to COOKIE and REFUSED: without those nobody gets in. */
const WHO_RESERVE = 0.5;

export class ServerControl {
  /** By session: largest datagram (UDP payload, bytes) that may be sent. */
  readonly mtu: Int32Array;
  /** By session: pinned row of the client's outer address; -1 without a session. */
  readonly peerOf: Int32Array;
  /** By session: the data path sets 1 when it sends a datagram above 1200 bytes. */
  readonly large: Uint8Array;
  /** By pinned row: session index or -1. `sessionOfPeer` also takes passing rows. */
  readonly sessionByPeer: Int32Array;

  readonly #config: ServerConfig;
  readonly #out: ControlOut;
  readonly #random: RandomStream;
  readonly #cookies: CookieJar;
  readonly #owners: InnerOwners;
  readonly #peers: Peers;
  readonly #unproven: RateLimit;
  readonly #refusals = new RateLimit(0.2, 5);
  readonly #pending: PendingClaims;
  readonly #sessions: (Session | undefined)[];
  readonly #heard: Float64Array;
  readonly #silent: Uint8Array;
  readonly #byToken = new Map<number, Session>(); // by the lower half, which is unique
  readonly #in = controlMessage();
  readonly #writer = new ControlWriter();
  #count = 0;
  #deadline = Infinity; // never later than the first thing to do
  #closed = false;

  /**
   * @param secret at least 16 bytes for the cookies, fresh in every run
   * @throws ERR_CONFIG when the configuration cannot be said in one message
   */
  constructor(config: ServerConfig, out: ControlOut, random: RandomStream, secret: Uint8Array) {
    checkEnd(config.mtu, config.addresses, config.routes);
    const clients = config.maxClients ?? 256;
    const pending = config.maxPending ?? 64;
    const rate = config.unprovenRate ?? 1000;
    this.#config = config;
    this.#out = out;
    this.#random = random;
    this.#cookies = new CookieJar(secret);
    this.#owners = new InnerOwners(config.prefixTable(4), config.prefixTable(6));
    this.#unproven = new RateLimit(rate, rate);
    this.#pending = new PendingClaims(pending);
    this.#sessions = new Array<Session | undefined>(clients).fill(undefined);
    this.#heard = new Float64Array(clients);
    this.#silent = new Uint8Array(clients);
    this.mtu = new Int32Array(clients);
    this.peerOf = new Int32Array(clients).fill(-1);
    this.large = new Uint8Array(clients);
    this.sessionByPeer = new Int32Array(config.peerRows ?? clients + pending + 1).fill(-1);
    this.#peers = new Peers(out, this.sessionByPeer.length);
  }

  /** Sessions now. */
  get count(): number {
    return this.#count;
  }

  /** Claims that wait for a holder's answer. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Session of a peer, or -1. */
  sessionOfPeer(peer: number): number {
    return peer >= 0 && peer < this.sessionByPeer.length ? this.sessionByPeer[peer] : -1;
  }

  /** Session that owns the IPv4 address at `bytes[offset..offset+4)`, or -1. */
  owner4(bytes: Uint8Array, offset: number): number {
    return this.#owners.v4.lookup(bytes, offset);
  }

  /** Session that owns the IPv6 address at `bytes[offset..offset+16)`, or -1. */
  owner6(bytes: Uint8Array, offset: number): number {
    return this.#owners.v6.lookup(bytes, offset);
  }

  /** A datagram that starts with 0. Returns 0, or why it was dropped (perhaps after an answer). */
  receive(now: number, peer: number, bytes: Uint8Array, offset: number, length: number): number {
    if (this.#closed) return ControlDrop.Closed;
    const m = this.#in;
    const parsed = parseControl(bytes, offset, length, m);
    if (parsed === ParseResult.Malformed) return ControlDrop.Malformed;
    if (parsed === ParseResult.OtherVersion) {
      if (m.type !== ControlType.Hello) return ControlDrop.Version;
      return this.#refuseVersion(now, peer, length);
    }
    if (m.type === ControlType.Hello) return this.#hello(now, peer, length);
    const answersClient = m.type === ControlType.Keepalive || m.type === ControlType.Probe;
    const answered = m.type === ControlType.Alive || m.type === ControlType.Probed;
    if (!answersClient && !answered && m.type !== ControlType.Goodbye) return ControlDrop.Unexpected;

    const session = this.#sessionByToken(m.tokenHigh, m.tokenLow);
    if (!session) {
      if (answersClient) this.unknownSender(now, peer, length);
      return ControlDrop.UnknownToken;
    }
    if (this.#peers.find(peer) !== session.peer) {
      // Never moved by this alone: the token may be stolen, the address forged. HELLO with this cookie moves.
      if (answersClient && m.nonceLow !== 0) this.#sendCookie(now, peer, length);
      return ControlDrop.WrongAddress;
    }
    this.#inSession(now, session);
    return 0;
  }

  /** Data came from an address without a session: asks it to say hello. `length` is the datagram's. */
  unknownSender(now: number, peer: number, length: number): void {
    if (this.#closed || length < CONTROL_HEADER || !this.#unproven.take(now, WHO_RESERVE)) return;
    const row = this.#peers.find(peer);
    // Datagrams read together with the HELLO still carry the passing row of an address that is known by now.
    if (row >= 0 && this.sessionOfPeer(row) >= 0 && row !== peer) return;
    const w = this.#writer.begin(ControlType.Who, 0, 0);
    this.#out.send(peer, w.bytes, w.length, true);
  }

  /** Data came from a session's client. Cheap: may be called per packet. */
  heard(now: number, session: number): void {
    this.#heard[session] = now;
    if (this.#silent[session] === 1) this.#back(now, session);
  }

  /** The system refused a datagram as too long: `size` bytes, of which `hint` would fit (0: it did not say). */
  tooLong(now: number, session: number, size: number, hint: number): void {
    const s = this.#sessions[session];
    if (!s) return;
    s.path.tooLong(now, size, hint);
    this.#reportMtu(now, s);
    this.#due(s.path.deadline);
  }

  /** May be early, never late. */
  nextDeadline(): number {
    return this.#deadline;
  }

  tick(now: number): void {
    if (this.#closed || now < this.#deadline) return;
    this.#settleClaims(now);
    this.#deadline = this.#pending.deadline();
    for (const session of this.#sessions) {
      if (session) this.#tickSession(now, session);
    }
  }

  /** Says goodbye to every client and forgets them. */
  close(now: number): void {
    if (this.#closed) return;
    for (const session of this.#sessions) {
      if (!session) continue;
      const w = this.#writer.begin(ControlType.Goodbye, session.tokenHigh, session.tokenLow);
      this.#out.send(session.peer, w.bytes, w.length, true);
      this.#end(now, session, null);
    }
    for (const claim of this.#pending.all()) this.#forgetClaim(claim);
    this.#closed = true;
    this.#deadline = Infinity;
  }

  // ── HELLO

  #hello(now: number, peer: number, length: number): number {
    const m = this.#in;
    if (length < HELLO_SIZE) return ControlDrop.Unpadded;
    if (m.versionMin > CONTROL_VERSION || m.versionMax < CONTROL_VERSION) {
      return this.#refuseVersion(now, peer, length);
    }
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

  /** The session this HELLO is of: the same nonce, and the same token, outer address or claim. */
  #sessionOf(hello: ProvenHello): Session | undefined {
    const { tokenHigh, tokenLow } = this.#in;
    const candidates = [
      this.#sessionByToken(tokenHigh, tokenLow),
      this.#sessionAt(this.#peers.find(hello.peer)),
      ...this.#holders(hello),
    ];
    return candidates.find((s) => s?.nonceHigh === hello.nonceHigh && s.nonceLow === hello.nonceLow);
  }

  #resume(now: number, hello: ProvenHello, session: Session): number {
    const moves = this.#peers.find(hello.peer) !== session.peer;
    // A HELLO that the network held back must not move the session to where the client was before.
    const old = before(hello.sequence, session.sequence) || (moves && hello.sequence === session.sequence);
    if (old) return ControlDrop.Stale;
    if (moves) {
      const row = this.#peers.hold(hello.peer);
      if (row < 0) return ControlDrop.Busy;
      this.#move(now, session, row);
    }
    session.sequence = hello.sequence;
    this.heard(now, session.index);
    this.#sendWelcome(session);
    return 0;
  }

  #move(now: number, session: Session, row: number): void {
    const other = this.#sessionAt(row);
    if (other) this.#end(now, other, 'replaced');
    const waiting = this.#pending.find(row);
    if (waiting) this.#forgetClaim(waiting);
    this.sessionByPeer[session.peer] = -1;
    this.#peers.release(session.peer);
    session.peer = row;
    this.peerOf[session.index] = row;
    this.sessionByPeer[row] = session.index;
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
    const former = this.#sessionAt(hello.peer);
    if (former) this.#end(now, former, 'restarted');

    const holders = this.#holders(hello);
    if (holders.length === 0) return this.#accept(now, hello);
    if (this.#pending.full) return ControlDrop.Busy;
    this.#peers.hold(hello.peer);
    const tokens = holders.map((holder) => holder.tokenLow);
    this.#pending.add(now, hello, tokens);
    this.#settleClaims(now);
    return 0;
  }

  #accept(now: number, hello: ProvenHello): number {
    const index = this.#sessions.indexOf(undefined);
    if (index < 0) {
      const text = `all ${this.#sessions.length} places are taken`;
      return this.#refuse(now, hello, { code: 'full', text });
    }
    const peer = this.#peers.hold(hello.peer);
    let tokenLow = 0;
    while (tokenLow === 0 || this.#byToken.has(tokenLow)) tokenLow = this.#random.u32();
    const session: Session = {
      ...hello,
      peer,
      keepalive: clampKeepalive(hello.keepalive),
      index,
      tokenHigh: this.#random.u32(),
      tokenLow,
      path: new PathMtu(),
      rtt: 0,
      keepaliveSequence: 0,
      keepaliveSent: 0,
    };
    this.#sessions[index] = session;
    this.#byToken.set(tokenLow, session);
    this.#count++;
    this.#heard[index] = now;
    this.#silent[index] = 0;
    this.large[index] = 0;
    this.peerOf[index] = peer;
    this.sessionByPeer[peer] = index;
    for (const prefix of prefixes(hello)) this.#owners.add(prefix, index);
    this.#startPath(now, session);
    this.#due(this.#silentAt(session));
    this.#sendWelcome(session);
    this.#event(now, 'up', session);
    return 0;
  }

  #allowed(outer: Uint8Array): boolean {
    const { allow } = this.#config;
    if (allow.length === 0) return true;
    const address = ipAt(outer, 4, outer[0] === 4 ? 4 : 6);
    return allow.some((prefix) => contains(prefix, address));
  }

  // ── claims on what another session holds

  /** Sessions that hold something of what is claimed. */
  #holders(hello: ProvenHello): Session[] {
    const holders = new Set<Session>();
    for (const prefix of prefixes(hello)) {
      const holder = this.#sessions[this.#owners.holder(prefix)];
      if (holder) holders.add(holder);
    }
    return [...holders];
  }

  #settleClaims(now: number): void {
    for (const claim of this.#pending.all()) {
      const holders = this.#holders(claim);
      // Who took it since this claim came has just proven to be alive.
      const alive = holders.find(
        (s) => this.#heard[s.index] > claim.since || !claim.holders.includes(s.tokenLow),
      );
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
        this.#sendAnswer(session, ControlType.Alive, m.sequence, 0);
        break;
      case ControlType.Probe:
        this.#sendAnswer(session, ControlType.Probed, m.sequence, m.size);
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
    if (this.#silent[index] === 0 && now >= this.#silentAt(session)) {
      this.#silent[index] = 1;
      this.#event(now, 'silent', session, 'silent');
    }
    if (this.#silent[index] === 1) {
      const forget = this.#heard[index] + FORGET_AFTER;
      if (now >= forget) this.#end(now, session, 'forgotten');
      else this.#due(forget);
      return;
    }
    if (now >= path.deadline) this.#probe(now, session);
    this.#due(path.deadline);
    this.#due(this.#silentAt(session));
  }

  #silentAt(session: Session): number {
    return this.#heard[session.index] + SILENT_INTERVALS * session.keepalive * MS;
  }

  #back(now: number, index: number): void {
    this.#silent[index] = 0;
    const session = this.#sessions[index];
    if (!session) return;
    session.path.recheck(now);
    this.#due(session.path.deadline);
    this.#due(this.#silentAt(session));
    this.#event(now, 'back', session);
  }

  /** @param reason null: nobody is to be told */
  #end(now: number, session: Session, reason: End | null): void {
    const { index, peer } = session;
    for (const prefix of prefixes(session)) this.#owners.remove(prefix);
    this.#sessions[index] = undefined;
    this.#byToken.delete(session.tokenLow);
    this.#count--;
    this.#silent[index] = 0;
    this.peerOf[index] = -1;
    this.sessionByPeer[peer] = -1;
    if (reason) this.#event(now, 'gone', session, reason);
    this.mtu[index] = 0;
    this.#peers.release(peer);
  }

  #startPath(now: number, session: Session): void {
    const maximum = Math.min(session.mtu, this.#config.mtu);
    session.rtt = 0;
    if (session.capabilities & Capability.probe) session.path.start(now, maximum);
    else session.path.fix(maximum);
    this.mtu[session.index] = session.path.current;
    this.#due(session.path.deadline);
  }

  #reportMtu(now: number, session: Session): void {
    this.mtu[session.index] = session.path.current;
    if (session.path.news()) this.#event(now, 'pmtu', session);
  }

  #sessionByToken(high: number, low: number): Session | undefined {
    const session = this.#byToken.get(low);
    return session?.tokenHigh === high ? session : undefined;
  }

  #sessionAt(row: number): Session | undefined {
    return this.#sessions[this.sessionOfPeer(row)];
  }

  #due(time: number): void {
    if (time < this.#deadline) this.#deadline = time;
  }

  /** The HELLO just parsed, as a value that may be kept. */
  #proven(peer: number): ProvenHello {
    const { nonceHigh, nonceLow, sequence, layer, mtu, keepalive, capabilities, addresses, networks } =
      this.#in;
    return { peer, nonceHigh, nonceLow, sequence, layer, mtu, keepalive, capabilities, addresses, networks };
  }

  #event(now: number, type: TunnelEventType, session: Session, reason = '', text = ''): void {
    this.#tell(now, type, session, session.index, reason, text);
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

  // ── sending to addresses that have not proven themselves: never more than came, never too often

  #sendCookie(now: number, peer: number, length: number): boolean {
    if (length < COOKIE_SIZE || !this.#unproven.take(now, 0)) return false;
    const { nonceHigh, nonceLow } = this.#in;
    const cookie = this.#cookies.make(now, this.#out.address(peer), nonceHigh, nonceLow);
    const w = this.#writer
      .begin(ControlType.Cookie, 0, 0)
      .nonce(nonceHigh, nonceLow)
      .cookie(cookie, cookie.length);
    this.#out.send(peer, w.bytes, w.length, true);
    return true;
  }

  #refuseVersion(now: number, peer: number, length: number): number {
    if (length < HELLO_SIZE) return ControlDrop.Unpadded;
    if (!this.#unproven.take(now, 0)) return ControlDrop.RateLimited;
    this.#sendRefused(peer, this.#in.nonceHigh, this.#in.nonceLow, { code: 'version', text: '' });
    return ControlDrop.Version;
  }

  // ── sending to proven ones

  #refuse(now: number, hello: ProvenHello, problem: Objection): number {
    this.#sendRefused(hello.peer, hello.nonceHigh, hello.nonceLow, problem);
    // A client repeats itself every second for as long as it is refused; a person needs to read it now and then.
    if (this.#refusals.take(now, 0)) this.#tell(now, 'refused', hello, -1, problem.code, problem.text);
    return ControlDrop.Refused;
  }

  #sendRefused(peer: number, nonceHigh: number, nonceLow: number, { code, text }: Objection): void {
    const w = this.#writer
      .begin(ControlType.Refused, 0, 0)
      .nonce(nonceHigh, nonceLow)
      .versions(CONTROL_VERSION, CONTROL_VERSION)
      .code(RefusalCode[code], text);
    this.#out.send(peer, w.bytes, w.length, true);
  }

  #sendWelcome(session: Session): void {
    const w = this.#writer
      .begin(ControlType.Welcome, session.tokenHigh, session.tokenLow)
      .nonce(session.nonceHigh, session.nonceLow)
      .sequence(session.sequence)
      .layer(this.#config.layer)
      .mtu(this.#config.mtu)
      .keepalive(session.keepalive)
      .capabilities(Capability.probe);
    for (const address of this.#config.addresses) w.claim(ControlField.Address, address);
    this.#out.send(session.peer, w.bytes, w.length, true);
  }

  #sendKeepalive(now: number, session: Session): void {
    session.keepaliveSent = now;
    session.keepaliveSequence = (session.keepaliveSequence + 1) >>> 0;
    const w = this.#writer
      .begin(ControlType.Keepalive, session.tokenHigh, session.tokenLow)
      .sequence(session.keepaliveSequence);
    this.#out.send(session.peer, w.bytes, w.length, true);
  }

  #sendAnswer(session: Session, type: number, sequence: number, size: number): void {
    const w = this.#writer.begin(type, session.tokenHigh, session.tokenLow).sequence(sequence);
    if (size > 0) w.size(size);
    this.#out.send(session.peer, w.bytes, w.length, true);
  }

  #probe(now: number, session: Session): void {
    const { index, path } = session;
    const size = path.poll(now, session.rtt, this.#heard[index], this.large[index] !== 0);
    this.#reportMtu(now, session);
    if (size === 0) return;
    this.large[index] = 0;
    const w = this.#writer
      .begin(ControlType.Probe, session.tokenHigh, session.tokenLow)
      .sequence(path.sequence)
      .size(size)
      .padTo(size);
    path.sequence = (path.sequence + 1) >>> 0;
    this.#out.send(session.peer, w.bytes, w.length, false);
    if (path.wantsSignOfLife) this.#sendKeepalive(now, session);
  }
}

/** All prefixes that a session with these claims owns. */
function prefixes(hello: ProvenHello): IpPrefix[] {
  const hosts = hello.addresses.map(({ address }) => ({ address, length: addressBits(address.family) }));
  return [...hosts, ...hello.networks];
}

function takenText(claim: ProvenHello, holder: ProvenHello): string {
  const held = prefixes(holder).map(formatPrefix);
  const first = prefixes(claim)
    .map(formatPrefix)
    .find((prefix) => held.includes(prefix));
  return `${first} is held by another client, which answers`;
}
