/**
 * `trace`: a recorded link. `format mahimahi` is one of packet-delivery opportunities (mahimahi.ts), `format csv` a table
 * of rate, delay and loss over time (csv.ts). The options hold the file's text; who reads the file is above this floor.
 */
import { z } from 'zod';
import { fileText } from '../file-text.ts';
import { DEFAULT_QUEUE, queueSchema } from '../queue/queue.ts';
import type { Stage, StageContext } from '../stage.ts';
import { parseConditions } from './conditions.ts';
import { CsvTrace } from './csv.ts';
import { Mahimahi } from './mahimahi.ts';
import { parseOpportunities } from './opportunities.ts';

const common = {
  kind: z.literal('trace'),
  name: z.string().optional(),
  /** From the start again when the trace is over. */
  repeat: z.boolean().default(true),
  queue: queueSchema.default(DEFAULT_QUEUE),
};

export const traceSchema = z.discriminatedUnion('format', [
  z.strictObject({
    ...common,
    format: z.literal('mahimahi'),
    /** The file's text. */
    text: fileText(parseOpportunities),
    /** Bytes of an opportunity: mahimahi's code has 1504, its manual 1500. */
    mtu: z.number().int().min(1).max(65535).default(1504),
  }),
  z
    .strictObject({ ...common, format: z.literal('csv'), text: fileText(parseConditions) })
    .refine(({ text, repeat }) => sends(text, repeat), {
      path: ['text'],
      error: 'trace: the rate is 0 in every row; of a table that is repeated the last row only says when',
    }),
]);
export type TraceOptions = z.infer<typeof traceSchema>;
export type MahimahiOptions = Extract<TraceOptions, { format: 'mahimahi' }>;
export type CsvOptions = Extract<TraceOptions, { format: 'csv' }>;

/** Whether the link is ever able to send. */
function sends(text: string, repeat: boolean): boolean {
  let rate: Float64Array;
  try {
    rate = parseConditions(text).rate;
  } catch {
    // That was said.
    return true;
  }
  const used = repeat && rate.length > 1 ? rate.subarray(0, -1) : rate;
  return used.some((each) => each > 0);
}

/** Makes the stage of a trace's format. */
export function makeTrace(name: string, context: StageContext, options: TraceOptions): Stage {
  return options.format === 'csv'
    ? new CsvTrace(name, context, options)
    : new Mahimahi(name, context, options);
}
