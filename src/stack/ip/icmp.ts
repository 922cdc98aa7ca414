/**
 * ICMP and ICMPv6 to this host: echo requests are answered, replies go to who asked, and errors to the transport whose
 * packet they quote. An error changes something only when that transport believes it (RFC 5927, 4.1).
 */
import type { Pool } from '../../engine/pool.ts';
import { Reason } from '../../engine/reasons.ts';
import { pseudoSum6, rewrite16, sum } from '../../packet/checksum.ts';
import * as icmp from '../../packet/icmp.ts';
import * as icmpv6 from '../../packet/icmpv6.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { Protocol } from '../../packet/protocol.ts';
import { completeChecksum } from '../../packet/segment.ts';
import { isLaterFragment, upperDistance, upperProtocol } from '../../packet/upper.ts';
import { copyBytes, getInt32, put16 } from '../../packet/word.ts';
import type { EchoFlows } from '../echo/flows.ts';
import { hashAddress } from '../numbers.ts';
import { StackDrop } from '../reasons.ts';
import { PathError, type TransportAbove } from '../tcp/below.ts';
import type { PathMtus } from './path-mtu.ts';
import { Cast, type Routing } from './routing.ts';
import type { Sender } from './sender.ts';

/** RFC 1191, 7: MTUs that there are, for routers that do not say theirs. */
const PLATEAUS = [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];
/** Echo replies that are remembered, to believe an error about one. */
const REPLIES = 64;
/** `pool.flags`: the transport checksum was verified. */
export const VERIFIED = 1;

/** Who sends echo requests. */
export interface EchoClient {
  /** @param at where the ICMP header is, in the slab @param ip where the IP header is. Returns whether it asked. */
  reply(family: 4 | 6, ip: number, at: number, end: number): boolean;
  /** An error quotes an echo request. Returns whether it is one that waits. */
  error(kind: PathError, family: 4 | 6, ip: number, at: number, mtu: number): boolean;
}

export interface IcmpParts {
  pool: Pool;
  clock: Float64Array;
  routing: Routing;
  paths: PathMtus;
  sender: Sender;
  transports: (TransportAbove | undefined)[];
  echoes: EchoClient;
  secret: number;
  /** Whether echo requests are answered, and with what TTL. */
  echo: boolean;
  ttl: number;
}

export class Icmp {
  readonly #parts: IcmpParts;
  readonly #pool: Pool;
  readonly #replied = new Int32Array(REPLIES);
  /** Takes the pings to hosts that this one stands for. */
  captured: EchoFlows | undefined;
  echoes = 0;
  errors = 0;
  believed = 0;

  constructor(parts: IcmpParts) {
    this.#parts = parts;
    this.#pool = parts.pool;
  }

  /** A message to this host. @param transport from `pool.offset` @param cast how its address is this host's */
  input(packet: number, family: 4 | 6, transport: number, cast: number): void {
    const pool = this.#pool;
    const { slab } = pool;
    const at = pool.offset[packet] + transport;
    const end = pool.offset[packet] + pool.length[packet];
    if (end - at < icmp.HEADER || !this.#checksumOk(packet, family, at, end)) {
      pool.drop(packet, StackDrop.Icmp);
      return;
    }
    const type = slab[at];
    if (type === (family === 4 ? icmp.Type.Echo : icmpv6.Type.Echo)) {
      // RFC 1122, 3.2.2.6: what asks everybody may be left unanswered.
      const own = cast === Cast.Unicast && this.#isOwn(packet, family);
      if (own && this.#parts.echo) this.#answer(packet, family, transport);
      else if (!own && cast === Cast.Unicast && this.captured) this.captured.input(packet, family, transport);
      else pool.drop(packet, StackDrop.IcmpUnwanted);
      return;
    }
    let wanted = false;
    if (type === (family === 4 ? icmp.Type.EchoReply : icmpv6.Type.EchoReply))
      wanted = this.#parts.echoes.reply(family, pool.offset[packet], at, end);
    else if (cast === Cast.Unicast) wanted = this.#error(family, at, end);
    if (wanted) pool.free(packet);
    else pool.drop(packet, StackDrop.IcmpUnwanted);
  }

  /** Whether the packet is for this host, and not for one that it only stands for. */
  #isOwn(packet: number, family: 4 | 6): boolean {
    const { slab, offset } = this.#pool;
    const destination = offset[packet] + (family === 4 ? ipv4.DESTINATION : ipv6.DESTINATION);
    return this.#parts.routing.own(slab, destination, family) === Cast.Unicast;
  }

  #checksumOk(packet: number, family: 4 | 6, at: number, end: number): boolean {
    const pool = this.#pool;
    if (pool.checksumStart[packet] >= 0 || (pool.flags[packet] & VERIFIED) !== 0) return true;
    const ip = pool.offset[packet];
    const pseudo =
      family === 4
        ? 0
        : pseudoSum6(pool.slab, ip + ipv6.SOURCE, ip + ipv6.DESTINATION, Protocol.Icmpv6, end - at);
    return sum(pool.slab, at, end - at, pseudo) === 0xffff;
  }

  /** The request becomes the reply, in place; where its header has more than a header must, a fresh packet does. */
  #answer(packet: number, family: 4 | 6, transport: number): void {
    const pool = this.#pool;
    const { sender, routing, ttl } = this.#parts;
    this.echoes++;
    if (!pool.own(packet)) {
      pool.drop(packet, Reason.NoMemory);
      return;
    }
    const { slab } = pool;
    const start = pool.checksumStart[packet];
    if (start >= 0) {
      completeChecksum(slab, pool.offset[packet], pool.length[packet], start, pool.checksumOffset[packet]);
      pool.checksumStart[packet] = -1;
    }
    if (transport > (family === 4 ? ipv4.HEADER : ipv6.HEADER)) {
      this.#answerAnew(packet, family, transport);
      return;
    }
    const at = pool.offset[packet];
    const reply = family === 4 ? icmp.Type.EchoReply : icmpv6.Type.EchoReply;
    rewrite16(
      slab,
      at + transport,
      (reply << 8) | slab[at + transport + icmp.CODE],
      at + transport + icmp.CHECKSUM,
    );
    const source = at + (family === 4 ? ipv4.SOURCE : ipv6.SOURCE);
    this.#swap(source, family === 4 ? 4 : 16);
    const to = source + (family === 4 ? 4 : 16);
    const hop = routing.hop(slab, to, family);
    if (!hop) {
      pool.drop(packet, StackDrop.NoRoute);
      return;
    }
    if (family === 4) {
      slab[at + ipv4.TTL] = ttl;
      // No DF: the reply may be cut on its way. So it needs an identification.
      put16(slab, at + ipv4.FRAGMENT, 0);
      put16(slab, at + ipv4.IDENTIFICATION, sender.identify(source, 8));
      ipv4.fillChecksum(slab, at);
    } else {
      slab[at + ipv6.HOP_LIMIT] = ttl;
    }
    this.#replied[this.#replyPlace(to, family, at + transport)] = this.#replyName(to, family, at + transport);
    sender.out(packet, hop.interface, hop.peer, routing.mtu(slab, to, family, hop));
  }

  #answerAnew(packet: number, family: 4 | 6, transport: number): void {
    const pool = this.#pool;
    const { slab } = pool;
    const { sender, routing } = this.#parts;
    const at = pool.offset[packet];
    const size = family === 4 ? 4 : 16;
    const source = at + (family === 4 ? ipv4.SOURCE : ipv6.SOURCE);
    const asker = slab.slice(source, source + size);
    const length = pool.length[packet] - transport;
    const route = routing.route(asker, slab.slice(source + size, source + 2 * size));
    const reply = route ? sender.make(length) : -1;
    if (!route || reply < 0) {
      pool.drop(packet, route ? Reason.NoMemory : StackDrop.NoRoute);
      return;
    }
    const to = pool.offset[reply];
    copyBytes(slab, at + transport, slab, to, length);
    slab[to] = family === 4 ? icmp.Type.EchoReply : icmpv6.Type.EchoReply;
    put16(slab, to + icmp.CHECKSUM, 0);
    pool.free(packet);
    sender.send(reply, route, family === 4 ? Protocol.Icmp : Protocol.Icmpv6, 0, 0);
  }

  #swap(at: number, size: number): void {
    const { slab } = this.#pool;
    for (let i = 0; i < size; i++) {
      const byte = slab[at + i];
      slab[at + i] = slab[at + size + i];
      slab[at + size + i] = byte;
    }
  }

  /** What an echo reply is known by: whom it went to, identifier and sequence. */
  #replyName(to: number, family: 4 | 6, at: number): number {
    const { slab } = this.#pool;
    return (
      hashAddress(slab, to, family === 4 ? 4 : 16, this.#parts.secret) ^ getInt32(slab, at + icmp.IDENTIFIER)
    );
  }

  #replyPlace(to: number, family: 4 | 6, at: number): number {
    return this.#replyName(to, family, at) & (REPLIES - 1);
  }

  /** Returns whether the message is an error that somebody believes. */
  #error(family: 4 | 6, at: number, end: number): boolean {
    const { slab } = this.#pool;
    const kind = family === 4 ? kind4(slab[at], slab[at + 1]) : kind6(slab[at], slab[at + 1]);
    if (kind === 0) return false;
    this.errors++;
    const ip = at + icmp.BODY;
    const transport = family === 4 ? quoted4(slab, ip, end) : quoted6(slab, ip, end);
    if (transport < 0) return false;
    const source = ip + (family === 4 ? ipv4.SOURCE : ipv6.SOURCE);
    const { routing, transports, paths, clock } = this.#parts;
    if (routing.cast(slab, source, family) !== Cast.Unicast) return false;
    let mtu = 0;
    if (kind === PathError.TooBig) {
      mtu = family === 4 ? icmp.nextHopMtu(slab, at) : icmpv6.mtu(slab, at);
      if (family === 4 && mtu === 0) mtu = plateauBelow(ipv4.totalLength(slab, ip));
      // RFC 8201, 4: below what every link carries it is to be ignored.
      if (family === 6 && mtu < ipv6.MINIMUM_MTU) return false;
    }
    const protocol = family === 4 ? ipv4.protocol(slab, ip) : upperProtocol(ipv6.upper(slab, ip, end));
    const mine = family === 4 ? Protocol.Icmp : Protocol.Icmpv6;
    const believed =
      protocol === mine
        ? this.#ownEcho(kind, family, ip, transport, mtu)
        : (transports[protocol]?.error(kind, family, ip, transport, end, mtu) ?? false);
    if (!believed) return false;
    this.believed++;
    if (kind === PathError.TooBig) {
      const to = source + (family === 4 ? 4 : 16);
      const hop = routing.hop(slab, to, family);
      const most = hop ? routing.mtu(slab, to, family, hop) : 0;
      if (paths.learn(slab, to, family, mtu, most, clock[0])) routing.generation++;
    }
    return true;
  }

  #ownEcho(kind: PathError, family: 4 | 6, ip: number, at: number, mtu: number): boolean {
    const { slab } = this.#pool;
    if (slab[at] === (family === 4 ? icmp.Type.Echo : icmpv6.Type.Echo))
      return this.#parts.echoes.error(kind, family, ip, at, mtu);
    if (slab[at] !== (family === 4 ? icmp.Type.EchoReply : icmpv6.Type.EchoReply)) return false;
    if (this.captured?.sentAlong(family, ip, at)) return true;
    const to = ip + (family === 4 ? ipv4.DESTINATION : ipv6.DESTINATION);
    return this.#replied[this.#replyPlace(to, family, at)] === this.#replyName(to, family, at);
  }
}

/** Where the transport header of a quoted IPv4 packet is; -1: not enough of it. */
function quoted4(bytes: Uint8Array, ip: number, end: number): number {
  if (end - ip < ipv4.HEADER || bytes[ip] >> 4 !== 4) return -1;
  const header = ipv4.headerLength(bytes, ip);
  if (header < ipv4.HEADER || ip + header + 8 > end || ipv4.fragmentOffset(bytes, ip) > 0) return -1;
  return ip + header;
}

function quoted6(bytes: Uint8Array, ip: number, end: number): number {
  if (end - ip < ipv6.HEADER || bytes[ip] >> 4 !== 6) return -1;
  const upper = ipv6.upper(bytes, ip, end);
  if (upper < 0 || isLaterFragment(upper)) return -1;
  const transport = ip + upperDistance(upper);
  return transport + 8 > end ? -1 : transport;
}

/** RFC 792, RFC 1122, 3.2.2.1, RFC 1812, 5.2.7.1. 0: no error, or one without meaning for a host. */
function kind4(type: number, code: number): PathError | 0 {
  if (type === icmp.Type.TimeExceeded) return PathError.TimeExceeded;
  if (type === icmp.Type.ParameterProblem) return PathError.Malformed;
  if (type !== icmp.Type.Unreachable) return 0;
  if (code === icmp.Unreachable.FragmentationNeeded) return PathError.TooBig;
  if (code === icmp.Unreachable.Protocol || code === icmp.Unreachable.Port) return PathError.Refused;
  return code === 9 || code === 10 || code >= 13 ? PathError.Prohibited : PathError.Unreachable;
}

/** RFC 4443, 3. */
function kind6(type: number, code: number): PathError | 0 {
  if (type === icmpv6.Type.PacketTooBig) return PathError.TooBig;
  if (type === icmpv6.Type.TimeExceeded) return PathError.TimeExceeded;
  if (type === icmpv6.Type.ParameterProblem) return code === 1 ? PathError.Refused : PathError.Malformed;
  if (type !== icmpv6.Type.Unreachable) return 0;
  if (code === icmpv6.Unreachable.Port) return PathError.Refused;
  return code === 1 || code === 5 || code === 6 ? PathError.Prohibited : PathError.Unreachable;
}

const plateauBelow = (length: number): number => PLATEAUS.find((mtu) => mtu < length) ?? 68;
