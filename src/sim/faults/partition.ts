/** Hosts that are apart: which links have to be down, and whom switches must keep apart, so that no set of hosts reaches another one. */
import { configError } from '../../engine/config.ts';
import { segmentsOf } from '../topology/segments.ts';
import type { CheckedTopology } from '../topology/topology.ts';

export interface Partition {
  /** Names of the links that join two of the sets. Hosts in no set keep their links. */
  links: string[];
  /** The sets of all hosts that are in one; empty where no switch has anything to do. */
  sets: ReadonlyMap<string, number>;
}

/**
 * @param place of the sets, for errors
 * @throws ERR_CONFIG for a host in two sets, and for sets that a host in none of them would still join
 */
export function partition(
  sets: readonly (readonly string[])[],
  { links }: CheckedTopology,
  place: string,
): Partition {
  const setOf = new Map<string, number>();
  for (const [n, set] of sets.entries()) {
    for (const host of set) {
      if (setOf.has(host)) throw configError(`${place}: found "${host}" twice, expected it in one set`);
      setOf.set(host, n);
    }
  }
  const named = new Map(setOf);
  const cut: string[] = [];
  for (const { name, ends } of links) {
    const [of, other] = [named.get(ends[0].host), named.get(ends[1].host)];
    if (of !== undefined && other !== undefined && of !== other) cut.push(name);
  }
  const segments = segmentsOf(links);
  const around = new Map<string, Set<readonly string[]>>();
  let isSwitched = false;
  for (const { ends, isSwitched: here } of segments) {
    const hosts = ends.map(({ host }) => host);
    for (const host of hosts) {
      let known = around.get(host);
      if (!known) around.set(host, (known = new Set()));
      known.add(hosts);
    }
    const sides = new Set(hosts.map((host) => named.get(host)).filter((set) => set !== undefined));
    if (here && sides.size > 1) isSwitched = true;
  }
  // Whoever is reached from a set belongs to it from here on, and so to no other. Two that are named are kept apart.
  for (const [host, set] of named) {
    const next = [host];
    for (let at = next.pop(); at !== undefined; at = next.pop()) {
      for (const neighbour of [...(around.get(at) ?? [])].flat()) {
        const found = setOf.get(neighbour);
        if (found === undefined) {
          setOf.set(neighbour, set);
          next.push(neighbour);
        } else if (found !== set && !(named.has(at) && named.has(neighbour))) {
          throw configError(
            `${place}: found sets that ${at} and ${neighbour} still join, expected each host between them in one of the sets`,
          );
        }
      }
    }
  }
  return { links: cut, sets: isSwitched ? setOf : new Map() };
}
