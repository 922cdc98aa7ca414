/**
 * Network Service Header (RFC 8300): which service path a packet is on, how far along it is, and metadata: 16 bytes of a
 * fixed kind (type 1) or TLVs (type 2). Accessors are safe after `check`, which walks the TLVs too. Setters keep unassigned
 * bits and TLVs of unknown types as they are.
 */
import { Problem } from './problem.ts';
import { get16, get32, put16, put32 } from './word.ts';

/** Base header and service path header. */
export const HEADER = 8;
/** With metadata of type 1. */
export const FIXED_HEADER = 24;
/** The length field counts 63 words at most. */
export const MAX_HEADER = 252;
/** Length of a TLV without its value. */
export const TLV_HEADER = 4;

// Field offsets.
export const MD_TYPE = 2;
export const NEXT_PROTOCOL = 3;
export const SERVICE_PATH = 4;
export const SERVICE_INDEX = 7;
export const METADATA = 8;

// Field offsets in a TLV.
export const TLV_CLASS = 0;
export const TLV_TYPE = 2;
export const TLV_LENGTH = 3;
export const TLV_VALUE = 4;

/** 0 is reserved and 15 for experiments that nobody here takes part in; others are unassigned (RFC 8300, 2.2). */
export const MdType = { Fixed: 1, Variable: 2 } as const;

/** IANA: nsh. 0 is a header with nothing behind it (RFC 8393). */
export const NextProtocol = { None: 0, Ipv4: 1, Ipv6: 2, Ethernet: 3, Nsh: 4, Mpls: 5 } as const;

/** TTL where nobody says another (RFC 8300, 2.2). */
export const DEFAULT_TTL = 63;
/** Service index at the start of a path where nobody says another (RFC 8300, 2.3). */
export const FIRST_INDEX = 255;

const OAM = 0x20;
/** Of the first word: sent as 0, and kept by whoever forwards. */
const UNASSIGNED = 0x1000f000;

/** Whether a header with its metadata starts at `at` and ends by `end`. */
export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (end - at < HEADER || end > bytes.length) return Problem.Truncated;
  if (bytes[at] >> 6 !== 0) return Problem.Version;
  const header = headerLength(bytes, at);
  const type = mdType(bytes, at);
  if (type === MdType.Fixed) {
    if (header !== FIXED_HEADER) return Problem.HeaderLength;
    return header > end - at ? Problem.Truncated : Problem.None;
  }
  if (type !== MdType.Variable) return Problem.MetadataType;
  if (header < HEADER) return Problem.HeaderLength;
  if (header > end - at) return Problem.Truncated;
  let tlv = at + METADATA;
  while (tlv < at + header) tlv = nextTlv(bytes, tlv);
  return tlv === at + header ? Problem.None : Problem.Options;
}

/** A packet for those who forward, not for those behind the path. */
export const oam = (bytes: Uint8Array, at: number): boolean => (bytes[at] & OAM) !== 0;
/** 6 bits. */
export const ttl = (bytes: Uint8Array, at: number): number => (get16(bytes, at) >> 6) & 63;
/** Metadata included: bytes. */
export const headerLength = (bytes: Uint8Array, at: number): number => (bytes[at + 1] & 63) << 2;
export const mdType = (bytes: Uint8Array, at: number): number => bytes[at + MD_TYPE] & 15;
export const nextProtocol = (bytes: Uint8Array, at: number): number => bytes[at + NEXT_PROTOCOL];
/** Service path identifier, 24 bits. */
export const servicePath = (bytes: Uint8Array, at: number): number => get32(bytes, at + SERVICE_PATH) >>> 8;
/** Counts down along the path. */
export const serviceIndex = (bytes: Uint8Array, at: number): number => bytes[at + SERVICE_INDEX];

export const setOam = (bytes: Uint8Array, at: number, value: boolean): void => {
  bytes[at] = value ? bytes[at] | OAM : bytes[at] & ~OAM;
};
export const setTtl = (bytes: Uint8Array, at: number, value: number): void =>
  put16(bytes, at, (get16(bytes, at) & 0xf03f) | (value << 6));
/** Bytes, a multiple of 4. */
export const setHeaderLength = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + 1] = (bytes[at + 1] & 0xc0) | (value >> 2);
};
export const setNextProtocol = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + NEXT_PROTOCOL] = value;
};
export const setServicePath = (bytes: Uint8Array, at: number, value: number): void =>
  put32(bytes, at + SERVICE_PATH, (value << 8) | bytes[at + SERVICE_INDEX]);
export const setServiceIndex = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + SERVICE_INDEX] = value;
};

/**
 * One off the TTL, where 0 counts as 64 (RFC 8300, 2.2). Returns false, and changes nothing, when that makes 0: the packet
 * must not be forwarded.
 */
export function decrementTtl(bytes: Uint8Array, at: number): boolean {
  const next = (ttl(bytes, at) + 63) & 63;
  if (next === 0) return false;
  setTtl(bytes, at, next);
  return true;
}

// TLVs of metadata type 2.
export const tlvClass = (bytes: Uint8Array, tlv: number): number => get16(bytes, tlv + TLV_CLASS);
export const tlvType = (bytes: Uint8Array, tlv: number): number => bytes[tlv + TLV_TYPE];
/** Of the value: 0 to 127 bytes, without the padding to a multiple of 4. */
export const tlvLength = (bytes: Uint8Array, tlv: number): number => bytes[tlv + TLV_LENGTH] & 127;
/** Where the next TLV starts. */
export const nextTlv = (bytes: Uint8Array, tlv: number): number =>
  tlv + TLV_HEADER + ((tlvLength(bytes, tlv) + 3) & ~3);

/** Offset of the first TLV of a class and type, or -1. Only for metadata of type 2. */
export function findTlv(bytes: Uint8Array, at: number, tlvClass: number, type: number): number {
  const wanted = (tlvClass << 8) | type;
  const end = at + headerLength(bytes, at);
  for (let tlv = at + METADATA; tlv < end; tlv = nextTlv(bytes, tlv)) {
    if (get32(bytes, tlv) >>> 8 === wanted) return tlv;
  }
  return -1;
}

/** Writes the header of a TLV whose value of `length` bytes stands behind it, and the padding. Returns where the next starts. */
export function putTlv(
  bytes: Uint8Array,
  tlv: number,
  tlvClass: number,
  type: number,
  length: number,
): number {
  put32(bytes, tlv, (tlvClass << 16) | (type << 8) | length);
  const next = nextTlv(bytes, tlv);
  for (let pad = tlv + TLV_HEADER + length; pad < next; pad++) bytes[pad] = 0;
  return next;
}

export interface NshTlv {
  /** Namespace of the type: IANA's, or from 0xfff6 to 0xfffe anybody's for experiments. */
  class: number;
  /** 8 bits. */
  type: number;
  /** Up to 127 bytes. */
  value: Uint8Array;
}

export interface NshHeader {
  oam: boolean;
  /** 0 to 63. */
  ttl: number;
  /** A NextProtocol. */
  nextProtocol: number;
  /** 24 bits. */
  servicePath: number;
  serviceIndex: number;
  /** 16 bytes of type 1, or the TLVs of type 2. */
  metadata: Uint8Array | NshTlv[];
  /** Bits of the first word that mean nothing, where they stand there. */
  unassigned: number;
}

export function parse(bytes: Uint8Array, at = 0, end = bytes.length): NshHeader | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  const limit = at + headerLength(bytes, at);
  return {
    oam: oam(bytes, at),
    ttl: ttl(bytes, at),
    nextProtocol: nextProtocol(bytes, at),
    servicePath: servicePath(bytes, at),
    serviceIndex: serviceIndex(bytes, at),
    metadata:
      mdType(bytes, at) === MdType.Fixed
        ? bytes.slice(at + METADATA, limit)
        : parseTlvs(bytes, at + METADATA, limit),
    unassigned: get32(bytes, at) & UNASSIGNED,
  };
}

function parseTlvs(bytes: Uint8Array, from: number, end: number): NshTlv[] {
  const tlvs: NshTlv[] = [];
  for (let tlv = from; tlv < end; tlv = nextTlv(bytes, tlv)) {
    const value = tlv + TLV_VALUE;
    tlvs.push({
      class: tlvClass(bytes, tlv),
      type: tlvType(bytes, tlv),
      value: bytes.slice(value, value + tlvLength(bytes, tlv)),
    });
  }
  return tlvs;
}

/** What `emit` needs; the rest has defaults (TTL 63, service index 255, no metadata of type 2, everything else 0). */
export type NshFields = Pick<NshHeader, 'nextProtocol' | 'servicePath'> & Partial<NshHeader>;

/** Bytes that `emit` writes: 8 to 252. */
export function emitLength({ metadata = [] }: Pick<NshFields, 'metadata'>): number {
  if (metadata instanceof Uint8Array) return FIXED_HEADER;
  return metadata.reduce((total, { value }) => total + TLV_HEADER + ((value.length + 3) & ~3), HEADER);
}

/** Writes a header and returns its length. Metadata that does not fit is a RangeError. */
export function emit(header: NshFields, bytes: Uint8Array, at = 0): number {
  const metadata = header.metadata ?? [];
  const length = emitLength(header);
  if (length > MAX_HEADER)
    throw new RangeError(`NSH metadata takes ${length - HEADER} bytes, ${MAX_HEADER - HEADER} fit`);
  const fixed = metadata instanceof Uint8Array;
  put32(bytes, at, (header.unassigned ?? 0) & UNASSIGNED);
  setOam(bytes, at, header.oam ?? false);
  setTtl(bytes, at, header.ttl ?? DEFAULT_TTL);
  setHeaderLength(bytes, at, length);
  bytes[at + MD_TYPE] |= fixed ? MdType.Fixed : MdType.Variable;
  setNextProtocol(bytes, at, header.nextProtocol);
  put32(bytes, at + SERVICE_PATH, (header.servicePath << 8) | (header.serviceIndex ?? FIRST_INDEX));
  if (fixed) {
    if (metadata.length !== FIXED_HEADER - HEADER)
      throw new RangeError(`NSH metadata of type 1 has 16 bytes, not ${metadata.length}`);
    bytes.set(metadata, at + METADATA);
    return length;
  }
  let tlv = at + METADATA;
  for (const each of metadata) {
    if (each.value.length > 127)
      throw new RangeError(`the value of an NSH TLV has up to 127 bytes, not ${each.value.length}`);
    bytes.set(each.value, tlv + TLV_VALUE);
    tlv = putTlv(bytes, tlv, each.class, each.type, each.value.length);
  }
  return length;
}
