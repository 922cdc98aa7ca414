/** Simulations from files: reads one, and loads the modules of its programs, which lie beside it. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { configError } from '../engine/config.ts';
import { TunconnectorError } from '../errors.ts';
import { type ProgramSpec, parseSimulation } from './file.ts';
import type { Program, SimHost } from './network/host.ts';
import type { SimulationOptions } from './simulation.ts';
import type { Topology } from './topology/topology.ts';

export interface LoadedSimulation {
  topology: Topology;
  /** Programs and faults. */
  options: SimulationOptions;
  /** How long the file says that it takes: ns. */
  time: number;
}

/**
 * Loads what `Simulation.start` takes.
 *
 * @throws ERR_CONFIG for a file that cannot be read or does not fit, and for a program that does not load; with file, place, found and
 * expected
 * @example
 * const { topology, options, time } = await loadSimulation('lab.yaml');
 * await using sim = await Simulation.start({ ...topology, seed: 7 }, options);
 * await sim.run(time);
 */
export async function loadSimulation(file: string): Promise<LoadedSimulation> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw configError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  const { topology, programs: specs, faults, time } = parseSimulation(text, file);
  const programs: Record<string, Program> = {};
  for (const [host, spec] of specs) programs[host] = await loadProgram(spec, host, file);
  return { topology, options: { programs, faults }, time };
}

async function loadProgram(spec: ProgramSpec, host: string, file: string): Promise<Program> {
  const place = `${file}: program of ${host}`;
  const at = path.resolve(path.dirname(file), spec.module);
  let module: Record<string, unknown>;
  try {
    module = await import(pathToFileURL(at).href);
  } catch (error) {
    const why = (error as Error).message.split('\n')[0];
    throw configError(`${place}: found "${spec.module}", expected a module that loads: ${why}`);
  }
  const program = module[spec.export];
  if (typeof program !== 'function') {
    const names = Object.keys(module).filter((name) => typeof module[name] === 'function');
    const expected = names.length > 0 ? `one of ${names.join(', ')}` : 'a function that it exports';
    throw configError(`${place}: found the export "${spec.export}" of ${spec.module}, expected ${expected}`);
  }
  const run = program as (host: SimHost, options: unknown) => ReturnType<Program>;
  return async (sim: SimHost) => {
    try {
      await run(sim, spec.options);
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      throw new TunconnectorError(error.code, `${place}: ${error.message}`, { cause: error });
    }
  };
}
