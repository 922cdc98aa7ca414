/** UDP (RFC 768, RFC 8085): which socket a datagram is for, checksums, and what becomes of errors. */
import type { Pool } from '../../engine/pool.ts';
import { TunconnectorError } from '../../errors.ts';
import { parseIp } from '../../packet/address.ts';
import { pseudoSum4, pseudoSum6, sum } from '../../packet/checksum.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { Protocol } from '../../packet/protocol.ts';
import * as udp from '../../packet/udp.ts';
import { get16, put16 } from '../../packet/word.ts';
import { type Errors, IpError } from '../ip/errors.ts';
import { VERIFIED } from '../ip/icmp.ts';
import type { GroupTransport } from '../ip/receiver.ts';
import { Cast, type PathRoute, type Routing } from '../ip/routing.ts';
import type { Sender } from '../ip/sender.ts';
import type { SecretNumbers } from '../numbers.ts';
import { StackDrop } from '../reasons.ts';
import { PathError } from '../tcp/below.ts';
import { type FlowCaptor, UdpFlows } from './flows.ts';
import { UdpPeer } from './peer.ts';
import { choosePort } from './ports.ts';
import { sameBytes, type UdpOptions, UdpSocket } from './socket.ts';

const MOST_SOCKETS = 4096;
/** Behind an IPv4 header, and behind an IPv6 header. */
const LONGEST = { 4: 65_507, 6: 65_527 };
const UNSPECIFIED = { 4: new Uint8Array(4), 6: new Uint8Array(16) };

const NEVER = new Float64Array(1);

export class Udp implements GroupTransport {
  readonly protocol = Protocol.Udp;
  readonly groups = true;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  readonly #pool: Pool;
  readonly #routing: Routing;
  readonly #sender: Sender;
  readonly #errors: Errors;
  readonly #numbers: SecretNumbers;
  readonly #wake: () => void;
  /** How many packets the way out takes. */
  readonly #room: (route: PathRoute) => number;
  readonly #byPort = new Map<number, UdpSocket[]>();
  #sockets = 0;
  #flows: UdpFlows | undefined;
  #clock: Float64Array = NEVER;
  /** Those that were told that there is no room, with the way that had none. */
  readonly #waiting = new Map<UdpSocket, PathRoute>();

  constructor(
    pool: Pool,
    routing: Routing,
    sender: Sender,
    errors: Errors,
    numbers: SecretNumbers,
    wake: () => void,
    room: (route: PathRoute) => number,
  ) {
    this.#pool = pool;
    this.#routing = routing;
    this.#sender = sender;
    this.#errors = errors;
    this.#numbers = numbers;
    this.#wake = wake;
    this.#room = room;
  }

  /** @throws ERR_PORT_IN_USE, ERR_ADDRESS, ERR_CONFIG, ERR_LIMIT */
  open(options: UdpOptions): UdpSocket {
    if (this.#sockets >= MOST_SOCKETS)
      throw new TunconnectorError('ERR_LIMIT', `${MOST_SOCKETS} UDP sockets are open already`);
    const local = options.address === undefined ? undefined : parseIp(options.address).bytes;
    if (local && this.#routing.cast(local, 0, local.length === 4 ? 4 : 6) !== Cast.Unicast)
      throw new TunconnectorError('ERR_ADDRESS', `${options.address} is not an address of this host`);
    const through = this.#routing.interfaces.findIndex(({ name }) => name === options.interface);
    if (options.interface !== undefined && through < 0)
      throw new TunconnectorError(
        'ERR_CONFIG',
        `found the interface "${options.interface}", which there is not`,
      );
    const taken = (port: number) => this.#byPort.get(port)?.some((other) => overlap(other, local)) ?? false;
    const { port = choosePort(this.#numbers, taken) } = options;
    if (!Number.isInteger(port) || port < 1 || port > 65_535)
      throw new TunconnectorError('ERR_CONFIG', `found the port ${port}, expected 1 to 65535`);
    if (taken(port)) throw new TunconnectorError('ERR_PORT_IN_USE', `UDP port ${port} is taken`);
    const socket = new UdpSocket(this, options, local, port, through);
    const known = this.#byPort.get(port);
    if (known) known.push(socket);
    else this.#byPort.set(port, [socket]);
    this.#sockets++;
    return socket;
  }

  /** Takes datagrams to other hosts where no socket is. @param clock of the runtime */
  capture(captor: FlowCaptor, clock: Float64Array): void {
    const parts = {
      pool: this.#pool,
      clock,
      routing: this.#routing,
      sender: this.#sender,
      errors: this.#errors,
      numbers: this.#numbers,
      room: this.#room,
      wake: this.#wake,
    };
    this.#flows = new UdpFlows(parts, captor);
    this.#clock = clock;
  }

  /** Flows to other hosts. */
  get flows(): number {
    return this.#flows?.size ?? 0;
  }

  forget(socket: UdpSocket): void {
    const left = (this.#byPort.get(socket.port) ?? []).filter((other) => other !== socket);
    if (left.length > 0) this.#byPort.set(socket.port, left);
    else this.#byPort.delete(socket.port);
    this.#waiting.delete(socket);
    this.#sockets--;
  }

  send(socket: UdpSocket, bytes: Uint8Array, to: UdpPeer): boolean {
    const family = to.family;
    if (bytes.length > LONGEST[family])
      throw new TunconnectorError(
        'ERR_CONFIG',
        `found a datagram of ${bytes.length} bytes, expected at most ${LONGEST[family]}`,
      );
    const route = socket.routeTo(to.bytes) ?? this.#route(socket, to);
    if (!route) return false;
    if (this.#room(route) === 0) {
      this.#waiting.set(socket, route);
      return false;
    }
    const length = udp.HEADER + bytes.length;
    const packet = this.#sender.make(length);
    if (packet < 0) return false;
    const { slab } = this.#pool;
    const at = this.#pool.offset[packet];
    put16(slab, at + udp.SOURCE_PORT, socket.port);
    put16(slab, at + udp.DESTINATION_PORT, to.port);
    put16(slab, at + udp.LENGTH, length);
    put16(slab, at + udp.CHECKSUM, 0);
    slab.set(bytes, at + udp.HEADER);
    const gone = this.#sender.send(packet, route, Protocol.Udp, 0, 0);
    if (gone) socket.sent++;
    this.#wake();
    return gone;
  }

  #route(socket: UdpSocket, { bytes, family }: UdpPeer): PathRoute | undefined {
    const everybody = this.#routing.cast(bytes, 0, family) === Cast.Broadcast;
    if (everybody && !socket.broadcast)
      throw new TunconnectorError('ERR_CONFIG', 'found a broadcast address', {
        remedy: 'open the socket with broadcast: true',
      });
    let route: PathRoute | undefined;
    if (socket.through >= 0) {
      const own = socket.local ?? this.#routing.sourceOf(socket.through, bytes) ?? UNSPECIFIED[family];
      route = this.#routing.routeBy(socket.through, bytes, own);
    } else {
      route = this.#routing.route(bytes, socket.local);
    }
    if (route) socket.remember(route);
    return route;
  }

  input(packet: number, family: 4 | 6, transport: number, end: number): void {
    const pool = this.#pool;
    const { slab } = pool;
    const ip = pool.offset[packet];
    const at = ip + transport;
    const stop = this.#check(packet, family, at, ip + end);
    if (stop < 0) {
      pool.drop(packet, StackDrop.Udp);
      return;
    }
    const size = family === 4 ? 4 : 16;
    const source = ip + (family === 4 ? ipv4.SOURCE : ipv6.SOURCE);
    const sourcePort = udp.sourcePort(slab, at);
    const cast = this.#routing.cast(slab, source + size, family);
    const socket = this.#find(source, source + size, size, sourcePort, udp.destinationPort(slab, at), cast);
    if (!socket) {
      if (this.#flows && cast === Cast.Unicast) {
        this.#flows.input(packet, family, at, stop);
        return;
      }
      if (cast === Cast.Unicast) this.#errors.tell(packet, IpError.Port);
      pool.drop(packet, StackDrop.UdpPort);
      return;
    }
    const { onMessage } = socket.handlers;
    const segment = pool.segmentSize[packet];
    const from = new UdpPeer(slab.slice(source, source + size), sourcePort);
    const bytes = slab.slice(at + udp.HEADER, stop);
    // What the program throws must not leave a packet behind.
    pool.free(packet);
    if (segment === 0 || bytes.length <= segment) {
      socket.received++;
      onMessage?.call(socket.handlers, bytes, from);
      return;
    }
    for (let i = 0; i < bytes.length && !socket.closed; i += segment) {
      socket.received++;
      onMessage?.call(socket.handlers, bytes.slice(i, i + segment), from);
    }
  }

  /** Where the datagram ends, or -1. */
  #check(packet: number, family: 4 | 6, at: number, end: number): number {
    const pool = this.#pool;
    const { slab } = pool;
    if (end - at < udp.HEADER) return -1;
    const superframe = pool.segmentSize[packet] > 0;
    const length = superframe ? end - at : udp.length(slab, at);
    if (length < udp.HEADER || length > end - at || get16(slab, at + udp.SOURCE_PORT) === 0) return -1;
    const stop = at + length;
    if (pool.checksumStart[packet] >= 0 || (pool.flags[packet] & VERIFIED) !== 0) return stop;
    // RFC 768: the sender made none. RFC 8200, 8.1: over IPv6 there must be one.
    if (get16(slab, at + udp.CHECKSUM) === 0) return family === 4 ? stop : -1;
    const ip = pool.offset[packet];
    const pseudo =
      family === 4
        ? pseudoSum4(slab, ip + ipv4.SOURCE, Protocol.Udp, length)
        : pseudoSum6(slab, ip + ipv6.SOURCE, ip + ipv6.DESTINATION, Protocol.Udp, length);
    return sum(slab, at, length, pseudo) === 0xffff ? stop : -1;
  }

  /** The socket that says most about the datagram: with this peer, then with this address, then any at the port. */
  #find(
    source: number,
    destination: number,
    size: number,
    sourcePort: number,
    port: number,
    cast: number,
  ): UdpSocket | undefined {
    const sockets = this.#byPort.get(port);
    if (!sockets) return undefined;
    const { slab } = this.#pool;
    let best: UdpSocket | undefined;
    let most = -1;
    for (const socket of sockets) {
      let score = 0;
      if (socket.local) {
        // A datagram to everybody is for those as well that are bound to one address of the family.
        if (
          cast === Cast.Unicast
            ? !equalAt(slab, destination, socket.local, size)
            : socket.local.length !== size
        )
          continue;
        score += 1;
      }
      if (socket.remote) {
        if (socket.remote.port !== sourcePort || !equalAt(slab, source, socket.remote.bytes, size)) continue;
        score += 2;
      }
      if (score > most) {
        most = score;
        best = socket;
      }
    }
    return best;
  }

  error(kind: PathError, family: 4 | 6, ip: number, transport: number, _end: number, _mtu: number): boolean {
    const { slab } = this.#pool;
    const size = family === 4 ? 4 : 16;
    const source = ip + (family === 4 ? ipv4.SOURCE : ipv6.SOURCE);
    const port = udp.destinationPort(slab, transport);
    // The quoted datagram went the other way: its destination is the peer.
    const socket = this.#find(
      source + size,
      source,
      size,
      port,
      udp.sourcePort(slab, transport),
      Cast.Unicast,
    );
    if (!socket && this.#flows?.sentAlong(family, ip, transport)) return true;
    if (!socket?.sentTo(slab, source + size, size)) return false;
    const to = new UdpPeer(slab.slice(source + size, source + 2 * size), port);
    if (kind !== PathError.TooBig) socket.tell(kind, to);
    return true;
  }

  run(): void {
    if (this.#flows) {
      this.#flows.run(this.#clock[0]);
      this.due[0] = this.#flows.first();
    }
    if (this.#waiting.size === 0) return;
    for (const [socket, route] of [...this.#waiting]) {
      if (this.#room(route) === 0) continue;
      this.#waiting.delete(socket);
      socket.handlers.onWritable?.();
    }
  }

  close(): void {
    this.#flows?.close();
    for (const sockets of [...this.#byPort.values()]) for (const socket of sockets) socket.close();
  }
}

/** Whether a socket has the address too. */
const overlap = (socket: UdpSocket, local: Uint8Array | undefined): boolean =>
  socket.local === undefined || local === undefined || sameBytes(socket.local, local);

function equalAt(bytes: Uint8Array, at: number, address: Uint8Array, size: number): boolean {
  if (address.length !== size) return false;
  for (let i = 0; i < size; i++) if (bytes[at + i] !== address[i]) return false;
  return true;
}
