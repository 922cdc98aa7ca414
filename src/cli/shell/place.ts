/** Where a link's ends are: names and addresses with which links side by side, and inside of each other, do not meet. */
import { formatIp } from '../../packet/address.ts';
import { contains, hostAt, type IpPrefix, parsePrefix } from '../../packet/prefix.ts';
import type { Route } from '../../tun/system/live-ip.ts';

/** Shared address space (RFC 6598): routed nowhere, and not what people take for networks of their own. */
const SHARED = parsePrefix('100.64.0.0/10');
/**
 * For measurements (RFC 2544). It serves where the shared space is in use, by a provider or by Tailscale, whose firewall
 * drops whatever comes from there through other interfaces.
 */
const MEASUREMENTS = parsePrefix('198.18.0.0/15');
/** Unique local addresses (RFC 4193), a /64 for each link. */
const LOCAL = 'fd74:756e:636f';
/** Links on one host. */
const PLACES = 4096;
/** What links are called, at both ends. */
const NAME = 'shell';

export interface End {
  /** With prefix lengths. */
  addresses: string[];
}

export interface Place {
  /** Of the interface, on either side. */
  name: string;
  /** What the command's side belongs to. */
  prefixes: string[];
  /** The end of this host, which is the command's way out. */
  outer: End;
  inner: End;
  /** Addresses of the outer end, IPv4 first. */
  gateways: string[];
}

/**
 * Places that no route of this host knows of. The name is claimed by whoever makes the interface; when it is taken, there
 * is the next.
 */
export function* freePlaces(routes: readonly Route[], families: readonly (4 | 6)[]): Generator<Place> {
  const known = routes
    .filter(({ prefix }) => !prefix.endsWith('/0'))
    .map(({ prefix, device }) => ({ prefix: parsePrefix(prefix, { hostBits: true }), device }));
  const ours = (device: string | undefined) => device?.startsWith(NAME) ?? false;
  const foreign = known.some(({ prefix, device }) => !ours(device) && overlap(prefix, SHARED));
  const pool = foreign ? MEASUREMENTS : SHARED;
  for (let n = 0; n < PLACES; n++) {
    const place = placeAt(n, pool, families);
    const prefixes = place.prefixes.map((prefix) => parsePrefix(prefix));
    if (!known.some((route) => prefixes.some((prefix) => overlap(route.prefix, prefix)))) yield place;
  }
}

function placeAt(n: number, pool: IpPrefix, families: readonly (4 | 6)[]): Place {
  const at = (i: number) => formatIp(hostAt(pool, 4 * n + i));
  const six = `${LOCAL}:${n.toString(16)}::`;
  const place: Place = {
    name: `${NAME}${n}`,
    prefixes: [`${at(0)}/30`],
    outer: { addresses: [`${at(1)}/30`] },
    inner: { addresses: [`${at(2)}/30`] },
    gateways: [at(1)],
  };
  if (!families.includes(6)) return place;
  place.prefixes.push(`${formatIp(parsePrefix(`${six}/64`).address)}/64`);
  place.outer.addresses.push(`${six}1/64`);
  place.inner.addresses.push(`${six}2/64`);
  place.gateways.push(`${six}1`);
  return place;
}

function overlap(a: IpPrefix, b: IpPrefix): boolean {
  return a.address.family === b.address.family && (contains(a, b) || contains(b, a));
}
