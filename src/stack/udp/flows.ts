/**
 * UDP to hosts that this stack only stands for, by flows: addresses and ports of both sides. A flow ends when it was
 * silent for long enough, or whoever took it says so.
 */
import type { Pool } from '../../engine/pool.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import { Protocol } from '../../packet/protocol.ts';
import * as udp from '../../packet/udp.ts';
import { put16, put32 } from '../../packet/word.ts';
import { CapturedFlow, CapturedFlows } from '../captured-flows.ts';
import { type Errors, REFUSALS } from '../ip/errors.ts';
import type { PathRoute, Routing } from '../ip/routing.ts';
import type { Sender } from '../ip/sender.ts';
import type { SecretNumbers } from '../numbers.ts';
import { StackDrop } from '../reasons.ts';
import type { Refusal } from '../tcp/below.ts';
import { addressIn, KEY_WORDS, keyOfPacket } from '../tcp/row.ts';

export interface FlowHandlers {
  /** A datagram of the one who has begun. The bytes are the caller's. */
  onMessage(bytes: Uint8Array): void;
  /** It was silent for too long, or the stack ends. */
  onClosed?(): void;
}

export interface FlowCaptor {
  /** A new flow: who takes it, or what to tell whoever began it. Undefined: nothing. */
  onFlow(flow: UdpFlow): FlowHandlers | Refusal | undefined;
  /** Flows at a time. Datagrams of others are dropped. */
  limit: number;
  /** ns of silence after which a flow ends. */
  idle: number;
  /** The same to a port below 1024 while there was one datagram each way at most: names, time (RFC 4787, REQ-5a). */
  idleQuestion: number;
}

export interface FlowParts {
  pool: Pool;
  clock: Float64Array;
  routing: Routing;
  sender: Sender;
  errors: Errors;
  numbers: SecretNumbers;
  room: (route: PathRoute) => number;
  wake: () => void;
}

const LAST_QUESTION_PORT = 1023;

export class UdpFlow extends CapturedFlow<FlowHandlers> {
  readonly #flows: UdpFlows;
  /** Datagrams to and from the host that it is for. */
  sent = 0;
  answered = 0;

  constructor(flows: UdpFlows, key: Int32Array) {
    super();
    this.#flows = flows;
    this.key.set(key);
  }

  /** An answer to who has begun. False: there was no room, no memory, or no route. */
  send(bytes: Uint8Array): boolean {
    return !this.closed && this.#flows.send(this, bytes);
  }

  /** Tells who has begun that the last datagram did not arrive. */
  refuse(why: Refusal): void {
    if (!this.closed) this.#flows.refuse(this, why);
  }

  close(): void {
    if (!this.closed) this.#flows.forget(this);
  }
}

export class UdpFlows extends CapturedFlows<UdpFlow> {
  readonly #parts: FlowParts;
  readonly #captor: FlowCaptor;
  readonly #key = new Int32Array(KEY_WORDS);

  constructor(parts: FlowParts, captor: FlowCaptor) {
    super(parts.numbers, captor.limit);
    this.#parts = parts;
    this.#captor = captor;
  }

  protected idleOf(flow: UdpFlow): number {
    const question = flow.localPort <= LAST_QUESTION_PORT && flow.sent <= 1 && flow.answered <= 1;
    return question ? this.#captor.idleQuestion : this.#captor.idle;
  }

  /** Takes over a datagram that was found to be whole. @param at where its header starts @param stop where it ends */
  input(packet: number, family: 4 | 6, at: number, stop: number): void {
    const { pool, clock, errors } = this.#parts;
    const { slab } = pool;
    keyOfPacket(slab, family, pool.offset[packet], at, true, this.#key);
    let flow = this.find(this.#key);
    if (flow === null) {
      if (this.isFull) {
        pool.drop(packet, StackDrop.UdpFlows);
        return;
      }
      flow = new UdpFlow(this, this.#key);
      const taken = this.#captor.onFlow(flow);
      if (taken === undefined || typeof taken === 'string') {
        if (taken !== undefined) errors.tell(packet, REFUSALS[taken]);
        pool.drop(packet, StackDrop.UdpPort);
        return;
      }
      flow.handlers = taken;
      this.add(flow, clock[0]);
    }
    flow.last = clock[0];
    const segment = pool.segmentSize[packet];
    const bytes = slab.slice(at + udp.HEADER, stop);
    pool.free(packet);
    const step = segment === 0 ? Math.max(bytes.length, 1) : segment;
    for (let i = 0; (i < bytes.length || i === 0) && !flow.closed; i += step) {
      flow.sent++;
      flow.handlers!.onMessage(step >= bytes.length ? bytes : bytes.slice(i, i + step));
    }
  }

  /** Whether an ICMP error quotes an answer that was sent from here. @param ip of the quoted packet */
  sentAlong(family: 4 | 6, ip: number, transport: number): UdpFlow | undefined {
    keyOfPacket(this.#parts.pool.slab, family, ip, transport, false, this.#key);
    const flow = this.find(this.#key);
    return flow !== null && flow.answered > 0 ? flow : undefined;
  }

  send(flow: UdpFlow, bytes: Uint8Array): boolean {
    const { pool, clock, routing, sender, room, wake } = this.#parts;
    if (flow.route === undefined || flow.route.stale)
      flow.route = routing.route(addressIn(flow.key, 4), addressIn(flow.key, 0));
    const { route } = flow;
    const length = udp.HEADER + bytes.length;
    if (route === undefined || room(route) === 0) return false;
    if (length > 0xffff - (route.family === 4 ? ipv4.HEADER : 0)) return false;
    const packet = sender.make(length);
    if (packet < 0) return false;
    const at = pool.offset[packet];
    put32(pool.slab, at, flow.key[8]);
    put16(pool.slab, at + udp.LENGTH, length);
    put16(pool.slab, at + udp.CHECKSUM, 0);
    pool.slab.set(bytes, at + udp.HEADER);
    flow.answered++;
    flow.last = clock[0];
    const gone = sender.send(packet, route, Protocol.Udp, 0, 0);
    wake();
    return gone;
  }

  refuse(flow: UdpFlow, why: Refusal): void {
    const header = new Uint8Array(udp.HEADER);
    const ports = flow.key[8];
    put32(header, 0, (ports << 16) | (ports >>> 16));
    put16(header, udp.LENGTH, udp.HEADER);
    const [source, destination] = [addressIn(flow.key, 4), addressIn(flow.key, 0)];
    this.#parts.errors.tellOf(source, destination, Protocol.Udp, header, REFUSALS[why]);
    this.#parts.wake();
  }
}
