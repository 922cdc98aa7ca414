/**
 * VXLAN Generic Protocol Extension (draft-ietf-nvo3-vxlan-gpe): 8 bytes behind UDP that say which virtual network a packet
 * belongs to and what follows. Accessors are safe after `check`. Reserved bits are ignored and kept.
 */
import { Problem } from './problem.ts';
import { get32, put32 } from './word.ts';

/** UDP destination port (IANA). Plain VXLAN has 4789. */
export const PORT = 4790;
export const HEADER = 8;

// Field offsets.
export const FLAGS = 0;
export const NEXT_PROTOCOL = 3;
export const VNI = 4;

export const Flag = {
  /** Operations, administration and maintenance: for the other end itself. */
  Oam: 0x01,
  /** Broadcast, unknown unicast or multicast, replicated on entry. */
  Replicated: 0x02,
  /** There is a next protocol; without it an Ethernet frame follows, as in VXLAN (RFC 7348). */
  NextProtocol: 0x04,
  /** There is a virtual network identifier. */
  Instance: 0x08,
} as const;

export const NextProtocol = { Ipv4: 1, Ipv6: 2, Ethernet: 3, Nsh: 4 } as const;

export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (end - at < HEADER || end > bytes.length) return Problem.Truncated;
  return (bytes[at] & 0x30) !== 0 ? Problem.Version : Problem.None;
}

/** Bits of Flag. */
export const flags = (bytes: Uint8Array, at: number): number => bytes[at + FLAGS] & 15;
export const nextProtocol = (bytes: Uint8Array, at: number): number =>
  (bytes[at + FLAGS] & Flag.NextProtocol) !== 0 ? bytes[at + NEXT_PROTOCOL] : NextProtocol.Ethernet;
/** Virtual network identifier, 24 bits; 0 where there is none. */
export const vni = (bytes: Uint8Array, at: number): number =>
  (bytes[at + FLAGS] & Flag.Instance) !== 0 ? get32(bytes, at + VNI) >>> 8 : 0;

export const setVni = (bytes: Uint8Array, at: number, value: number): void =>
  put32(bytes, at + VNI, (value << 8) | bytes[at + VNI + 3]);

export interface VxlanGpeHeader {
  /** Bits of Flag. */
  flags: number;
  /** A NextProtocol. */
  nextProtocol: number;
  /** 24 bits. */
  vni: number;
}

export function parse(bytes: Uint8Array, at = 0, end = bytes.length): VxlanGpeHeader | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  return { flags: flags(bytes, at), nextProtocol: nextProtocol(bytes, at), vni: vni(bytes, at) };
}

/** Writes a header and returns its length. Default flags: instance and next protocol. */
export function emit(
  header: Omit<VxlanGpeHeader, 'flags'> & Partial<VxlanGpeHeader>,
  bytes: Uint8Array,
  at = 0,
): number {
  put32(bytes, at, ((header.flags ?? Flag.Instance | Flag.NextProtocol) << 24) | header.nextProtocol);
  put32(bytes, at + VNI, header.vni << 8);
  return HEADER;
}
