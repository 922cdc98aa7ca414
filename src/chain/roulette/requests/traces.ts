/** Traces: where the packets of a flow go. The question is written for the ingress that has the flow to see, and so is its answer. */
import { z } from 'zod';
import { TunconnectorError } from '../../../errors.ts';
import { FUNCTIONS_PER_CHAIN } from '../model/limits.ts';
import { INGRESS, put, remove, type Trace } from '../model/model.ts';
import { flowId, replicaId } from '../model/schema.ts';
import {
  type Context,
  checkLimit,
  concurrent,
  notFound,
  nothingToDo,
  type Plan,
  writing,
} from './request.ts';

/** Asks. The answer says under which name, and whoever asked watches for what is found. */
export const traceFlow = concurrent(z.strictObject({ id: flowId }), ({ id }, context) => {
  const { tenant, view, limits } = context;
  if (!view.get('flow', id))
    notFound(`there is no flow ${id}`, 'see which there are with "chain show flows"');
  if (view.replicasOf(INGRESS).length === 0) notFound('there is no ingress');
  if (view.get('trace', id))
    throw new TunconnectorError('ERR_BUSY', `the flow ${id} is being traced`, { remedy: 'ask again later' });
  checkLimit(view.all('trace').size, limits.traces, 'traces');
  const asked = Buffer.from(context.secret(8)).toString('hex');
  return { ...writing(context, 'trace', id, put(tenant, 'trace', id, { asked })), answer: () => ({ asked }) };
});

const asked = z.string().regex(/^[0-9a-f]{16}$/, { error: 'expected 16 hexadecimal digits' });
const foundSchema = z.strictObject({
  id: flowId,
  asked,
  /** Its replica id. */
  ingress: replicaId,
  hops: z
    .array(
      z.strictObject({
        position: z.int().min(0).max(FUNCTIONS_PER_CHAIN),
        replica: z.int().min(0).max(0xffff),
        time: z.number().min(0).nullable(),
      }),
    )
    .max(FUNCTIONS_PER_CHAIN + 1),
});

/** Answers. What nobody asks any more, or another has answered, is left. */
export const answerTrace = concurrent(foundSchema, ({ id, asked, ingress, hops }, context) => {
  const { tenant, view } = context;
  const trace = view.get('trace', id)?.value;
  if (trace?.asked !== asked || trace.found) return nothingToDo({ taken: false });
  const answered: Trace = { asked, found: { ingress, hops } };
  return {
    ...writing(context, 'trace', id, put(tenant, 'trace', id, answered)),
    answer: () => ({ taken: true }),
  };
});

/** Ends one. Undefined when it is another one by now, or none. */
export function endTrace(context: Context, id: string, asked: string): Plan | undefined {
  const { tenant, view } = context;
  if (view.get('trace', id)?.value.asked !== asked) return undefined;
  return { ...writing(context, 'trace', id, remove(tenant, 'trace', id)), answer: () => undefined };
}
