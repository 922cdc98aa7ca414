/** What service chains cost: each function's share, and what changes to a chain do to traffic. */
import type { Experiment } from '../../harness/rounds.ts';
import { failureExperiments } from './failure.ts';
import { flowExperiments } from './flows.ts';
import { latencyExperiments } from './latency.ts';
import { throughputExperiments } from './throughput.ts';

export function chainExperiments(seconds: number): Experiment[] {
  return [
    ...latencyExperiments(seconds),
    ...throughputExperiments(seconds),
    ...flowExperiments(),
    ...failureExperiments(),
  ];
}
