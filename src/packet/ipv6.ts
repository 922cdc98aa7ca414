/**
 * IPv6 and its extension headers (RFC 8200). Accessors are safe after `check`; the walks over extension headers have
 * bounds of their own. A payload length of 0 is an empty payload: jumbograms (RFC 2675) are not understood.
 */
import { type AddressLike, bytesOfFamily, type IpAddress, ipAt } from './address.ts';
import { Problem } from './problem.ts';
import { Protocol } from './protocol.ts';
import { isFragment as isFragmentOf, packUpper } from './upper.ts';
import { get16, get32, put16, put32 } from './word.ts';

export const HEADER = 40;

// Field offsets.
export const PAYLOAD_LENGTH = 4;
export const NEXT_HEADER = 6;
export const HOP_LIMIT = 7;
export const SOURCE = 8;
export const DESTINATION = 24;

/** Length of a fragment header. */
export const FRAGMENT_HEADER = 8;
/** Every link carries packets of this length (RFC 8200, 5). */
export const MINIMUM_MTU = 1280;

/** Whether a whole packet starts at `at` and ends by `end`; there may be more bytes (Ethernet padding). */
export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (end - at < HEADER || end > bytes.length) return Problem.Truncated;
  if (bytes[at] >> 4 !== 6) return Problem.Version;
  return HEADER + payloadLength(bytes, at) > end - at ? Problem.Length : Problem.None;
}

/** DSCP and ECN. */
export const trafficClass = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] & 15) << 4) | (bytes[at + 1] >> 4);
export const dscp = (bytes: Uint8Array, at: number): number => trafficClass(bytes, at) >> 2;
export const ecn = (bytes: Uint8Array, at: number): number => (bytes[at + 1] >> 4) & 3;
export const flowLabel = (bytes: Uint8Array, at: number): number =>
  ((bytes[at + 1] & 15) << 16) | get16(bytes, at + 2);
/** Extension headers count as payload. */
export const payloadLength = (bytes: Uint8Array, at: number): number => get16(bytes, at + PAYLOAD_LENGTH);
export const totalLength = (bytes: Uint8Array, at: number): number => HEADER + payloadLength(bytes, at);
export const nextHeader = (bytes: Uint8Array, at: number): number => bytes[at + NEXT_HEADER];
export const hopLimit = (bytes: Uint8Array, at: number): number => bytes[at + HOP_LIMIT];
/** Where the packet ends, by its own length. */
export const packetEnd = (bytes: Uint8Array, at: number): number => at + totalLength(bytes, at);
export const source = (bytes: Uint8Array, at: number): IpAddress => ipAt(bytes, at + SOURCE, 6);
export const destination = (bytes: Uint8Array, at: number): IpAddress => ipAt(bytes, at + DESTINATION, 6);

export const setTrafficClass = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at] = 0x60 | (value >> 4);
  bytes[at + 1] = ((value & 15) << 4) | (bytes[at + 1] & 15);
};
export const setFlowLabel = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + 1] = (bytes[at + 1] & 0xf0) | ((value >>> 16) & 15);
  put16(bytes, at + 2, value);
};
export const setPayloadLength = (bytes: Uint8Array, at: number, value: number): void =>
  put16(bytes, at + PAYLOAD_LENGTH, value);
export const setNextHeader = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + NEXT_HEADER] = value;
};
export const setHopLimit = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + HOP_LIMIT] = value;
};
export const setSource = (bytes: Uint8Array, at: number, address: Uint8Array): void =>
  bytes.set(address, at + SOURCE);
export const setDestination = (bytes: Uint8Array, at: number, address: Uint8Array): void =>
  bytes.set(address, at + DESTINATION);

/** Whether the walk goes past a header of this kind. ESP hides what follows; the rest are upper layers. */
export const isExtension = (protocol: number): boolean =>
  protocol === Protocol.HopByHop ||
  protocol === Protocol.Routing ||
  protocol === Protocol.DestinationOptions ||
  protocol === Protocol.Fragment ||
  protocol === Protocol.Ah;

/** Length of the extension header at `header`. It needs two readable bytes there. */
export function extensionLength(bytes: Uint8Array, header: number, protocol: number): number {
  if (protocol === Protocol.Fragment) return FRAGMENT_HEADER;
  // RFC 4302, 2.2: AH counts in 4-byte words, less two.
  if (protocol === Protocol.Ah) return (bytes[header + 1] + 2) << 2;
  return (bytes[header + 1] + 1) << 3;
}

/**
 * Walks the extension headers: where the upper layer starts and what it is (see `upper.ts`), or `-Problem.Options`
 * when a header runs over `end`. Needs the fixed header to be there, so it also serves for the truncated packet that
 * an ICMP error quotes. A fragment that is whole (offset 0, no more) is none (RFC 6946).
 */
export function upper(bytes: Uint8Array, at: number, end: number): number {
  let protocol = bytes[at + NEXT_HEADER];
  let header = at + HEADER;
  let fragment = false;
  while (isExtension(protocol)) {
    if (header + 8 > end) return -Problem.Options;
    const length = extensionLength(bytes, header, protocol);
    if (header + length > end) return -Problem.Options;
    const next = bytes[header];
    if (protocol === Protocol.Fragment) {
      const word = get16(bytes, header + 2);
      if (word >> 3 !== 0) return packUpper(next, header + length - at, true, true);
      if ((word & 1) !== 0) fragment = true;
    }
    header += length;
    protocol = next;
  }
  return packUpper(protocol, header - at, fragment, false);
}

/** Offset of the first extension header of a kind, or -1. Stops where `upper` does. */
export function findExtension(bytes: Uint8Array, at: number, end: number, kind: number): number {
  let protocol = bytes[at + NEXT_HEADER];
  let header = at + HEADER;
  while (isExtension(protocol) && header + 8 <= end) {
    const length = extensionLength(bytes, header, protocol);
    if (header + length > end) return -1;
    if (protocol === kind) return header;
    // Behind a later fragment's header there is payload.
    if (protocol === Protocol.Fragment && fragmentOffset(bytes, header) > 0) return -1;
    protocol = bytes[header];
    header += length;
  }
  return -1;
}

// Fields of a fragment header.
/** In bytes, a multiple of 8. */
export const fragmentOffset = (bytes: Uint8Array, header: number): number =>
  get16(bytes, header + 2) & 0xfff8;
export const moreFragments = (bytes: Uint8Array, header: number): boolean => (bytes[header + 3] & 1) !== 0;
export const fragmentIdentification = (bytes: Uint8Array, header: number): number => get32(bytes, header + 4);

/** Whether the packet is a piece of a datagram, the first or a later one. */
export const isFragment = (bytes: Uint8Array, at: number, end: number): boolean => {
  const found = upper(bytes, at, end);
  return found >= 0 && isFragmentOf(found);
};

/**
 * Offset of the address that checksums are made over (RFC 8200, 8.1): the header's destination, or the last one of a
 * routing header that has segments left (types 0 and 2, RFC 6275; type 4, RFC 8754, whose list runs backwards).
 */
export function finalDestination(bytes: Uint8Array, at: number, end: number): number {
  let protocol = bytes[at + NEXT_HEADER];
  let header = at + HEADER;
  while (isExtension(protocol) && protocol !== Protocol.Fragment && header + 8 <= end) {
    const length = extensionLength(bytes, header, protocol);
    if (header + length > end) break;
    if (protocol === Protocol.Routing && bytes[header + 3] > 0 && length >= 24) {
      const type = bytes[header + 2];
      if (type === 0 || type === 2) return header + 8 + 16 * (((length - 8) >> 4) - 1);
      if (type === 4) return header + 8;
    }
    protocol = bytes[header];
    header += length;
  }
  return at + DESTINATION;
}

export interface Ipv6Header {
  source: IpAddress;
  destination: IpAddress;
  nextHeader: number;
  /** Bytes behind the 40 of the header, extension headers among them. */
  payloadLength: number;
  /** 6 bits. */
  dscp: number;
  /** 2 bits. */
  ecn: number;
  /** 20 bits. */
  flowLabel: number;
  hopLimit: number;
}

/** What `emit` needs; the rest has defaults (hop limit 64, everything else 0). */
export type Ipv6Fields = { source: AddressLike; destination: AddressLike } & Pick<
  Ipv6Header,
  'nextHeader' | 'payloadLength'
> &
  Partial<Omit<Ipv6Header, 'source' | 'destination'>>;

/** The fixed header as a value, or undefined when `check` finds a problem. */
export function parse(bytes: Uint8Array, at = 0, end = bytes.length): Ipv6Header | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  return {
    source: source(bytes, at),
    destination: destination(bytes, at),
    nextHeader: nextHeader(bytes, at),
    payloadLength: payloadLength(bytes, at),
    dscp: dscp(bytes, at),
    ecn: ecn(bytes, at),
    flowLabel: flowLabel(bytes, at),
    hopLimit: hopLimit(bytes, at),
  };
}

/** Writes the fixed header and returns its length. */
export function emit(header: Ipv6Fields, bytes: Uint8Array, at = 0): number {
  put32(bytes, at, 0x60000000);
  setTrafficClass(bytes, at, ((header.dscp ?? 0) << 2) | (header.ecn ?? 0));
  setFlowLabel(bytes, at, header.flowLabel ?? 0);
  setPayloadLength(bytes, at, header.payloadLength);
  setNextHeader(bytes, at, header.nextHeader);
  setHopLimit(bytes, at, header.hopLimit ?? 64);
  setSource(bytes, at, bytesOfFamily(header.source, 6));
  setDestination(bytes, at, bytesOfFamily(header.destination, 6));
  return HEADER;
}

/** One extension header. */
export interface Extension {
  /** Its own number (0, 43, 44, 51 or 60). */
  protocol: number;
  /** The whole header; its first byte names what follows. */
  bytes: Uint8Array;
}

/** The extension headers in order, or undefined when one runs over the end of the packet. */
export function extensions(bytes: Uint8Array, at = 0, end = bytes.length): Extension[] | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  const limit = packetEnd(bytes, at);
  if (upper(bytes, at, limit) < 0) return undefined;
  const found: Extension[] = [];
  let protocol = nextHeader(bytes, at);
  for (let header = at + HEADER; isExtension(protocol); ) {
    const length = extensionLength(bytes, header, protocol);
    found.push({ protocol, bytes: bytes.slice(header, header + length) });
    if (protocol === Protocol.Fragment && fragmentOffset(bytes, header) > 0) break;
    protocol = bytes[header];
    header += length;
  }
  return found;
}
