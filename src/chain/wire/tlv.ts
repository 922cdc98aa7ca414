/**
 * The metadata that chains carry in NSH, in TLVs of the first experimental class (RFC 8300, 9.1.4):
 *
 *     FLOW  type 1, 8 bytes        flow id, equal in both directions
 *     PATH  type 2, 10 + 2n bytes  revision of the chain (4), generation of the path (2), replica ids (2 each): the start's,
 *                                  one per function, the far end's
 *
 * Accessors take the offset of a TLV whose length was checked.
 */
import * as nsh from '../../packet/nsh.ts';
import { get16, get32, getInt32, put16, put32 } from '../../packet/word.ts';

export const CLASS = 0xfff6;
export const FLOW = 1;
export const PATH = 2;

/** Of a value: bytes. */
export const FLOW_LENGTH = 8;
/** Of the value of a path through no function: bytes. */
export const PATH_LENGTH = 10;

/** Functions in a chain. The prefix of a longer one would not fit into the headroom of a packet. */
export const MAX_FUNCTIONS = 32;

/** A replica id that leaves the choice to whoever sends to it. */
export const CHOOSE = 0;

/** Position of the member where the packets enter the chain. Functions are at 0 and on, the far end behind the last. */
export const START = -1;

// Field offsets in a TLV.
const FLOW_ID = nsh.TLV_VALUE;
const REVISION = nsh.TLV_VALUE;
const GENERATION = nsh.TLV_VALUE + 4;
/** That of position 0. */
const REPLICAS = nsh.TLV_VALUE + 8;

/** Bytes of a whole PATH TLV through so many functions, with its padding. */
export const pathTlvLength = (functions: number): number =>
  nsh.TLV_HEADER + ((PATH_LENGTH + 2 * functions + 3) & ~3);

/** Upper and lower 32 bits of the flow id, signed. */
export const flowHigh = (bytes: Uint8Array, flow: number): number => getInt32(bytes, flow + FLOW_ID);
export const flowLow = (bytes: Uint8Array, flow: number): number => getInt32(bytes, flow + FLOW_ID + 4);
export const setFlow = (bytes: Uint8Array, flow: number, high: number, low: number): void => {
  put32(bytes, flow + FLOW_ID, high);
  put32(bytes, flow + FLOW_ID + 4, low);
};

/** Whether the value's length is one that a PATH can have. */
export function isPath(bytes: Uint8Array, path: number): boolean {
  const length = nsh.tlvLength(bytes, path);
  return length >= PATH_LENGTH && length <= PATH_LENGTH + 2 * MAX_FUNCTIONS && length % 2 === 0;
}

/** How many functions the path leads through. */
export const functions = (bytes: Uint8Array, path: number): number =>
  (nsh.tlvLength(bytes, path) - PATH_LENGTH) >> 1;
/** Of the chain, 32 bits: a packet finishes on the revision it started with. */
export const revision = (bytes: Uint8Array, path: number): number => get32(bytes, path + REVISION);
/** Of this flow's path, 16 bits: it goes up when replicas are chosen anew. */
export const generation = (bytes: Uint8Array, path: number): number => get16(bytes, path + GENERATION);
/** The replica at a position, from START to `functions`: 1 to 65535, or CHOOSE. */
export const replica = (bytes: Uint8Array, path: number, position: number): number =>
  get16(bytes, path + REPLICAS + 2 * position);

export const setRevision = (bytes: Uint8Array, path: number, value: number): void =>
  put32(bytes, path + REVISION, value);
export const setGeneration = (bytes: Uint8Array, path: number, value: number): void =>
  put16(bytes, path + GENERATION, value);
export const setReplica = (bytes: Uint8Array, path: number, position: number, value: number): void =>
  put16(bytes, path + REPLICAS + 2 * position, value);

/** Generation of a path that Roulette has not heard of yet. */
export const FIRST_GENERATION = 0;
/** Whether generation `a` is after `b`, in serial number arithmetic (RFC 1982): 1 is after 65535. */
export const isNewer = (a: number, b: number): boolean => (a - b) << 16 > 0;
/** The generation of another path. None comes back to the first one. */
export const nextGeneration = (before: number): number => (before === 0xffff ? 1 : before + 1);
