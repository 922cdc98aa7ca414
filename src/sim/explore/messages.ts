/** Between `exploreModule` and the processes that run its seeds. Structured clone carries them. */
import type { ErrorCode } from '../../errors.ts';
import type { Fault } from '../faults/faults.ts';
import type { FoundFailure } from './explore.ts';

/** Where scenarios come from: plain data, for each process makes its own. */
export interface ScenarioModule {
  /** URL of a module. */
  module: string;
  /** Its function `(options) => (seed) => Scenario`, which may be asynchronous; `default` when left out. */
  export?: string;
  /** JSON. */
  options?: unknown;
}

/** To a process: first what to run, then one seed after the other. */
export type ToRunner = { scenario: ScenarioModule; tries: number } | { seed: number };

export type FromRunner =
  /** It waits for a seed. */
  | { ready: true }
  /** The script of the seed that is about to run. */
  | { drawn: readonly Fault[] }
  /** It has failed; a smaller script is looked for. */
  | { failing: true }
  | { events: number; failure: FoundFailure | undefined }
  /** The scenario does not fit. */
  | { refused: { code: ErrorCode | undefined; message: string } };
