/**
 * Where a transport protocol and the IP half of the stack meet. Interfaces only. Calls are synchronous, addresses are
 * bytes, packets are handles of one pool.
 */
import type { Pool } from '../../engine/pool.ts';
import type { RandomStream } from '../../engine/random.ts';

/** Where packets of one connection go: found once, kept by the connection, asked for anew when `stale`. */
export interface Route {
  readonly family: 4 | 6;
  /** Of this host: 4 or 16 bytes. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** Bytes of an IP packet that pass now, headers and all: the way out's MTU or the path's. May change. */
  mtu: number;
  /** Whether the way out takes superframes. */
  superframes: boolean;
  /** It leads nowhere any more: addresses, routes or interfaces have changed. */
  stale: boolean;
}

/** Why a packet for a host that this one stands for does not arrive there. */
export type Refusal = 'port' | 'host' | 'network' | 'prohibited';

/** What a transport has of the IP half. */
export interface IpBelow {
  readonly pool: Pool;
  /** One cell: integer nanoseconds since the runtime's start. */
  readonly clock: Float64Array;
  /**
   * The way to an address; undefined when there is none.
   *
   * @param source an address of this host that it must leave from
   */
  route(destination: Uint8Array, source?: Uint8Array): Route | undefined;
  /** How many packets the way out takes now. At 0 a transport waits; `run` is called again when there is room. */
  room(route: Route): number;
  /**
   * A packet with `length` bytes for the transport's header and payload from `pool.offset` on, and room in front of them
   * for the IP header. The bytes hold anything. -1: no memory.
   */
  make(route: Route, length: number): number;
  /**
   * Puts the IP header in front, sees to the transport's checksum (whose field holds 0 so far: filled in, or left open
   * where the way out does that), and sends. The handle is gone.
   *
   * @param ecn the two ECN bits of the IP header, 0 to 3 (RFC 3168)
   * @param segmentSize over 0: a superframe, whose payload is cut every so many bytes. Only where `route.superframes`.
   */
  send(packet: number, route: Route, protocol: number, ecn: number, segmentSize: number): void;
  /**
   * Tells a host that a packet of its did not arrive, which is gone: by ICMP, if it may be told now.
   *
   * @param start of the packet's transport header: 8 bytes at least
   */
  refuse(
    kind: Refusal,
    source: Uint8Array,
    destination: Uint8Array,
    protocol: number,
    start: Uint8Array,
  ): void;
  /** Something happened outside of the packet path, such as a write: call `run` soon. Cheap to call often. */
  wake(): void;
  /** A repeatable stream of its own for every name. */
  random(name: string): RandomStream;
  /** Bytes nobody can guess; from the seed in virtual time. */
  secret(length: number): Uint8Array;
}

/** What an ICMP error says about a packet, in both versions. */
export const PathError = {
  /** Longer than the MTU of some link: RFC 1191, RFC 8201. */
  TooBig: 1,
  /** No route, host or address unreachable: may pass (RFC 1122, 4.2.3.9). */
  Unreachable: 2,
  /** Port or protocol unreachable. */
  Refused: 3,
  /** Administratively prohibited. */
  Prohibited: 4,
  /** TTL, hop limit or reassembly time. */
  TimeExceeded: 5,
  /** Parameter problem. */
  Malformed: 6,
} as const;
export type PathError = (typeof PathError)[keyof typeof PathError];

/** What the IP half has of a transport. */
export interface TransportAbove {
  /** IP protocol number. */
  readonly protocol: number;
  /**
   * A whole packet to an address of this host that is neither multicast nor broadcast, from a source that can be answered.
   * The IP header starts at `pool.offset`. The transport owns the handle from here on, and verifies its own checksum
   * where the descriptor does not say that this was done or is left open.
   *
   * @param transport where its header starts, from `pool.offset`
   * @param end where the IP packet ends, from `pool.offset`
   */
  input(packet: number, family: 4 | 6, transport: number, end: number): void;
  /**
   * An ICMP error quotes a packet of this host. Offsets are into `pool.slab`; at least 8 bytes of the transport's header
   * lie before `end`.
   *
   * @param mtu with TooBig: what the error says
   * @returns whether it can be believed: the quoted packet is one that is under way (RFC 5927, 4.1). Only then is a
   *   path MTU lowered, after this call and before the next `run`.
   */
  error(kind: PathError, family: 4 | 6, ip: number, transport: number, end: number, mtu: number): boolean;
  /** Sends what there is to send. Called after every burst of input, after `wake`, and when `due` has passed. */
  run(): void;
  /** One cell: when `run` must be called though nothing arrives, ns, or Infinity. */
  readonly due: Float64Array;
  /** Ends everything, with last words where there are any. */
  close(): void;
}
