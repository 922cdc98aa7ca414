/** DHCP messages (RFC 2131, 2; RFC 2132), as far as a client reads and writes them. */
import { get16, get32, put16, put32 } from '../../packet/word.ts';

export const Kind = {
  Discover: 1,
  Offer: 2,
  Request: 3,
  Decline: 4,
  Ack: 5,
  Nak: 6,
  Release: 7,
} as const;

const Option = {
  Mask: 1,
  Router: 3,
  Dns: 6,
  HostName: 12,
  Mtu: 26,
  RequestedAddress: 50,
  LeaseTime: 51,
  Kind: 53,
  Server: 54,
  Parameters: 55,
  Renew: 58,
  Rebind: 59,
  ClientIdentifier: 61,
} as const;

const HEADER = 240;
/** RFC 2131, 2: what every server takes; shorter ones were dropped by BOOTP relays. */
const SHORTEST = 300;
const COOKIE = 0x63825363;
const BROADCAST = 0x8000;

export interface Sent {
  kind: number;
  transaction: number;
  /** Since the client began: s. */
  seconds: number;
  mac: Uint8Array;
  /** Of a client that has an address and can be reached at it. */
  client?: Uint8Array | undefined;
  requested?: Uint8Array | undefined;
  server?: Uint8Array | undefined;
  hostName?: string | undefined;
}

export interface Heard {
  kind: number;
  transaction: number;
  mac: Uint8Array;
  /** What the client gets. */
  address: Uint8Array;
  server: Uint8Array | undefined;
  /** Bits of the prefix; undefined without a mask, -1 for one that is none. */
  prefixLength: number | undefined;
  routers: Uint8Array[];
  nameservers: Uint8Array[];
  mtu: number | undefined;
  /** Seconds; 2^32 - 1 is for ever. */
  leaseTime: number | undefined;
  renew: number | undefined;
  rebind: number | undefined;
}

export function emitMessage(message: Sent): Uint8Array {
  const bytes = new Uint8Array(576);
  // RFC 2131, 4.4.1, table 5: a client that declines or gives back has nothing more to say, and hears nothing.
  const asks = message.kind === Kind.Discover || message.kind === Kind.Request;
  bytes[0] = 1;
  bytes[1] = 1;
  bytes[2] = 6;
  put32(bytes, 4, message.transaction);
  if (asks) put16(bytes, 8, Math.min(message.seconds, 0xffff));
  // Without an address it hears nothing but what is for everybody.
  if (asks && !message.client) put16(bytes, 10, BROADCAST);
  if (message.client) bytes.set(message.client, 12);
  bytes.set(message.mac, 28);
  put32(bytes, 236, COOKIE);
  let at = HEADER;
  const add = (option: number, value: ArrayLike<number>) => {
    bytes[at] = option;
    bytes[at + 1] = value.length;
    bytes.set(value, at + 2);
    at += 2 + value.length;
  };
  add(Option.Kind, [message.kind]);
  add(Option.ClientIdentifier, [1, ...message.mac]);
  if (message.requested) add(Option.RequestedAddress, message.requested);
  if (message.server) add(Option.Server, message.server);
  if (asks && message.hostName)
    add(Option.HostName, new TextEncoder().encode(message.hostName).subarray(0, 63));
  if (asks)
    add(Option.Parameters, [Option.Mask, Option.Router, Option.Dns, Option.Mtu, Option.Renew, Option.Rebind]);
  bytes[at++] = 255;
  return bytes.slice(0, Math.max(at, SHORTEST));
}

/** Undefined for what is no answer of a server. */
export function parseMessage(bytes: Uint8Array): Heard | undefined {
  if (bytes.length < HEADER || bytes[0] !== 2 || bytes[1] !== 1 || bytes[2] !== 6) return undefined;
  if (get32(bytes, 236) !== COOKIE) return undefined;
  const options = readOptions(bytes);
  const kind = options?.get(Option.Kind);
  if (!options || kind?.length !== 1) return undefined;
  const seconds = (option: number) => {
    const value = options.get(option);
    return value?.length === 4 ? get32(value, 0) : undefined;
  };
  const mask = options.get(Option.Mask);
  const mtu = options.get(Option.Mtu);
  const server = options.get(Option.Server);
  return {
    kind: kind[0],
    transaction: get32(bytes, 4),
    mac: bytes.slice(28, 34),
    address: bytes.slice(16, 20),
    server: server?.length === 4 ? server : undefined,
    prefixLength: mask && (mask.length === 4 ? lengthOf(get32(mask, 0)) : -1),
    routers: addresses(options.get(Option.Router)),
    nameservers: addresses(options.get(Option.Dns)),
    mtu: mtu?.length === 2 ? get16(mtu, 0) : undefined,
    leaseTime: seconds(Option.LeaseTime),
    renew: seconds(Option.Renew),
    rebind: seconds(Option.Rebind),
  };
}

/** Values by option; one that comes in pieces is joined (RFC 3396). Undefined when one runs over the end. */
function readOptions(bytes: Uint8Array): Map<number, Uint8Array> | undefined {
  const found = new Map<number, Uint8Array>();
  for (let at = HEADER; at < bytes.length; ) {
    const option = bytes[at];
    if (option === 255) return found;
    if (option === 0) {
      at++;
      continue;
    }
    const end = at + 2 + bytes[at + 1];
    if (at + 2 > bytes.length || end > bytes.length) return undefined;
    const before = found.get(option) ?? new Uint8Array(0);
    const value = new Uint8Array(before.length + end - at - 2);
    value.set(before);
    value.set(bytes.subarray(at + 2, end), before.length);
    found.set(option, value);
    at = end;
  }
  return found;
}

const addresses = (value: Uint8Array | undefined): Uint8Array[] =>
  Array.from({ length: Math.floor((value?.length ?? 0) / 4) }, (_, i) => value!.slice(4 * i, 4 * i + 4));

/** Bits of a mask, or -1 when they have a gap. */
function lengthOf(mask: number): number {
  const host = ~mask >>> 0;
  return (host & (host + 1)) === 0 ? Math.clz32(host) : -1;
}
