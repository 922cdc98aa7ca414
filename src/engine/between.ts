/**
 * Apps between two ports, one for each direction: impairments, filters, whatever has an input `in` and an output `out`.
 * Described by data, so that whoever makes the network need not know what they are.
 */
import { z } from 'zod';
import { TunconnectorError } from '../errors.ts';
import { LARGE_SLOT, SMALL_SLOT } from '../native/binding.ts';
import { type AppSpec, factoryOf, type Limits } from './app.ts';
import { configError } from './config.ts';

const DIRECTIONS = ['up', 'down'] as const;
type Direction = (typeof DIRECTIONS)[number];

/** `up` leaves for the remote side, `down` comes from it. Their names in the network are these. */
export type Between = { [Way in Direction]?: AppSpec } & {
  /** From one of them to the other: `up.back -> down.answers`. */
  links?: readonly string[];
};

const spec = z.custom<AppSpec>(
  (value) =>
    typeof (value as AppSpec | null)?.module === 'string' && typeof (value as AppSpec).export === 'string',
  'expected an app described by data, as the functions of defineApp make it',
);
export const betweenSchema = z.strictObject({
  up: spec.optional(),
  down: spec.optional(),
  links: z.array(z.string()).readonly().optional(),
});

/** The links of one direction, with its app or without. @param from `tun.out` @param to `tunnel.inside` */
export function linksThrough(between: Between, direction: Direction, from: string, to: string): string[] {
  return between[direction]
    ? [`${from} -> ${direction}.in`, `${direction}.out -> ${to}`]
    : [`${from} -> ${to}`];
}

/** What a pool's slab may have at most. */
const MAX_MEMORY = 0x7fffffff;

/**
 * Bytes of packet memory for a network that has enough with `usual` without these apps, where each of them gets the packets
 * of one port.
 *
 * @throws ERR_CONFIG for options that do not fit
 */
export async function memoryWith(between: Between, usual: number): Promise<number> {
  let bytes = usual;
  for (const direction of DIRECTIONS) {
    const { packets = 0, superframes = 0 } = await limitsOf(between[direction], direction);
    // Of a pool two thirds are small slots, and a third large ones.
    bytes += Math.max((packets * SMALL_SLOT * 3) / 2, superframes * LARGE_SLOT * 3);
  }
  return Math.min(MAX_MEMORY, Math.ceil(bytes));
}

async function limitsOf(app: AppSpec | undefined, direction: string): Promise<Partial<Limits>> {
  if (!app) return {};
  // One that is not there is an error of the commit, which says it better.
  const factory = await factoryOf(app).catch(() => undefined);
  try {
    return factory?.create(app.options).limits ?? {};
  } catch (error) {
    if (!(error instanceof TunconnectorError)) throw error;
    throw configError(`between.${direction}: ${error.message}`);
  }
}
