/** `tunconnector sim explore`: the same file by many seeds, with faults that each draws; of what fails, the smallest script. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { configError } from '../../engine/config.ts';
import {
  type Exploration,
  explore,
  type FaultKind,
  loadSimulation,
  randomFaults,
  type Scenario,
} from '../../sim/index.ts';
import { Exit } from '../exit.ts';
import { formatDuration, grouped } from '../format.ts';

export interface ExploreGiven {
  file: string;
  /** Both inclusive. */
  seeds: [number, number];
  /** What is drawn; none: only what the file says. */
  kinds: FaultKind[];
  count: [number, number];
  /** Module with `check` or `always`: functions of the simulation that throw when something is wrong. */
  check?: string;
  /** ns, instead of the file's. */
  time?: number;
  /** Ends after so many. */
  failures: number;
  json: boolean;
}

type Checks = Pick<Scenario, 'always' | 'check'>;

/** @returns the exit code: 1 when something was found */
export async function exploreSimulation(given: ExploreGiven): Promise<number> {
  const { file, kinds, count, json, failures } = given;
  const { topology, options, time: usual } = await loadSimulation(file);
  const time = given.time ?? usual;
  const checks = given.check === undefined ? {} : await loadChecks(given.check);
  const [from, to] = given.seeds;
  const scenario = (seed: number): Scenario => {
    // In the middle: all is whole before, and has time to become so again.
    const during: [number, number] = [Math.floor(time * 0.1), Math.floor(time * 0.7)];
    const drawn = kinds.length === 0 ? [] : randomFaults(topology, { seed, kinds, count, during });
    const { programs, faults = [] } = options;
    return { ...checks, topology, time, faults: [...faults, ...drawn], ...(programs && { programs }) };
  };
  const begin = performance.now();
  const { stderr } = process;
  let done = 0;
  const found = await explore(scenario, {
    seeds: (function* () {
      for (let seed = from; seed <= to; seed++) yield seed;
    })(),
    failures,
    onRun: () => {
      if (stderr.isTTY) stderr.write(`\r${grouped(++done)} of ${grouped(to - from + 1)} seeds\x1b[K`);
    },
  });
  if (stderr.isTTY) stderr.write('\r\x1b[K');
  const took = (performance.now() - begin) / 1000;
  process.stdout.write(json ? `${explorationJson(found, took)}\n` : explorationText(found, took, given));
  return found.failures.length > 0 ? Exit.failure : Exit.ok;
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

function explorationJson({ runs, events, failures }: Exploration, took: number): string {
  const found = failures.map(({ error, ...rest }) => ({ ...rest, error: error.message }));
  return JSON.stringify({ runs, events, took, failures: found });
}

function explorationText(
  { runs, events, failures }: Exploration,
  took: number,
  { file }: ExploreGiven,
): string {
  const lines = [
    `${grouped(runs)} seeds, ${grouped(events)} events in ${took.toFixed(1)} s: ${failures.length === 0 ? 'nothing found' : `${failures.length} failed`}`,
  ];
  for (const { seed, at, event, host, error, faults, drawn, tries } of failures) {
    const where = `${formatDuration(at)}, event ${grouped(event)}${host === undefined ? '' : `, host ${host}`}`;
    lines.push('', `seed ${seed}, ${where}: ${error.message}`);
    const smaller = `${faults.length} of ${drawn.length} faults, after ${grouped(tries)} runs`;
    lines.push(
      faults.length === 0
        ? '  fails without any fault'
        : `  the smallest script that still fails (${smaller}):`,
    );
    if (faults.length > 0)
      lines.push('  faults:', ...faults.map((fault) => `    - ${JSON.stringify(fault)}`));
    lines.push(
      `  with these in the file: tunconnector sim run ${file} --seed ${seed} --for ${Math.max(1, at)}ns`,
    );
  }
  return `${lines.join('\n')}\n`;
}
