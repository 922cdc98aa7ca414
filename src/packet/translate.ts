/**
 * What a NAT does to a packet: another address and port in place of its source's or its destination's. Checksums are mended by
 * the difference (RFC 1624), so that one that was wrong stays wrong. An ICMP error is translated with the packet it quotes
 * (RFC 5508, 4.2): that went the other way, and has its checksums mended too as far as they are quoted. An echo has its
 * identifier as its port; a later fragment has none.
 */
import { equalBytes } from './address.ts';
import { fold } from './checksum.ts';
import { hasIdentifier } from './flow-key.ts';
import * as icmp from './icmp.ts';
import * as icmpv6 from './icmpv6.ts';
import * as ip from './ip.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { Protocol } from './protocol.ts';
import { checksumField } from './transport.ts';
import { isLaterFragment, upperDistance, upperProtocol } from './upper.ts';
import { get16, getInt32, put16, put32 } from './word.ts';

/**
 * Translates one endpoint of the packet at `bytes[at..end)`, which passed `ip.check`: TCP, UDP, an ICMP query such as an
 * echo, an ICMP error about one of these, or a later fragment, of which only the address. Allocates nothing.
 *
 * @param source whether the source is translated, or the destination
 * @param words holds the new address at `wordsAt`, 4 bytes a cell, the first byte highest: one cell for IPv4, four for IPv6
 * @param open whether the transport checksum is still to be filled in, and its field holds the sum of the pseudo-header
 * @param speaker whether the source of an error that goes out is hidden too when it is not the endpoint but a router on the
 *   way to it (RFC 5508, REQ-5)
 * @returns false, with nothing changed, for another protocol, and headers that do not fit
 */
export function translate(
  bytes: Uint8Array,
  at: number,
  end: number,
  source: boolean,
  words: Int32Array,
  wordsAt: number,
  port: number,
  open: boolean,
  speaker = false,
): boolean {
  const upper = ip.upper(bytes, at);
  if (upper < 0) return false;
  const addressAt = source ? ip.sourceAt(bytes, at) : ip.destinationAt(bytes, at);
  if (isLaterFragment(upper)) {
    const change = putAddress(bytes, at, addressAt, words, wordsAt);
    if (bytes[at] >> 4 === 4) mend(bytes, at + ipv4.CHECKSUM, change);
    return true;
  }
  const limit = Math.min(end, ip.packetEnd(bytes, at));
  const transport = at + upperDistance(upper);
  const protocol = upperProtocol(upper);
  let portAt = transport + (source ? 0 : 2);
  if (isIcmp(protocol, bytes[at] >> 4)) {
    if (transport + icmp.HEADER > limit) return false;
    if (!hasIdentifier(protocol, bytes[transport]))
      return translateError(bytes, at, transport, limit, source, words, wordsAt, port, open, speaker);
    portAt = transport + icmp.IDENTIFIER;
  } else if (!isTcpOrUdp(protocol)) {
    return false;
  }
  const field = transport + checksumField(protocol);
  if (field + 2 > limit) return false;

  // With a routing header the pseudo-header has the final destination, which stays.
  const covered =
    source || bytes[at] >> 4 === 4 || ipv6.finalDestination(bytes, at, limit) === at + ipv6.DESTINATION;
  const address = putAddress(bytes, at, addressAt, words, wordsAt);
  if (bytes[at] >> 4 === 4) mend(bytes, at + ipv4.CHECKSUM, address);
  const change = putPort(bytes, portAt, port);
  mendTransport(bytes, field, protocol, covered ? address : 0, change, open);
  return true;
}

/** @param message where the ICMP message starts */
function translateError(
  bytes: Uint8Array,
  at: number,
  message: number,
  limit: number,
  source: boolean,
  words: Int32Array,
  wordsAt: number,
  port: number,
  open: boolean,
  speaker: boolean,
): boolean {
  const quote = message + icmp.BODY;
  const four = bytes[at] >> 4 === 4;
  if (limit - quote < (four ? ipv4.HEADER : ipv6.HEADER) || bytes[quote] >> 4 !== bytes[at] >> 4)
    return false;
  if (!(four ? icmp.isError(bytes[message]) : icmpv6.isError(bytes[message]))) return false;
  if (four && ipv4.headerLength(bytes, quote) < ipv4.HEADER) return false;
  const upper = four ? ipv4.upper(bytes, quote) : ipv6.upper(bytes, quote, limit);
  // RFC 1122, 3.2.2: there are no errors about later fragments.
  if (upper < 0 || isLaterFragment(upper)) return false;
  const protocol = upperProtocol(upper);
  const transport = quote + upperDistance(upper);
  let portAt = transport + (source ? 2 : 0);
  if (isIcmp(protocol, four ? 4 : 6)) {
    if (transport + icmp.HEADER > limit || !hasIdentifier(protocol, bytes[transport])) return false;
    portAt = transport + icmp.IDENTIFIER;
  } else if (!isTcpOrUdp(protocol) || transport + 4 > limit) {
    return false;
  }

  const quotedAt = source ? ip.destinationAt(bytes, quote) : ip.sourceAt(bytes, quote);
  const addressAt = source ? ip.sourceAt(bytes, at) : ip.destinationAt(bytes, at);
  // A router on the way speaks of the endpoint, but not for it.
  const own = (speaker && source) || equalBytes(bytes, quotedAt, bytes, addressAt, four ? 4 : 16);

  // What the ICMP checksum covers changes by all of it: address, port, and the checksums that are mended.
  const address = putAddress(bytes, quote, quotedAt, words, wordsAt);
  let total = address;
  if (four) total += mend(bytes, quote + ipv4.CHECKSUM, address);
  const change = putPort(bytes, portAt, port);
  total += change;
  const field = transport + checksumField(protocol);
  if (field + 2 <= limit) total += mendTransport(bytes, field, protocol, address, change, false);

  const outer = own ? putAddress(bytes, at, addressAt, words, wordsAt) : 0;
  if (four) {
    mend(bytes, at + ipv4.CHECKSUM, outer);
    mend(bytes, message + icmp.CHECKSUM, fold(total));
  } else {
    mendTransport(bytes, message + icmpv6.CHECKSUM, Protocol.Icmpv6, outer, fold(total), open);
  }
  return true;
}

const isIcmp = (protocol: number, version: number): boolean =>
  protocol === (version === 4 ? Protocol.Icmp : Protocol.Icmpv6);

const isTcpOrUdp = (protocol: number): boolean => protocol === Protocol.Tcp || protocol === Protocol.Udp;

/** Writes an address of the packet at `at`; returns what a sum over it grows by, folded, and 0 when nothing changes. */
function putAddress(
  bytes: Uint8Array,
  at: number,
  addressAt: number,
  words: Int32Array,
  wordsAt: number,
): number {
  const cells = bytes[at] >> 4 === 4 ? 1 : 4;
  let change = 0;
  for (let i = 0; i < cells; i++) {
    const before = ~getInt32(bytes, addressAt + 4 * i);
    const after = words[wordsAt + i];
    if (~before === after) continue;
    change += (before >>> 16) + (before & 0xffff) + (after >>> 16) + (after & 0xffff);
    put32(bytes, addressAt + 4 * i, after);
  }
  return fold(change);
}

/** Writes a port; returns what a sum over it grows by. */
function putPort(bytes: Uint8Array, at: number, port: number): number {
  const before = get16(bytes, at);
  if (before === port) return 0;
  put16(bytes, at, port);
  return fold((~before & 0xffff) + port);
}

/** RFC 1624, equation 3, for what a checksum covers and grew by `change`. Returns what a sum over the field itself grows by. */
export function mend(bytes: Uint8Array, field: number, change: number): number {
  if (change === 0) return 0;
  const before = get16(bytes, field);
  const after = ~fold((~before & 0xffff) + change) & 0xffff;
  put16(bytes, field, after);
  return fold((~before & 0xffff) + after);
}

/** @param address change of the pseudo-header @param rest change of what is behind it */
export function mendTransport(
  bytes: Uint8Array,
  field: number,
  protocol: number,
  address: number,
  rest: number,
  open: boolean,
): number {
  const before = get16(bytes, field);
  if (open) {
    // The field is no checksum yet: the rest is summed up when it becomes one.
    put16(bytes, field, fold(before + address));
    return 0;
  }
  if (protocol !== Protocol.Udp) {
    // ICMP has no pseudo-header.
    return mend(bytes, field, protocol === Protocol.Icmp ? rest : fold(address + rest));
  }
  // RFC 768: zero means that there is none, and a checksum that comes out as zero is sent as all ones.
  if (before === 0) return 0;
  const change = mend(bytes, field, fold(address + rest));
  if (get16(bytes, field) !== 0) return change;
  put16(bytes, field, 0xffff);
  return fold((~before & 0xffff) + 0xffff);
}
