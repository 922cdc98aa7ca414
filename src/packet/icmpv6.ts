/** ICMPv6 (RFC 4443) and the messages of Neighbor Discovery (RFC 4861). Accessors are safe after `check`. */
import { type AddressLike, bytesOfFamily, type IpAddress, ipAt } from './address.ts';
import { Problem } from './problem.ts';
import { get16, get32, put16, put32 } from './word.ts';

export const HEADER = 8;

// Field offsets.
export const TYPE = 0;
export const CODE = 1;
export const CHECKSUM = 2;
/** Echo. */
export const IDENTIFIER = 4;
export const SEQUENCE = 6;
/** Packet too big. */
export const MTU = 4;
/** Echo data, or the packet that an error quotes. */
export const BODY = 8;
/** Neighbor solicitation and advertisement, redirect. */
export const TARGET = 8;

export const Type = {
  Unreachable: 1,
  PacketTooBig: 2,
  TimeExceeded: 3,
  ParameterProblem: 4,
  Echo: 128,
  EchoReply: 129,
  RouterSolicitation: 133,
  RouterAdvertisement: 134,
  NeighborSolicitation: 135,
  NeighborAdvertisement: 136,
  Redirect: 137,
} as const;

/** Codes of destination unreachable (RFC 4443, 3.1). */
export const Unreachable = {
  NoRoute: 0,
  Prohibited: 1,
  BeyondScope: 2,
  Address: 3,
  Port: 4,
  SourcePolicy: 5,
  RejectRoute: 6,
} as const;

/** Codes of time exceeded. */
export const TimeExceeded = { Transit: 0, Reassembly: 1 } as const;

/** Options of Neighbor Discovery (RFC 4861, 4.6). */
export const NdOption = {
  SourceLinkAddress: 1,
  TargetLinkAddress: 2,
  PrefixInformation: 3,
  RedirectedHeader: 4,
  Mtu: 5,
} as const;

/** Bytes in front of the options of a Neighbor Discovery message; 0 for a type that is none. */
export function ndHeader(type: number): number {
  switch (type) {
    case Type.RouterSolicitation:
      return 8;
    case Type.RouterAdvertisement:
      return 16;
    case Type.NeighborSolicitation:
    case Type.NeighborAdvertisement:
      return 24;
    case Type.Redirect:
      return 40;
    default:
      return 0;
  }
}

/** Whether the header, and for Neighbor Discovery all its fields and options, end by `end`. */
export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (end - at < HEADER || end > bytes.length) return Problem.Truncated;
  const fixed = ndHeader(bytes[at + TYPE]);
  if (fixed === 0) return Problem.None;
  if (end - at < fixed) return Problem.Truncated;
  for (let option = at + fixed; option < end; ) {
    // RFC 4861, 4.6: a length of zero makes the whole message invalid.
    if (end - option < 8 || bytes[option + 1] === 0) return Problem.Options;
    option += bytes[option + 1] << 3;
    if (option > end) return Problem.Options;
  }
  return Problem.None;
}

export const type = (bytes: Uint8Array, at: number): number => bytes[at + TYPE];
export const code = (bytes: Uint8Array, at: number): number => bytes[at + CODE];
export const identifier = (bytes: Uint8Array, at: number): number => get16(bytes, at + IDENTIFIER);
export const sequence = (bytes: Uint8Array, at: number): number => get16(bytes, at + SEQUENCE);
/** Of packet too big. */
export const mtu = (bytes: Uint8Array, at: number): number => get32(bytes, at + MTU);

/** Errors are the types below 128 (RFC 4443, 2.1). */
export const isError = (type: number): boolean => type < 128;
export const isEcho = (type: number): boolean => type === Type.Echo || type === Type.EchoReply;
export const isNd = (type: number): boolean => ndHeader(type) > 0;

/** Offset of the value (behind type and length) of the first option of a kind, or -1. After `check`. */
export function ndOption(bytes: Uint8Array, at: number, end: number, kind: number): number {
  const fixed = ndHeader(bytes[at + TYPE]);
  if (fixed === 0) return -1;
  for (let option = at + fixed; option < end; option += bytes[option + 1] << 3) {
    if (bytes[option] === kind) return option + 2;
  }
  return -1;
}

export interface Icmpv6Message {
  type: number;
  code: number;
  /** The second word: identifier and sequence of an echo, MTU of packet too big, flags of an advertisement. */
  rest: number;
  /** What follows the first 8 bytes. */
  body: Uint8Array;
}

export function parse(bytes: Uint8Array, at = 0, end = bytes.length): Icmpv6Message | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  return {
    type: type(bytes, at),
    code: code(bytes, at),
    rest: get32(bytes, at + IDENTIFIER),
    body: bytes.slice(at + BODY, end),
  };
}

/** Writes a message without checksum (`fillTransport` adds it: it covers addresses) and returns its length. */
export function emit(message: Icmpv6Message, bytes: Uint8Array, at = 0): number {
  bytes[at + TYPE] = message.type;
  bytes[at + CODE] = message.code;
  put16(bytes, at + CHECKSUM, 0);
  put32(bytes, at + IDENTIFIER, message.rest);
  bytes.set(message.body, at + BODY);
  return HEADER + message.body.length;
}

/** A Neighbor Discovery message as a value. What a type does not have is undefined. */
export interface NdMessage {
  type: number;
  /** Of a neighbor solicitation, neighbor advertisement or redirect. */
  target?: IpAddress;
  /** Source or target link-layer address, 6 bytes. */
  linkAddress?: Uint8Array;
  /** Neighbor advertisement flags. */
  router?: boolean;
  solicited?: boolean;
  override?: boolean;
  /** Router advertisement: hop limit (0: unspecified), lifetime in seconds, MTU option in bytes. */
  hopLimit?: number;
  lifetime?: number;
  mtu?: number;
}

/** Undefined for what is malformed or not Neighbor Discovery. */
export function parseNd(bytes: Uint8Array, at = 0, end = bytes.length): NdMessage | undefined {
  if (check(bytes, at, end) !== Problem.None || !isNd(type(bytes, at))) return undefined;
  const message: NdMessage = { type: type(bytes, at) };
  if (ndHeader(message.type) >= 24) message.target = ipAt(bytes, at + TARGET, 6);
  if (message.type === Type.NeighborAdvertisement) {
    message.router = (bytes[at + 4] & 0x80) !== 0;
    message.solicited = (bytes[at + 4] & 0x40) !== 0;
    message.override = (bytes[at + 4] & 0x20) !== 0;
  }
  if (message.type === Type.RouterAdvertisement) {
    message.hopLimit = bytes[at + 4];
    message.lifetime = get16(bytes, at + 6);
    const option = ndOption(bytes, at, end, NdOption.Mtu);
    if (option >= 0) message.mtu = get32(bytes, option + 2);
  }
  let link = ndOption(bytes, at, end, NdOption.SourceLinkAddress);
  if (link < 0) link = ndOption(bytes, at, end, NdOption.TargetLinkAddress);
  if (link >= 0) message.linkAddress = bytes.slice(link, link + 6);
  return message;
}

/**
 * Writes a neighbor solicitation or advertisement without checksum, with its link-layer address option if there is
 * one, and returns its length: 24 or 32.
 */
export function emitNeighbor(
  message: {
    type: typeof Type.NeighborSolicitation | typeof Type.NeighborAdvertisement;
    target: AddressLike;
    linkAddress?: Uint8Array;
    router?: boolean;
    solicited?: boolean;
    override?: boolean;
  },
  bytes: Uint8Array,
  at = 0,
): number {
  const flags = (message.router ? 0x80 : 0) | (message.solicited ? 0x40 : 0) | (message.override ? 0x20 : 0);
  const solicitation = message.type === Type.NeighborSolicitation;
  put32(bytes, at, message.type << 24);
  put32(bytes, at + 4, solicitation ? 0 : flags << 24);
  bytes.set(bytesOfFamily(message.target, 6), at + TARGET);
  if (!message.linkAddress) return 24;
  bytes[at + 24] = solicitation ? NdOption.SourceLinkAddress : NdOption.TargetLinkAddress;
  bytes[at + 25] = 1;
  bytes.set(message.linkAddress, at + 26);
  return 32;
}
