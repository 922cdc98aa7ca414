/** Units that people write: times, sizes, rates. Inside, time is integer nanoseconds. */
import { TunconnectorError } from '../errors.ts';

export const MICROSECOND = 1_000;
export const MILLISECOND = 1_000_000;
export const SECOND = 1_000_000_000;

const TIME_UNITS: Record<string, number> = {
  ns: 1,
  us: MICROSECOND,
  µs: MICROSECOND,
  ms: MILLISECOND,
  s: SECOND,
  m: 60 * SECOND,
  min: 60 * SECOND,
  h: 3600 * SECOND,
};

/** Nanoseconds of `'50ms'`, `'1.5s'`; a number is nanoseconds already. Throws ERR_CONFIG. */
export function duration(text: string | number): number {
  if (typeof text === 'number') {
    if (Number.isFinite(text) && text >= 0) return Math.round(text);
  } else {
    const match = /^(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|min|m|h)$/.exec(text);
    if (match) return Math.round(Number(match[1]) * TIME_UNITS[match[2]]);
  }
  throw new TunconnectorError(
    'ERR_CONFIG',
    `found the duration "${text}", expected one such as 50ms or 1.5s`,
  );
}
