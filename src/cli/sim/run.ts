/** `tunconnector sim run`: from the file to the summary. */
import { loadSimulation, Outputs, Series, Simulation } from '../../sim/index.ts';
import { Exit } from '../exit.ts';
import { ProgressBar } from './progress.ts';
import { summaryJson, summaryOf, summaryText } from './summary.ts';

/** What both runs and traces are told. */
export interface Given {
  file: string;
  /** Instead of the file's. */
  seed?: number;
  /** ns, instead of the file's. */
  time?: number;
}

interface RunOptions extends Given {
  out?: string;
  /** ns */
  every: number;
  json: boolean;
}

/** How often the bar moves while nothing is looked at: so many steps in all. */
const STEPS = 200;

/** A simulation that has started, and how long it shall go on: ns. @throws what is wrong with the file */
export async function started(given: Given, witness?: (where: string, what: string) => void) {
  const { topology, options, time } = await loadSimulation(given.file);
  const sim = await Simulation.start(
    { ...topology, ...(given.seed !== undefined && { seed: given.seed }) },
    { ...options, ...(witness && { witness }) },
  );
  return { sim, time: given.time ?? time };
}

/** @returns the exit code */
export async function runSimulation({ out, every, json, ...given }: RunOptions): Promise<number> {
  const begin = performance.now();
  const { sim, time } = await started(given);
  const bar = new ProgressBar(time);
  let interrupted = false;
  const stop = () => {
    interrupted = true;
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  try {
    const outputs = out === undefined ? undefined : new Outputs(sim, out);
    const series = new Series(sim);
    const step = outputs ? every : Math.ceil(time / STEPS);
    for (let at = step; !interrupted; at += step) {
      await sim.runTo(Math.min(at, time));
      if (outputs) series.take();
      bar.show(sim.runtime.now());
      if (at >= time) break;
    }
    outputs?.finish(series, given.file);
    bar.clear();
    const took = (performance.now() - begin) / 1000;
    const summary = summaryOf(sim, { file: given.file, took, interrupted });
    process.stdout.write(json ? `${summaryJson(summary)}\n` : summaryText(summary, out));
  } finally {
    bar.clear();
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
    await sim[Symbol.asyncDispose]();
  }
  return interrupted ? 130 : Exit.ok;
}
