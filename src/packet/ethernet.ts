/** Ethernet II frames with 802.1Q and 802.1ad tags. Accessors are safe after `check`. */
import { formatMac, parseMac } from './prefix.ts';
import { Problem } from './problem.ts';
import { EtherType } from './protocol.ts';
import { copyBytes, get16, put16 } from './word.ts';

/** Length of a header without tags. */
export const HEADER = 14;
/** Length of one tag: its type and its control information. */
export const TAG = 4;

// Field offsets.
export const DESTINATION = 0;
export const SOURCE = 6;
export const ETHER_TYPE = 12;

export function check(bytes: Uint8Array, at: number, end: number): Problem {
  return end - at < HEADER || end > bytes.length ? Problem.Truncated : Problem.None;
}

/** The field behind the addresses: a type from 0x0600 on, below that a length (IEEE 802.3). Of a tagged frame, the tag's. */
export const etherType = (bytes: Uint8Array, at: number): number => get16(bytes, at + ETHER_TYPE);
export const setEtherType = (bytes: Uint8Array, at: number, value: number): void =>
  put16(bytes, at + ETHER_TYPE, value);

/** Group bit of the destination: multicast or broadcast. */
export const isMulticast = (bytes: Uint8Array, at: number): boolean => (bytes[at + DESTINATION] & 1) !== 0;
export const isBroadcast = (bytes: Uint8Array, at: number): boolean =>
  get16(bytes, at) === 0xffff && get16(bytes, at + 2) === 0xffff && get16(bytes, at + 4) === 0xffff;

export const isTagType = (type: number): boolean => type === EtherType.Vlan || type === EtherType.ServiceVlan;

/**
 * What the frame carries behind all its tags: the EtherType in the low 16 bits, the distance of the payload from the
 * start of the frame above them; or `-Problem.Truncated` when a tag runs over `end`.
 */
export function payload(bytes: Uint8Array, at: number, end: number): number {
  let distance = HEADER;
  let type = get16(bytes, at + ETHER_TYPE);
  while (isTagType(type)) {
    if (at + distance + TAG > end) return -Problem.Truncated;
    type = get16(bytes, at + distance + 2);
    distance += TAG;
  }
  // Not a shift: a frame of nothing but tags reaches 2^31.
  return type + distance * 0x10000;
}
export const payloadType = (payload: number): number => payload & 0xffff;
export const payloadDistance = (payload: number): number => Math.floor(payload / 0x10000);

// Tag control information; `tag` is 0 for the outermost one.
const control = (bytes: Uint8Array, at: number, tag: number): number => get16(bytes, at + HEADER + TAG * tag);
/** How many tags stand in the frame. */
export function tagCount(bytes: Uint8Array, at: number, end: number): number {
  let count = 0;
  while (at + HEADER + TAG * (count + 1) <= end && isTagType(get16(bytes, at + ETHER_TYPE + TAG * count)))
    count++;
  return count;
}
/** 0 to 4095; 0 is a tag with nothing but a priority. */
export const vlanId = (bytes: Uint8Array, at: number, tag = 0): number => control(bytes, at, tag) & 0xfff;
/** Priority code point, 0 to 7. */
export const vlanPriority = (bytes: Uint8Array, at: number, tag = 0): number => control(bytes, at, tag) >> 13;
export const vlanDropEligible = (bytes: Uint8Array, at: number, tag = 0): boolean =>
  (control(bytes, at, tag) & 0x1000) !== 0;

/** Puts a tag in front of the others, in the 4 bytes before the frame. Returns where the frame now starts. */
export function pushTag(bytes: Uint8Array, at: number, type: number, id: number, priority = 0): number {
  const start = at - TAG;
  copyBytes(bytes, at, bytes, start, ETHER_TYPE);
  put16(bytes, start + ETHER_TYPE, type);
  put16(bytes, start + HEADER, (priority << 13) | id);
  return start;
}

/** Takes the outermost tag off. Returns where the frame now starts. Only for a frame that has one. */
export function popTag(bytes: Uint8Array, at: number): number {
  copyBytes(bytes, at, bytes, at + TAG, ETHER_TYPE);
  return at + TAG;
}

export interface VlanTag {
  id: number;
  /** 0 to 7. Default 0. */
  priority?: number;
  /** Default false. */
  dropEligible?: boolean;
  /** EtherType.Vlan (default) or EtherType.ServiceVlan. */
  type?: number;
}

export interface EthernetHeader {
  /** `02:00:5e:00:53:01`. */
  destination: string;
  source: string;
  /** Of the payload, behind the tags. */
  type: number;
  /** Outermost first. */
  tags: VlanTag[];
}

export function parse(bytes: Uint8Array, at = 0, end = bytes.length): EthernetHeader | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  const found = payload(bytes, at, end);
  if (found < 0) return undefined;
  return {
    destination: formatMac(bytes, at + DESTINATION),
    source: formatMac(bytes, at + SOURCE),
    type: payloadType(found),
    tags: Array.from({ length: tagCount(bytes, at, end) }, (_, tag) => ({
      id: vlanId(bytes, at, tag),
      priority: vlanPriority(bytes, at, tag),
      dropEligible: vlanDropEligible(bytes, at, tag),
      type: get16(bytes, at + ETHER_TYPE + TAG * tag),
    })),
  };
}

/** Bytes that `emit` writes. */
export const emitLength = (header: { tags?: VlanTag[] }): number => HEADER + TAG * (header.tags?.length ?? 0);

/** Writes the header and its tags and returns their length. */
export function emit(
  header: Omit<EthernetHeader, 'tags'> & { tags?: VlanTag[] },
  bytes: Uint8Array,
  at = 0,
): number {
  bytes.set(parseMac(header.destination), at + DESTINATION);
  bytes.set(parseMac(header.source), at + SOURCE);
  let field = at + ETHER_TYPE;
  for (const tag of header.tags ?? []) {
    put16(bytes, field, tag.type ?? EtherType.Vlan);
    put16(bytes, field + 2, ((tag.priority ?? 0) << 13) | (tag.dropEligible ? 0x1000 : 0) | tag.id);
    field += TAG;
  }
  put16(bytes, field, header.type);
  return field + 2 - at;
}
