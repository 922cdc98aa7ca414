/** Hosts that are apart: which links have to be down, so that no set of hosts reaches another one. */
import { configError } from '../engine/config.ts';
import type { CheckedTopology } from './topology.ts';

/**
 * Names of the links that join two of the sets. Hosts in no set keep their links.
 *
 * @param place of the sets, for errors
 * @throws ERR_CONFIG for a host in two sets, and for sets that a host in none of them would still join
 */
export function partition(
  sets: readonly (readonly string[])[],
  { links }: CheckedTopology,
  place: string,
): string[] {
  const setOf = new Map<string, number>();
  for (const [n, set] of sets.entries()) {
    for (const host of set) {
      if (setOf.has(host)) throw configError(`${place}: found "${host}" twice, expected it in one set`);
      setOf.set(host, n);
    }
  }
  const cut: string[] = [];
  const joined = new Map<string, string[]>();
  for (const { name, ends } of links) {
    const [a, b] = ends.map(({ host }) => host) as [string, string];
    const [of, other] = [setOf.get(a), setOf.get(b)];
    if (of !== undefined && other !== undefined && of !== other) cut.push(name);
    else {
      joined.set(a, [...(joined.get(a) ?? []), b]);
      joined.set(b, [...(joined.get(b) ?? []), a]);
    }
  }
  // Whoever is reached from a set belongs to it from here on, and so to no other.
  for (const [host, set] of [...setOf]) {
    const next = [host];
    for (let at = next.pop(); at !== undefined; at = next.pop()) {
      for (const neighbour of joined.get(at) ?? []) {
        const found = setOf.get(neighbour);
        if (found === undefined) {
          setOf.set(neighbour, set);
          next.push(neighbour);
        } else if (found !== set) {
          throw configError(
            `${place}: found sets that ${at} and ${neighbour} still join, expected each host between them in one of the sets`,
          );
        }
      }
    }
  }
  return cut;
}
