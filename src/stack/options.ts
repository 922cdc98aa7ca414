/** What a stack is told: interfaces with addresses, routes, and what it does beside. Plain data, checked here. */
import { z } from 'zod';
import { configError } from '../engine/config.ts';
import { checkOptions } from '../engine/options.ts';
import { type IpAddress, parseIp } from '../packet/address.ts';
import { type IpPrefix, parsePrefix } from '../packet/prefix.ts';

/** RFC 791: what every IPv4 link carries. RFC 8200: with IPv6 addresses, 1280. */
const LEAST_MTU = 68;
const LEAST_MTU_V6 = 1280;
/** The longest IP packet that the kernel gives a TUN. */
const MOST_MTU = 65_535;

const interfaceSchema = z.strictObject({
  /** Of the app's input and output. */
  name: z.string().regex(/^[A-Za-z_][\w-]*$/, { error: 'expected letters, digits, "_" and "-"' }),
  /** `10.0.0.2/24`, `2001:db8::2/64`. */
  addresses: z.array(z.string()).max(64).default([]),
  /** Longest IP packet: bytes. */
  mtu: z.number().int().min(LEAST_MTU).max(MOST_MTU).default(1500),
  /** Whether what it leads to takes superframes; where not, they are cut on the way. */
  superframes: z.boolean().default(true),
});

const routeSchema = z.strictObject({
  /** `0.0.0.0/0`, `2001:db8::/32`. */
  to: z.string(),
  /** The gateway's address; without one, destinations are on the link. */
  via: z.string().optional(),
  /** By name; may be left out where `via` says it. */
  interface: z.string().optional(),
});

export const stackSchema = z.strictObject({
  /** Each wants packet memory of its own, and a network has 255 that do. */
  interfaces: z.array(interfaceSchema).min(1).max(254),
  routes: z.array(routeSchema).max(100_000).default([]),
  /** Whom `resolve` asks: `10.0.0.1`, `[fd00::1]:5353`. */
  nameservers: z.array(z.string()).max(16).default([]),
  /** Whether packets for others go on: a router. */
  forward: z.boolean().default(false),
  /** Whether packets for all other hosts are taken in as if they were this one's: see `Stack.capture`. */
  captive: z.boolean().default(false),
  /** TTL and hop limit of what this host sends. */
  ttl: z.number().int().min(1).max(255).default(64),
  /** Whether echo requests are answered. */
  echo: z.boolean().default(true),
  /** Fragments kept at a time, for all datagrams together. */
  fragments: z.number().int().min(0).max(65_536).default(1024),
});

export type StackOptions = z.input<typeof stackSchema>;

export interface InterfaceSettings {
  name: string;
  addresses: readonly IpPrefix[];
  mtu: number;
  superframes: boolean;
}

export interface RouteSettings {
  to: IpPrefix;
  via: IpAddress | undefined;
  /** Index of the interface. */
  interface: number;
}

export interface StackSettings {
  interfaces: readonly InterfaceSettings[];
  routes: readonly RouteSettings[];
  nameservers: readonly string[];
  forward: boolean;
  captive: boolean;
  ttl: number;
  echo: boolean;
  fragments: number;
}

/** Reads text into values. @throws ERR_CONFIG, ERR_ADDRESS */
export function checkStack(options: StackOptions): StackSettings {
  const checked = checkOptions(stackSchema, options);
  if (checked.captive && checked.forward)
    throw configError('captive: packets for others are taken in, or go on with forward; not both');
  const names = new Set<string>();
  const interfaces = checked.interfaces.map((each, i) => {
    if (names.has(each.name)) throw configError(`interfaces.${i}.name: found "${each.name}" twice`);
    names.add(each.name);
    const addresses = each.addresses.map((text) => checkOwnAddress(text));
    if (each.mtu < LEAST_MTU_V6 && addresses.some(({ address }) => address.family === 6))
      throw configError(
        `interfaces.${i}.mtu: found ${each.mtu}, expected at least ${LEAST_MTU_V6} with an IPv6 address`,
      );
    return { ...each, addresses };
  });
  const routes = checked.routes.map((route, i) => checkRoute(route, interfaces, `routes.${i}`));
  return { ...checked, interfaces, routes };
}

/** An address with the prefix of its link; without a length it is alone there. @throws ERR_ADDRESS */
export function checkOwnAddress(text: string): IpPrefix {
  const prefix = parsePrefix(text, { hostBits: true, length: 'host' });
  const { family, bytes } = prefix.address;
  const group = family === 4 ? bytes[0] >= 224 : bytes[0] === 0xff;
  const loopback = family === 4 ? bytes[0] === 127 : bytes.every((byte, at) => byte === (at === 15 ? 1 : 0));
  if (group || loopback || bytes.every((byte) => byte === 0))
    throw configError(`found the address ${text}, expected one that a host's interface can have`);
  return prefix;
}

/** @throws ERR_CONFIG, ERR_ADDRESS */
export function checkRoute(
  route: { to: string; via?: string | undefined; interface?: string | undefined },
  interfaces: readonly InterfaceSettings[],
  place: string,
): RouteSettings {
  const to = parsePrefix(route.to, { length: 'host' });
  const via = route.via === undefined ? undefined : parseIp(route.via);
  if (via && via.family !== to.address.family)
    throw configError(`${place}.via: found ${route.via}, expected an IPv${to.address.family} address`);
  let at = interfaces.findIndex(({ name }) => name === route.interface);
  if (route.interface !== undefined && at < 0)
    throw configError(`${place}.interface: found "${route.interface}", expected the name of an interface`);
  if (at < 0 && via)
    at = interfaces.findIndex(({ addresses }) => addresses.some((own) => onLink(own, via.bytes)));
  if (at < 0 && interfaces.length === 1) at = 0;
  if (at < 0)
    throw configError(
      `${place}: expected an interface, or a gateway in the prefix of one of their addresses`,
    );
  return { to, via, interface: at };
}

/** Whether an address lies in the prefix of one's own. */
export function onLink(own: IpPrefix, address: Uint8Array): boolean {
  const { bytes } = own.address;
  if (bytes.length !== address.length) return false;
  for (let bit = 0; bit < own.length; bit += 8) {
    const kept = Math.min(8, own.length - bit);
    if ((bytes[bit >> 3] ^ address[bit >> 3]) >> (8 - kept) !== 0) return false;
  }
  return true;
}
