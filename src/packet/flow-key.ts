/**
 * Flow keys that are the same in both directions: protocol, the two endpoints in an order of their own, and a hash.
 *
 *   - TCP, UDP, SCTP, DCCP, UDP-Lite: addresses and ports;
 *   - ICMP and ICMPv6 echo (and ICMP timestamp): addresses and identifier, as the port of both ends;
 *   - ICMP errors: the flow of the packet that they quote, in the direction back to its sender;
 *   - everything else, and every fragment, the first too, so that all pieces of a datagram stay together: addresses
 *     alone.
 */
import { formatIp, type IpAddress } from './address.ts';
import * as icmp from './icmp.ts';
import * as icmpv6 from './icmpv6.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { type Endpoint, formatEndpoint } from './prefix.ts';
import { Protocol, protocolName } from './protocol.ts';
import { isFragment, isLaterFragment, upperDistance, upperProtocol } from './upper.ts';
import { get16, getInt32, put32 } from './word.ts';

/** Cells of a key, an Int32Array of KEY_CELLS. Two packets belong to one flow when the cells 0 to 9 are equal. */
export const KeyCell = {
  /** Address of the lower endpoint: four cells, of which IPv4 uses the first. */
  lower: 0,
  higher: 4,
  /** Port of the lower endpoint times 65536, plus that of the higher. */
  ports: 8,
  /** IP version times 256, plus protocol. */
  protocol: 9,
  /** Of the cells before, and a seed. */
  hash: 10,
} as const;
export const KEY_CELLS = 11;

/** Whether a protocol's flows have ports. */
export const hasPorts = (protocol: number): boolean =>
  protocol === Protocol.Tcp ||
  protocol === Protocol.Udp ||
  protocol === Protocol.Sctp ||
  protocol === Protocol.Dccp ||
  protocol === Protocol.UdpLite;

/** Whether a message of ICMP or ICMPv6 has an identifier, which the answer repeats. */
export const hasIdentifier = (protocol: number, type: number): boolean =>
  protocol === Protocol.Icmp
    ? icmp.isEcho(type) || type === icmp.Type.Timestamp || type === icmp.Type.TimestampReply
    : icmpv6.isEcho(type);

const isError = (protocol: number, type: number): boolean =>
  protocol === Protocol.Icmp ? icmp.isError(type) : icmpv6.isError(type);

/**
 * Fills `key` for the IP packet at `bytes[at..end)`. Allocates nothing, reads nothing beyond `end`.
 *
 * @param seed of the hash: keep it secret where a sender must not choose its bucket
 * @returns 0 when the packet goes from the lower endpoint to the higher, 1 the other way, -1 when it has no key
 *   (malformed, or cut off before its ports)
 */
export function flowKey(bytes: Uint8Array, at: number, end: number, key: Int32Array, seed = 0): -1 | 0 | 1 {
  return fill(bytes, at, end, key, seed, false, false) as -1 | 0 | 1;
}

/** `datagramKey`: a later fragment, whose datagram's ports are in another packet. */
export const LATER_FRAGMENT = -2;

/**
 * The same for those who remember datagrams that come in pieces: the first fragment has the key of the whole datagram, a
 * later one has none.
 *
 * @returns what `flowKey` returns, or LATER_FRAGMENT
 */
export function datagramKey(
  bytes: Uint8Array,
  at: number,
  end: number,
  key: Int32Array,
  seed = 0,
): -2 | -1 | 0 | 1 {
  return fill(bytes, at, end, key, seed, true, false);
}

function fill(
  bytes: Uint8Array,
  at: number,
  end: number,
  key: Int32Array,
  seed: number,
  datagrams: boolean,
  quoted: boolean,
): -2 | -1 | 0 | 1 {
  if (end > bytes.length || end - at < ipv4.HEADER) return -1;
  const version = bytes[at] >> 4;
  let limit = end;
  let upper: number;
  let source: number;
  let words: number;
  if (version === 4) {
    const header = ipv4.headerLength(bytes, at);
    const total = ipv4.totalLength(bytes, at);
    if (header < ipv4.HEADER || header > end - at || total < header) return -1;
    // A quote is cut short, and its length is not always what was sent (RFC 5927, 4.2); the frame has the last word.
    if (!quoted && at + total < limit) limit = at + total;
    upper = ipv4.upper(bytes, at);
    source = at + ipv4.SOURCE;
    words = 1;
  } else if (version === 6) {
    if (end - at < ipv6.HEADER) return -1;
    if (!quoted) limit = Math.min(limit, ipv6.packetEnd(bytes, at));
    upper = ipv6.upper(bytes, at, limit);
    if (upper < 0) return -1;
    source = at + ipv6.SOURCE;
    words = 4;
  } else {
    return -1;
  }

  const protocol = upperProtocol(upper);
  const transport = at + upperDistance(upper);
  let sourcePort = 0;
  let destinationPort = 0;
  // RFC 1122, 3.2.2: there are no errors about later fragments.
  if (datagrams && isLaterFragment(upper)) return quoted ? -1 : LATER_FRAGMENT;
  if (datagrams || !isFragment(upper)) {
    if (hasPorts(protocol)) {
      if (transport + 4 > limit) return -1;
      sourcePort = get16(bytes, transport);
      destinationPort = get16(bytes, transport + 2);
    } else if (protocol === (version === 4 ? Protocol.Icmp : Protocol.Icmpv6)) {
      if (transport + icmp.HEADER > limit) return -1;
      const type = bytes[transport];
      if (hasIdentifier(protocol, type)) {
        sourcePort = destinationPort = get16(bytes, transport + icmp.IDENTIFIER);
      } else if (!quoted && isError(protocol, type)) {
        const direction = fill(bytes, transport + icmp.BODY, limit, key, seed, datagrams, true);
        return direction < 0 ? -1 : direction === 0 ? 1 : 0;
      }
    }
  }

  const destination = source + 4 * words;
  let order = 0;
  for (let i = 0; i < words && order === 0; i++) {
    const a = getInt32(bytes, source + 4 * i);
    const b = getInt32(bytes, destination + 4 * i);
    // Compared as unsigned numbers, so that "lower" is what a person expects.
    if (a !== b) order = (a ^ 0x80000000) < (b ^ 0x80000000) ? -1 : 1;
  }
  const direction = order === 0 ? (sourcePort <= destinationPort ? 0 : 1) : order < 0 ? 0 : 1;
  const lower = direction === 0 ? source : destination;
  const higher = direction === 0 ? destination : source;
  for (let i = 0; i < 4; i++) {
    key[KeyCell.lower + i] = i < words ? getInt32(bytes, lower + 4 * i) : 0;
    key[KeyCell.higher + i] = i < words ? getInt32(bytes, higher + 4 * i) : 0;
  }
  key[KeyCell.ports] =
    direction === 0 ? (sourcePort << 16) | destinationPort : (destinationPort << 16) | sourcePort;
  key[KeyCell.protocol] = (version << 8) | protocol;
  key[KeyCell.hash] = hashKey(key, seed);
  return direction;
}

/**
 * The key of the same flow with another address and port at one end: that which is the lower one, or the higher.
 *
 * @param words holds the address at `wordsAt`, as a key does
 * @param seed of the hash
 * @returns whether that end is the lower one now
 */
export function replaceEndpoint(
  key: Int32Array,
  lower: boolean,
  words: Int32Array,
  wordsAt: number,
  port: number,
  seed = 0,
): boolean {
  const remains = lower ? KeyCell.higher : KeyCell.lower;
  const remaining = lower ? key[KeyCell.ports] & 0xffff : key[KeyCell.ports] >>> 16;
  const cells = key[KeyCell.protocol] >> 8 === 4 ? 1 : 4;
  let order = 0;
  for (let i = 0; i < cells && order === 0; i++) {
    const a = words[wordsAt + i];
    const b = key[remains + i];
    if (a !== b) order = (a ^ 0x80000000) < (b ^ 0x80000000) ? -1 : 1;
  }
  const below = order < 0 || (order === 0 && port <= remaining);
  const stays = below ? KeyCell.higher : KeyCell.lower;
  const comes = below ? KeyCell.lower : KeyCell.higher;
  if (stays !== remains) for (let i = 0; i < 4; i++) key[stays + i] = key[remains + i];
  for (let i = 0; i < cells; i++) key[comes + i] = words[wordsAt + i];
  key[KeyCell.ports] = below ? (port << 16) | remaining : (remaining << 16) | port;
  key[KeyCell.hash] = hashKey(key, seed);
  return below;
}

/** MurmurHash3 (32 bits) of the cells before the hash. Signed, as it stands in the key. */
export function hashKey(key: Int32Array, seed = 0): number {
  let hash = seed | 0;
  for (let i = 0; i < KeyCell.hash; i++) {
    let word = Math.imul(key[i], 0xcc9e2d51);
    word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
    hash ^= word;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash ^= 4 * KeyCell.hash;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** Whether the keys that start at two places are of one flow. */
export function equalKeys(a: Int32Array, aAt: number, b: Int32Array, bAt: number): boolean {
  for (let i = 0; i < KeyCell.hash; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}

/** A flow for people. */
export interface Flow {
  version: 4 | 6;
  protocol: number;
  /** The lower endpoint; port 0 where the protocol has none, the identifier for an echo. */
  a: Endpoint;
  b: Endpoint;
}

/** The flow that a key stands for. */
export function flowFromKey(key: Int32Array, at = 0): Flow {
  const version = key[at + KeyCell.protocol] >> 8 === 4 ? 4 : 6;
  const endpoint = (cell: number, port: number): Endpoint => {
    const bytes = new Uint8Array(version === 4 ? 4 : 16);
    for (let i = 0; i < bytes.length / 4; i++) put32(bytes, 4 * i, key[at + cell + i]);
    const address: IpAddress = { family: version, bytes };
    return { address, port };
  };
  const ports = key[at + KeyCell.ports];
  return {
    version,
    protocol: key[at + KeyCell.protocol] & 0xff,
    a: endpoint(KeyCell.lower, ports >>> 16),
    b: endpoint(KeyCell.higher, ports & 0xffff),
  };
}

/** The flow of an IP packet, or undefined where `flowKey` finds none. */
export function flowOf(bytes: Uint8Array, at = 0, end = bytes.length): Flow | undefined {
  const key = new Int32Array(KEY_CELLS);
  return flowKey(bytes, at, end, key) < 0 ? undefined : flowFromKey(key);
}

/** `tcp 10.0.0.1:1000 <-> 10.0.0.2:80`, `icmp 10.0.0.1 <-> 10.0.0.2 id 7`, `gre 10.0.0.1 <-> 10.0.0.2`. */
export function flowText({ protocol, a, b }: Flow): string {
  const name = protocolName(protocol);
  if (hasPorts(protocol) && (a.port !== 0 || b.port !== 0))
    return `${name} ${formatEndpoint(a)} <-> ${formatEndpoint(b)}`;
  const pair = `${name} ${formatIp(a.address)} <-> ${formatIp(b.address)}`;
  return a.port !== 0 ? `${pair} id ${a.port}` : pair;
}
