/**
 * IPv4 (RFC 791). Accessors are safe after `check`; `parse` and `emit` are for policy, logs and tests.
 */
import { type AddressLike, bytesOfFamily, type IpAddress, ipAt } from './address.ts';
import { checksum, sum } from './checksum.ts';
import { Problem } from './problem.ts';
import { packUpper } from './upper.ts';
import { get16, put16 } from './word.ts';

/** Length of a header without options. */
export const HEADER = 20;
export const MAX_HEADER = 60;

// Field offsets.
export const TRAFFIC_CLASS = 1;
export const TOTAL_LENGTH = 2;
export const IDENTIFICATION = 4;
export const FRAGMENT = 6;
export const TTL = 8;
export const PROTOCOL = 9;
export const CHECKSUM = 10;
export const SOURCE = 12;
export const DESTINATION = 16;
export const OPTIONS = 20;

/** Bits of the 16-bit field at FRAGMENT. */
export const DONT_FRAGMENT = 0x4000;
export const MORE_FRAGMENTS = 0x2000;
export const FRAGMENT_MASK = 0x1fff;

/**
 * Whether a whole packet starts at `at` and ends by `end`; there may be more bytes (Ethernet padding). The checksum
 * is `checksumOk`'s business.
 */
export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (end - at < HEADER || end > bytes.length) return Problem.Truncated;
  if (bytes[at] >> 4 !== 4) return Problem.Version;
  const header = headerLength(bytes, at);
  if (header < HEADER) return Problem.HeaderLength;
  const total = totalLength(bytes, at);
  return total < header || total > end - at ? Problem.Length : Problem.None;
}

export const headerLength = (bytes: Uint8Array, at: number): number => (bytes[at] & 15) << 2;
/** DSCP and ECN. */
export const trafficClass = (bytes: Uint8Array, at: number): number => bytes[at + TRAFFIC_CLASS];
export const dscp = (bytes: Uint8Array, at: number): number => bytes[at + TRAFFIC_CLASS] >> 2;
export const ecn = (bytes: Uint8Array, at: number): number => bytes[at + TRAFFIC_CLASS] & 3;
export const totalLength = (bytes: Uint8Array, at: number): number => get16(bytes, at + TOTAL_LENGTH);
export const identification = (bytes: Uint8Array, at: number): number => get16(bytes, at + IDENTIFICATION);
export const dontFragment = (bytes: Uint8Array, at: number): boolean => (bytes[at + FRAGMENT] & 0x40) !== 0;
export const moreFragments = (bytes: Uint8Array, at: number): boolean => (bytes[at + FRAGMENT] & 0x20) !== 0;
/** In bytes, a multiple of 8. */
export const fragmentOffset = (bytes: Uint8Array, at: number): number =>
  (get16(bytes, at + FRAGMENT) & FRAGMENT_MASK) << 3;
/** Any piece of a datagram that is not whole, the first too. */
export const isFragment = (bytes: Uint8Array, at: number): boolean =>
  (get16(bytes, at + FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_MASK)) !== 0;
export const ttl = (bytes: Uint8Array, at: number): number => bytes[at + TTL];
export const protocol = (bytes: Uint8Array, at: number): number => bytes[at + PROTOCOL];
export const headerChecksum = (bytes: Uint8Array, at: number): number => get16(bytes, at + CHECKSUM);
export const payloadLength = (bytes: Uint8Array, at: number): number =>
  totalLength(bytes, at) - headerLength(bytes, at);
/** Where the packet ends, by its own length. */
export const packetEnd = (bytes: Uint8Array, at: number): number => at + totalLength(bytes, at);
export const source = (bytes: Uint8Array, at: number): IpAddress => ipAt(bytes, at + SOURCE, 4);
export const destination = (bytes: Uint8Array, at: number): IpAddress => ipAt(bytes, at + DESTINATION, 4);

// Setters leave the checksum alone; `fillChecksum` writes it, `ttl.ts`, `ecn.ts` and `rewrite16` mend it.
export const setTrafficClass = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + TRAFFIC_CLASS] = value;
};
export const setTotalLength = (bytes: Uint8Array, at: number, value: number): void =>
  put16(bytes, at + TOTAL_LENGTH, value);
export const setIdentification = (bytes: Uint8Array, at: number, value: number): void =>
  put16(bytes, at + IDENTIFICATION, value);
/** The flags and the offset in units of 8 bytes, as one field. */
export const setFragment = (bytes: Uint8Array, at: number, value: number): void =>
  put16(bytes, at + FRAGMENT, value);
export const setTtl = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + TTL] = value;
};
export const setProtocol = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + PROTOCOL] = value;
};
export const setSource = (bytes: Uint8Array, at: number, address: Uint8Array): void =>
  bytes.set(address, at + SOURCE);
export const setDestination = (bytes: Uint8Array, at: number, address: Uint8Array): void =>
  bytes.set(address, at + DESTINATION);

/** Whether the header's checksum is right. */
export function checksumOk(bytes: Uint8Array, at: number): boolean {
  return sum(bytes, at, headerLength(bytes, at)) === 0xffff;
}

export function fillChecksum(bytes: Uint8Array, at: number): void {
  put16(bytes, at + CHECKSUM, 0);
  put16(bytes, at + CHECKSUM, checksum(bytes, at, headerLength(bytes, at)));
}

/** Option types with the copy bit: they go into every fragment (RFC 791, 3.1). */
export const Option = {
  End: 0,
  NoOperation: 1,
  RecordRoute: 7,
  Timestamp: 68,
  LooseSourceRoute: 131,
  StrictSourceRoute: 137,
  RouterAlert: 148,
} as const;

/**
 * The offset of the option behind the one at `option`, or `end` when no more come, or -1 when it is malformed.
 * Start with `at + OPTIONS` and `end = at + headerLength`.
 */
export function nextOption(bytes: Uint8Array, option: number, end: number): number {
  const type = bytes[option];
  if (type === Option.End) return end;
  if (type === Option.NoOperation) return option + 1;
  if (option + 1 >= end) return -1;
  const length = bytes[option + 1];
  return length < 2 || option + length > end ? -1 : option + length;
}

/** Whether every option ends inside the header. */
export function checkOptions(bytes: Uint8Array, at: number): Problem {
  const end = at + headerLength(bytes, at);
  for (let option = at + OPTIONS; option < end; ) {
    option = nextOption(bytes, option, end);
    if (option < 0) return Problem.Options;
  }
  return Problem.None;
}

export interface Ipv4Header {
  source: IpAddress;
  destination: IpAddress;
  protocol: number;
  /** Bytes behind the header. */
  payloadLength: number;
  /** 6 bits. */
  dscp: number;
  /** 2 bits. */
  ecn: number;
  identification: number;
  dontFragment: boolean;
  moreFragments: boolean;
  /** In bytes, a multiple of 8. */
  fragmentOffset: number;
  ttl: number;
  /** Raw options, padded to a multiple of 4, at most 40 bytes. */
  options: Uint8Array;
}

/** What `emit` needs; the rest has defaults (TTL 64, everything else 0). */
export type Ipv4Fields = { source: AddressLike; destination: AddressLike } & Pick<
  Ipv4Header,
  'protocol' | 'payloadLength'
> &
  Partial<Omit<Ipv4Header, 'source' | 'destination'>>;

/** The header as a value, or undefined when `check` finds a problem. */
export function parse(bytes: Uint8Array, at = 0, end = bytes.length): Ipv4Header | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  return {
    source: source(bytes, at),
    destination: destination(bytes, at),
    protocol: protocol(bytes, at),
    payloadLength: payloadLength(bytes, at),
    dscp: dscp(bytes, at),
    ecn: ecn(bytes, at),
    identification: identification(bytes, at),
    dontFragment: dontFragment(bytes, at),
    moreFragments: moreFragments(bytes, at),
    fragmentOffset: fragmentOffset(bytes, at),
    ttl: ttl(bytes, at),
    options: bytes.slice(at + OPTIONS, at + headerLength(bytes, at)),
  };
}

/** Bytes that `emit` writes: 20 to 60. */
export const emitLength = (header: { options?: Uint8Array }): number =>
  HEADER + (((header.options?.length ?? 0) + 3) & ~3);

/** Writes a header with its checksum and returns its length. */
export function emit(header: Ipv4Fields, bytes: Uint8Array, at = 0): number {
  const length = emitLength(header);
  bytes.fill(0, at, at + length);
  bytes[at] = 0x40 | (length >> 2);
  setTrafficClass(bytes, at, ((header.dscp ?? 0) << 2) | (header.ecn ?? 0));
  setTotalLength(bytes, at, length + header.payloadLength);
  setIdentification(bytes, at, header.identification ?? 0);
  const flags = (header.dontFragment ? DONT_FRAGMENT : 0) | (header.moreFragments ? MORE_FRAGMENTS : 0);
  setFragment(bytes, at, flags | ((header.fragmentOffset ?? 0) >> 3));
  setTtl(bytes, at, header.ttl ?? 64);
  setProtocol(bytes, at, header.protocol);
  setSource(bytes, at, bytesOfFamily(header.source, 4));
  setDestination(bytes, at, bytesOfFamily(header.destination, 4));
  if (header.options) bytes.set(header.options, at + OPTIONS);
  fillChecksum(bytes, at);
  return length;
}

/** Where the payload starts and what it is, after `check`; see `upper.ts`. */
export function upper(bytes: Uint8Array, at: number): number {
  const fragment = get16(bytes, at + FRAGMENT);
  return packUpper(
    bytes[at + PROTOCOL],
    headerLength(bytes, at),
    (fragment & (MORE_FRAGMENTS | FRAGMENT_MASK)) !== 0,
    (fragment & FRAGMENT_MASK) !== 0,
  );
}
