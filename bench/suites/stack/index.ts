/** The stack: against kernels over a TUN, beside their own TCP behind losses, and in one process. */
import type { Experiment } from '../../harness/rounds.ts';
import { goodputExperiments } from './goodput.ts';
import { kernelExperiments } from './kernel.ts';
import { pairExperiments } from './pair.ts';

export function stackExperiments(seconds: number): Experiment[] {
  return [...kernelExperiments(seconds), ...goodputExperiments(seconds), ...pairExperiments()];
}
