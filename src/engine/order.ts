/**
 * In which order apps run, and which links close a loop. Both follow from the configuration alone: names are sorted
 * first, so that the order in which somebody wrote them down makes no difference.
 */
import type { App } from './app.ts';
import { type LinkConfig, pathsOf } from './config.ts';

export interface Schedule {
  /** App names, producers before consumers. */
  order: string[];
  /** Indices into `links` of those that close a loop of packets. */
  feedback: Set<number>;
}

export function schedule(apps: ReadonlyMap<string, App>, links: readonly LinkConfig[]): Schedule {
  const next = successors(apps, links);
  const feedback = backEdges(links, next);
  return { order: appOrder(apps, links, next, feedback), feedback };
}

/** For every link, the links its packets may move on to. */
export function successors(apps: ReadonlyMap<string, App>, links: readonly LinkConfig[]): number[][] {
  return links.map((link) => {
    const app = apps.get(link.consumer);
    if (!app) return [];
    const outs: number[] = [];
    for (let i = 0; i < links.length; i++) if (links[i].producer === link.consumer) outs.push(i);
    const leads = pathsOf(
      app,
      link.input,
      outs.map((i) => links[i].output),
    );
    return outs.filter((i) => leads.includes(links[i].output));
  });
}

/** Depth first from link to link; one that leads to a link which is still open closes a loop. */
function backEdges(links: readonly LinkConfig[], next: readonly number[][]): Set<number> {
  const found = new Set<number>();
  const colour = links.map(() => 0); // 0 new, 1 open, 2 done
  const names = links.map((l) => `${l.producer}.${l.output}`);
  const byName = (a: number, b: number) => (names[a] < names[b] ? -1 : 1);
  // Links that nothing leads to come first, so that a loop is closed where it returns, not where it begins.
  const led = new Set(next.flat());
  const roots = links
    .map((_, i) => i)
    .sort((a, b) => Number(led.has(a)) - Number(led.has(b)) || byName(a, b));
  for (const root of roots) {
    if (colour[root] !== 0) continue;
    const path: { link: number; rest: number[] }[] = [{ link: root, rest: [...next[root]].sort(byName) }];
    colour[root] = 1;
    while (path.length > 0) {
      const top = path[path.length - 1];
      const to = top.rest.shift();
      if (to === undefined) {
        colour[top.link] = 2;
        path.pop();
      } else if (colour[to] === 1) {
        found.add(top.link);
      } else if (colour[to] === 0) {
        colour[to] = 1;
        path.push({ link: to, rest: [...next[to]].sort(byName) });
      }
    }
  }
  return found;
}

/**
 * Kahn's algorithm over apps. Only links that something pushes into count: what a port pulls in is there before
 * anybody runs. Where apps stand in a circle though their packets do not, the first by name goes first.
 */
function appOrder(
  apps: ReadonlyMap<string, App>,
  links: readonly LinkConfig[],
  next: readonly number[][],
  feedback: ReadonlySet<number>,
): string[] {
  const pushed = new Set(next.flat());
  const before = new Map<string, Set<string>>();
  for (const name of apps.keys()) before.set(name, new Set());
  for (const i of pushed) {
    const { producer, consumer } = links[i];
    if (!feedback.has(i) && producer !== consumer) before.get(consumer)?.add(producer);
  }
  const order: string[] = [];
  const left = new Set([...apps.keys()].sort());
  while (left.size > 0) {
    let chosen: string | undefined;
    for (const name of left) {
      chosen ??= name;
      if ([...before.get(name)!].some((producer) => left.has(producer))) continue;
      chosen = name;
      break;
    }
    left.delete(chosen!);
    order.push(chosen!);
  }
  return order;
}
