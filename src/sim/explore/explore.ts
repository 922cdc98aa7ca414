/** Search: the same network by many seeds with faults that each seed chooses; of what fails, the smallest script that still does. */
import { duration, MILLISECOND, SECOND } from '../../engine/units.ts';
import { type Failure, failureOf } from '../failure.ts';
import type { Fault } from '../faults/faults.ts';
import { type RandomFaultsOptions, randomFaults } from '../faults/random.ts';
import type { Program } from '../network/host.ts';
import { Simulation } from '../simulation.ts';
import type { Topology } from '../topology/topology.ts';
import { shrink } from './shrink.ts';

/** One run, before it: what a seed makes. State that programs and checks share belongs in the function that makes it. */
export interface Scenario {
  /** Its seed is that of the run. */
  topology: Topology;
  programs?: Readonly<Record<string, Program>>;
  /** A script, or how a seed chooses one. */
  faults?: readonly Fault[] | Omit<RandomFaultsOptions, 'seed'>;
  /** How long it takes. */
  time: string | number;
  /** After every event; throws when something is wrong. */
  always?(sim: Simulation): void;
  /** At the end; throws when something is wrong. */
  check?(sim: Simulation): void | Promise<void>;
}

export interface ExploreOptions {
  seeds: Iterable<number>;
  /** Failing scripts are made smaller (default), or left as they are. */
  shrink?: boolean;
  /** Most runs that making one smaller takes; default 200. */
  tries?: number;
  /** Ends after so many failures; default 1. */
  failures?: number;
  /** After every run. */
  onRun?(seed: number, failure: Failure | undefined): void;
}

export interface FoundFailure extends Failure {
  /** The smallest script found that fails, and the failure that it gives is this one. */
  faults: readonly Fault[];
  /** What the seed had chosen. */
  drawn: readonly Fault[];
  /** Runs that making it smaller took. */
  tries: number;
}

export interface Exploration {
  /** Seeds that were run. */
  runs: number;
  events: number;
  failures: FoundFailure[];
}

/**
 * Runs a scenario by one seed after the other.
 *
 * @param scenario makes it anew for each run
 * @throws ERR_CONFIG for a scenario that does not fit; what fails in a run is a failure
 * @example
 * const { failures } = await explore(
 *   () => ({ topology, programs, faults: { kinds: ['crash', 'loss'], during: ['1s', '10s'] }, time: '20s', check: (sim) => { ... } }),
 *   { seeds: range(1, 1000) },
 * );
 */
export async function explore(
  scenario: (seed: number) => Scenario,
  { seeds, shrink: small = true, tries = 200, failures: most = 1, onRun }: ExploreOptions,
): Promise<Exploration> {
  const found: Exploration = { runs: 0, events: 0, failures: [] };
  for (const seed of seeds) {
    const { events, failure } = await exploreSeed(scenario, seed, small ? tries : 0);
    found.runs++;
    found.events += events;
    if (failure) found.failures.push(failure);
    onRun?.(seed, failure);
    if (found.failures.length >= most) break;
  }
  return found;
}

/**
 * One seed, and of what fails the smallest script.
 *
 * @param tries most runs that making it smaller takes
 */
export async function exploreSeed(
  scenario: (seed: number) => Scenario,
  seed: number,
  tries: number,
  events: { onDrawn?(faults: readonly Fault[]): void; onFailing?(): void } = {},
): Promise<{ events: number; failure: FoundFailure | undefined }> {
  const drawn = faultsOf(scenario(seed), seed);
  events.onDrawn?.(drawn);
  const run = await runOnce(scenario(seed), seed, drawn);
  if (!run.failure) return { events: run.events, failure: undefined };
  events.onFailing?.();
  return { events: run.events, failure: await smallest(scenario, seed, drawn, run.failure, tries) };
}

/** The script of a seed, as `explore` runs it. */
export function faultsOf({ topology, faults = [] }: Scenario, seed: number): Fault[] {
  return 'during' in faults ? randomFaults(topology, { ...faults, seed }) : [...faults];
}

/** One run with a script. It ends at the first thing that is wrong. */
export async function runOnce(
  { topology, programs, time, always, check }: Scenario,
  seed: number,
  faults: readonly Fault[],
  event = Number.POSITIVE_INFINITY,
): Promise<{ events: number; failure: Failure | undefined }> {
  await using sim = await Simulation.start({ ...topology, seed }, { ...(programs && { programs }), faults });
  try {
    const over = sim.runtime.now() + duration(time);
    await sim.runUntil(() => {
      always?.(sim);
      return sim.events >= event;
    }, over);
    if (sim.events < event) await check?.(sim);
    return { events: sim.events, failure: undefined };
  } catch (error) {
    return { events: sim.events, failure: failureOf(sim, error) };
  }
}

async function smallest(
  scenario: (seed: number) => Scenario,
  seed: number,
  drawn: readonly Fault[],
  first: Failure,
  tries: number,
): Promise<FoundFailure> {
  let last = first;
  const fails = async (script: readonly Fault[]) => {
    const { failure } = await runOnce(scenario(seed), seed, script);
    if (failure) last = failure;
    return failure !== undefined;
  };
  const found = await shrink(drawn, fails, simplerFaults, tries);
  return { ...last, faults: found.script, drawn, tries: found.tries };
}

/** Shorter, and at times that people would have written. */
export function simplerFaults(fault: Fault): Fault[] {
  const found: Fault[] = [];
  const at = duration(fault.at);
  const lasts = 'for' in fault && fault.for !== undefined ? duration(fault.for) : undefined;
  if (lasts !== undefined && lasts > MILLISECOND) {
    const half = Math.floor(lasts / 2 / MILLISECOND) * MILLISECOND;
    found.push({ ...fault, for: half } as Fault);
  }
  for (const unit of [SECOND, 100 * MILLISECOND, 10 * MILLISECOND]) {
    if (at % unit !== 0) found.push({ ...fault, at: at - (at % unit) });
    if (lasts !== undefined && lasts % unit !== 0 && lasts > unit)
      found.push({ ...fault, for: lasts - (lasts % unit) } as Fault);
  }
  return found;
}
