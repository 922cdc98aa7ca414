/** What service chains cost: each function's share, and what changes to a chain do to traffic. */
import type { Experiment } from '../../harness/rounds.ts';
import { latencyExperiments } from './latency.ts';
import { throughputExperiments } from './throughput.ts';

export function chainExperiments(seconds: number): Experiment[] {
  return [...latencyExperiments(seconds), ...throughputExperiments(seconds)];
}
