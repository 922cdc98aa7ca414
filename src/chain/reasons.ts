/** Why a chain drops packets, as far as their bytes alone say. What comes from outside is refused with one of these. */
import { reason } from '../engine/reasons.ts';
import { Problem } from '../packet/problem.ts';

export const ChainDrop = {
  /** No VXLAN-GPE or Geneve header with NSH behind it, or a critical option that nobody here knows. */
  Encapsulation: reason('chain-encapsulation'),
  Truncated: reason('nsh-truncated'),
  Version: reason('nsh-version'),
  /** The length field is one that the metadata type cannot have. */
  Length: reason('nsh-length'),
  /** Reserved, experimental or unassigned. */
  MetadataType: reason('nsh-metadata-type'),
  /** A TLV runs over the header. */
  Tlv: reason('nsh-tlv'),
  /** More metadata than fits in front of a packet. */
  TooLong: reason('nsh-too-long'),
  /** Neither IP nor a probe. */
  NextProtocol: reason('nsh-next-protocol'),
  /** No flow TLV, no path TLV, or one of a length it cannot have. */
  NoPath: reason('nsh-no-path'),
  /** The service index is beyond the path's end. */
  ServiceIndex: reason('nsh-service-index'),
  /** The TTL ran out on the path. */
  Ttl: reason('nsh-ttl'),
} as const;

const OF_PROBLEM: Record<number, number> = {
  [Problem.Truncated]: ChainDrop.Truncated,
  [Problem.Version]: ChainDrop.Version,
  [Problem.HeaderLength]: ChainDrop.Length,
  [Problem.MetadataType]: ChainDrop.MetadataType,
  [Problem.Options]: ChainDrop.Tlv,
};

/** The reason for what `nsh.check` found. */
export const nshDrop = (problem: Problem): number => OF_PROBLEM[problem];
