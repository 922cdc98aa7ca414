/** Echo requests of this host, and whoever waits for their replies (RFC 792, RFC 4443, 4.1). */
import type { Pool } from '../engine/pool.ts';
import type { Runtime } from '../engine/runtime.ts';
import { SECOND } from '../engine/units.ts';
import { TunconnectorError } from '../errors.ts';
import { equalBytes } from '../packet/address.ts';
import * as icmp from '../packet/icmp.ts';
import * as icmpv6 from '../packet/icmpv6.ts';
import * as ipv4 from '../packet/ipv4.ts';
import * as ipv6 from '../packet/ipv6.ts';
import { Protocol } from '../packet/protocol.ts';
import { put16 } from '../packet/word.ts';
import type { EchoClient } from './ip/icmp.ts';
import type { PathRoute, Routing } from './ip/routing.ts';
import type { Sender } from './ip/sender.ts';
import type { SecretNumbers } from './numbers.ts';
import { PathError } from './tcp/below.ts';

/** Requests that may wait at a time. */
const WAITING = 1024;
const LONGEST = 65_507;

export interface PingOptions {
  /** Bytes of echo data. Default 56, at most 65 507. */
  size?: number;
  /** TTL or hop limit. Default: the stack's. */
  ttl?: number;
  /** How long a reply is awaited: ns. Default 1 s. */
  timeout?: number;
}

/** What came of an echo request. */
export interface PingResult {
  /** `timeout`, and what an ICMP error said, are no replies. */
  result: 'reply' | 'timeout' | 'too-big' | 'unreachable' | 'prohibited' | 'expired';
  /** From the request until it was settled: ns. */
  time: number;
  /** TTL or hop limit of the reply; 0 without one. */
  ttl: number;
  sequence: number;
}

interface Request {
  sent: number;
  destination: Uint8Array;
  size: number;
  cancel: () => void;
  settle: (result: PingResult) => void;
}

const RESULTS: Record<number, PingResult['result']> = {
  [PathError.TooBig]: 'too-big',
  [PathError.Prohibited]: 'prohibited',
  [PathError.TimeExceeded]: 'expired',
};

export class Pings implements EchoClient {
  readonly #pool: Pool;
  readonly #runtime: Runtime;
  readonly #routing: Routing;
  readonly #sender: Sender;
  readonly #ttl: number;
  readonly #identifier: number;
  #sequence: number;
  /** By sequence number. */
  readonly #requests = new Map<number, Request>();

  constructor(
    pool: Pool,
    runtime: Runtime,
    routing: Routing,
    sender: Sender,
    ttl: number,
    numbers: SecretNumbers,
  ) {
    this.#pool = pool;
    this.#runtime = runtime;
    this.#routing = routing;
    this.#sender = sender;
    this.#ttl = ttl;
    // Whoever does not see the requests cannot answer them.
    this.#identifier = numbers.u16();
    this.#sequence = numbers.u16();
  }

  /**
   * Sends one echo request.
   *
   * @throws ERR_UNREACHABLE when no route leads there, ERR_LIMIT for too many at a time or no memory
   */
  send(destination: Uint8Array, options: PingOptions, settle: (result: PingResult) => void): void {
    const { size = 56, ttl = this.#ttl, timeout = SECOND } = options;
    if (!Number.isInteger(size) || size < 0 || size > LONGEST)
      throw new TunconnectorError('ERR_CONFIG', `found a size of ${size}, expected 0 to ${LONGEST} bytes`);
    if (!Number.isInteger(ttl) || ttl < 1 || ttl > 255)
      throw new TunconnectorError('ERR_CONFIG', `found a TTL of ${ttl}, expected 1 to 255`);
    const route = this.#routing.route(destination);
    if (!route) throw new TunconnectorError('ERR_UNREACHABLE', 'no route leads to the address');
    const packet = this.#requests.size < WAITING ? this.#request(route, size) : -1;
    if (packet < 0) throw new TunconnectorError('ERR_LIMIT', 'too many echo requests wait for replies');
    const sequence = this.#sequence;
    const sent = this.#runtime.now();
    const cancel = this.#runtime.timer(sent + timeout, () => this.#settle(sequence, 'timeout', 0));
    this.#requests.set(sequence, { sent, destination: route.destination, size, cancel, settle });
    const protocol = route.family === 4 ? Protocol.Icmp : Protocol.Icmpv6;
    this.#sender.send(packet, route, protocol, 0, 0, ttl);
  }

  #request(route: PathRoute, size: number): number {
    const packet = this.#sender.make(icmp.HEADER + size);
    if (packet < 0) return -1;
    // A number that still waits is another's.
    do this.#sequence = (this.#sequence + 1) & 0xffff;
    while (this.#requests.has(this.#sequence));
    const { slab } = this.#pool;
    const at = this.#pool.offset[packet];
    slab.fill(0, at, at + icmp.HEADER);
    slab[at] = route.family === 4 ? icmp.Type.Echo : icmpv6.Type.Echo;
    put16(slab, at + icmp.IDENTIFIER, this.#identifier);
    put16(slab, at + icmp.SEQUENCE, this.#sequence);
    for (let i = 0; i < size; i++) slab[at + icmp.BODY + i] = i;
    return packet;
  }

  #settle(sequence: number, result: PingResult['result'], ttl: number): void {
    const request = this.#requests.get(sequence);
    if (!request) return;
    this.#requests.delete(sequence);
    request.cancel();
    request.settle({ result, time: this.#runtime.now() - request.sent, ttl, sequence });
  }

  /** The request that a message at `at` belongs to, if the address at `peer` is whom it went to. */
  #find(at: number, peer: number): Request | undefined {
    const { slab } = this.#pool;
    if (icmp.identifier(slab, at) !== this.#identifier) return undefined;
    const request = this.#requests.get(icmp.sequence(slab, at));
    if (!request) return undefined;
    const { destination } = request;
    return equalBytes(slab, peer, destination, 0, destination.length) ? request : undefined;
  }

  reply(family: 4 | 6, ip: number, at: number, end: number): boolean {
    const { slab } = this.#pool;
    const request = this.#find(at, ip + (family === 4 ? ipv4.SOURCE : ipv6.SOURCE));
    if (!request || request.destination.length !== (family === 4 ? 4 : 16)) return false;
    if (end - at !== icmp.HEADER + request.size) return false;
    const ttl = family === 4 ? ipv4.ttl(slab, ip) : ipv6.hopLimit(slab, ip);
    this.#settle(icmp.sequence(slab, at), 'reply', ttl);
    return true;
  }

  error(kind: PathError, family: 4 | 6, ip: number, at: number, _mtu: number): boolean {
    const request = this.#find(at, ip + (family === 4 ? ipv4.DESTINATION : ipv6.DESTINATION));
    if (!request || request.destination.length !== (family === 4 ? 4 : 16)) return false;
    this.#settle(icmp.sequence(this.#pool.slab, at), RESULTS[kind] ?? 'unreachable', 0);
    return true;
  }

  close(): void {
    for (const sequence of [...this.#requests.keys()]) this.#settle(sequence, 'timeout', 0);
  }
}
