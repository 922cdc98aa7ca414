/** Fault scripts that a seed chooses. All of what they break is whole again at the end, so that a check can ask what became of it. */
import { z } from 'zod';
import { configError } from '../../engine/config.ts';
import { checkOptions } from '../../engine/options.ts';
import { type RandomStream, randomStream } from '../../engine/random.ts';
import { duration, MILLISECOND } from '../../engine/units.ts';
import { type CheckedTopology, checkTopology, type Topology } from '../topology/topology.ts';
import type { Fault } from './faults.ts';
import { partition } from './partition.ts';

export const FAULT_KINDS = [
  'down',
  'loss',
  'duplicate',
  'reorder',
  'corrupt',
  'partition',
  'crash',
  'pause',
  'drift',
  'jump',
  'disk',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

const span = z.union([z.number().nonnegative(), z.string()]);

const optionsSchema = z.strictObject({
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
  /** What may happen; each is as likely. */
  kinds: z
    .array(z.enum(FAULT_KINDS))
    .min(1)
    .default([...FAULT_KINDS]),
  /** How many: this many, or from the first to the second. */
  count: z
    .union([z.number().int().min(0), z.tuple([z.number().int().min(0), z.number().int().min(0)])])
    .default(3),
  /** From the first time to the second; by then the last one has ended. */
  during: z.tuple([span, span]),
  /** Longest time of one. */
  longest: span.default('10s'),
  /** Whom it may happen to; all when left out. */
  hosts: z.array(z.string()).optional(),
  links: z.array(z.string()).optional(),
});

export type RandomFaultsOptions = z.input<typeof optionsSchema>;

/**
 * Draws a script for a topology: the same from the same seed and options.
 *
 * @throws ERR_CONFIG with what is wrong in the options
 * @example
 * const faults = randomFaults(topology, { seed: 7, kinds: ['crash', 'partition', 'loss'], count: [1, 4], during: ['2s', '20s'] });
 */
export function randomFaults(topology: Topology, options: RandomFaultsOptions): Fault[] {
  const checked = checkOptions(optionsSchema, options);
  const network = checkTopology(topology);
  const [from, to] = checked.during.map(duration) as [number, number];
  if (to < from)
    throw configError(`during: found ${checked.during.join(' to ')}, expected the earlier one first`);
  const known = (key: string, names: readonly string[] | undefined, all: readonly string[]) => {
    for (const name of names ?? [])
      if (!all.includes(name)) throw configError(`${key}: found "${name}", expected one of the ${key}`);
    return names ?? all;
  };
  const hosts = known('hosts', checked.hosts, [...network.hosts.keys()]);
  const links = known(
    'links',
    checked.links,
    network.links.map(({ name }) => name),
  );
  const random = randomStream(checked.seed, 'faults');
  const { count } = checked;
  const number =
    typeof count === 'number' ? count : count[0] + random.below(Math.max(0, count[1] - count[0]) + 1);
  const longest = duration(checked.longest);
  const faults: Fault[] = [];
  for (let n = 0; n < number; n++) {
    const kind = pick(checked.kinds, random);
    // Whole milliseconds: a script is read by people.
    const at = from + milliseconds(random.unit() * (to - from));
    const lasts = milliseconds(random.unit() * Math.min(longest, to - at));
    const fault = draw(kind, { random, hosts, links, network, at, lasts });
    if (fault) faults.push(fault);
  }
  return faults.sort((a, b) => (a.at as number) - (b.at as number));
}

const milliseconds = (time: number): number => Math.floor(time / MILLISECOND) * MILLISECOND;
const pick = <T>(from: readonly T[], random: RandomStream): T => from[random.below(from.length)] as T;

interface Drawing {
  random: RandomStream;
  hosts: readonly string[];
  links: readonly string[];
  network: CheckedTopology;
  at: number;
  lasts: number;
}

/** Undefined: there is nobody whom it could happen to. */
function draw(kind: FaultKind, { random, hosts, links, network, at, lasts }: Drawing): Fault | undefined {
  const time = { at, for: lasts };
  const percent = (most: number) => `${1 + random.below(most)}%`;
  const ofLink = (burst: string): Fault | undefined =>
    links.length === 0 ? undefined : { ...time, link: pick(links, random), burst };
  const ofHost = <T extends object>(make: (host: string) => T) =>
    hosts.length === 0 ? undefined : make(pick(hosts, random));
  switch (kind) {
    case 'down':
      return links.length === 0 ? undefined : { ...time, down: pick(links, random) };
    case 'loss':
      return ofLink(`loss ${percent(90)}`);
    case 'duplicate':
      return ofLink(`duplicate ${percent(50)}`);
    case 'reorder':
      return ofLink(`delay ${1 + random.below(200)}ms reorder ${percent(50)}`);
    case 'corrupt':
      return ofLink(`corrupt ${percent(30)} bits ${1 + random.below(4)}`);
    case 'partition': {
      const sets = apart(random, hosts, network);
      return sets && { ...time, partition: sets };
    }
    case 'crash':
      return ofHost((crash) => ({ ...time, crash }));
    case 'pause':
      return ofHost((pause) => ({ ...time, pause }));
    case 'drift':
      return ofHost((host) => ({ ...time, host, ppm: random.below(20_001) - 10_000 }));
    case 'jump':
      return ofHost((host) => ({ at, host, jump: lasts }));
    case 'disk':
      return ofHost((host) => ({
        ...time,
        host,
        disk: { syncTime: (1 + random.below(500)) * MILLISECOND, jitter: random.below(500) * MILLISECOND },
      }));
  }
}

/** Two sets of all hosts, drawn until a link lies between them: some hosts that hang together against the rest. */
function apart(
  random: RandomStream,
  hosts: readonly string[],
  network: CheckedTopology,
): string[][] | undefined {
  const all = [...network.hosts.keys()];
  for (let tries = 0; tries < 16; tries++) {
    const one = all.filter((host) => hosts.includes(host) && random.below(2) === 1);
    const other = all.filter((host) => !one.includes(host));
    if (one.length === 0 || other.length === 0) continue;
    const { links, sets } = partition([one, other], network, 'partition');
    if (links.length > 0 || sets.size > 0) return [one, other];
  }
  return undefined;
}
