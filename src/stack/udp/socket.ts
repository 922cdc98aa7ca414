/** One UDP socket: callbacks in, `send` out. Nothing waits in it: a datagram is handed on as it comes, or sent at once. */
import { TunconnectorError } from '../../errors.ts';
import { parseIp } from '../../packet/address.ts';
import { parseEndpoint } from '../../packet/prefix.ts';
import type { PathRoute } from '../ip/routing.ts';
import { hashAddress } from '../numbers.ts';
import type { PathError } from '../tcp/below.ts';
import { UdpPeer } from './peer.ts';
import type { Udp } from './udp.ts';

/** Where datagrams go: `'10.0.0.1:53'`, `'[2001:db8::1]:53'`, or its parts. */
export type UdpTarget = string | UdpPeer | { address: string; port: number };

export interface UdpHandlers {
  /** A datagram came. The bytes are the caller's. */
  onMessage?(bytes: Uint8Array, from: UdpPeer): void;
  /** An ICMP error about a datagram that was sent from here: nobody listens there, the host cannot be reached. */
  onError?(error: TunconnectorError, to: UdpPeer): void;
  /** There is room again after `send` had none. */
  onWritable?(): void;
}

export interface UdpOptions extends UdpHandlers {
  /** Address of this host to receive at and send from. Default: any. */
  address?: string;
  /** Default: one that nobody can guess. */
  port?: number;
  /** The only peer: others are not heard, and `send` needs no target. */
  remote?: UdpTarget;
  /** Whether datagrams may be sent to a broadcast address. Default false. */
  broadcast?: boolean;
  /** By name: the only interface it sends through, also without an address (DHCP). */
  interface?: string;
}

/** Destinations that are remembered: their routes, and to believe ICMP errors about datagrams to them. */
const RECENT = 64;

export class UdpSocket {
  readonly handlers: UdpHandlers;
  /** Bytes of the address it is bound to; undefined: any. */
  readonly local: Uint8Array | undefined;
  readonly port: number;
  readonly remote: UdpPeer | undefined;
  readonly broadcast: boolean;
  /** Index of the only interface, or -1. */
  readonly through: number;
  readonly #udp: Udp;
  readonly #recent: (PathRoute | undefined)[] = new Array(RECENT);
  closed = false;
  received = 0;
  sent = 0;

  /** Made by `Udp.open`. */
  constructor(udp: Udp, options: UdpOptions, local: Uint8Array | undefined, port: number, through: number) {
    this.#udp = udp;
    this.handlers = options;
    this.local = local;
    this.port = port;
    this.remote = options.remote === undefined ? undefined : toPeer(options.remote);
    this.broadcast = options.broadcast ?? false;
    this.through = through;
  }

  /**
   * Sends one datagram. Returns false when no route leads there, or there is no room or memory now.
   *
   * @throws ERR_CLOSED, ERR_ADDRESS, ERR_CONFIG for a datagram that is too long, to nobody, or to everybody unasked
   */
  send(bytes: Uint8Array, to?: UdpTarget): boolean {
    if (this.closed) throw new TunconnectorError('ERR_CLOSED', 'the socket is closed');
    const peer = to === undefined ? this.remote : toPeer(to);
    if (!peer) throw new TunconnectorError('ERR_CONFIG', 'the datagram has no target');
    return this.#udp.send(this, bytes, peer);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#udp.forget(this);
  }

  /** The way to an address as it was found last, if it is still right. */
  routeTo(destination: Uint8Array): PathRoute | undefined {
    const route = this.#recent[placeOf(destination)];
    return route && !route.stale && sameBytes(route.destination, destination) ? route : undefined;
  }

  remember(route: PathRoute): void {
    this.#recent[placeOf(route.destination)] = route;
  }

  /** Whether a datagram went to the address lately (RFC 5927: only then an error about one is believed). */
  sentTo(slab: Uint8Array, at: number, size: number): boolean {
    const route = this.#recent[hashAddress(slab, at, size, 0) & (RECENT - 1)];
    if (!route || route.destination.length !== size) return false;
    for (let i = 0; i < size; i++) if (route.destination[i] !== slab[at + i]) return false;
    return true;
  }

  /** What an ICMP error means, for people and for programs that know errno. */
  tell(kind: PathError, to: UdpPeer): void {
    this.handlers.onError?.(errorOf(kind, to), to);
  }
}

const ERRORS: Record<number, [string, string]> = {
  1: ['EMSGSIZE', 'is too long for the path'],
  2: ['EHOSTUNREACH', 'does not reach its host'],
  3: ['ECONNREFUSED', 'was refused: nobody listens there'],
  4: ['EHOSTUNREACH', 'is prohibited on its way'],
  5: ['EHOSTUNREACH', 'did not arrive in time'],
  6: ['EPROTO', 'was not understood on its way'],
};

function errorOf(kind: PathError, to: UdpPeer): TunconnectorError {
  const [errno, text] = ERRORS[kind];
  return new TunconnectorError('ERR_UNREACHABLE', `a datagram to ${to} ${text}`, { errno });
}

const placeOf = (address: Uint8Array): number => hashAddress(address, 0, address.length, 0) & (RECENT - 1);

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** @throws ERR_ADDRESS, ERR_CONFIG */
export function toPeer(target: UdpTarget): UdpPeer {
  if (target instanceof UdpPeer) return target;
  if (typeof target === 'string') {
    const { address, port } = parseEndpoint(target);
    return new UdpPeer(address.bytes, port);
  }
  const { address, port } = target;
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new TunconnectorError('ERR_CONFIG', `found the port ${port}, expected 1 to 65535`);
  return new UdpPeer(parseIp(address).bytes, port);
}
