/** What impairments cost, how well they keep time and rates, and what a shell behind a link is like. */
import type { Experiment } from '../../harness/rounds.ts';
import { costExperiments } from './cost.ts';
import { rateExperiments } from './rate.ts';
import { shellExperiments } from './shell.ts';
import { timeExperiments } from './time.ts';

export function impairExperiments(seconds: number): Experiment[] {
  return [
    ...costExperiments(seconds),
    ...timeExperiments(seconds),
    ...rateExperiments(seconds),
    ...shellExperiments(seconds),
  ];
}
