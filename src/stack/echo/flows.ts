/**
 * Pings to hosts that this stack only stands for, by flows: the addresses and the identifier of the echo requests. A flow
 * ends when it was silent for long enough, or whoever took it says so.
 */
import type { Pool } from '../../engine/pool.ts';
import * as icmp from '../../packet/icmp.ts';
import * as icmpv6 from '../../packet/icmpv6.ts';
import * as ip from '../../packet/ip.ts';
import { Protocol } from '../../packet/protocol.ts';
import { put16 } from '../../packet/word.ts';
import { CapturedFlow, CapturedFlows } from '../captured-flows.ts';
import { type Errors, IpError, REFUSALS } from '../ip/errors.ts';
import type { PathRoute, Routing } from '../ip/routing.ts';
import type { Sender } from '../ip/sender.ts';
import type { SecretNumbers } from '../numbers.ts';
import { StackDrop } from '../reasons.ts';
import type { Refusal } from '../tcp/below.ts';
import { addressIn, KEY_WORDS, keyOfPacket } from '../tcp/row.ts';

export interface EchoHandlers {
  /** An echo request. @param data behind the ICMP header, the caller's @param ttl what is left of it, 1 at least */
  onRequest(sequence: number, data: Uint8Array, ttl: number): void;
  /** It was silent for too long, or the stack ends. */
  onClosed?(): void;
}

export interface EchoCaptor {
  /** A new flow: who takes it, or what to tell whoever began it. Undefined: nothing. */
  onEcho(flow: EchoFlow): EchoHandlers | Refusal | undefined;
  /** Flows at a time. Requests of others are dropped. */
  limit: number;
  /** ns of silence after which a flow ends. RFC 5508, REQ-3: 60 s at least. */
  idle: number;
}

export interface EchoParts {
  pool: Pool;
  clock: Float64Array;
  routing: Routing;
  sender: Sender;
  errors: Errors;
  numbers: SecretNumbers;
  room: (route: PathRoute) => number;
  wake: () => void;
}

export class EchoFlow extends CapturedFlow<EchoHandlers> {
  readonly #flows: EchoFlows;

  constructor(flows: EchoFlows, key: Int32Array) {
    super();
    this.#flows = flows;
    this.key.set(key);
  }

  get identifier(): number {
    return this.key[8];
  }

  get family(): 4 | 6 {
    return this.key[0] === 0 && this.key[1] === 0 && this.key[2] === 0xffff ? 4 : 6;
  }

  /** An echo reply. False: there was no room, no memory, or no route. @param ttl with which it leaves */
  reply(sequence: number, data: Uint8Array, ttl: number): boolean {
    return !this.closed && this.#flows.reply(this, sequence, data, ttl);
  }

  /**
   * An ICMP error about a request.
   *
   * @param type and code, of the flow's IP version
   * @param from 4 or 16 bytes: who it comes from; the host that was asked when left out
   */
  fail(sequence: number, type: number, code: number, from?: Uint8Array): void {
    if (!this.closed) this.#flows.tell(this, sequence, [type, code, type, code], from);
  }

  refuse(sequence: number, why: Refusal): void {
    if (!this.closed) this.#flows.tell(this, sequence, REFUSALS[why]);
  }

  close(): void {
    if (!this.closed) this.#flows.forget(this);
  }
}

export class EchoFlows extends CapturedFlows<EchoFlow> {
  readonly #parts: EchoParts;
  readonly #captor: EchoCaptor;
  readonly #key = new Int32Array(KEY_WORDS);

  constructor(parts: EchoParts, captor: EchoCaptor) {
    super(parts.numbers, captor.limit);
    this.#parts = parts;
    this.#captor = captor;
  }

  protected idleOf(): number {
    return this.#captor.idle;
  }

  /** Takes over an echo request that was found to be whole. @param transport from `pool.offset` */
  input(packet: number, family: 4 | 6, transport: number): void {
    const { pool, clock, errors, routing } = this.#parts;
    const { slab } = pool;
    const start = pool.offset[packet];
    const at = start + transport;
    const ttl = ip.hopLimit(slab, start);
    if (ttl <= 1) {
      // This stack is the router on the way, and says so by its own address.
      const to = ip.sourceAt(slab, start);
      const own = routing.route(slab.slice(to, to + (family === 4 ? 4 : 16)))?.source;
      if (own) errors.tell(packet, IpError.Expired, 0, own);
      pool.drop(packet, StackDrop.Expired);
      return;
    }
    this.#keyOf(family, start, at, true);
    let flow = this.find(this.#key);
    if (flow === null) {
      if (this.isFull) {
        pool.drop(packet, StackDrop.EchoFlows);
        return;
      }
      flow = new EchoFlow(this, this.#key);
      const taken = this.#captor.onEcho(flow);
      if (taken === undefined || typeof taken === 'string') {
        if (taken !== undefined) errors.tell(packet, REFUSALS[taken]);
        pool.drop(packet, StackDrop.EchoRefused);
        return;
      }
      flow.handlers = taken;
      this.add(flow, clock[0]);
    }
    flow.last = clock[0];
    const sequence = icmp.sequence(slab, at);
    const data = slab.slice(at + icmp.HEADER, start + pool.length[packet]);
    pool.free(packet);
    flow.handlers!.onRequest(sequence, data, ttl - 1);
  }

  /** @param inward false for a packet that was sent from here */
  #keyOf(family: 4 | 6, start: number, at: number, inward: boolean): void {
    const { slab } = this.#parts.pool;
    keyOfPacket(slab, family, start, at, inward, this.#key);
    this.#key[8] = icmp.identifier(slab, at);
  }

  /** Whether an ICMP error quotes a reply that may have been sent from here. */
  sentAlong(family: 4 | 6, start: number, at: number): boolean {
    this.#keyOf(family, start, at, false);
    return this.find(this.#key) !== null;
  }

  reply(flow: EchoFlow, sequence: number, data: Uint8Array, ttl: number): boolean {
    const { pool, clock, routing, sender, room, wake } = this.#parts;
    if (flow.route === undefined || flow.route.stale)
      flow.route = routing.route(addressIn(flow.key, 4), addressIn(flow.key, 0));
    const { route } = flow;
    const length = icmp.HEADER + data.length;
    if (route === undefined || room(route) === 0 || length > LONGEST[route.family]) return false;
    const packet = sender.make(length);
    if (packet < 0) return false;
    const at = pool.offset[packet];
    const four = route.family === 4;
    const type = four ? icmp.Type.EchoReply : icmpv6.Type.EchoReply;
    writeEcho(pool.slab, at, type, flow.identifier, sequence);
    pool.slab.set(data, at + icmp.HEADER);
    flow.last = clock[0];
    const gone = sender.send(packet, route, four ? Protocol.Icmp : Protocol.Icmpv6, 0, 0, ttl);
    wake();
    return gone;
  }

  tell(flow: EchoFlow, sequence: number, error: IpError, from?: Uint8Array): void {
    const four = flow.family === 4;
    const header = new Uint8Array(icmp.HEADER);
    writeEcho(header, 0, four ? icmp.Type.Echo : icmpv6.Type.Echo, flow.identifier, sequence);
    const protocol = four ? Protocol.Icmp : Protocol.Icmpv6;
    this.#parts.errors.tellOf(flow.source, flow.destination, protocol, header, error, from);
    this.#parts.wake();
  }
}

/** In one IP packet. */
const LONGEST = { 4: 65_535 - 20, 6: 65_535 };

function writeEcho(bytes: Uint8Array, at: number, type: number, identifier: number, sequence: number): void {
  bytes[at] = type;
  bytes[at + icmp.CODE] = 0;
  put16(bytes, at + icmp.CHECKSUM, 0);
  put16(bytes, at + icmp.IDENTIFIER, identifier);
  put16(bytes, at + icmp.SEQUENCE, sequence);
}
