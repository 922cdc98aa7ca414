/**
 * Control messages of the `udp` format as bytes. docs/udp-format.md is the specification.
 *
 *     0x00 'T' 'U' 'N' | version | type | flags 0 | reserved 0 | token (8) | fields ...
 *     field: type u8, length u16 big endian, value
 *
 * Reading fills one reused `ControlMessage`, so that a flood costs little; writing goes into one reused buffer.
 */

import { ipAt } from '../../packet/address.ts';
import { equalPrefix, type IpPrefix, networkOf } from '../../packet/prefix.ts';

export const CONTROL_VERSION = 1;
export const CONTROL_HEADER = 16;
/** "TUN" behind a zero byte: no IP packet (4, 6), no EtherIP frame (3), no WireGuard message (1 to 4) starts so. */
const MAGIC = 0x0054554e;

export const ControlType = {
  Hello: 1,
  Cookie: 2,
  Welcome: 3,
  Refused: 4,
  Keepalive: 5,
  Alive: 6,
  Goodbye: 7,
  Who: 8,
  Probe: 9,
  Probed: 10,
} as const;

export const ControlField = {
  Nonce: 1,
  Cookie: 2,
  Address: 3,
  Network: 4,
  Layer: 5,
  Mtu: 6,
  Keepalive: 7,
  Code: 8,
  Sequence: 9,
  Size: 10,
  Padding: 11,
  Capabilities: 12,
  Versions: 13,
} as const;

/** Why a server refuses; the number on the wire. */
export const RefusalCode = {
  version: 1,
  outside: 2,
  taken: 3,
  invalid: 4,
  layer: 5,
  full: 6,
  'not-allowed': 7,
} as const;
export type Refusal = keyof typeof RefusalCode;

/** Name of a refusal; a code of a later version reads `code-N`. */
export function refusalName(code: number): Refusal | `code-${number}` {
  for (const name of Object.keys(RefusalCode) as Refusal[]) if (RefusalCode[name] === code) return name;
  return `code-${code}`;
}

/** Bits of the capabilities field. Both ends use what both have. */
export const Capability = {
  /** Answers PROBE, so the other end may look for the path's MTU. */
  probe: 1,
} as const;

/** A HELLO is padded to at least this, and dropped when it is smaller: more than any answer to an address that has not proven itself. */
export const HELLO_SIZE = 256;
/** A KEEPALIVE from client to server is padded to this, for it may be answered by a COOKIE (`COOKIE_SIZE`). */
export const KEEPALIVE_SIZE = 56;
/** Epoch (4 bytes) and truncated HMAC (16 bytes). To a client a cookie is opaque, up to `MAX_COOKIE` bytes. */
export const COOKIE_LENGTH = 20;
export const MAX_COOKIE = 64;
export const COOKIE_SIZE = CONTROL_HEADER + 11 + 3 + COOKIE_LENGTH;
export const MAX_ADDRESSES = 8;
export const MAX_NETWORKS = 32;
/** Bytes of UTF-8 that a refusal may say: with them a REFUSED is still smaller than a HELLO. */
export const MAX_TEXT = 200;
/** Every end accepts datagrams of this size: 576 bytes (RFC 791) less room for headers. */
export const MIN_DATAGRAM = 512;
/** The largest payload of a UDP datagram over IPv4, and so of a PROBE. */
export const MAX_DATAGRAM = 65507;

/** What the last parse found. Fields that were absent hold zeros; `fields` has a bit `1 << type` for each present. */
export interface ControlMessage {
  version: number;
  type: number;
  tokenHigh: number;
  tokenLow: number;
  fields: number;
  nonceHigh: number;
  nonceLow: number;
  cookie: Uint8Array;
  cookieLength: number;
  addresses: IpPrefix[];
  networks: IpPrefix[];
  layer: number;
  /** Largest datagram (UDP payload, bytes) its sender accepts. */
  mtu: number;
  /** Milliseconds. */
  keepalive: number;
  code: number;
  text: string;
  sequence: number;
  /** Length in bytes of the PROBE itself. */
  size: number;
  capabilities: number;
  versionMin: number;
  versionMax: number;
}

export function controlMessage(): ControlMessage {
  return {
    version: 0,
    type: 0,
    tokenHigh: 0,
    tokenLow: 0,
    fields: 0,
    nonceHigh: 0,
    nonceLow: 0,
    cookie: new Uint8Array(MAX_COOKIE),
    cookieLength: 0,
    addresses: [],
    networks: [],
    layer: 0,
    mtu: 0,
    keepalive: 0,
    code: 0,
    text: '',
    sequence: 0,
    size: 0,
    capabilities: 0,
    versionMin: 0,
    versionMax: 0,
  };
}

const bit = (field: number): number => 1 << field;
const F = ControlField;
const SESSION_FIELDS =
  bit(F.Nonce) | bit(F.Sequence) | bit(F.Layer) | bit(F.Mtu) | bit(F.Keepalive) | bit(F.Capabilities);

/** Fields without which a message of a type (the index) is malformed. */
const REQUIRED: readonly number[] = [
  0,
  SESSION_FIELDS | bit(F.Versions),
  bit(F.Nonce) | bit(F.Cookie),
  SESSION_FIELDS,
  bit(F.Nonce) | bit(F.Code) | bit(F.Versions),
  bit(F.Sequence),
  bit(F.Sequence),
  0,
  0,
  bit(F.Sequence) | bit(F.Size),
  bit(F.Sequence) | bit(F.Size),
];
/** Types that mean nothing without a session. */
const NEEDS_TOKEN =
  bit(ControlType.Welcome) |
  bit(ControlType.Keepalive) |
  bit(ControlType.Alive) |
  bit(ControlType.Goodbye) |
  bit(ControlType.Probe) |
  bit(ControlType.Probed);

const u16 = (b: Uint8Array, at: number): number => (b[at] << 8) | b[at + 1];
const u32 = (b: Uint8Array, at: number): number =>
  ((b[at] << 24) | (b[at + 1] << 16) | (b[at + 2] << 8) | b[at + 3]) >>> 0;

export const ParseResult = { Ok: 0, Malformed: 1, OtherVersion: 2 } as const;

/**
 * Reads `bytes[offset .. offset+length)` into `message`. Never throws.
 *
 * Of another version than ours only what stays the same in all versions is read: the header, and in HELLO and
 * REFUSED the nonce and the range of versions. The result is then `OtherVersion`.
 */
export function parseControl(
  bytes: Uint8Array,
  offset: number,
  length: number,
  message: ControlMessage,
): number {
  reset(message);
  if (length < CONTROL_HEADER || offset + length > bytes.length || u32(bytes, offset) !== MAGIC) {
    return ParseResult.Malformed;
  }
  message.version = bytes[offset + 4];
  message.type = bytes[offset + 5];
  message.tokenHigh = u32(bytes, offset + 8);
  message.tokenLow = u32(bytes, offset + 12);
  const ours = message.version === CONTROL_VERSION;

  const end = offset + length;
  let at = offset + CONTROL_HEADER;
  while (at < end) {
    if (at + 3 > end) return ParseResult.Malformed;
    const type = bytes[at];
    const size = u16(bytes, at + 1);
    at += 3;
    if (at + size > end) return ParseResult.Malformed;
    if ((ours || type === F.Nonce || type === F.Versions) && !readField(bytes, at, type, size, message)) {
      return ParseResult.Malformed;
    }
    at += size;
  }
  if (!ours) {
    const known = message.type === ControlType.Hello || message.type === ControlType.Refused;
    return known && !(message.fields & bit(F.Nonce)) ? ParseResult.Malformed : ParseResult.OtherVersion;
  }
  return complete(message, length) ? ParseResult.Ok : ParseResult.Malformed;
}

function reset(m: ControlMessage): void {
  m.fields = 0;
  m.cookieLength = 0;
  if (m.addresses.length > 0) m.addresses = [];
  if (m.networks.length > 0) m.networks = [];
  m.nonceHigh = m.nonceLow = 0;
  m.layer = m.mtu = m.keepalive = m.code = m.sequence = m.size = m.capabilities = 0;
  m.versionMin = m.versionMax = 0;
  m.text = '';
}

/** One field whose bounds are known to be good. False when it is a duplicate or its value makes no sense. */
function readField(b: Uint8Array, at: number, type: number, size: number, m: ControlMessage): boolean {
  if (type === 0 || type > F.Versions) return true;
  const repeatable = type === F.Address || type === F.Network;
  if (!repeatable && m.fields & bit(type)) return false;
  m.fields |= bit(type);
  switch (type) {
    case F.Nonce:
      m.nonceHigh = size === 8 ? u32(b, at) : 0;
      m.nonceLow = size === 8 ? u32(b, at + 4) : 0;
      return (m.nonceHigh | m.nonceLow) !== 0;
    case F.Cookie:
      if (size === 0 || size > MAX_COOKIE) return false;
      for (let i = 0; i < size; i++) m.cookie[i] = b[at + i];
      m.cookieLength = size;
      return true;
    case F.Address:
      return readClaim(b, at, size, m.addresses, MAX_ADDRESSES, false);
    case F.Network:
      return readClaim(b, at, size, m.networks, MAX_NETWORKS, true);
    case F.Layer:
      m.layer = size === 1 ? b[at] : 0;
      return m.layer === 2 || m.layer === 3;
    case F.Mtu:
      m.mtu = size === 2 ? u16(b, at) : 0;
      return m.mtu >= MIN_DATAGRAM;
    case F.Keepalive:
      m.keepalive = size === 4 ? u32(b, at) : 0;
      return m.keepalive !== 0;
    case F.Code:
      if (size < 2 || size > 2 + MAX_TEXT) return false;
      m.code = u16(b, at);
      m.text = printable(b.subarray(at + 2, at + size));
      return true;
    case F.Sequence:
      m.sequence = size === 4 ? u32(b, at) : 0;
      return size === 4;
    case F.Size:
      m.size = size === 2 ? u16(b, at) : 0;
      return m.size !== 0;
    case F.Capabilities:
      m.capabilities = size === 4 ? u32(b, at) : 0;
      return size === 4;
    case F.Versions:
      m.versionMin = size === 2 ? b[at] : 0;
      m.versionMax = size === 2 ? b[at + 1] : 0;
      return m.versionMin !== 0 && m.versionMin <= m.versionMax;
    default:
      return true; // padding, whatever it holds
  }
}

function readClaim(b: Uint8Array, at: number, size: number, into: IpPrefix[], max: number, network: boolean) {
  const family = size > 0 ? b[at] : 0;
  const bytes = family === 4 ? 4 : 16;
  if ((family !== 4 && family !== 6) || size !== 2 + bytes || into.length === max) return false;
  const length = b[at + 1];
  if (length > bytes * 8) return false;
  const claim: IpPrefix = { address: ipAt(b, at + 2, family), length };
  if (network && !isNetwork(claim)) return false;
  if (into.some((other) => equalPrefix(claim, other))) return false;
  into.push(claim);
  return true;
}

function complete(m: ControlMessage, length: number): boolean {
  if (m.type < 1 || m.type >= REQUIRED.length) return false;
  const required = REQUIRED[m.type];
  if ((m.fields & required) !== required) return false;
  if (NEEDS_TOKEN & bit(m.type) && (m.tokenHigh | m.tokenLow) === 0) return false;
  if (m.type === ControlType.Who) return length === CONTROL_HEADER;
  return m.type !== ControlType.Probe || m.size === length;
}

/** True when all bits behind the prefix are zero. */
export function isNetwork(prefix: IpPrefix): boolean {
  return equalPrefix(prefix, networkOf(prefix));
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Text that strangers wrote is shown on terminals: no control characters, no change of writing direction. */
function printable(utf8: Uint8Array): string {
  return decoder.decode(utf8).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
}

/** Writes one message at a time into `bytes[0..length)`. */
export class ControlWriter {
  readonly bytes = new Uint8Array(MAX_DATAGRAM);
  length = 0;

  begin(type: number, tokenHigh: number, tokenLow: number): this {
    this.bytes.fill(0, 0, this.length); // padding must be zero, never what another message said
    this.length = 0;
    this.#u32(MAGIC);
    this.bytes[4] = CONTROL_VERSION;
    this.bytes[5] = type;
    this.length = 8;
    this.#u32(tokenHigh);
    this.#u32(tokenLow);
    return this;
  }

  nonce(high: number, low: number): this {
    this.#field(F.Nonce, 8);
    this.#u32(high);
    this.#u32(low);
    return this;
  }

  cookie(cookie: Uint8Array): this {
    this.#field(F.Cookie, cookie.length);
    for (const byte of cookie) this.bytes[this.length++] = byte;
    return this;
  }

  /** @param field `ControlField.Address` or `ControlField.Network` */
  prefix(field: number, prefix: IpPrefix): this {
    const { address, length } = prefix;
    this.#field(field, 2 + address.bytes.length);
    this.bytes[this.length++] = address.family;
    this.bytes[this.length++] = length;
    for (const byte of address.bytes) this.bytes[this.length++] = byte;
    return this;
  }

  layer(layer: number): this {
    this.#field(F.Layer, 1);
    this.bytes[this.length++] = layer;
    return this;
  }

  mtu(mtu: number): this {
    this.#field(F.Mtu, 2);
    this.#u16(mtu);
    return this;
  }

  keepalive(milliseconds: number): this {
    this.#field(F.Keepalive, 4);
    this.#u32(milliseconds);
    return this;
  }

  /** Text longer than `MAX_TEXT` bytes is cut at a character. */
  code(code: number, text: string): this {
    const cut = new Uint8Array(MAX_TEXT);
    const { written } = encoder.encodeInto(text, cut);
    this.#field(F.Code, 2 + written);
    this.#u16(code);
    for (let i = 0; i < written; i++) this.bytes[this.length++] = cut[i];
    return this;
  }

  sequence(sequence: number): this {
    this.#field(F.Sequence, 4);
    this.#u32(sequence);
    return this;
  }

  size(size: number): this {
    this.#field(F.Size, 2);
    this.#u16(size);
    return this;
  }

  capabilities(bits: number): this {
    this.#field(F.Capabilities, 4);
    this.#u32(bits);
    return this;
  }

  versions(min: number, max: number): this {
    this.#field(F.Versions, 2);
    this.bytes[this.length++] = min;
    this.bytes[this.length++] = max;
    return this;
  }

  /** Padding so that the message has `size` bytes, or up to 2 more; nothing when it has them already. */
  padTo(size: number): this {
    if (this.length >= size) return this;
    const value = Math.max(0, size - this.length - 3);
    this.#field(F.Padding, value);
    this.length += value;
    return this;
  }

  #field(type: number, size: number): void {
    this.bytes[this.length++] = type;
    this.#u16(size);
  }

  #u16(value: number): void {
    this.bytes[this.length++] = value >>> 8;
    this.bytes[this.length++] = value;
  }

  #u32(value: number): void {
    this.#u16(value >>> 16);
    this.#u16(value & 0xffff);
  }
}
