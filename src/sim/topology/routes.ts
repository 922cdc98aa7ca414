/** Routes of the hosts of a topology, by the fewest links: what a routing protocol would find out, before the first packet. */
import { formatIp } from '../../packet/address.ts';
import { formatPrefix, type IpPrefix, networkOf } from '../../packet/prefix.ts';
import { segmentsOf } from './segments.ts';
import type { CheckedTopology, EndSettings } from './topology.ts';

export interface SimRoute {
  /** A prefix; `0.0.0.0/0` and `::/0` for everything. */
  to: string;
  via: string;
}

/** What a host has on one segment, and a router that it reaches there. */
interface Gateway {
  own: EndSettings;
  far: EndSettings;
}

const ALL = { 4: '0.0.0.0/0', 6: '::/0' } as const;
const FAMILIES = [4, 6] as const;

/**
 * By host. Who has one link, and one router at the end of it, sends everything there; others, routers above all, have a route to every
 * network. Between ways of the same length, the link that is written first is taken.
 */
export function routesOf({ hosts, links }: CheckedTopology): Map<string, SimRoute[]> {
  const own = new Map<string, EndSettings[]>([...hosts.keys()].map((name) => [name, []]));
  const gateways = new Map<string, Gateway[]>([...hosts.keys()].map((name) => [name, []]));
  for (const { ends } of segmentsOf(links)) {
    const routers = ends.filter(({ host }) => hosts.get(host)!.forward);
    for (const end of ends) {
      own.get(end.host)!.push(end);
      for (const far of routers)
        if (far.host !== end.host && FAMILIES.some((family) => gatewayOf(end, far, family)))
          gateways.get(end.host)!.push({ own: end, far });
    }
  }
  const routes = new Map<string, SimRoute[]>();
  for (const name of hosts.keys()) {
    const [first, ...others] = gateways.get(name)!;
    const routesOfHost =
      first && others.length === 0 && own.get(name)!.length === 1
        ? FAMILIES.flatMap((family) => through(first, family, ALL[family]))
        : everywhere(name, own, gateways);
    routes.set(name, routesOfHost);
  }
  return routes;
}

/** Breadth first, from router to router. */
function everywhere(
  from: string,
  own: ReadonlyMap<string, readonly EndSettings[]>,
  gateways: ReadonlyMap<string, readonly Gateway[]>,
): SimRoute[] {
  const routes: SimRoute[] = [];
  const known = new Set(own.get(from)!.flatMap(({ prefixes }) => prefixes.map(text)));
  const seen = new Set([from]);
  let edge = gateways.get(from)!.map((first) => ({ host: first.far.host, first }));
  for (const { host } of edge) seen.add(host);
  while (edge.length > 0) {
    const next: typeof edge = [];
    for (const { host, first } of edge) {
      for (const { prefixes } of own.get(host)!) {
        for (const prefix of prefixes) {
          const to = text(prefix);
          if (known.has(to)) continue;
          const route = through(first, prefix.address.family, to);
          if (route.length > 0) known.add(to);
          routes.push(...route);
        }
      }
      for (const { far } of gateways.get(host)!) {
        if (seen.has(far.host)) continue;
        seen.add(far.host);
        next.push({ host: far.host, first });
      }
    }
    edge = next;
  }
  return routes;
}

/** Nothing when the two have no network of the family in common. */
function through({ own, far }: Gateway, family: 4 | 6, to: string): SimRoute[] {
  const gateway = gatewayOf(own, far, family);
  return gateway ? [{ to, via: formatIp(gateway.address) }] : [];
}

/** The address of a router in a network that both are in. */
function gatewayOf(own: EndSettings, far: EndSettings, family: 4 | 6): IpPrefix | undefined {
  const networks = own.prefixes.filter(({ address }) => address.family === family).map(text);
  return far.prefixes.find((prefix) => networks.includes(text(prefix)));
}

const text = (prefix: IpPrefix): string => formatPrefix(networkOf(prefix));
