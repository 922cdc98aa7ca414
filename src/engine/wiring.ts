/**
 * Gives every app its links. A link is the queue of its consumer's input: it stays with the consumer whoever feeds
 * it, so nothing that waits is lost when an app is put in between or taken out.
 */
import type { Layer } from './app.ts';
import { formatLink, type LinkConfig, pathsOf } from './config.ts';
import { Link } from './link.ts';
import type { AppNode } from './node.ts';
import { schedule } from './order.ts';
import type { Pool } from './pool.ts';

const UNLINKED = 'unlinked';

export interface Wiring {
  /** Every link that carries or may carry packets, and what they are. */
  layers: Map<Link, Layer | undefined>;
  /** The apps of the configuration, in the order in which they run. */
  order: AppNode[];
}

/**
 * @param nodes the apps of the configuration
 * @param lingering removed apps that still hold packets
 * @param links with the layer of each in `layers`, by place
 * @param before the links that there were
 */
export function wire(
  nodes: ReadonlyMap<string, AppNode>,
  lingering: readonly AppNode[],
  links: readonly LinkConfig[],
  layers: readonly (Layer | undefined)[],
  before: ReadonlyMap<Link, Layer | undefined>,
  pool: Pool,
): Wiring {
  const { order, feedback } = runOrder(nodes, links);
  const found = new Map<Link, Layer | undefined>();
  const inputs = new Map<AppNode, Record<string, Link>>();
  const fed = new Set(lingering.flatMap((node) => node.outputs));
  for (const node of nodes.values()) inputs.set(node, leftovers(node, fed));

  for (const node of nodes.values()) node.ports.output = {};
  for (const [i, config] of links.entries()) {
    const consumer = nodes.get(config.consumer)!;
    const known = consumer.ports.input[config.input];
    const link = known && known.name !== UNLINKED ? known : new Link('', pool);
    link.name = formatLink(config);
    link.feedback = feedback.has(i);
    inputs.get(consumer)![config.input] = link;
    nodes.get(config.producer)!.ports.output[config.output] = link;
    found.set(link, layers[i]);
  }
  for (const node of nodes.values()) {
    node.ports.input = inputs.get(node)!;
    fillUnlinked(node, pool);
    node.ports.input = byName(node.ports.input);
    node.ports.output = byName(node.ports.output);
  }

  // A lingering app still puts on the queues it knew, as long as their owners are there.
  const all = [...nodes.values(), ...lingering];
  const alive = new Set(all.flatMap((n) => Object.values(n.ports.input)));
  for (const { ports } of lingering) {
    for (const [output, link] of Object.entries(ports.output)) {
      if (!alive.has(link)) ports.output[output] = Link.discard(pool);
    }
  }
  for (const [link, layer] of before) if (alive.has(link) && !found.has(link)) found.set(link, layer);
  for (const node of all) prepare(node);
  return { layers: found, order };
}

/** The order of a configuration's apps, and which links close a loop. */
export function runOrder(nodes: ReadonlyMap<string, AppNode>, links: readonly LinkConfig[]) {
  const { order, feedback } = schedule(new Map([...nodes].map(([name, node]) => [name, node.app])), links);
  return { order: order.map((name) => nodes.get(name)!), feedback };
}

/** Inputs that lose their producer are kept until they are empty and no app that leaves will put more on them. */
function leftovers(node: AppNode, fed: ReadonlySet<Link>): Record<string, Link> {
  return Object.fromEntries(
    Object.entries(node.ports.input).filter(([, link]) => link.count > 0 || fed.has(link)),
  );
}

/** Apps go over their links in this order: it must not be the order in which somebody wrote them down. */
function byName(links: Record<string, Link>): Record<string, Link> {
  return Object.fromEntries(Object.entries(links).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** An app may count on the inputs and outputs it names: one that is not linked is empty, or leads nowhere. */
function fillUnlinked({ app, ports }: AppNode, pool: Pool): void {
  for (const name of app.inputs ?? (Object.keys(ports.input).length === 0 ? ['in'] : [])) {
    ports.input[name] ??= new Link(UNLINKED, pool, 1);
  }
  for (const name of app.outputs ?? (Object.keys(ports.output).length === 0 ? ['out'] : [])) {
    ports.output[name] ??= Link.discard(pool);
  }
}

/** What the scheduler and `waiting` want to know of an app's links. */
function prepare(node: AppNode): void {
  const { app, ports } = node;
  node.inputs = Object.values(ports.input);
  node.outputs = [...new Set(Object.values(ports.output))].filter((link) => link.capacity > 0);
  for (const [input, link] of Object.entries(ports.input)) {
    const leads = pathsOf(app, input, Object.keys(ports.output)).map((output) => ports.output[output]);
    link.downstream = leads.filter((next) => !next.feedback);
    link.expansion = app.expansion ?? 1;
  }
}
