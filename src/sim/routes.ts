/** Routes of the hosts of a topology, by the fewest links: what a routing protocol would find out, before the first packet. */
import { formatIp } from '../packet/address.ts';
import { formatPrefix, type IpPrefix, networkOf } from '../packet/prefix.ts';
import type { CheckedTopology, EndSettings } from './topology.ts';

export interface SimRoute {
  /** A prefix; `0.0.0.0/0` and `::/0` for everything. */
  to: string;
  via: string;
}

/** What a host has on one link, and who is at the other end of it. */
interface Neighbour {
  own: EndSettings;
  far: EndSettings;
}

const ALL = { 4: '0.0.0.0/0', 6: '::/0' } as const;
const FAMILIES = [4, 6] as const;

/**
 * By host. Who has one router beside it sends everything there; others, routers above all, have a route to every network. Between ways
 * of the same length, the link that is written first is taken.
 */
export function routesOf({ hosts, links }: CheckedTopology): Map<string, SimRoute[]> {
  const neighbours = new Map<string, Neighbour[]>([...hosts.keys()].map((name) => [name, []]));
  for (const { ends } of links) {
    const [a, b] = ends;
    neighbours.get(a.host)!.push({ own: a, far: b });
    neighbours.get(b.host)!.push({ own: b, far: a });
  }
  const forwards = (name: string) => hosts.get(name)!.forward;
  const routes = new Map<string, SimRoute[]>();
  for (const name of hosts.keys()) {
    const routers = neighbours.get(name)!.filter(({ far }) => forwards(far.host));
    const own =
      routers.length === 1 && neighbours.get(name)!.length === 1
        ? FAMILIES.flatMap((family) => through(routers[0]!, family, ALL[family]))
        : everywhere(name, neighbours, forwards);
    routes.set(name, own);
  }
  return routes;
}

/** Breadth first, on through routers alone. */
function everywhere(
  from: string,
  neighbours: ReadonlyMap<string, readonly Neighbour[]>,
  forwards: (host: string) => boolean,
): SimRoute[] {
  const routes: SimRoute[] = [];
  const known = new Set<string>();
  for (const { own } of neighbours.get(from)!)
    for (const prefix of own.prefixes) known.add(formatPrefix(networkOf(prefix)));
  const seen = new Set([from]);
  let edge: { host: string; first: Neighbour }[] = [];
  for (const first of neighbours.get(from)!) {
    if (seen.has(first.far.host)) continue;
    seen.add(first.far.host);
    edge.push({ host: first.far.host, first });
  }
  while (edge.length > 0) {
    const next: typeof edge = [];
    for (const { host, first } of edge) {
      if (!forwards(host)) continue;
      for (const { own, far } of neighbours.get(host)!) {
        for (const prefix of own.prefixes) {
          const to = formatPrefix(networkOf(prefix));
          if (known.has(to)) continue;
          const route = through(first, prefix.address.family, to);
          if (route.length > 0) known.add(to);
          routes.push(...route);
        }
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
function through({ own, far }: Neighbour, family: 4 | 6, to: string): SimRoute[] {
  const networks = own.prefixes.filter(({ address }) => address.family === family).map(text);
  const gateway = far.prefixes.find((prefix) => networks.includes(text(prefix)));
  return gateway ? [{ to, via: formatIp(gateway.address) }] : [];
}

const text = (prefix: IpPrefix): string => formatPrefix(networkOf(prefix));
