/**
 * mahimahi's packet-delivery trace files: on each line the millisecond, from the start on, at which the link can deliver one
 * packet of full size. Lines may repeat; they never go back. The last one is the trace's length as well.
 */
import { configError } from '../../engine/config.ts';
import { MILLISECOND } from '../../engine/units.ts';

/** Most lines: an hour of 3 Gbit/s is 900 million, which nobody records. */
const LINES = 20_000_000;

/** Times in ns. @throws ERR_CONFIG with the line that makes no sense */
export function parseOpportunities(text: string): Float64Array {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  if (lines.length > LINES) throw configError(`trace: more than ${LINES} lines`);
  const times = new Float64Array(lines.length);
  for (const [i, line] of lines.entries()) {
    const word = line.endsWith('\r') ? line.slice(0, -1) : line;
    if (!/^\d{1,12}$/.test(word))
      throw configError(`trace, line ${i + 1}: found "${word}", expected a whole number of milliseconds`);
    times[i] = Number(word) * MILLISECOND;
    if (i > 0 && times[i] < times[i - 1])
      throw configError(`trace, line ${i + 1}: ${word} is before the line above it; times never go back`);
  }
  if (times.length === 0) throw configError('trace: no lines, expected a millisecond on each');
  if (times[times.length - 1] === 0) throw configError('trace: must last for more than 0 ms');
  return times;
}
