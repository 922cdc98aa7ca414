/**
 * A simulation in a file: the topology, what runs on the hosts, what goes wrong, and how long it takes. YAML, of which JSON is a part.
 *
 *     seed: 7
 *     for: 60s
 *     hosts:
 *       client: {}
 *       server: { program: ./server.mjs }
 *     links:
 *       wire: { between: [client 10.0.0.1/24, server 10.0.0.2/24], impair: delay 10ms }
 *     flows:
 *       bulk: { kind: tcp, from: server, to: client }
 *     faults:
 *       - { at: 20s, down: wire }
 */
import { z } from 'zod';
import { configError } from '../engine/config.ts';
import { readYaml } from '../engine/config-text.ts';
import { checkOptions } from '../engine/options.ts';
import { time } from '../impair/quantities.ts';
import { checkFaults, type Fault } from './faults/faults.ts';
import { checkTopology, type Topology } from './topology/topology.ts';

/** A function `(host, options)` that a module exports. Text names the module, and means its `default`. */
const programSchema = z.union(
  [
    z.string().transform((module) => ({ module, export: 'default', options: undefined })),
    z.strictObject({
      module: z.string(),
      export: z.string().default('default'),
      options: z.unknown().optional(),
    }),
  ],
  { error: 'expected the path of a module, or "module" with "export" and "options"' },
);

export type ProgramSpec = z.output<typeof programSchema>;

const hosts = z
  .record(z.string(), z.looseObject({ program: programSchema.optional() }).nullable())
  .default({});

const fileSchema = z.looseObject({
  /** How long it takes, where the caller does not say. */
  for: time.default(60e9),
  hosts,
  routers: hosts,
  faults: z.array(z.unknown()).default([]),
});

export interface SimulationFile {
  topology: Topology;
  /** By host. */
  programs: ReadonlyMap<string, ProgramSpec>;
  faults: readonly Fault[];
  /** ns */
  time: number;
}

/**
 * Reads a simulation and checks all of it but the modules of its programs.
 *
 * @param file named in errors
 * @throws ERR_CONFIG with file, place, what was found and what was expected
 */
export function parseSimulation(text: string, file = 'simulation'): SimulationFile {
  return readYaml(text, file, (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw configError(`found ${JSON.stringify(value) ?? 'nothing'}, expected hosts and links`);
    const checked = checkOptions(fileSchema, value);
    const programs = new Map<string, ProgramSpec>();
    const settings = (named: z.output<typeof hosts>) =>
      Object.fromEntries(
        Object.entries(named).map(([name, host]) => {
          const { program, ...rest } = host ?? {};
          if (program) programs.set(name, program);
          return [name, rest];
        }),
      );
    const { for: span, faults: written, ...rest } = checked;
    const topology = {
      ...rest,
      hosts: settings(checked.hosts),
      routers: settings(checked.routers),
    } as unknown as Topology;
    const faults = written as readonly Fault[];
    checkFaults(faults, checkTopology(topology));
    return { topology, programs, faults, time: span };
  });
}
