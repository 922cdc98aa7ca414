/** Prefixes (`10.0.0.0/24`), endpoints (`[::1]:53`) and MAC addresses as text and as values. */
import {
  type AddressLike,
  addressError,
  compareIp,
  formatIp,
  type IpAddress,
  parseDecimal,
  parseIp,
  toIp,
} from './address.ts';

/** A network, or an address on a network when host bits are set. Treat as immutable. */
export interface IpPrefix {
  readonly address: IpAddress;
  /** Bits of the network part: 0 to 32 or 128. */
  readonly length: number;
}

export interface PrefixOptions {
  /** Take bits behind the prefix, as an interface address has them (`10.0.0.2/24`). Default false. */
  hostBits?: boolean;
  /** The length when the text gives none: a number of bits, or `'host'` for 32 or 128. Default: it must be given. */
  length?: number | 'host';
}

export const addressBits = (family: 4 | 6): 32 | 128 => (family === 4 ? 32 : 128);

const reasonOf = (error: unknown) => (error as Error).message.replace(/^.*? is not an IP address(: )?/, '');

/** @throws ERR_ADDRESS */
export function parsePrefix(text: string, options: PrefixOptions = {}): IpPrefix {
  const expected = options.hostBits
    ? 'an address with a prefix length like 10.0.0.2/24'
    : 'a prefix like 10.0.0.0/24';
  if (typeof text !== 'string') throw addressError(text, expected);
  const slash = text.indexOf('/');
  let address: IpAddress;
  try {
    address = parseIp(slash < 0 ? text : text.slice(0, slash));
  } catch (error) {
    throw addressError(text, expected, reasonOf(error));
  }
  const bits = addressBits(address.family);
  let length: number;
  if (slash >= 0) {
    length = parseDecimal(text.slice(slash + 1), bits);
    if (length < 0) throw addressError(text, expected, `the length is not 0 to ${bits}`);
  } else if (options.length !== undefined) {
    length = options.length === 'host' ? bits : options.length;
    if (length > bits) throw addressError(text, expected, `the default length ${length} exceeds ${bits}`);
  } else {
    throw addressError(text, expected, 'it has no length');
  }
  const prefix = { address, length };
  if (!options.hostBits && compareIp(networkOf(prefix).address, address) !== 0) {
    throw addressError(text, expected, `it has host bits, the network is ${formatPrefix(networkOf(prefix))}`);
  }
  return prefix;
}

export const formatPrefix = (prefix: IpPrefix): string => `${formatIp(prefix.address)}/${prefix.length}`;

/** The address with the bits behind the prefix set to `bit`. */
function withHostBits({ address, length }: IpPrefix, bit: 0 | 1): IpAddress {
  const bytes = address.bytes.slice();
  for (let i = 0; i < bytes.length; i++) {
    const kept = Math.min(8, Math.max(0, length - 8 * i));
    const host = 0xff >> kept;
    bytes[i] = bit ? bytes[i] | host : bytes[i] & ~host;
  }
  return { ...address, bytes };
}

/** The same prefix without host bits. */
export const networkOf = (prefix: IpPrefix): IpPrefix => ({
  address: withHostBits(prefix, 0),
  length: prefix.length,
});

/** The last address: the directed broadcast of an IPv4 prefix up to /30. */
export const broadcastOf = (prefix: IpPrefix): IpAddress => withHostBits(prefix, 1);

/** Whether an address, or every address of another prefix, lies inside. Zones are not looked at. */
export function contains(prefix: IpPrefix, inner: IpAddress | IpPrefix): boolean {
  const [address, length] = 'address' in inner ? [inner.address, inner.length] : [inner, 128];
  if (address.family !== prefix.address.family || length < prefix.length) return false;
  const [a, b] = [prefix.address.bytes, address.bytes];
  for (let i = 0; 8 * i < prefix.length; i++) {
    const kept = Math.min(8, prefix.length - 8 * i);
    if ((a[i] ^ b[i]) >> (8 - kept) !== 0) return false;
  }
  return true;
}

/**
 * Addresses that hosts can have. IPv4 up to /30 loses the network's own and its broadcast; a /31 has two hosts
 * (RFC 3021); IPv6 loses none. Exact up to 2^53, a power of two beyond.
 */
export function hostCount({ address, length }: IpPrefix): number {
  const all = 2 ** (addressBits(address.family) - length);
  return address.family === 4 && length <= 30 ? all - 2 : all;
}

/** The `n`th address after the network's own: `hostAt(10.0.0.0/24, 2)` is 10.0.0.2. @throws ERR_ADDRESS outside the prefix */
export function hostAt(prefix: IpPrefix, n: number): IpAddress {
  const address = withHostBits(prefix, 0);
  let rest = n;
  for (let i = address.bytes.length - 1; i >= 0 && rest > 0; i--) {
    const sum = address.bytes[i] + (rest % 256);
    rest = Math.floor(rest / 256) + (sum >> 8);
    address.bytes[i] = sum;
  }
  if (!Number.isSafeInteger(n) || n < 0 || rest > 0 || !contains(prefix, address)) {
    throw addressError(n, `the number of an address in ${formatPrefix(prefix)}`);
  }
  return address;
}

export const equalPrefix = (a: IpPrefix, b: IpPrefix): boolean =>
  a.length === b.length && compareIp(a.address, b.address) === 0;

/** An address and a transport port. */
export interface Endpoint {
  readonly address: IpAddress;
  /** 0 to 65535. */
  readonly port: number;
}

/** `10.0.0.1:53` or `[2001:db8::1]:53`. @throws ERR_ADDRESS */
export function parseEndpoint(text: string): Endpoint {
  const expected = 'an endpoint like 10.0.0.1:53 or [::1]:53';
  const found = typeof text === 'string' ? /^(?:\[(.*)\]|([^[\]:]*)):([^:]*)$/s.exec(text) : null;
  if (!found) {
    const bare = typeof text === 'string' && text.split(':').length > 2 && !text.startsWith('[');
    throw addressError(text, expected, bare ? 'an IPv6 address with a port stands in brackets' : '');
  }
  const [, inBrackets, plain, portText] = found;
  let address: IpAddress;
  try {
    address = parseIp(inBrackets ?? plain);
  } catch (error) {
    throw addressError(text, expected, reasonOf(error));
  }
  if (inBrackets !== undefined && address.family !== 6) {
    throw addressError(text, expected, 'only an IPv6 address stands in brackets');
  }
  const port = parseDecimal(portText, 65535);
  if (port < 0) throw addressError(text, expected, 'the port is not 0 to 65535 without leading zeros');
  return { address, port };
}

export const formatEndpoint = ({ address, port }: Endpoint): string =>
  address.family === 4 ? `${formatIp(address)}:${port}` : `[${formatIp(address)}]:${port}`;

export const toEndpoint = (endpoint: string | { address: AddressLike; port: number }): Endpoint =>
  typeof endpoint === 'string'
    ? parseEndpoint(endpoint)
    : { address: toIp(endpoint.address), port: endpoint.port };

/** Six bytes from `02:00:5e:00:53:01`. @throws ERR_ADDRESS */
export function parseMac(text: string): Uint8Array {
  if (typeof text !== 'string' || !/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) {
    throw addressError(text, 'a MAC address like 02:00:5e:00:53:01');
  }
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

export function formatMac(bytes: Uint8Array, at = 0): string {
  return Array.from(bytes.subarray(at, at + 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
