/** Throughput between a kernel and the stack, beside two kernels over two TUNs that a C program joins. */
import { startJson } from '../../harness/json-program.ts';
import { type VisitContext, withLab } from '../../harness/lab.ts';
import { twin } from '../../harness/root.ts';
import type { Experiment, Visit } from '../../harness/rounds.ts';
import { cpuSample } from '../tcp.ts';
import { type Api, betweenKernels, type Figures, type Form, SUITE, withStack } from './ends.ts';

const TWIN = 'two kernels, C between';
const FORMS: Record<Form, string> = { whole: 'superframes', cut: 'packets of 1500' };
const APIS: Record<Api, string> = { calls: 'ours, callbacks', socket: 'ours, StackSocket' };
const LEAST = 0.3;
/** 80 MB/s. */
const LEAST_BITS = 640e6;

export function kernelExperiments(seconds: number): Experiment[] {
  const experiments: Experiment[] = [];
  for (const form of ['whole', 'cut'] as const) {
    for (const job of ['sink', 'source'] as const) {
      const path = `TCP ${job === 'sink' ? 'kernel to stack' : 'stack to kernel'}, ${FORMS[form]}`;
      const ours = (['calls', 'socket'] as const).map((api) =>
        visit(path, APIS[api], (context) => withLab(context, (lab) => withStack(lab, { api, form, job }))),
      );
      const kernels = visit(path, TWIN, (context) =>
        withLab(context, (lab) =>
          betweenKernels(lab, () =>
            startJson(lab, lab.a, lab.placement.bridge, [twin('tuns'), lab.a.path, lab.b.path, form]),
          ),
        ),
      );
      experiments.push({
        suite: SUITE,
        title: path,
        secondsPerVisit: seconds + 2,
        visits: [kernels, ...ours],
        bars: Object.values(APIS).flatMap((subject) => [
          { path, quantity: 'throughput' as const, subject, reference: TWIN, atLeast: LEAST },
          { path: `${path}, alone`, quantity: 'throughput' as const, subject, atLeast: LEAST_BITS },
        ]),
      });
    }
  }
  return experiments;
}

function visit(path: string, subject: string, measure: (context: VisitContext) => Promise<Figures>): Visit {
  return {
    subject,
    measure: async (context) => {
      const { bitsPerSecond: value, cpuPerGB } = await measure(context);
      return [
        { path, quantity: 'throughput', value },
        // A bar of its own: bars are known by path, subject and quantity.
        ...(subject === TWIN ? [] : [{ path: `${path}, alone`, quantity: 'throughput' as const, value }]),
        ...cpuSample(path, 'cpuPerGB', cpuPerGB),
      ];
    },
  };
}
