/**
 * The client's end of the control protocol, without a clock, a timer or a socket.
 *
 *     idle --start--> hello --WELCOME--> up --3 intervals without a word, or GOODBYE--> silent
 *                                         ^--------- a word, or WELCOME ------------------'
 *     any --close--> closed
 *
 * In `hello` and `silent` a HELLO goes out every second. An established client says HELLO too, and stays up, when
 * the server does not know its address (WHO, COOKIE): after a restart of the server or a change of address.
 */
import type { IpPrefix } from '../../packet/prefix.ts';
import {
  type Nonce,
  type Token,
  writeAlive,
  writeGoodbye,
  writeHello,
  writeKeepalive,
  writeProbe,
  writeProbed,
} from './messages.ts';
import { PathMtu } from './pmtu.ts';
import {
  before,
  ControlDrop,
  type ControlOut,
  checkEnd,
  clampKeepalive,
  DEFAULT_KEEPALIVE,
  MS,
  Peers,
  type RandomStream,
  SECOND,
  sameOuter,
  smoothRtt,
  type TunnelEventType,
} from './session.ts';
import {
  Capability,
  CONTROL_VERSION,
  ControlType,
  ControlWriter,
  controlMessage,
  MAX_COOKIE,
  ParseResult,
  parseControl,
  type Refusal,
  RefusalCode,
  refusalName,
} from './wire.ts';

export interface ClientConfig {
  layer: 2 | 3;
  /** This end's inner addresses with their on-link prefixes, at most 8. */
  addresses: readonly IpPrefix[];
  /** Networks behind this end, at most 32. */
  networks: readonly IpPrefix[];
  /** Largest datagram (UDP payload, bytes) this end sends and accepts. */
  mtu: number;
  /** Milliseconds between keepalives, 100 to 30000; default 1000. */
  keepalive?: number;
}

export type ClientState = 'idle' | 'hello' | 'up' | 'silent' | 'closed';

/** Waits between HELLOs, ms; the last one repeats. */
const HELLO_WAITS = [250, 500, 1000];
/** A server that is full or whose address holder answers may think otherwise soon; other refusals need a person. */
const RETRY_SOON = 1000;
const RETRY_LATER = 5000;
/** Answers to WHO and to COOKIE, each at most this often. */
const ANSWER_GAP = 100 * MS;
const SILENT_INTERVALS = 3;
/** How long HELLOs go unanswered before the host name is looked up again, and how often after that. */
const RESOLVE_AFTER = 3 * SECOND;
const RESOLVE_EVERY = 5 * SECOND;

export class ClientControl {
  state: ClientState = 'idle';
  /** Pinned row of the server; -1 before `start`. */
  server = -1;
  /** Largest datagram (UDP payload, bytes) the data path may send. */
  mtu = 0;
  /** 1 when the data path has sent a datagram above 1200 bytes; asks for confirmation that such still pass. */
  large = 0;
  /** The server's inner addresses, from its WELCOME. */
  serverAddresses: readonly IpPrefix[] = [];

  readonly #config: Required<ClientConfig>;
  readonly #out: ControlOut;
  readonly #random: RandomStream;
  readonly #peers: Peers;
  readonly #in = controlMessage();
  readonly #writer = new ControlWriter();
  readonly #path = new PathMtu();
  /** The nonce is one per run: by it the server knows a repeated HELLO from another client. */
  readonly #id: Token & Nonce;
  readonly #cookie = new Uint8Array(MAX_COOKIE);
  #cookieLength = 0;

  /**
   * One cell: when to call `tick`. What comes from the server puts off the moment at which it counts as silent, and that
   * alone does not move the deadline: a tick that comes too early finds out, and packets cost no search.
   */
  readonly deadline = new Float64Array(1).fill(Infinity);
  /**
   * One cell: when the server was last heard, ns. The data path writes it for what it receives, for a double that is
   * passed becomes an object; while the state is `silent` it calls `heard`.
   */
  readonly heardAt = new Float64Array(1);
  #keepalive: number; // ns
  #rtt = 0;
  #helloAt = Infinity; // not Infinity: a HELLO is outstanding
  #hellos = 0;
  #helloSequence = 0; // of the last HELLO; the first is 1
  #helloSent = 0;
  #welcomed = 0; // sequence of the last WELCOME
  #keepaliveAt = Infinity;
  #keepaliveSequence = 0; // of the last KEEPALIVE
  #keepaliveSent = 0;
  #whoAnswered = -Infinity;
  #cookieAnswered = -Infinity;
  #resolveAt = Infinity;
  #newPath = false; // another server address: nothing is known about the path
  #changedPath = false; // the server asked this end to prove its address
  #refusal = ''; // last one reported

  /** @throws ERR_CONFIG when the configuration cannot be said in one message */
  constructor(config: ClientConfig, out: ControlOut, random: RandomStream) {
    checkEnd(config.mtu, config.addresses, config.networks);
    const keepalive = clampKeepalive(config.keepalive ?? DEFAULT_KEEPALIVE);
    this.#config = { ...config, keepalive };
    this.#out = out;
    this.#random = random;
    this.#peers = new Peers(out, Infinity);
    this.#keepalive = keepalive * MS;
    const nonceLow = (random.u32() | 1) >>> 0; // never zero
    this.#id = { tokenHigh: 0, tokenLow: 0, nonceHigh: random.u32(), nonceLow };
  }

  /** True when there is a session, perhaps a silent one, that data may be sent on. */
  get established(): boolean {
    return (this.#id.tokenHigh | this.#id.tokenLow) !== 0;
  }

  /** Smoothed round trip time, ns; 0 when unknown. */
  get rtt(): number {
    return this.#rtt;
  }

  /** Starts to say HELLO to `peer`. */
  start(now: number, peer: number): void {
    if (this.state !== 'idle') return;
    this.state = 'hello';
    this.#resolveAt = now + RESOLVE_AFTER;
    this.setServer(now, peer);
  }

  /** The server is to be found at `peer` from now on. Nothing happens when that is where it was. */
  setServer(now: number, peer: number): void {
    if (this.state === 'closed' || this.state === 'idle') return;
    if (this.server >= 0 && this.#peers.find(peer) === this.server) return;
    const row = this.#peers.hold(peer);
    if (row < 0) return;
    if (this.server >= 0) this.#peers.release(this.server);
    this.server = row;
    this.#cookieLength = 0;
    this.#newPath = true;
    this.#sayHello(now);
    this.#findDeadline();
  }

  /** Is `peer` the server? Also true of a passing row with its address. */
  isServer(peer: number): boolean {
    if (this.server < 0) return false;
    return peer === this.server || sameOuter(this.#out.address(peer), this.#out.address(this.server));
  }

  /** A datagram that starts with 0. Returns 0, or why it was dropped. */
  receive(now: number, peer: number, bytes: Uint8Array, offset: number, length: number): number {
    const problem = this.#receive(now, peer, bytes, offset, length);
    this.#findDeadline();
    return problem;
  }

  #receive(now: number, peer: number, bytes: Uint8Array, offset: number, length: number): number {
    if (this.state === 'idle' || this.state === 'closed') return ControlDrop.Closed;
    const parsed = parseControl(bytes, offset, length, this.#in);
    if (parsed === ParseResult.Malformed) return ControlDrop.Malformed;
    if (!this.isServer(peer)) return ControlDrop.WrongAddress;
    const { type } = this.#in;
    if (parsed === ParseResult.OtherVersion) {
      return type === ControlType.Refused ? this.#refusedVersion(now) : ControlDrop.Version;
    }
    switch (type) {
      case ControlType.Cookie:
        return this.#cookieArrived(now);
      case ControlType.Welcome:
        return this.#welcome(now);
      case ControlType.Refused:
        return this.#refused(now);
      case ControlType.Who:
        return this.#who(now);
      case ControlType.Keepalive:
      case ControlType.Alive:
      case ControlType.Goodbye:
      case ControlType.Probe:
      case ControlType.Probed:
        return this.#inSession(now);
      default:
        return ControlDrop.Unexpected;
    }
  }

  /** Data came from the server. */
  heard(now: number): void {
    this.heardAt[0] = now;
    if (this.state !== 'silent') return;
    this.#back(now);
    this.#findDeadline();
  }

  /** The system refused a datagram of `size` bytes to the server as too long. */
  tooLong(now: number, size: number): void {
    this.#path.tooLong(now, size);
    this.#reportMtu(now);
    this.#findDeadline();
  }

  nextDeadline(): number {
    this.#findDeadline();
    return this.deadline[0];
  }

  #findDeadline(): void {
    if (this.state === 'idle' || this.state === 'closed') {
      this.deadline[0] = Infinity;
      return;
    }
    this.deadline[0] = Math.min(
      this.#helloAt,
      this.#keepaliveAt,
      this.#resolveAt,
      this.state === 'up' ? this.heardAt[0] + SILENT_INTERVALS * this.#keepalive : Infinity,
      this.state === 'up' ? this.#path.deadline : Infinity,
    );
  }

  tick(now: number): void {
    if (this.state === 'idle' || this.state === 'closed') return;
    if (this.state === 'up' && now >= this.heardAt[0] + SILENT_INTERVALS * this.#keepalive) {
      this.#silence(now, 'silent');
    }
    if (now >= this.#helloAt) this.#sendHello(now);
    if (now >= this.#keepaliveAt) this.#sendKeepalive(now);
    if (now >= this.#resolveAt) {
      this.#resolveAt = now + RESOLVE_EVERY;
      this.#event(now, 'resolve');
    }
    if (this.state === 'up' && now >= this.#path.deadline) this.#probe(now);
    this.#findDeadline();
  }

  /** Says goodbye and forgets everything. */
  close(_now: number): void {
    if (this.state === 'closed') return;
    if (this.established && this.server >= 0) this.#send(writeGoodbye(this.#writer, this.#id));
    this.#dropSession();
    this.#helloAt = this.#resolveAt = Infinity;
    this.state = 'closed';
    this.#findDeadline();
    if (this.server >= 0) this.#peers.release(this.server);
    this.server = -1;
  }

  // ── the messages, in the order of a session's life

  #cookieArrived(now: number): number {
    const m = this.#in;
    if (!this.#mine()) return ControlDrop.Unexpected;
    for (let i = 0; i < m.cookieLength; i++) this.#cookie[i] = m.cookie[i];
    this.#cookieLength = m.cookieLength;
    // A server that sees this end at changing addresses would ask for ever: it gets ten answers a second.
    if (now - this.#cookieAnswered < ANSWER_GAP) {
      this.#helloAt = Math.min(this.#helloAt, this.#cookieAnswered + ANSWER_GAP);
      return ControlDrop.RateLimited;
    }
    this.#cookieAnswered = now;
    this.#changedPath = true;
    this.#sayHello(now);
    return 0;
  }

  #welcome(now: number): number {
    const m = this.#in;
    if (!this.#mine() || m.layer !== this.#config.layer) return ControlDrop.Unexpected;
    if (before(this.#helloSequence, m.sequence)) return ControlDrop.Unexpected; // never asked
    if (!before(this.#welcomed, m.sequence)) return ControlDrop.Stale;
    this.#welcomed = m.sequence;
    this.heardAt[0] = now;
    if (m.sequence === this.#helloSequence) this.#rtt = smoothRtt(this.#rtt, now - this.#helloSent);
    const known = m.tokenHigh === this.#id.tokenHigh && m.tokenLow === this.#id.tokenLow;
    const had = this.state !== 'hello';
    this.#id.tokenHigh = m.tokenHigh;
    this.#id.tokenLow = m.tokenLow;
    this.#keepalive = clampKeepalive(m.keepalive) * MS;
    this.serverAddresses = m.addresses;
    this.#helloAt = this.#resolveAt = Infinity;
    this.#refusal = '';
    const was = this.state;
    this.state = 'up';
    this.#scheduleKeepalive(now);
    if (!known || this.#newPath) {
      this.#newPath = false;
      const maximum = Math.min(m.mtu, this.#config.mtu);
      if (m.capabilities & Capability.probe) this.#path.start(now, maximum);
      else this.#path.fix(maximum);
      this.mtu = this.#path.current;
    } else if (was === 'silent' || this.#changedPath) this.#path.recheck(now);
    this.#changedPath = false;
    if (!had) this.#event(now, 'up');
    else if (!known) this.#event(now, 'back', 'restarted');
    else if (was === 'silent') this.#event(now, 'back');
    this.#reportMtu(now);
    return 0;
  }

  #refused(now: number): number {
    const m = this.#in;
    if (!this.#mine()) return ControlDrop.Unexpected;
    // A late answer to an old HELLO must not end a session that was welcomed since.
    if (this.#helloAt === Infinity) return ControlDrop.Stale;
    const soon = m.code === RefusalCode.taken || m.code === RefusalCode.full;
    const text = m.code === RefusalCode.version ? versionText(m.versionMin, m.versionMax) : m.text;
    this.#refuse(now, refusalName(m.code), text, soon ? RETRY_SOON : RETRY_LATER);
    return 0;
  }

  #refusedVersion(now: number): number {
    const m = this.#in;
    if (!this.#mine() || this.#helloAt === Infinity) return ControlDrop.Version;
    const versions = versionText(m.versionMin, m.versionMax);
    this.#refuse(now, 'version', versions, RETRY_LATER);
    return 0;
  }

  #refuse(now: number, reason: Refusal | `code-${number}`, text: string, retry: number): void {
    this.#dropSession();
    if (this.state === 'up') this.#silence(now, 'refused');
    this.#hellos = HELLO_WAITS.length;
    this.#helloAt = now + this.#jitter(retry * MS);
    if (this.#refusal === reason + text) return;
    this.#refusal = reason + text;
    this.#event(now, 'refused', reason, text);
  }

  #who(now: number): number {
    if (now - this.#whoAnswered < ANSWER_GAP) return ControlDrop.RateLimited;
    this.#whoAnswered = now;
    this.#sayHello(now);
    return 0;
  }

  #inSession(now: number): number {
    const m = this.#in;
    if (m.tokenHigh !== this.#id.tokenHigh || m.tokenLow !== this.#id.tokenLow)
      return ControlDrop.UnknownToken;
    switch (m.type) {
      case ControlType.Goodbye:
        this.#dropSession();
        if (this.state === 'up') this.#silence(now, 'goodbye');
        return 0;
      case ControlType.Keepalive:
        this.#send(writeAlive(this.#writer, this.#id, m.sequence));
        break;
      case ControlType.Probe:
        this.#send(writeProbed(this.#writer, this.#id, m.sequence, m.size));
        break;
      case ControlType.Alive:
        if (m.sequence === this.#keepaliveSequence) {
          this.#rtt = smoothRtt(this.#rtt, now - this.#keepaliveSent);
        }
        break;
      default:
        this.#path.answered(now, m.sequence, m.size);
        this.#reportMtu(now);
    }
    this.heard(now);
    return 0;
  }

  /** Does the message answer a HELLO, KEEPALIVE or PROBE of this run? */
  #mine(): boolean {
    return this.#in.nonceHigh === this.#id.nonceHigh && this.#in.nonceLow === this.#id.nonceLow;
  }

  // ── changes of state

  #silence(now: number, reason: 'silent' | 'goodbye' | 'refused'): void {
    this.state = 'silent';
    this.#event(now, 'silent', reason);
    this.#resolveAt = now;
    this.#hellos = HELLO_WAITS.length; // one a second from the start: this may last for hours
    this.#helloAt = now;
    if (this.established) this.#keepaliveAt = now;
  }

  #back(now: number): void {
    if (!this.established) return; // the word is of a session that is over
    this.state = 'up';
    this.#helloAt = this.#resolveAt = Infinity;
    this.#scheduleKeepalive(now);
    this.#path.recheck(now);
    this.#event(now, 'back');
  }

  #dropSession(): void {
    this.#id.tokenHigh = this.#id.tokenLow = 0;
    this.#keepaliveAt = Infinity;
  }

  #reportMtu(now: number): void {
    this.mtu = this.#path.current;
    if (this.#path.news()) this.#event(now, 'pmtu');
  }

  #event(now: number, type: TunnelEventType, reason = '', text = ''): void {
    const greeting = type === 'up' || type === 'back';
    this.#out.event({
      type,
      time: now,
      session: 0,
      peer: this.server,
      outer: this.#out.address(this.server).slice(),
      addresses: greeting ? this.serverAddresses : this.#config.addresses,
      networks: this.#config.networks,
      reason,
      text,
      mtu: this.mtu,
    });
  }

  // ── sending

  #sayHello(now: number): void {
    this.#hellos = 0;
    this.#sendHello(now);
  }

  #sendHello(now: number): void {
    const wait = HELLO_WAITS[Math.min(this.#hellos, HELLO_WAITS.length - 1)];
    this.#hellos++;
    this.#helloAt = now + this.#jitter(wait * MS);
    this.#helloSent = now;
    this.#helloSequence = (this.#helloSequence + 1) >>> 0;
    const cookie = this.#cookie.subarray(0, this.#cookieLength);
    this.#send(writeHello(this.#writer, this.#id, this.#helloSequence, this.#config, cookie));
  }

  #scheduleKeepalive(now: number): void {
    this.#keepaliveAt = now + this.#jitter(this.#keepalive);
  }

  #sendKeepalive(now: number): void {
    const interval = this.state === 'silent' ? Math.min(SECOND, this.#keepalive) : this.#keepalive;
    this.#keepaliveAt = now + this.#jitter(interval);
    this.#keepaliveSent = now;
    this.#keepaliveSequence = (this.#keepaliveSequence + 1) >>> 0;
    this.#send(writeKeepalive(this.#writer, this.#id, this.#keepaliveSequence, this.#id));
  }

  #probe(now: number): void {
    const size = this.#path.poll(now, this.#rtt, this.heardAt[0], this.large !== 0);
    this.#reportMtu(now);
    if (size === 0) return;
    this.large = 0;
    const w = writeProbe(this.#writer, this.#id, this.#path.sequence, size, this.#id);
    this.#path.sequence = (this.#path.sequence + 1) >>> 0;
    this.#out.send(this.server, w.bytes, w.length, false);
    this.#sendKeepalive(now);
  }

  #send(message: ControlWriter): void {
    this.#out.send(this.server, message.bytes, message.length, true);
  }

  /** `time` +- 10 %, so that many clients do not speak at once. */
  #jitter(time: number): number {
    return Math.round(time * (0.9 + (0.2 * this.#random.u32()) / 2 ** 32));
  }
}

function versionText(min: number, max: number): string {
  const theirs = min === max ? `version ${min}` : `versions ${min} to ${max}`;
  return `the server speaks ${theirs} of the protocol, this program version ${CONTROL_VERSION}`;
}
