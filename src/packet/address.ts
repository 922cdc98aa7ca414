/**
 * IP addresses as plain values: strict parsing, RFC 5952 text, classes. Strict means: four decimal parts without
 * leading zeros (an octal reading elsewhere would name another host), no shorthand, nothing before or after.
 */
import { TunconnectorError } from '../errors.ts';

/** Treat as immutable. */
export interface IpAddress {
  readonly family: 4 | 6;
  /** 4 or 16 bytes in network order. */
  readonly bytes: Uint8Array;
  /** The zone of a scoped IPv6 address (RFC 4007): an interface's name or number. */
  readonly zone?: string;
}

/** An address in text, or the value itself: what functions for people accept. */
export type AddressLike = string | IpAddress;

const shown = (text: unknown) => {
  const quoted = JSON.stringify(text) ?? String(text);
  return quoted.length > 60 ? `${quoted.slice(0, 57)}..."` : quoted;
};

/** An ERR_ADDRESS that says what was found and what was expected. */
export function addressError(found: unknown, expected: string, why = ''): TunconnectorError {
  return new TunconnectorError('ERR_ADDRESS', `${shown(found)} is not ${expected}${why && `: ${why}`}`);
}

/** Decimal digits without leading zeros, at most `maximum`; -1 for anything else. */
export function parseDecimal(text: string, maximum: number): number {
  if (!/^(0|[1-9][0-9]{0,9})$/.test(text)) return -1;
  const value = Number(text);
  return value <= maximum ? value : -1;
}

/** The parts of a failed parse travel as a string, so that only the outermost caller makes an error. */
function ipv4Bytes(text: string): Uint8Array | string {
  const parts = text.split('.');
  if (parts.length !== 4) return `it has ${parts.length} part${parts.length === 1 ? '' : 's'}, not four`;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i];
    const value = parseDecimal(part, 255);
    if (value < 0) return `part ${i + 1} is ${shown(part)}, not 0 to 255 without leading zeros`;
    bytes[i] = value;
  }
  return bytes;
}

function groupsOf(text: string): number[] | string {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i];
    if (part.includes('.')) {
      if (i !== parts.length - 1) return 'an embedded IPv4 address must come last';
      const embedded = ipv4Bytes(part);
      if (typeof embedded === 'string') return `in the embedded IPv4 address, ${embedded}`;
      groups.push((embedded[0] << 8) | embedded[1], (embedded[2] << 8) | embedded[3]);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return `${shown(part)} is not one to four hexadecimal digits`;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function ipv6Bytes(text: string): Uint8Array | string {
  const halves = text.split('::');
  if (halves.length > 2) return '"::" stands more than once';
  if (halves.length === 2 && halves[0].includes('.')) return 'an embedded IPv4 address must come last';
  const head = groupsOf(halves[0]);
  if (typeof head === 'string') return head;
  const tail = groupsOf(halves[1] ?? '');
  if (typeof tail === 'string') return tail;
  const given = head.length + tail.length;
  if (halves.length === 1 && given !== 8) return `it has ${given} group${given === 1 ? '' : 's'}, not eight`;
  // RFC 4291, 2.2: "::" stands for one or more groups.
  if (halves.length === 2 && given > 7) return `"::" has nothing left to stand for beside ${given} groups`;
  const bytes = new Uint8Array(16);
  const write = (group: number, index: number) => {
    bytes[2 * index] = group >>> 8;
    bytes[2 * index + 1] = group;
  };
  head.forEach(write);
  tail.forEach((group, index) => {
    write(group, 8 - tail.length + index);
  });
  return bytes;
}

/** What fits in a zone: an interface's name (at most 15 bytes, no space, no slash) or number. */
const ZONE = /^[^\s/%[\]\p{C}]{1,15}$/u;

function tryParse(text: string): IpAddress | string {
  if (typeof text !== 'string') return 'it is not text';
  if (!text.includes(':')) {
    const bytes = ipv4Bytes(text);
    return typeof bytes === 'string' ? bytes : { family: 4, bytes };
  }
  const percent = text.indexOf('%');
  const bytes = ipv6Bytes(percent < 0 ? text : text.slice(0, percent));
  if (typeof bytes === 'string') return bytes;
  if (percent < 0) return { family: 6, bytes };
  const zone = text.slice(percent + 1);
  return ZONE.test(zone) ? { family: 6, bytes, zone } : `its zone ${shown(zone)} is not an interface name`;
}

/** `192.0.2.1`, `2001:db8::1`, `fe80::1%eth0`. @throws ERR_ADDRESS */
export function parseIp(text: string): IpAddress {
  const address = tryParse(text);
  if (typeof address === 'string') throw addressError(text, 'an IP address', address);
  return address;
}

/** @throws ERR_ADDRESS, also for an IPv6 address */
export function parseIpv4(text: string): IpAddress {
  const bytes = typeof text === 'string' ? ipv4Bytes(text) : 'it is not text';
  if (typeof bytes === 'string') throw addressError(text, 'an IPv4 address', bytes);
  return { family: 4, bytes };
}

/** @throws ERR_ADDRESS, also for an IPv4 address */
export function parseIpv6(text: string): IpAddress {
  const address = tryParse(text);
  if (typeof address === 'string') throw addressError(text, 'an IPv6 address', address);
  if (address.family !== 6) throw addressError(text, 'an IPv6 address', 'it is an IPv4 address');
  return address;
}

/** Whether `parseIp` takes it. */
export const isIp = (text: string): boolean => typeof tryParse(text) !== 'string';

export const toIp = (address: AddressLike): IpAddress =>
  typeof address === 'string' ? parseIp(address) : address;

/** The bytes of an address that must be of this family. @throws ERR_ADDRESS */
export function bytesOfFamily(address: AddressLike, family: 4 | 6): Uint8Array {
  const value = toIp(address);
  if (value.family !== family) throw addressError(formatIp(value), `an IPv${family} address`);
  return value.bytes;
}

/** A value of its own from the bytes of a packet. */
export function ipAt(bytes: Uint8Array, at: number, family: 4 | 6): IpAddress {
  return { family, bytes: bytes.slice(at, at + (family === 4 ? 4 : 16)) };
}

/** Text of an address in a packet, as `formatIp`. */
export function formatIpAt(bytes: Uint8Array, at: number, family: 4 | 6): string {
  if (family === 4) return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[at + i] << 8) | bytes[at + i + 1]);
  // RFC 5952, 5: the mixed form for the one prefix that is known to hold an IPv4 address.
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${formatIpAt(bytes, at + 12, 4)}`;
  }
  const text = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  // RFC 5952, 4.2: the longest run of zeros, the first of equals, never a single group.
  let start = 0;
  let longest = 1;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && groups[i + run] === 0) run++;
    if (run > longest) {
      start = i;
      longest = run;
    }
  }
  return longest > 1 ? `${text(0, start)}::${text(start + longest, 8)}` : text(0, 8);
}

/** RFC 5952 text: lower case, shortest, `::` for the longest run of zeros. */
export function formatIp(address: IpAddress): string {
  const text = formatIpAt(address.bytes, 0, address.family);
  return address.zone === undefined ? text : `${text}%${address.zone}`;
}

/** -1, 0 or 1: IPv4 before IPv6, then by number, then by zone. */
export function compareIp(a: IpAddress, b: IpAddress): -1 | 0 | 1 {
  if (a.family !== b.family) return a.family < b.family ? -1 : 1;
  for (let i = 0; i < a.bytes.length; i++) {
    if (a.bytes[i] !== b.bytes[i]) return a.bytes[i] < b.bytes[i] ? -1 : 1;
  }
  const [left, right] = [a.zone ?? '', b.zone ?? ''];
  return left === right ? 0 : left < right ? -1 : 1;
}

export const equalIp = (a: IpAddress, b: IpAddress): boolean => compareIp(a, b) === 0;

/** Whether two addresses in packets are equal. Allocates nothing. */
export function equalBytes(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}

const zeros = (bytes: Uint8Array, from: number, to: number) => {
  for (let i = from; i < to; i++) if (bytes[i] !== 0) return false;
  return true;
};

/** `0.0.0.0` or `::`. */
export const isUnspecified = ({ bytes }: IpAddress): boolean => zeros(bytes, 0, bytes.length);

/** 127.0.0.0/8 or ::1. */
export const isLoopback = ({ family, bytes }: IpAddress): boolean =>
  family === 4 ? bytes[0] === 127 : zeros(bytes, 0, 15) && bytes[15] === 1;

/** 224.0.0.0/4 or ff00::/8. */
export const isMulticast = ({ family, bytes }: IpAddress): boolean =>
  family === 4 ? bytes[0] >> 4 === 14 : bytes[0] === 0xff;

/** 169.254.0.0/16 or fe80::/10. */
export const isLinkLocal = ({ family, bytes }: IpAddress): boolean =>
  family === 4 ? bytes[0] === 169 && bytes[1] === 254 : bytes[0] === 0xfe && bytes[1] >> 6 === 2;

/** 255.255.255.255. The broadcast address of a subnet is `broadcastOf` its prefix. */
export const isLimitedBroadcast = ({ family, bytes }: IpAddress): boolean =>
  family === 4 && bytes.every((byte) => byte === 255);
