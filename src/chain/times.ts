/** Times in options of what belongs to chains. */
import { z } from 'zod';
import { duration } from '../engine/units.ts';

/** `2s`, or a number of ns, in ns: from `least` to `most`. @param expected what is said of any other */
export const timeFrom = (least: number, expected: string, most = Number.POSITIVE_INFINITY) =>
  z.union([z.string(), z.number()], { error: `expected ${expected}` }).transform((written, context) => {
    try {
      const ns = duration(written);
      if (ns >= least && ns <= most) return ns;
    } catch {
      // Said below, as for one that is too short.
    }
    context.addIssue({ code: 'custom', message: `expected ${expected}` });
    return z.NEVER;
  });
