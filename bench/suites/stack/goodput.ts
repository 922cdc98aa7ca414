/** What gets through behind losses: the stack as sender, beside the kernel with the same congestion control. */
import { startJson } from '../../harness/json-program.ts';
import { type VisitContext, withLab } from '../../harness/lab.ts';
import { program } from '../../harness/root.ts';
import type { Experiment, Visit } from '../../harness/rounds.ts';
import { betweenKernels, type Figures, SUITE, withStack } from './ends.ts';

const KERNEL_TCP = 'two kernels';
const OURS = 'ours, callbacks';
/** ms of round trip, and the part that is lost on the way there. */
const POINTS = [
  [10, 0.1],
  [20, 1],
  [50, 0.1],
  [100, 0.5],
  [40, 2],
] as const;
/** Fewer losses than this make no mean. */
const LEAST_SECONDS = 12;
const NEAR = { atLeast: 0.85, atMost: 1.15 };
const START_LIMIT_MS = 20_000;

export function goodputExperiments(seconds: number): Experiment[] {
  return POINTS.map(([ms, loss]) => {
    const path = `goodput at ${ms} ms, ${loss} % lost`;
    // A seed of its own for each round, in which both lose the same packets, by their number.
    const specs = () => {
      let round = 0;
      return () => `{ seed: ${7 + round++}, up: delay ${ms / 2}ms loss ${loss}%, down: delay ${ms / 2}ms }`;
    };
    const [kernels, stacks] = [specs(), specs()];
    const lasting = (context: VisitContext) => ({
      ...context,
      seconds: Math.max(context.seconds, LEAST_SECONDS),
    });
    return {
      suite: SUITE,
      title: path,
      secondsPerVisit: Math.max(seconds, LEAST_SECONDS) + 2,
      visits: [
        visit(path, KERNEL_TCP, (context) =>
          withLab(lasting(context), (lab) =>
            betweenKernels(lab, true, () => {
              const argv = [
                process.execPath,
                program('impaired-link'),
                'sliced',
                kernels(),
                lab.a.path,
                lab.b.path,
              ];
              return startJson(lab, lab.a, lab.placement.bridge, argv, START_LIMIT_MS);
            }),
          ),
        ),
        visit(path, OURS, (context) =>
          withLab(lasting(context), (lab) =>
            withStack(lab, { api: 'calls', form: 'whole', job: 'source', spec: stacks() }),
          ),
        ),
      ],
      bars: [{ path, quantity: 'throughput' as const, subject: OURS, reference: KERNEL_TCP, ...NEAR }],
    };
  });
}

function visit(path: string, subject: string, measure: (context: VisitContext) => Promise<Figures>): Visit {
  return {
    subject,
    measure: async (context) => [
      { path, quantity: 'throughput', value: (await measure(context)).bitsPerSecond },
    ],
  };
}
