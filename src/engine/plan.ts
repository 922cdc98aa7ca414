/**
 * What a commit would change, worked out before anything is changed: which apps stay as they are, which are told new
 * options, which are new, and whether all of it fits together. Throws ERR_CONFIG or ERR_LIMIT when it does not.
 */
import { TunconnectorError } from '../errors.ts';
import { type App, type AppSpec, factoryOf, isSpec, type Layer } from './app.ts';
import { checkLinks, configError, inferLayers, type LinkConfig, sameJson } from './config.ts';
import { type Allowance, checkFits, type Quota, quotas } from './memory-plan.ts';
import type { AppNode } from './node.ts';
import type { PoolSize } from './pool-memory.ts';
import { Segmenter } from './segmenter.ts';

export interface Plan {
  /** Every app by name, cutting apps included. */
  apps: Map<string, App>;
  /** Those of them that run already. */
  kept: Map<string, AppNode>;
  /** Those of the kept that get new (checked) options. */
  retold: { node: AppNode; spec: AppSpec; options: unknown }[];
  links: LinkConfig[];
  /** What each link carries, by its place in `links`. */
  layers: (Layer | undefined)[];
  /** What each source of packets needs, by name. */
  quotas: Map<string, Quota>;
}

/**
 * @param nodes what runs now
 * @param lingering what was removed and still holds packets
 * @param draft the configuration wanted
 */
export async function planChange(
  nodes: ReadonlyMap<string, AppNode>,
  lingering: readonly AppNode[],
  draft: ReadonlyMap<string, App | AppSpec>,
  draftLinks: readonly LinkConfig[],
  pool: PoolSize,
  allowance: Allowance,
): Promise<Plan> {
  const apps = new Map<string, App>();
  const kept = new Map<string, AppNode>();
  const retold: Plan['retold'] = [];
  const running = new Map([...lingering, ...nodes.values()].map((node) => [node.app, node]));
  const names = new Map<App, string>();
  for (const [name, wanted] of draft) {
    const node = nodes.get(name);
    if (!isSpec(wanted)) {
      const same = running.get(wanted);
      const taken = names.get(wanted) ?? same?.name ?? name;
      if (taken !== name) {
        throw configError(
          `apps.${name}: this instance is already in the network as "${taken}"`,
          'make another',
        );
      }
      names.set(wanted, name);
      if (same) kept.set(name, same);
      apps.set(name, wanted);
      continue;
    }
    const factory = await factoryOf(wanted);
    if (!factory) throw configError(`apps.${name}: ${wanted.module} has no app "${wanted.export}"`);
    const options = inContext(`apps.${name}`, () => factory.check(wanted.options));
    const same = node?.spec && node.spec.module === wanted.module && node.spec.export === wanted.export;
    if (same && sameJson(node.spec!.options, wanted.options)) {
      kept.set(name, node);
      apps.set(name, node.app);
    } else if (same && node.app.reconfigure && (node.app.canReconfigure?.(options) ?? true)) {
      kept.set(name, node);
      apps.set(name, node.app);
      retold.push({ node, spec: wanted, options });
    } else {
      const make = () => factory.create(wanted.options);
      apps.set(name, inContext(`apps.${name}`, make));
    }
  }
  checkLinks(apps, draftLinks);
  const links = insertCutters(nodes, apps, kept, draftLinks);
  const layers = inferLayers(apps, links);
  const needed = quotas(apps, links, allowance);
  checkFits(pool, needed, allowance);
  return { apps, kept, retold, links, layers, quotas: needed };
}

const CUT = 'cut:';

/** In front of every app that wants wire packets, where superframes may come from, stands an app that cuts them. */
function insertCutters(
  nodes: ReadonlyMap<string, AppNode>,
  apps: Map<string, App>,
  kept: Map<string, AppNode>,
  links: readonly LinkConfig[],
): LinkConfig[] {
  const result: LinkConfig[] = [];
  for (const link of links) {
    const { producer, output, consumer, input } = link;
    if (apps.get(producer)!.superframes !== true || apps.get(consumer)!.superframes === true) {
      result.push(link);
      continue;
    }
    const name = `${CUT}${producer}-${output}:${consumer}-${input}`;
    const node = nodes.get(name);
    if (node) kept.set(name, node);
    apps.set(name, node?.app ?? new Segmenter());
    result.push({ producer, output, consumer: name, input: 'in' });
    result.push({ producer: name, output: 'out', consumer, input });
  }
  return result;
}

/** Whether the network put this app in by itself. Names that people give have no colon. */
export function isCutter(name: string): boolean {
  return name.startsWith(CUT);
}

/** The links as they were configured: with the cutting apps taken out again. */
export function configuredLinks(links: readonly LinkConfig[]): LinkConfig[] {
  const result: LinkConfig[] = [];
  for (const link of links) {
    if (isCutter(link.consumer)) {
      const out = links.find((l) => l.producer === link.consumer)!;
      result.push({ ...link, consumer: out.consumer, input: out.input });
    } else if (!isCutter(link.producer)) {
      result.push(link);
    }
  }
  return result;
}

/** Says which app a configuration error belongs to. */
function inContext<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof TunconnectorError && error.code === 'ERR_CONFIG') {
      throw new TunconnectorError('ERR_CONFIG', `${path}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}
