/** What `sim explore` runs by a seed: the file with the faults that the seed draws. Each process that runs some makes it anew. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { configError } from '../../engine/config.ts';
import { type FaultKind, loadSimulation, randomFaults, type Scenario } from '../../sim/index.ts';

export interface Explored {
  file: string;
  /** What is drawn; none: only what the file says. */
  kinds: FaultKind[];
  count: [number, number];
  /** Module with `check` or `always`: functions of the simulation that throw when something is wrong. */
  check?: string;
  /** ns, instead of the file's. */
  time?: number;
}

type Checks = Pick<Scenario, 'always' | 'check'>;

/** @throws ERR_CONFIG for a file that does not fit, and a module that does not load */
export async function explored({ file, kinds, count, check, time: wanted }: Explored) {
  const { topology, options, time: usual } = await loadSimulation(file);
  const time = wanted ?? usual;
  const checks = check === undefined ? {} : await loadChecks(check);
  return (seed: number): Scenario => {
    // In the middle: all is whole before, and has time to become so again.
    const during: [number, number] = [Math.floor(time * 0.1), Math.floor(time * 0.7)];
    const drawn = kinds.length === 0 ? [] : randomFaults(topology, { seed, kinds, count, during });
    const { programs, faults = [] } = options;
    return { ...checks, topology, time, faults: [...faults, ...drawn], ...(programs && { programs }) };
  };
}

async function loadChecks(module: string): Promise<Checks> {
  let loaded: Record<string, unknown>;
  try {
    loaded = await import(pathToFileURL(path.resolve(module)).href);
  } catch (error) {
    const why = (error as Error).message.split('\n')[0];
    throw configError(`--check: found "${module}", expected a module that loads: ${why}`);
  }
  const { check, always } = loaded;
  if (typeof check !== 'function' && typeof always !== 'function')
    throw configError(`--check: found ${module}, expected it to export a function "check" or "always"`);
  return {
    ...(typeof check === 'function' && { check }),
    ...(typeof always === 'function' && { always }),
  } as Checks;
}
