/** `tunconnector sim explore`: the same file by many seeds, with faults that each draws; of what fails, the smallest script. */
import { availableParallelism } from 'node:os';
import { type Exploration, exploreModule, MOST_WORKERS } from '../../sim/index.ts';
import { Exit } from '../exit.ts';
import { formatDuration, grouped } from '../format.ts';
import { type Explored, explored } from './explore-scenario.ts';

export interface ExploreGiven extends Explored {
  /** Both inclusive. */
  seeds: [number, number];
  /** Ends after so many. */
  failures: number;
  /** Processes; as many as there are processors when left out. */
  workers?: number;
  json: boolean;
}

/** @returns the exit code: 1 when something was found, 130 when it was ended before */
export async function exploreSimulation(given: ExploreGiven): Promise<number> {
  const { json, failures, seeds, workers: wanted, ...what } = given;
  // Mistakes in the file are told once, and before anything starts.
  await explored(what);
  const [from, to] = seeds;
  const all = to - from + 1;
  const workers = Math.min(wanted ?? Math.min(availableParallelism(), MOST_WORKERS), all);
  const begin = performance.now();
  const { stderr } = process;
  const ended = new AbortController();
  const stop = () => ended.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  try {
    const found = await exploreModule(
      { module: new URL('./explore-scenario.js', import.meta.url).href, export: 'explored', options: what },
      {
        seeds: (function* () {
          for (let seed = from; seed <= to; seed++) yield seed;
        })(),
        ...{ failures, workers, signal: ended.signal },
        onProgress: (done) => {
          if (stderr.isTTY) stderr.write(`\r${grouped(done)} of ${grouped(all)} seeds\x1b[K`);
        },
      },
    );
    if (stderr.isTTY) stderr.write('\r\x1b[K');
    const took = (performance.now() - begin) / 1000;
    process.stdout.write(json ? `${explorationJson(found, took)}\n` : explorationText(found, took, given));
    return ended.signal.aborted ? 130 : found.failures.length > 0 ? Exit.failure : Exit.ok;
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
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
    // Of a process that died nothing more is known.
    const when = event === 0 ? '' : `, ${formatDuration(at)}, event ${grouped(event)}`;
    const where = `${when}${host === undefined ? '' : `, host ${host}`}`;
    lines.push('', `seed ${seed}${where}: ${error.message}`);
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
